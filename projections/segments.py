"""Tell the engine which members entered and left segments, so that rules can ask for them: as events, like any other sender.

An event's id names segment, member and day, so telling the same day twice is one fact. What was told stands in the tables, and
only changes are told; whoever restarts in the middle tells the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import orjson
import structlog
from aiokafka.errors import KafkaError

from engine.settings import No, UsageError, sentence
from engine.stream.clients import Cluster, KafkaTrouble, acknowledged, capabilities, partition_for, send_values
from engine.stream.topics import LogMissing, partition_count
from projections.reading import ask_named
from schemas.facts import SEGMENT
from schemas.times import to_text

STATEMENTS = "serving/segments"
SOURCE = "urn:segments:stammgast"
EPOCH = date(1970, 1, 1)
# Events acknowledged together. Too few: a round trip for each handful. Too many: memory.
CHUNK_EVENTS = 5_000
# How often it is asked whether a day is over. Too often: readers wait for a question that has no answer yet.
LOOK_S = 60.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """A member entered or left a segment by the end of `day`; `at_us` is the midnight after it."""

    member: str
    segment: str
    entered: bool
    day: date
    at_us: int

    def event(self) -> bytes:
        """As a CloudEvent."""
        return orjson.dumps(
            {
                "specversion": "1.0",
                "id": f"{self.segment}:{self.member}:{self.day}",
                "source": SOURCE,
                "type": SEGMENT,
                "subject": self.member,
                "time": to_text(self.at_us),
                "data": {"segment": self.segment, "entered": self.entered, "as_of": self.day.isoformat()},
            }
        )


def due_day(db: Path, every_days: int) -> date | None:
    """The newest day that is over and whose number since 1970 is a multiple of `every_days`; None where nothing is settled.

    Raises: as `projections.reading.ask_file`.
    """
    rows = list(ask_named(db, STATEMENTS, "standing"))
    if not rows:
        return None
    newest: date = rows[0]["day"]
    return newest - timedelta(days=(newest - EPOCH).days % every_days)


def changes(db: Path, day: date, horizon_days: int) -> list[Change]:
    """What has changed by the end of `day` and was not told yet, by member and segment.

    Segments: rfm-<segment> of the R-F grid, churn-risk (flagged for `horizon_days`), value-high (the highest band of
    customer_values).

    Raises: as `projections.reading.ask_file`.
    """
    rows = ask_named(db, STATEMENTS, "changes", day=day.isoformat(), horizon=str(int(horizon_days)), source=SOURCE)
    return [
        Change(member, segment, entered, day, at_us)
        for member, segment, entered, at_us in (row.values() for row in rows)
    ]


async def publish(cluster: Cluster, topic: str, told: list[Change]) -> None:
    """Send the changes, each acknowledged by all copies, keyed by member.

    Raises: KafkaTrouble, KafkaError: what was acknowledged is told, the rest is told by the next call.
    """
    idempotent = (await capabilities(cluster)).transactions
    try:
        partitions = await partition_count(cluster, topic)
    except LogMissing as error:
        raise KafkaTrouble(f"{error}: `stammgast topics create` makes it, or check --topic-prefix") from error
    async with cluster.producer(idempotent=idempotent) as producer:
        for chunk in _chunks(told):
            records: dict[int, list[tuple[bytes | None, bytes, None, tuple[()]]]] = {}
            for one in chunk:
                key = one.member.encode()
                records.setdefault(partition_for(key, partitions), []).append((key, one.event(), None, ()))
            sending = [send_values(producer, topic, number, batch) for number, batch in records.items()]
            await acknowledged([asyncio.ensure_future(one) for one in sending])


async def keep_publishing(
    cluster: Cluster, db: Path, topic: str, every_days: int, horizon_days: int, stop: asyncio.Event
) -> None:
    """Tell every day that is due, until `stop` is set; trouble is one line in the log and passes."""
    told: date | None = None
    while not stop.is_set():
        try:
            day = await asyncio.to_thread(due_day, db, every_days)
            if day is not None and day != told:
                found = await asyncio.to_thread(changes, db, day, horizon_days)
                await publish(cluster, topic, found)
                log.info("segments told", day=day.isoformat(), changes=len(found))
                told = day
        except (No, UsageError, KafkaTrouble, KafkaError) as trouble:
            log.warning("segments wait", because=sentence(getattr(trouble, "message", trouble)))
        try:
            await asyncio.wait_for(stop.wait(), LOOK_S)
        except TimeoutError:
            continue


def _chunks(told: list[Change]) -> Iterator[list[Change]]:
    for start in range(0, len(told), CHUNK_EVENTS):
        yield told[start : start + CHUNK_EVENTS]
