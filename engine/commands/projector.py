"""`stammgast projector`: keep a DuckDB file in step with the logs and serve it to readers on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import structlog
from aiokafka.errors import KafkaError

from engine import settings
from engine.commands import readers as named
from engine.settings import KafkaSecurity, No, UsageError, sentence
from engine.stream.clients import Cluster, KafkaTrouble, Unreachable
from engine.stream.generations import inbound_prefix
from engine.stream.topics import SHOP_EVENTS
from engine.telemetry import METRICS, Health, Hearing, Progress, TelemetryServer, set_up_logging
from projections.files import set_aside
from projections.lake import LakeWarehouse, checked
from projections.object_storage import Storage, checked_data, read_storage
from projections.projector import Projector, logs_id
from projections.segments import keep_publishing
from projections.trouble import FileTrouble
from projections.upkeep import Upkeep

log = structlog.get_logger(__name__)
#: Records that one transaction of a lake takes while it catches up: each writes a file per table.
LAKE_RECORDS = 100_000
Telling = Callable[[asyncio.Event], Coroutine[None, None, None]]


@click.command()
@settings.option("bootstrap", required=True)
@settings.option("db")
@settings.options("lake", "lake_data", "lake_s3", "lake_seconds")
@settings.option("topic_prefix")
@settings.option("memory_limit")
@settings.option("churn_horizon_days")
@settings.option("churn_threshold")
@settings.option("score_every_days")
@settings.option("segments_every_days")
@settings.options("readers", "readers_port", "audit_log", "audit_statements", "query_seconds", "refresh_seconds")
@settings.telemetry_options
@settings.kafka_security_options
@click.option("--fresh", is_flag=True, help="Set an existing file aside and build a new one from the logs.")
def projector(
    *,
    bootstrap: str,
    db: Path | None,
    lake: str | None,
    lake_data: str | None,
    lake_s3: Path | None,
    lake_seconds: float,
    topic_prefix: str,
    memory_limit: str,
    churn_horizon_days: int,
    churn_threshold: float,
    score_every_days: int,
    segments_every_days: int,
    log_format: str,
    log_level: str,
    metrics_host: str,
    metrics_port: int,
    security: KafkaSecurity,
    fresh: bool,
    **reading: Any,
) -> None:
    """Keep a DuckDB file in step with the logs, and serve it; or with --lake the tables of a DuckLake (docs/lake.md).

    The file goes on where it stopped. While this runs, `stammgast query --db FILE` asks it through FILE.endpoint. A full
    disk and a silent Kafka are waited for; a file that is damaged, deleted or of another version is built anew beside the
    old one. With --readers a process beside this one answers named readers (`stammgast readers`). Exit codes: 0 stopped
    when asked to, 1 could not go on (the file is held or may not be written; logs missing or lost), 2 wrong usage: no
    Kafka there, a file of other logs.
    """
    only_for_files = fresh or bool(segments_every_days) or bool(reading.get("readers"))
    place = _check_places(db, lake, lake_data, lake_s3, only_for_files=only_for_files)
    set_up_logging(log_format, log_level)  # type: ignore[arg-type]  # click.Choice has checked it
    answering = None if db is None else _answering(db, {**reading, "log_format": log_format, "log_level": log_level})
    cluster = Cluster(bootstrap, security)
    health, progress, hearing = Health(), Progress(), Hearing()
    health.add("projector", progress.probe)
    health.add("kafka", hearing.probe)
    # Before any file is touched: a wrong address leaves no empty file behind, and --fresh sets none aside for nothing.
    with _told_plainly():
        try:
            asyncio.run(_logs_are_there(cluster, topic_prefix))
        except Unreachable as error:  # at the start a wrong address, later a Kafka that went away
            raise UsageError(sentence(error)) from error
    options: dict[str, Any] = {
        "memory_limit": memory_limit,
        "churn_horizon_days": churn_horizon_days,
        "churn_threshold": churn_threshold,
    }
    if place is not None:
        with TelemetryServer(metrics_host, metrics_port, METRICS, health) as telemetry, _told_plainly():
            log.info("telling about itself", metrics=telemetry.url)
            asyncio.run(_keep_lake(cluster, topic_prefix, place, lake_seconds, options, progress, hearing))
        return
    if db is None:
        raise UsageError("name the file with --db.")
    options["score_every_days"] = score_every_days
    upkeep = Upkeep(cluster, db, prefix=topic_prefix, options=options, progress=progress, hearing=hearing)
    health.add("file", upkeep.probe)
    with TelemetryServer(metrics_host, metrics_port, METRICS, health) as telemetry, _told_plainly():
        log.info("telling about itself", metrics=telemetry.url)
        if fresh:
            set_aside(db)
        telling = _telling(cluster, db, topic_prefix, segments_every_days, churn_horizon_days)
        asyncio.run(_until_stopped(upkeep, [one for one in (telling, answering) if one is not None]))


class _Lake(NamedTuple):
    """Where a lake is."""

    catalogue: str
    data: str
    storage: Storage | None


def _check_places(
    db: Path | None, lake: str | None, data: str | None, keys: Path | None, *, only_for_files: bool
) -> _Lake | None:
    """The lake, None for a file. Errors: UsageError unless a file or a lake with its folder is named."""
    if (db is None) == (lake is None):
        raise UsageError(
            "say where the tables go, one of both: --db FILE, or --lake CATALOGUE with --lake-data FOLDER."
        )
    if lake is None:
        return None
    if data is None:
        raise UsageError("--lake also needs --lake-data FOLDER, where its Parquet files go.")
    if only_for_files:
        raise UsageError(
            "--fresh, --segments-every-days and --readers are for a file. A new lake is built under another --lake and "
            "--lake-data; segments are told by a projector with a file, and a lake's readers are users of its database."
        )
    storage = None if keys is None else read_storage(keys)
    return _Lake(checked(lake), checked_data(data, storage), storage)


async def _keep_lake(
    cluster: Cluster,
    prefix: str,
    lake: _Lake,
    seconds: float,
    options: dict[str, Any],
    progress: Progress,
    hearing: Hearing,
) -> None:
    """Append to a lake until SIGTERM or SIGINT; what was read by then is appended first."""
    stop = _stopping()
    with LakeWarehouse.open_lake(lake.catalogue, lake.data, storage=lake.storage, **options) as warehouse:
        projector = Projector(
            cluster,
            warehouse,
            prefix=prefix,
            progress=progress,
            hearing=hearing,
            batch_age_s=seconds,
            batch_records=LAKE_RECORDS,
        )
        try:
            await projector.run(stop)
        except FileTrouble as trouble:
            raise No(f"the lake took nothing more, start this again, nothing is lost: {trouble.message}") from trouble
    log.info("stopping", applied_records=projector.applied_records)


@contextlib.contextmanager
def _told_plainly() -> Iterator[None]:
    """Trouble with Kafka is one sentence, and exit code 1."""
    try:
        yield
    except KafkaTrouble as error:
        raise No(sentence(error)) from error
    except KafkaError as error:  # between two questions of a start; nothing is lost
        raise No(f"Kafka stopped answering, start it again: {error or type(error).__name__}.") from error


def _stopping() -> asyncio.Event:
    """Set on SIGTERM or SIGINT."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    return stop


