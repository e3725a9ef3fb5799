"""`stammgast tick`: settle every member up to a moment."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import click

from engine.settings import KafkaSecurity, UsageError, kafka_security_options, option, sentence


class Moment(click.ParamType):
    """A moment with an offset, as microseconds since the epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Microseconds, or click's usage error with an example."""
        from schemas.times import to_us

        if isinstance(value, int):
            return value
        try:
            return to_us(str(value))
        except ValueError as error:
            self.fail(f"{error}. Example: 2026-03-01T00:00:00+01:00", param, ctx)


@click.command()
@option("bootstrap", required=True)
@option("topic_prefix")
@click.option(
    "--at", "at_us", required=True, type=Moment(), metavar="TIME", help="The moment, with its offset from UTC."
)
@kafka_security_options
def tick(*, bootstrap: str, topic_prefix: str, at_us: int, security: KafkaSecurity) -> None:
    """Settle every member up to a moment: everything that is due by then happens.

    Appends one tick to every partition of facts; a running worker decides it. The same tick twice changes nothing. A moment
    beyond facts that are still to come makes those facts late.
    """
    from engine.stream.clients import Cluster, KafkaTrouble
    from engine.stream.topics import LogMissing
    from schemas.times import to_text

    try:
        number = asyncio.run(append(Cluster(bootstrap, security), topic_prefix, at_us))
    except LogMissing as error:
        raise UsageError(f"{error}: `stammgast topics create` makes it, or check --topic-prefix.") from error
    except KafkaTrouble as error:
        raise UsageError(sentence(error)) from error
    click.echo(f"{number} partitions are told that it is {to_text(at_us)}.")


async def append(cluster: Any, prefix: str, at_us: int) -> int:
    """Append a tick to every partition of `facts`; returns how many partitions there are.

    Errors: LogMissing when there is no facts topic; GenerationInTheWay when these logs live on elsewhere; Unreachable.
    """
    from engine.stream.clock import append_ticks
    from engine.stream.generations import living
    from engine.stream.topics import FACTS, Layout, partition_count

    topic = prefix + FACTS
    partitions = await partition_count(cluster, topic)
    await living(cluster, Layout(prefix=prefix))
    async with cluster.producer() as producer:
        return await append_ticks(producer, topic, range(partitions), at_us, time.time_ns() // 1_000_000)
