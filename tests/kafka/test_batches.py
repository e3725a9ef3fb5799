"""The batch transport: every committed record once per start, in order, and commits that never stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from faust.types import TP

from engine.stream.batches import EMBEDDED_SESSION_S, FETCH_WAIT_MS, LogRewoundError, records_of
from engine.stream.clients import Cluster, read_partition
from tests.kafka.harness import abort_records, create_topic, group_offset, log_end, set_group_offset, write
from tests.kafka.workers import Collector, crashed, eventually, place, running, stopped

SMALL_FETCHES: dict[str, Any] = {"broker_max_poll_records": 7}


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(start, start + count)]


# ------------------------------------------------------------------------------------------------ holes and commits


@pytest.mark.kafka
@pytest.mark.parametrize("hole", [1, 2, 1000])
@pytest.mark.parametrize("fetches", [{}, SMALL_FETCHES], ids=["inside", "between"])
async def test_holes_do_not_stop_commits(cluster: Cluster, prefix: str, hole: int, fetches: dict[str, Any]) -> None:
    """Holes of 1, 2 and 1,000 offsets, inside a batch and between two: nothing is lost and the group reaches the end."""
    topic = await create_topic(cluster, f"{prefix}t")
    for part in range(4):
        await write(cluster, topic, 0, numbered(7, 7 * part), hole=hole)
    collector = Collector()

    async with running(cluster, f"{prefix}g", [topic], collector, **fetches):
        await collector.until(lambda: collector.count() >= 28)
        await eventually(lambda: group_offset(cluster, f"{prefix}g", topic), await log_end(cluster, topic))

    assert collector.values[0] == numbered(28)
    batches = collector.batches[0]
    assert batches[0][0] == 0
    assert all(after == before[2] + 1 for before, (after, _, _) in pairwise(batches))


@pytest.mark.kafka
async def test_a_hole_at_the_end_is_committed_and_the_next_record_follows(cluster: Cluster, prefix: str) -> None:
    """Lag reaches zero behind an aborted transaction, also when the log holds nothing else, and work goes on behind it."""
    topic, group = await create_topic(cluster, f"{prefix}t"), f"{prefix}g"
    await abort_records(cluster, topic, 0, 50)
    collector = Collector()

    async with running(cluster, group, [topic], collector):
        await eventually(lambda: group_offset(cluster, group, topic), await log_end(cluster, topic))
        await write(cluster, topic, 0, numbered(3), hole=2)
        await eventually(lambda: group_offset(cluster, group, topic), await log_end(cluster, topic))

    assert collector.values[0] == numbered(3)


@pytest.mark.kafka
async def test_a_start_in_a_hole_commits_on(cluster: Cluster, prefix: str) -> None:
    """A group whose offset points at a control record reads on from there, and its commits go on, restart after restart."""
    topic, group = await create_topic(cluster, f"{prefix}t"), f"{prefix}g"
    for part in range(3):
        await write(cluster, topic, 0, numbered(5, 5 * part), hole=2)
        collector = Collector()
        async with running(cluster, group, [topic], collector):
            await collector.until(lambda collector=collector: collector.count() >= 5)  # type: ignore[misc]
            await eventually(lambda: group_offset(cluster, group, topic), await log_end(cluster, topic))
        assert collector.values[0] == numbered(5, 5 * part)


@pytest.mark.kafka
async def test_uncommitted_records_are_not_delivered(cluster: Cluster, prefix: str) -> None:
    """Records of an open transaction wait until it commits; those before it flow."""
    topic = await create_topic(cluster, f"{prefix}t")
    await write(cluster, topic, 0, numbered(3))
    collector = Collector()

    async with cluster.producer(transactional_id=f"{prefix}x") as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"3", partition=0)
        async with running(cluster, f"{prefix}g", [topic], collector):
            await collector.until(lambda: collector.count() == 3)
            await producer.commit_transaction()
            await collector.until(lambda: collector.count() == 4)

    assert collector.values[0] == numbered(4)


async def test_nothing_is_committed_before_it_is_acknowledged(any_cluster: Cluster, prefix: str) -> None:
    """Batches acknowledged out of order are committed up to the first that is not; so far the lag is told, and its age."""
    topic, group = await create_topic(any_cluster, f"{prefix}t"), f"{prefix}g"
    await write(any_cluster, topic, 0, numbered(21))
    collector = Collector(acknowledge=False)

    async with running(any_cluster, group, [topic], collector, **SMALL_FETCHES) as app:
        await collector.until(lambda: collector.count() == 21)
        first, *others = collector.events
        for event in others:
            event.ack()
        await app.consumer.commit()
        assert await group_offset(any_cluster, group, topic) is None
        standing = app.consumer.standings()[place(topic)]
        assert (standing.done, standing.end) == (0, 21)
        assert standing.oldest_ms == records_of(first)[0].timestamp
        assert standing.heard_ms is None
        first.ack()
        await eventually(lambda: group_offset(any_cluster, group, topic), 21)
        standing = app.consumer.standings()[place(topic)]
        assert (standing.done, standing.end, standing.oldest_ms) == (21, 21, None)
        assert standing.heard_ms == pytest.approx(time.time() * 1000, abs=10_000)


async def test_fetches_of_empty_partitions_come_back_soon(embedded_cluster: Cluster, prefix: str) -> None:
    """Every worker on this transport asks with FETCH_WAIT_MS, not with the 1.5 s that Faust sets, and for committed records."""
    topic = await create_topic(embedded_cluster, f"{prefix}t")

    async with running(embedded_cluster, f"{prefix}g", [topic], Collector()) as app:
        fetcher = app.consumer._thread._ensure_consumer()._fetcher
        assert (fetcher._fetch_max_wait_ms, fetcher._isolation_level) == (FETCH_WAIT_MS, 1)


# ----------------------------------------------------------------------------------------------------- where to start


async def test_a_group_ahead_of_the_log_skips_nothing(any_cluster: Cluster, prefix: str) -> None:
    """Where a callback names the start, a group offset 5,000 ahead does not matter, and commits bring it back."""
    topic, group = await create_topic(any_cluster, f"{prefix}t"), f"{prefix}g"
    await write(any_cluster, topic, 0, numbered(100))
    await set_group_offset(any_cluster, group, topic, 5_000)
    collector = Collector()

    async def start_offset(tp: TP) -> int:
        return 40

    async with running(any_cluster, group, [topic], collector, start_offset=start_offset):
        await collector.until(lambda: collector.count() >= 60)
        await eventually(lambda: group_offset(any_cluster, group, topic), 100)

    assert collector.values[0] == numbered(60, 40)


@pytest.mark.kafka
async def test_an_ungoverned_group_ahead_of_the_log_reads_the_log(cluster: Cluster, prefix: str) -> None:
    """Where the group's offset alone counts and lies behind the log's end, the log is read from its beginning."""
    topic, group = await create_topic(cluster, f"{prefix}t"), f"{prefix}g"
    await write(cluster, topic, 0, numbered(100))
    await set_group_offset(cluster, group, topic, 5_000)
    collector = Collector()

    async with running(cluster, group, [topic], collector):
        await collector.until(lambda: collector.count() >= 100)
        await eventually(lambda: group_offset(cluster, group, topic), 100)

    assert collector.values[0] == numbered(100)


@pytest.mark.kafka
@pytest.mark.parametrize("records", [0, 100])
async def test_a_log_shorter_than_its_owner_says_ends_the_worker(cluster: Cluster, prefix: str, records: int) -> None:
    """A governed partition that continues below the named start was truncated: the worker stops and delivers nothing."""
    topic = await create_topic(cluster, f"{prefix}t")
    await write(cluster, topic, 0, numbered(records))
    collector = Collector()

    async def start_offset(tp: TP) -> int:
        return 5_000

    async with running(cluster, f"{prefix}g", [topic], collector, start_offset=start_offset) as app:
        reason = await crashed(app)

    assert isinstance(reason, LogRewoundError)
    assert f"{topic}/0 continues at 0, below 5000" in str(reason)
    assert collector.count() == 0


@pytest.mark.kafka
async def test_a_crashed_worker_stops_although_nobody_answers_its_last_commit(cluster: Cluster, prefix: str) -> None:
    """Its consumer's thread may be on its way out by then, and Faust would wait for an answer for ever."""
    # Given a worker that crashed with something to commit
    topic = await create_topic(cluster, f"{prefix}t")
    await write(cluster, topic, 0, numbered(100))
    asked = asyncio.Event()

    async def start_offset(tp: TP) -> int:
        return 5_000

    async def no_answer(offsets: object) -> bool:
        asked.set()
        await asyncio.Event().wait()
        return False

    async with running(cluster, f"{prefix}g", [topic], Collector(), start_offset=start_offset) as app:
        # When its thread takes the commit and never answers
        app.consumer._thread.commit = no_answer
        await crashed(app)
        # Then it stops
        await stopped(app)
    assert asked.is_set()