async def _logs_are_there(cluster: Cluster, prefix: str) -> None:
    """Wait for the logs that a worker may be about to create. Errors: KafkaTrouble."""
    await logs_id(cluster, prefix, _stopping())


def _telling(cluster: Cluster, db: Path, prefix: str, every_days: int, horizon_days: int) -> Telling | None:
    """What tells the engine of segments for as long as the projector runs; None where nobody wants it."""
    if not every_days:
        return None

    async def tell(stop: asyncio.Event) -> None:
        topic = await inbound_prefix(cluster, prefix) + SHOP_EVENTS
        await keep_publishing(cluster, db, topic, every_days, horizon_days, stop)

    return tell


def _answering(db: Path, chosen: dict[str, Any]) -> Telling | None:
    """What answers named readers for as long as the projector runs; None where there are none. Errors: UsageError."""
    if chosen["readers"] is None:
        return None
    from engine.readers.book import read

    read(chosen["readers"])  # its mistakes are told before anything is started
    return named.beside(chosen, db)


async def _until_stopped(upkeep: Upkeep, besides: Sequence[Telling]) -> None:
    """Run until SIGTERM or SIGINT; what was read by then is applied first."""
    stop = _stopping()
    running = [asyncio.create_task(one(stop)) for one in besides]
    try:
        await upkeep.run(stop)
    finally:
        stop.set()
        for one in running:
            await one
    log.info("stopping", applied_records=upkeep.applied_records)
