"""`stammgast segments`: tell the engine who entered and left a segment, or show it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.settings import KafkaSecurity, No, UsageError, kafka_security_options, option, sentence

if TYPE_CHECKING:
    from engine.stream.clients import Cluster
    from projections.segments import Change


@click.command()
@option("db", required=True)
@option("bootstrap")
@option("topic_prefix")
@click.option("--topic", default="shop-events", show_default=True, help="Inbound topic, without --topic-prefix.")
@option("churn_horizon_days")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="As of the end of this day; default: the newest one.")
@click.option("--json", "as_json", is_flag=True, help="Print every change as JSON.")
@kafka_security_options
def segments(
    *,
    db: Path,
    bootstrap: str | None,
    topic_prefix: str,
    topic: str,
    churn_horizon_days: int,
    day: datetime | None,
    as_json: bool,
    security: KafkaSecurity,
) -> None:
    """Tell the engine who entered and who left a segment; without --bootstrap, only show it.

    Segments are rfm-<name> for each of the R-F grid (rfm-champions, rfm-at-risk, ...), churn-risk for whoever is flagged, and
    value-high for the most valuable fifth (customer_values). They become `segment` facts, and rules ask for them with
    `when: {segment: churn-risk}`. Only changes are told, and telling a day twice changes nothing. Works while a projector
    holds the file; `projector --segments-every-days` does it by itself. Exit codes: 0 done, 1 nothing is settled yet or
    Kafka stopped taking events, 2 wrong usage.
    """
    from aiokafka.errors import KafkaError

    from engine.stream.clients import Cluster, KafkaTrouble
    from projections.segments import changes, due_day

    chosen = day.date() if day is not None else due_day(db, 1)
    if chosen is None:
        raise No(f"{db} holds no settled day yet: there are no segments.")
    _check_over(db, chosen, due_day(db, 1))
    found = changes(db, chosen, churn_horizon_days)
    if bootstrap is not None:
        try:
            asyncio.run(_publish(Cluster(bootstrap, security), topic_prefix, topic, found))
        except KafkaTrouble as error:
            raise UsageError(sentence(error)) from error
        except KafkaError as error:
            raise No(
                f"Kafka at {bootstrap} stopped taking events: {error or type(error).__name__}. Say it again."
            ) from error
    if as_json:
        rows = [{"member": c.member, "segment": c.segment, "entered": c.entered, "as_of": str(c.day)} for c in found]
        click.echo(json.dumps({"day": str(chosen), "told": bootstrap is not None, "changes": rows}, indent=2))
        return
    verb = "told" if bootstrap is not None else "not told (no --bootstrap)"
    click.echo(f"{len(found):,} changes by the end of {chosen}, {verb}.")
    counts = Counter((change.segment, change.entered) for change in found)
    for name in sorted({segment for segment, _ in counts}):
        click.echo(f"  {name}: {counts[name, True]:,} entered, {counts[name, False]:,} left")


async def _publish(cluster: Cluster, prefix: str, topic: str, found: list[Change]) -> None:
    """To the inbound topic, which keeps its name when the logs are moved to more partitions."""
    from engine.stream.generations import inbound_prefix
    from projections.segments import publish

    await publish(cluster, await inbound_prefix(cluster, prefix) + topic, found)


def _check_over(db: Path, day: date, newest: date | None) -> None:
    if newest is None or day > newest:
        raise UsageError(f"--day {day} is not over in {db}: the newest day that is, is {newest}.")