async def test_a_callback_that_fails_ends_the_worker(any_cluster: Cluster, prefix: str) -> None:
    """A keeper that cannot open must not be passed over in silence."""
    topic = await create_topic(any_cluster, f"{prefix}t")

    async def start_offset(tp: TP) -> int:
        raise ValueError("no recovery today")

    async with running(any_cluster, f"{prefix}g", [topic], Collector(), start_offset=start_offset) as app:
        assert "no recovery today" in str(await crashed(app))


async def test_a_partition_that_opens_late_holds_back_nobody(any_cluster: Cluster, prefix: str) -> None:
    """Nothing of a partition is taken before its start is known; the others flow meanwhile."""
    topic = await create_topic(any_cluster, f"{prefix}t", 2)
    for partition in (0, 1):
        await write(any_cluster, topic, partition, numbered(30))
    opened, collector = asyncio.Event(), Collector()

    async def start_offset(tp: TP) -> int:
        if tp.partition == 0:
            await opened.wait()
        return 10

    async with running(any_cluster, f"{prefix}g", [topic], collector, partitions=2, start_offset=start_offset):
        await collector.until(lambda: collector.count(1) == 20)
        await write(any_cluster, topic, 1, numbered(1, 30))
        await collector.until(lambda: collector.count(1) == 21)
        assert collector.count(0) == 0
        opened.set()
        await collector.until(lambda: collector.count(0) == 20)

    assert collector.values[0] == numbered(20, 10)


