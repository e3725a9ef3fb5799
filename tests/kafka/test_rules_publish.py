"""Programme versions are published once, to every partition, and never behind what is decided without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.stream.clients import Cluster, read_partition, send_values
from engine.stream.programmes import (
    BackdateNeeded,
    VersionsConflict,
    load_published,
    newest_decided_us,
    publish,
    publish_new,
)
from engine.stream.topics import FACTS, POINTS_LOG, PROGRAMMES, Layout, ensure
from rules.book import Programme, load_directory
from schemas.decisions import Decision, encode_decision
from schemas.envelope import Fact, parse_fact
from tests.unit.rules_help import compiled

PARTITIONS = 2
COFFEE_BAR = load_directory(Path(__file__).parents[2] / "rules" / "programmes" / "coffee-bar")


async def facts_of(cluster: Cluster, prefix: str, partition: int) -> list[Fact]:
    """Return every fact of a partition."""
    batches = read_partition(cluster, prefix + FACTS, partition)
    return [parse_fact(record.value) async for records in batches for record in records]


async def decide(cluster: Cluster, prefix: str, occurred_at: str) -> None:
    """Write one decision into the points log, as a keeper would."""
    decision = Decision(
        source="urn:test",
        fact_id=occurred_at,
        type="stammgast.visit.v1",
        member_id="m-1",
        outcome="decided",
        reason=None,
        programme=None,
        occurred_at=occurred_at,
        offset=0,
    )
    async with cluster.producer() as producer:
        await send_values(producer, prefix + POINTS_LOG, 1, [(b"m-1", encode_decision(decision), None, ())])


async def test_a_version_is_announced_once_in_every_partition(any_cluster: Cluster, prefix: str) -> None:
    """Publishing writes each version by hash and one fact per partition, in order; publishing again writes nothing."""
    # given topics without programmes
    await ensure(any_cluster, Layout(prefix, partitions=PARTITIONS))
    # when all versions are published, twice
    first = await publish(any_cluster, prefix, COFFEE_BAR)
    second = await publish_new(any_cluster, prefix, COFFEE_BAR)
    # then the first time wrote them and the second time knew them
    hashes = [version.hash for version in COFFEE_BAR]
    assert [version.hash for version in first.written] == hashes
    assert (second.written, [version.hash for version in second.known]) == ((), hashes)
    for partition in range(PARTITIONS):
        found = await facts_of(any_cluster, prefix, partition)
        assert [fact.id for fact in found] == hashes
        assert [fact.data["valid_from"] for fact in found] == [
            "2025-12-31T23:00:00.000000Z",
            "2026-03-04T23:00:00.000000Z",
            "2026-12-31T23:00:00.000000Z",
            "2027-12-31T23:00:00.000000Z",
        ]
    assert await load_published(any_cluster, prefix) == {version.hash: version for version in COFFEE_BAR}


async def test_publishing_that_broke_off_is_finished(any_cluster: Cluster, prefix: str) -> None:
    """A version whose content stands without its facts is announced by the next attempt."""
    # given a content that a publisher wrote before it died
    await ensure(any_cluster, Layout(prefix, partitions=PARTITIONS))
    version = COFFEE_BAR[0]
    async with any_cluster.producer() as producer:
        content = (version.hash.encode(), version.canonical_json(), None, ())
        await send_values(producer, prefix + PROGRAMMES, 0, [content])
    # when it is published again
    outcome = await publish(any_cluster, prefix, [version])
    # then its facts stand in every partition
    assert outcome.written == (version,)
    for partition in range(PARTITIONS):
        assert [fact.id for fact in await facts_of(any_cluster, prefix, partition)] == [version.hash]


async def test_an_edited_version_is_refused(any_cluster: Cluster, prefix: str) -> None:
    """Another content under a published number or day, and another programme, are refused and nothing is written."""
    await ensure(any_cluster, Layout(prefix, partitions=PARTITIONS))
    await publish(any_cluster, prefix, [compiled()])
    others: list[Programme] = [
        compiled(visit_gap="1 hour"),
        compiled(version=2),
        compiled(programme="other", version=2, valid={"from": "2027-01-01"}),
    ]
    for other in others:
        with pytest.raises(VersionsConflict, match=r"never edited|--topic-prefix"):
            await publish(any_cluster, prefix, [other], backdate=True)
    assert len(await facts_of(any_cluster, prefix, 0)) == 1


async def test_a_version_behind_decided_facts_needs_backdate(any_cluster: Cluster, prefix: str) -> None:
    """A version that begins before the newest decided fact of any partition is refused, unless backdated."""
    # given a fact of 6 March that is decided
    await ensure(any_cluster, Layout(prefix, partitions=PARTITIONS))
    await publish(any_cluster, prefix, COFFEE_BAR[:1])
    assert await newest_decided_us(any_cluster, prefix, PARTITIONS) is None
    await decide(any_cluster, prefix, "2026-03-04T22:59:59.000000Z")
    # when it lies before the new version, that is published; the same holds for publishing it again later
    await publish(any_cluster, prefix, COFFEE_BAR[1:2])
    await decide(any_cluster, prefix, "2026-03-06T12:00:00.000000Z")
    assert (await publish(any_cluster, prefix, COFFEE_BAR[:2])).written == ()
    # then a version between the two needs the word
    late = compiled(programme="coffee-bar", version=3, valid={"from": "2026-03-06"})
    with pytest.raises(BackdateNeeded, match="--backdate"):
        await publish(any_cluster, prefix, [late])
    assert len(await facts_of(any_cluster, prefix, 1)) == 2
    assert (await publish(any_cluster, prefix, [late], backdate=True)).written == (late,)
    assert len(await facts_of(any_cluster, prefix, 1)) == 3
