"""Programme versions on their way to the workers: written to `programmes` by hash, then announced in every partition.

The place of the announcement, a `programme` fact, in each partition of `facts` says from which fact on the version is
known there; the version itself stands in the compacted topic `programmes` under its content hash. A version goes out in
three steps: its content, its facts, and its content once more with a header that says the facts are there. Whoever dies
between the steps publishes again: facts that stand twice are answered as duplicates.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition

from engine.ledger.engine_facts import programme_fact
from engine.stream.clients import Cluster, Header, KafkaTrouble, read_partition, send_values
from engine.stream.topics import FACTS, POINTS_LOG, PROGRAMMES, LogMissing, partition_count
from rules.book import Book, OverlapError, Programme, from_json
from rules.errors import ProgrammeErrors
from schemas import facts
from schemas.decisions import parse_decision
from schemas.envelope import encode_fact
from schemas.times import MILLISECOND_US, to_text, to_us

#: On the record of a version whose facts stand in every partition; its value is how many partitions that were.
ANNOUNCED = "stammgast-announced"
#: How many records at the end of each partition of `points-log` are asked for the newest decided fact. Facts arrive
#: nearly in order; one that is newer than the last thousand of its partition was an outlier then. Too many: slow.
TAIL_RECORDS = 1_000


class BackdateNeeded(KafkaTrouble):
    """A version would begin before facts that are decided already."""


class VersionsConflict(KafkaTrouble):
    """A version does not fit with those that are published."""


class UnreadableVersion(KafkaTrouble):
    """The `programmes` topic holds something that this engine cannot read."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What publishing did: versions written now, versions that were known, partitions of `facts`."""

    written: tuple[Programme, ...]
    known: tuple[Programme, ...]
    partitions: int


@dataclass(frozen=True, slots=True)
class _Shelf:
    """What the `programmes` topic holds: versions by hash, and the hashes whose facts are known to be in the log."""

    versions: dict[str, Programme]
    announced: frozenset[str]


async def load_published(cluster: Cluster, prefix: str = "") -> dict[str, Programme]:
    """Return every version in the `programmes` topic, compiled, by hash.

    Errors: UnreadableVersion, KafkaTrouble.
    """
    return (await _read_shelf(cluster, prefix)).versions


async def publish_new(cluster: Cluster, prefix: str, programmes: Sequence[Programme]) -> Outcome:
    """For `up`, `demo` and `worker --programme`: publish what is not published yet; never backdates.

    Errors: as `publish`.
    """
    return await publish(cluster, prefix, programmes)


async def publish(cluster: Cluster, prefix: str, programmes: Sequence[Programme], *, backdate: bool = False) -> Outcome:
    """Write versions to `programmes` and a `programme` fact for each to every partition of `facts`; all acknowledged.

    A version that is published already is skipped. Nothing is written unless everything can be.

    Args:
        programmes: compiled versions of one programme.
        backdate: accept versions that begin before the newest decided fact; decisions stay as they are.

    Errors: VersionsConflict, BackdateNeeded, UnreadableVersion, LogMissing, KafkaTrouble.
    """
    try:
        partitions = await partition_count(cluster, prefix + FACTS)
    except LogMissing as error:
        raise LogMissing(
            f"{error}: start `stammgast worker` first, which creates it, or check --topic-prefix"
        ) from error
    shelf = await _read_shelf(cluster, prefix)
    _refuse_conflicts(shelf.versions, programmes)
    known = tuple(version for version in programmes if version.hash in shelf.announced)
    new = tuple(version for version in programmes if version.hash not in shelf.announced)
    unheard = [version for version in new if version.hash not in shelf.versions]
    if unheard and not backdate:
        await _refuse_backdating(cluster, prefix, unheard, partitions)
    if new:
        await _write(cluster, prefix, sorted(new, key=lambda version: version.valid_from_us), partitions)
    return Outcome(new, known, partitions)