async def test_a_worker_stops_while_a_partition_opens(any_cluster: Cluster, prefix: str) -> None:
    """A recovery that would take for ever does not hold the end of the worker."""
    topic = await create_topic(any_cluster, f"{prefix}t")
    asked = asyncio.Event()

    async def start_offset(tp: TP) -> int:
        asked.set()
        await asyncio.Event().wait()
        return 0

    async with running(any_cluster, f"{prefix}g", [topic], Collector(), start_offset=start_offset) as app:
        await asyncio.wait_for(asked.wait(), 90)
        async with asyncio.timeout(90):
            await app.stop()


async def test_a_reopened_partition_reads_on_from_where_its_owner_says(any_cluster: Cluster, prefix: str) -> None:
    """`reopen` asks for the start again, in the same assignment, and records come again from there."""
    topic = await create_topic(any_cluster, f"{prefix}t")
    await write(any_cluster, topic, 0, numbered(10))
    collector, starts = Collector(), iter([0, 4])

    async def start_offset(tp: TP) -> int:
        return next(starts)

    async with running(any_cluster, f"{prefix}g", [topic], collector, start_offset=start_offset) as app:
        await collector.until(lambda: collector.count() == 10)
        app.consumer.reopen(place(topic))
        await collector.until(lambda: collector.count() == 16)

    assert collector.values[0] == numbered(10) + numbered(6, 4)


# ------------------------------------------------------------------------------------------------------------ pressure


async def test_a_slow_partition_is_no_longer_read_and_others_flow(any_cluster: Cluster, prefix: str) -> None:
    """What is delivered and not acknowledged is bounded in bytes per partition; the other partition flows to its end."""
    topic = await create_topic(any_cluster, f"{prefix}t", 2)
    for partition in (0, 1):
        await write(any_cluster, topic, partition, [b"x" * 1000] * 10_000)
    collector = Collector()
    slow: list[Any] = []

    def handle(event: Any) -> None:
        collector.acknowledge = event.message.partition == 1
        collector(event)
        slow.extend([] if collector.acknowledge else [event])

    budget: dict[str, Any] = {"budget_bytes": 2_000_000, "partitions": 2, "broker_max_poll_records": 200}
    async with running(any_cluster, f"{prefix}g", [topic], handle, **budget):
        await collector.until(lambda: collector.count(1) == 10_000 and collector.count(0) > 0)
        assert 0 < collector.count(0) < 1_000
        while collector.count(0) < 10_000:
            seen = collector.count(0)
            while slow:
                slow.pop(0).ack()
            await collector.until(lambda seen=seen: collector.count(0) > seen)  # type: ignore[misc]
            assert collector.count(0) - seen < 1_200

    assert collector.offsets[0] == collector.offsets[1] == list(range(10_000))


async def test_a_paused_partition_rests_until_it_is_resumed(any_cluster: Cluster, prefix: str) -> None:
    """`pause` and `resume` of one partition lose nothing and leave the other alone."""
    topic = await create_topic(any_cluster, f"{prefix}t", 2)
    for partition in (0, 1):
        await write(any_cluster, topic, partition, numbered(20))
    collector = Collector()

    async with running(any_cluster, f"{prefix}g", [topic], collector, partitions=2) as app:
        await collector.until(lambda: collector.count(0) == collector.count(1) == 20)
        app.consumer.pause(place(topic, 0))
        for partition in (0, 1):
            await write(any_cluster, topic, partition, numbered(20, 20))
        await collector.until(lambda: collector.count(1) == 40)
        assert app.consumer.paused() == {place(topic, 0)}
        assert collector.count(0) == 20
        app.consumer.resume(place(topic, 0))
        await collector.until(lambda: collector.count(0) == 40)

    assert collector.values[0] == numbered(40)


