"""`stammgast worker`: events in, facts and points out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from engine.commands.programmes import load_programmes
from engine.settings import KafkaSecurity, No, UsageError, kafka_security_options, option, options, telemetry_options


@click.command()
@option("bootstrap", required=True)
@option("programme")
@options("app", "topic_prefix", "inbound", "partitions", "replication_factor", "rejects_days")
@options("profile_key_file", "profile_keys")
@options("clock", "max_clock_skew", "max_event_bytes", "checkpoint_decisions", "live_members")
@options("instance_id", "session_seconds", "shutdown_seconds", "datadir")
@telemetry_options
@kafka_security_options
def worker(
    *, log_format: Any, log_level: str, metrics_host: str, metrics_port: int, security: KafkaSecurity, **chosen: Any
) -> None:
    """Turn events into facts and facts into points, until SIGTERM or Ctrl-C.

    Creates the topics that are missing and publishes the versions in --programme that are new. Start as many as there are
    partitions at most; they share the work. Exit codes: 0 stopped when asked to, 1 could not go on (start it again; nothing
    is lost), 2 wrong usage: no Kafka there, another number of partitions, a log missing, no programme in the folder.
    """
    from engine.stream.app import WorkerDied, serve
    from engine.stream.clients import KafkaTrouble
    from engine.telemetry import METRICS, Health, TelemetryServer, set_up_logging

    settings = worker_settings(security=security, **chosen)
    set_up_logging(log_format, log_level)
    health = Health()
    with TelemetryServer(metrics_host, metrics_port, METRICS, health) as telemetry:
        try:
            asyncio.run(serve(settings, METRICS, health, telemetry.url))
        except WorkerDied as error:
            raise No(str(error)) from error
        except KafkaTrouble as error:
            raise UsageError(str(error)) from error


def worker_settings(
    *,
    bootstrap: str,
    programme: Path | None,
    app: str,
    topic_prefix: str,
    inbound: str,
    partitions: int,
    replication_factor: int,
    rejects_days: int,
    clock: Any,
    max_clock_skew: float,
    max_event_bytes: int,
    checkpoint_decisions: int,
    live_members: int,
    profile_key_file: Path | None,
    profile_keys: Path | None,
    shutdown_seconds: float,
    datadir: Path | None,
    instance_id: str | None = None,
    session_seconds: float | None = None,
    security: KafkaSecurity,
) -> Any:
    """The options as `engine.stream.app.WorkerSettings`.

    Errors: UsageError (no such folder, no programme in it, inbound topics that do not read), No (mistakes in a programme).
    """
    from engine.stream.app import WorkerSettings
    from engine.stream.clients import Cluster
    from engine.stream.topics import Layout, parse_inbound
    from engine.vault.vault import vault_of

    try:
        taken = parse_inbound(inbound)
    except ValueError as error:
        raise UsageError(f"--inbound: {error}.") from error
    return WorkerSettings(
        cluster=Cluster(bootstrap, security),
        app=app,
        layout=Layout(topic_prefix, partitions, replication_factor, rejects_days, tuple(taken)),
        inbound=taken,
        programmes=load_programmes(programme) if programme is not None else (),
        clock=clock,
        max_clock_skew_us=round(max_clock_skew * 1_000_000),
        max_event_bytes=max_event_bytes,
        checkpoint_decisions=checkpoint_decisions,
        live_members=live_members,
        vault=vault_of(profile_key_file, profile_keys, create=True),
        shutdown_seconds=shutdown_seconds,
        datadir=datadir,
        instance_id=instance_id,
        session_seconds=session_seconds,
    )