async def _read_shelf(cluster: Cluster, prefix: str) -> _Shelf:
    versions: dict[str, Programme] = {}
    announced: set[str] = set()
    async for records in read_partition(cluster, prefix + PROGRAMMES, 0):
        for record in records:
            if record.key is None or record.value is None:
                continue
            version = _compiled(record, prefix)
            versions[version.hash] = version
            if any(name == ANNOUNCED for name, _ in record.headers):
                announced.add(version.hash)
    return _Shelf(versions, frozenset(announced))


def _compiled(record: Any, prefix: str) -> Programme:
    name = record.key.decode("utf-8", "replace")
    try:
        version = from_json(record.value)
    except ProgrammeErrors as errors:
        raise UnreadableVersion(
            f"topic {prefix}{PROGRAMMES}, version {name}: this engine cannot read it; is it older than the one that "
            f"published it? {errors}"
        ) from errors
    if version.hash != name:
        raise UnreadableVersion(f"topic {prefix}{PROGRAMMES}: what stands under {name} has the hash {version.hash}")
    return version


def _refuse_conflicts(published: dict[str, Programme], programmes: Sequence[Programme]) -> None:
    try:
        Book([*published.values(), *programmes])
    except OverlapError as error:
        others = {version.name for version in published.values()} - {version.name for version in programmes}
        mend = (
            "give another programme its own topics with --topic-prefix"
            if others
            else "a published version is never edited: leave its file as it was, and write what changes into a new file "
            "with the next number and a day of its own"
        )
        raise VersionsConflict(f"{error}; {mend}") from error


async def _refuse_backdating(cluster: Cluster, prefix: str, versions: Sequence[Programme], partitions: int) -> None:
    newest_us = await newest_decided_us(cluster, prefix, partitions)
    early = [version for version in versions if newest_us is not None and version.valid_from_us < newest_us]
    if early and newest_us is not None:
        version = early[0]
        raise BackdateNeeded(
            f"version {version.version} of {version.name} would begin at {to_text(version.valid_from_us)}, but facts "
            f"until {to_text(newest_us)} are decided. Give it a later day, or publish it with `stammgast rules publish "
            "--backdate`: facts that arrive from then on are decided by it, what is decided stays as it is"
        )


async def newest_decided_us(cluster: Cluster, prefix: str, partitions: int) -> int | None:
    """Return the time of the newest decided fact (ticks included), from the ends of `points-log`; None without one."""
    newest: list[int] = []
    async with cluster.consumer() as consumer:
        places = [TopicPartition(prefix + POINTS_LOG, number) for number in range(partitions)]
        # The embedded broker reports ends that are too early, never too late: reading from there finds the same tail.
        ends = await consumer.end_offsets(places)
    for place in places:
        start = max(0, ends[place] - TAIL_RECORDS)
        async for records in read_partition(cluster, place.topic, place.partition, start):
            newest += [time_us for record in records if (time_us := _decided_us(record.value)) is not None]
    return max(newest, default=None)


def _decided_us(value: bytes) -> int | None:
    decision = parse_decision(value)
    # A programme fact stands at the moment its version begins, which may lie years ahead.
    counts = decision.outcome == "decided" and decision.type != facts.PROGRAMME
    return to_us(decision.occurred_at) if counts else None


async def _write(cluster: Cluster, prefix: str, versions: Sequence[Programme], partitions: int) -> None:
    now_ms = time.time_ns() // 1_000_000
    recorded_at = to_text(now_ms * MILLISECOND_US)
    done: Header = (ANNOUNCED, str(partitions).encode())
    announcements = [(None, encode_fact(programme_fact(version, recorded_at)), now_ms, ()) for version in versions]
    async with cluster.producer() as producer:
        for headers in ((), (done,)):
            contents = [(version.hash.encode(), version.canonical_json(), None, headers) for version in versions]
            if headers:
                for number in range(partitions):
                    await send_values(producer, prefix + FACTS, number, announcements)
            await send_values(producer, prefix + PROGRAMMES, 0, contents)