# ---------------------------------------------------------------------------------------------------------- rebalances


async def test_partitions_move_without_a_loss(any_cluster: Cluster, prefix: str) -> None:
    """While a second worker joins and leaves, every record is delivered in order and the group reaches the end.

    Records may come twice after a move (at least once); with a governed start they come exactly once.
    """
    topic, group = await create_topic(any_cluster, f"{prefix}t", 4), f"{prefix}g"
    decided = dict.fromkeys(range(4), 0)
    taken: dict[int, list[int]] = {partition: [] for partition in range(4)}
    ours, theirs = Collector(), Collector()

    async def start_offset(tp: TP) -> int:
        return decided[tp.partition]

    def deciding(collector: Collector) -> Callable[[Any], None]:
        def handle(event: Any) -> None:
            for record in event.message.value:
                if record.offset >= decided[record.partition]:
                    decided[record.partition] = record.offset + 1
                    taken[record.partition].append(record.offset)
            collector(event)

        return handle

    fed = 0

    async def whole() -> int:
        return sum(decided.values())

    async def feed(rounds: int) -> None:
        nonlocal fed
        fed += 50 * rounds
        for partition in range(4):
            await write(any_cluster, topic, partition, numbered(50 * rounds))
        await eventually(
            whole, 4 * fed
        )  # either worker may take the last of it: a collector hears of its own batches alone

    settings: dict[str, Any] = {"partitions": 4, "start_offset": start_offset, "embedded_session_s": EMBEDDED_SESSION_S}

    async def shares() -> list[int]:
        return [len(app.consumer.assignment()) for app in (one, other)]

    async with running(any_cluster, group, [topic], deciding(ours), **settings) as one:
        await feed(2)
        async with running(any_cluster, group, [topic], deciding(theirs), **settings) as other:
            # A worker that the machine holds up past its session loses its share for a while: fed until it has taken some.
            while len(theirs.values) < 2:
                await eventually(shares, [2, 2])
                await feed(1)
        await feed(2)
        for partition in range(4):
            await eventually(lambda partition=partition: group_offset(any_cluster, group, topic, partition), fed)  # type: ignore[misc]

    assert taken == {partition: list(range(fed)) for partition in range(4)}


async def test_a_late_acknowledgement_of_a_lost_batch_commits_nothing(any_cluster: Cluster, prefix: str) -> None:
    """A batch of before `reopen` that is acknowledged afterwards moves nothing: its records are being read again."""
    topic, group = await create_topic(any_cluster, f"{prefix}t"), f"{prefix}g"
    await write(any_cluster, topic, 0, numbered(10))
    collector = Collector(acknowledge=False)

    async with running(any_cluster, group, [topic], collector) as app:
        await collector.until(lambda: collector.count() == 10)
        app.consumer.reopen(place(topic))
        await collector.until(lambda: collector.count() == 20)
        old, new = collector.events
        old.ack()
        await app.consumer.commit()
        assert await group_offset(any_cluster, group, topic) is None
        new.ack()
        await eventually(lambda: group_offset(any_cluster, group, topic), 10)


# ------------------------------------------------------------------------------------------------------- reading a log


@pytest.mark.kafka
async def test_a_log_is_read_over_its_holes_to_the_end(cluster: Cluster, prefix: str) -> None:
    """`read_partition` ends at the last stable offset, whatever holes there are, and an open transaction holds it."""
    topic = await create_topic(cluster, f"{prefix}t")
    await write(cluster, topic, 0, numbered(3), hole=1000)
    await write(cluster, topic, 0, numbered(3, 3), hole=2)

    async with cluster.producer(transactional_id=f"{prefix}x") as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"open", partition=0)
        values = [record.value async for records in read_partition(cluster, topic, 0) for record in records]

    assert values == numbered(6)


async def test_an_empty_log_ends_at_once(any_cluster: Cluster, prefix: str) -> None:
    """Reading an empty partition gives nothing and does not wait."""
    topic = await create_topic(any_cluster, f"{prefix}t")

    async with asyncio.timeout(90):
        assert [records async for records in read_partition(any_cluster, topic, 0)] == []
