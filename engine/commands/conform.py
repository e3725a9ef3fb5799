"""`stammgast conform`: does what a team publishes hold, before it meets the engine?"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.settings import KafkaSecurity, UsageError, kafka_security_options, option, sentence

if TYPE_CHECKING:
    from engine.conform.examining import Examination
    from engine.stream.clients import Cluster
    from schemas.normalise import Policy


@click.command()
@click.argument("what", metavar="FILE|TOPIC")
@option("bootstrap")
@option("topic_prefix")
@click.option("--staff", is_flag=True, help="The file holds what staff do: also their types are taken.")
@click.option("--last", type=click.IntRange(1), metavar="N", help="Of a topic the last N records of each partition.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@kafka_security_options
def conform(
    *,
    what: str,
    bootstrap: str | None,
    topic_prefix: str,
    staff: bool,
    last: int | None,
    as_json: bool,
    security: KafkaSecurity,
) -> None:
    """Examine events in a FILE (.jsonl, .jsonl.gz), or in a TOPIC of --bootstrap, as the engine will see them.

    Schema, ids used twice, naive and future times, digits of currencies, refunds without their order, order per member, clocks,
    keys. Reads alone, and says with examples what would be refused (errors) and what is odd (warnings).

    Exit codes: 0 no errors, 1 errors, 2 wrong usage.
    """
    from engine.conform.examining import Examination, words
    from engine.stream.clients import Cluster, KafkaTrouble

    found = Examination(time.time_ns() // 1_000, _policy(what, staff))
    try:
        if Path(what).is_file():
            _file(Path(what), found)
        elif bootstrap is None:
            raise UsageError(f"{what}: there is no such file; for a topic say --bootstrap HOST:PORT as well.")
        else:
            asyncio.run(_topic(Cluster(bootstrap, security), topic_prefix + what, last, found))
    except KafkaTrouble as error:
        raise UsageError(sentence(error)) from error
    found.finish()
    click.echo(json.dumps(found.as_json(), indent=2) if as_json else "\n".join(words(found, what)))
    if found.errors:
        click.get_current_context().exit(1)


def _policy(what: str, staff: bool) -> Policy:
    from engine.stream.topics import default_inbound
    from schemas.normalise import OPEN_POLICY

    inbound = default_inbound()
    if what in inbound:
        return inbound[what].policy()
    return OPEN_POLICY if staff else inbound["shop-events"].policy()


def _file(path: Path, found: Examination) -> None:
    """Every line. Errors: UsageError."""
    from engine.commands.publish import UnreadableError, lines_of

    try:
        with path.open("rb") as raw:
            for number, line in enumerate(lines_of(path, raw), 1):
                if line.strip():
                    found.take(line.strip(), f"{path.name}:{number}")
    except UnreadableError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}).") from error


async def _topic(cluster: Cluster, topic: str, last: int | None, found: Examination) -> None:
    """Every record, partition by partition, as of now. Errors: KafkaTrouble."""
    from engine.stream.clients import log_ends, read_partition
    from engine.stream.topics import partition_count

    ends = await log_ends(cluster, topic, await partition_count(cluster, topic))
    for number, (begin, end) in ends.items():
        start = begin if last is None else max(begin, end - last)
        if begin == end:
            continue
        async with aclosing(read_partition(cluster, topic, number, start)) as batches:
            async for records in batches:
                for record in records:
                    found.take(
                        record.value or b"",
                        f"{topic}/{number}@{record.offset}",
                        record.key or b"",
                        record.timestamp,
                        record.headers,
                    )
