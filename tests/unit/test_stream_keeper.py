"""The keeper against a faked Kafka: what it writes in which order, and what it does when something goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

import pytest
from aiokafka.errors import KafkaTimeoutError

from engine.ledger.member import ProfileClosed
from engine.ledger.partition import UnknownProgramme
from engine.stream.clients import LogEndsEarlier
from engine.stream.keeper import QUEUE_HIGH, QUEUE_MOST, Keeper
from engine.stream.outbox import Outbox
from engine.stream.parts import joined, records_of
from engine.stream.recovery import LogsDisagree, recover
from engine.stream.rewards import Keepers
from engine.stream.tools import Delivery, MissingKeys, MissingProgramme
from engine.stream.writing import blames_no_fact
from schemas.decisions import Decision, Note, encode_decision, parse_decision
from schemas.envelope import Fact
from tests.unit.stream_fakes import (
    Bench,
    FakeBatch,
    FakeLedger,
    FakeProducer,
    Record,
    decision_on,
    fact_of,
    fact_record,
    logs_of,
)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until something holds."""
    async with asyncio.timeout(90):
        while not condition():  # noqa: ASYNC110  the things waited for are plain attributes
            await asyncio.sleep(0)


def delivery(bench: Bench, *records: Record, after: int | None = None) -> Delivery:
    """Records as the agent hands them over."""
    return Delivery(records, lambda: bench.acknowledged.append(records[-1].offset), after)


def decided(bench: Bench) -> list[tuple[int, str]]:
    """(offset, outcome) of every committed decision, in the order of the log."""
    log = [parse_decision(record["value"]) for producer in bench.producers for record in producer.sent("points-log")]
    return [(decision.offset, decision.outcome) for decision in log]


def log_record(offset: int, decision: Decision) -> Record:
    """A record of the points log."""
    return Record("points-log", 0, offset, b"m1", encode_decision(decision))


async def test_a_batch_becomes_one_transaction_acknowledged_after_its_commit() -> None:
    """Given an open keeper, when a batch comes, then its decisions, derived facts and rejects are one transaction."""
    bench = Bench()
    keeper = await bench.keeper()

    keeper.offer(delivery(bench, fact_record(0), fact_record(1, "derive-1"), fact_record(3, "reject-3")))
    await until(lambda: bench.acknowledged)

    assert bench.producer.calls == ["start", "begin", "commit", "begin", "commit"], "the first one says what is tried"
    assert bench.producer.transactional_id == "shop-rewards-0"
    assert decided(bench) == [(0, "decided"), (1, "decided"), (3, "decided")]
    assert [record["timestamp"] for record in bench.producer.sent("points-log")] == [1_700_000_000_000] * 3
    assert [(place, record["key"]) for topic, place, record in bench.producer.log if topic == "facts"] == [
        (len(b"referrer") % 4, b"referrer")
    ]
    (reject,) = bench.producer.sent("rejects")
    assert reject["value"] == fact_record(3, "reject-3").value
    assert dict(reject["headers"])["stammgast-offset"] == b"3"
    assert bench.acknowledged == [3]
    await keeper.close()


async def test_facts_of_a_turn_under_way_are_undecided() -> None:
    """Given a turn that waits for the brokers, when more comes, then the oldest undecided fact is the turn's first one."""
    bench = Bench()
    keeper = await bench.keeper()
    bench.producer.gate.clear()

    keeper.offer(delivery(bench, replace(fact_record(0), timestamp=1_000)))
    await until(lambda: "begin" in bench.producer.calls)
    keeper.offer(delivery(bench, replace(fact_record(1), timestamp=2_000)))
    under_way = bench.watch.undecided[-1]
    bench.producer.gate.set()
    await until(lambda: bench.acknowledged == [0, 1])
    await keeper.idle()

    assert under_way == (2, 1_000)
    assert bench.watch.undecided[-1] == (0, None)
    await keeper.close()


async def test_what_decide_raises_quarantines_that_fact_alone() -> None:
    """Given a fact on which decide raises, when it comes, then it is quarantined and rejected, and its neighbours decided."""
    bench = Bench()
    keeper = await bench.keeper()

    keeper.offer(delivery(bench, fact_record(0), fact_record(1, "poison"), fact_record(2)))
    await until(lambda: bench.acknowledged)

    assert decided(bench) == [(0, "decided"), (1, "quarantined"), (2, "decided")]
    assert dict(bench.producer.sent("rejects")[0]["headers"])["stammgast-reason"] == b"quarantined"
    assert not bench.deaths
    await keeper.close()


async def test_a_record_that_is_no_fact_gets_a_decision_too() -> None:
    """Given bytes in facts that are no fact, when they come, then they are quarantined and the log goes on."""
    bench = Bench()
    keeper = await bench.keeper()

    keeper.offer(
        delivery(bench, Record("facts", 0, 0, None, b"\xff"), Record("facts", 0, 1, None, None), fact_record(2))
    )
    await until(lambda: bench.acknowledged)

    assert decided(bench) == [(0, "quarantined"), (1, "quarantined"), (2, "decided")]
    await keeper.close()


async def test_a_failed_commit_aborts_and_ends_the_process() -> None:
    """Given brokers that refuse, when a batch comes, then it is aborted, unacknowledged, and the worker is told to die."""
    bench = Bench()
    keeper = await bench.keeper()
    bench.producer.error = OSError("disk full")

    keeper.offer(delivery(bench, fact_record(0)))
    await until(lambda: bench.deaths)

    assert bench.producer.calls[:3] == ["start", "begin", "abort"]
    assert not bench.acknowledged
    assert not decided(bench)
    assert keeper.state == "closed"


async def test_a_fenced_keeper_closes_alone_and_drains() -> None:
    """Given another owner, when a keeper commits, then it closes without ending the process and drops what comes."""
    bench = Bench()
    keeper = await bench.keeper()
    bench.producer.fenced = True

    keeper.offer(delivery(bench, fact_record(0)))
    await until(lambda: bench.fenced)
    keeper.offer(delivery(bench, fact_record(1)))

    assert bench.fenced == [0]
    assert not bench.deaths
    assert not bench.acknowledged
    await asyncio.wait_for(keeper.idle(), 90)


async def test_facts_decided_before_are_not_decided_again() -> None:
    """Given a recovered position, when older facts are delivered again, then they are acknowledged and nothing is written."""
    facts = [fact_record(offset) for offset in (0, 1, 4)]
    log = [log_record(number, decision_on(fact_of(f"f{offset}"), offset)) for number, offset in enumerate((0, 1))]
    bench = Bench(facts=facts, log=log)
    keeper = await bench.keeper()

    assert keeper.position() == 2
    assert bench.ledgers[0].taken == [("f0", 0), ("f1", 1)]
    keeper.offer(delivery(bench, *facts))
    await until(lambda: bench.acknowledged)

    assert decided(bench) == [(4, "decided")]
    await keeper.close()


async def test_a_missing_part_is_written_after_those_that_stand() -> None:
    """Given a torso of parts in the log, when its fact is decided again, then only the missing parts are written."""
    facts = [fact_record(0)]
    log = [log_record(0, decision_on(fact_of("f0"), 0, part=0, parts=3))]
    bench = Bench(transactional=False, facts=facts, log=log)
    keeper = await bench.keeper()
    bench.ledgers[0].parts = 3

    keeper.offer(delivery(bench, facts[0]))
    await until(lambda: bench.acknowledged)

    written = [parse_decision(record["value"]) for record in bench.producer.sent("points-log")]
    assert [(decision.part, decision.last) for decision in written] == [(1, False), (2, True)]
    await keeper.close()


async def test_without_transactions_derived_facts_come_first() -> None:
    """Given a broker without transactions, when a fact has a derived one, then that is written before the decision."""
    bench = Bench(transactional=False)
    keeper = await bench.keeper()

    keeper.offer(delivery(bench, fact_record(0, "derive-1")))
    await until(lambda: bench.acknowledged)

    assert [topic for topic, _, _ in bench.producer.log] == ["facts", "points-log"]
    assert bench.producer.transactional_id is None
    await keeper.close()


async def test_without_transactions_a_rejected_record_is_kept_before_its_decision_stands() -> None:
    """Given a broker without transactions, when a fact is rejected, then its record is in rejects before the decision is."""
    bench = Bench(transactional=False)
    keeper = await bench.keeper()

    keeper.offer(delivery(bench, fact_record(0, "reject-1")))
    await until(lambda: bench.acknowledged)

    assert [topic for topic, _, _ in bench.producer.log] == ["rejects", "points-log"]
    await keeper.close()


async def test_without_transactions_nothing_follows_a_batch_that_failed() -> None:
    """Given decisions in two batches, when the first one fails, then the second one is not written: no fact is skipped."""
    producer = FakeProducer(room=1)
    outbox = Outbox(producer)
    outbox.add(("points-log", 0), b"m1", b"first", 0)
    outbox.add(("points-log", 0), b"m1", b"second", 0)
    send, failures = producer.send_batch, [KafkaTimeoutError()]

    async def failing(batch: FakeBatch, topic: str, *, partition: int) -> asyncio.Future[None]:
        producer.error = failures.pop() if failures else None
        return await send(batch, topic, partition=partition)

    producer.send_batch = failing  # type: ignore[method-assign]
    with pytest.raises(KafkaTimeoutError):
        await outbox.send_one_by_one()

    assert producer.sent("points-log") == []


async def test_a_full_queue_pauses_and_flows_again() -> None:
    """Given brokers that hang, when batches pile up, then the partition is paused, and flows again when they are done."""
    bench = Bench()
    keeper = await bench.keeper()
    bench.producer.gate.clear()

    for offset in range(QUEUE_HIGH + 2):
        keeper.offer(delivery(bench, fact_record(offset), after=offset))
        await asyncio.sleep(0)
    await until(lambda: ("pause", 0, None) in bench.flow.calls)
    bench.producer.gate.set()
    await until(lambda: ("resume", 0, None) in bench.flow.calls)

    await until(lambda: len(decided(bench)) == QUEUE_HIGH + 2)
    await keeper.close()


async def test_what_does_not_fit_is_dropped_and_read_again() -> None:
    """Given a queue that overflows, when it is worked off, then the flow starts again at the log's position."""
    bench = Bench()
    keeper = await bench.keeper()
    bench.producer.gate.clear()

    for offset in range(QUEUE_MOST + 5):
        keeper.offer(delivery(bench, fact_record(offset), after=offset))
        await asyncio.sleep(0)
    bench.producer.gate.set()
    await until(lambda: ("reopen", 0, None) in bench.flow.calls)

    assert keeper.position() == len(decided(bench)) < QUEUE_MOST + 5
    await keeper.close()


async def test_a_delivery_that_skips_facts_is_refused() -> None:
    """Given deliveries up to offset 3, when the next begins after a jump, then it is dropped and read again from 3."""
    bench = Bench()
    keeper = await bench.keeper()

    keeper.offer(delivery(bench, *(fact_record(offset) for offset in range(3)), after=0))
    keeper.offer(delivery(bench, fact_record(9), after=9))
    await until(lambda: bench.flow.calls[-1] == ("reopen", 0, None))

    assert [offset for offset, _ in decided(bench)] == [0, 1, 2]
    await keeper.close()


async def test_a_stale_delivery_does_not_stop_an_idle_keeper() -> None:
    """Given a keeper with nothing to do, when a stale delivery comes, then the flow starts again at once."""
    bench = Bench()
    keeper = await bench.keeper()

    keeper.offer(delivery(bench, fact_record(9), after=9))
    assert bench.flow.calls[-1] == ("reopen", 0, None)
    keeper.offer(delivery(bench, fact_record(0), after=0))
    await until(lambda: bench.acknowledged)

    assert decided(bench) == [(0, "decided")]
    await keeper.close()


async def test_nobody_reads_on_before_a_rebalance_has_ended() -> None:
    """Given a partition that stays, when the consumer asks for its position too early, then it waits until the keeper goes on."""
    bench = Bench()
    keepers = bench.keepers = Keepers(bench.tools)
    asking = asyncio.ensure_future(keepers.position(0))
    keepers.assign([0])
    assert await asyncio.wait_for(asking, 90) == 0

    await keepers.revoked()
    asking = asyncio.ensure_future(keepers.position(0))
    await asyncio.wait([asking], timeout=0.01)
    assert not asking.done()
    keepers.assign([0])
    assert await asyncio.wait_for(asking, 90) == 0
    await keepers.close()


async def test_a_programme_that_is_not_at_hand_is_looked_up_once() -> None:
    """Given a fact of an unknown programme, when a reload does not bring it, then the worker dies with that message."""
    bench = Bench()
    keeper = await bench.keeper()

    def unknown(fact: Fact, offset: int) -> None:
        raise UnknownProgramme("abc")

    bench.ledgers[0].answer = unknown
    keeper.offer(delivery(bench, fact_record(0)))
    await until(lambda: bench.deaths)

    assert bench.reloads == 1
    assert isinstance(bench.deaths[0], MissingProgramme)
    assert "rules publish" in str(bench.deaths[0])


async def test_a_profile_that_cannot_be_opened_ends_the_worker_and_blames_no_fact() -> None:
    """Given a fact that depends on a profile, when this worker has no keys, then it dies with how to mend it: no quarantine."""
    bench = Bench()
    keeper = await bench.keeper()

    def sealed(fact: Fact, offset: int) -> None:
        raise ProfileClosed("m1", "k1")

    bench.ledgers[0].answer = sealed
    keeper.offer(delivery(bench, fact_record(0)))
    await until(lambda: bench.deaths)

    assert isinstance(bench.deaths[0], MissingKeys)
    assert blames_no_fact(bench.deaths[0])
    assert "--profile-key-file" in str(bench.deaths[0])


async def test_a_rebalance_keeps_the_producer_of_what_stays() -> None:
    """Given two partitions, when one is taken away, then the other goes on with its producer and the lost one is closed."""
    bench = Bench()
    keepers = bench.keepers = Keepers(bench.tools)
    keepers.assign([0, 1])
    await until(lambda: all(keeper.state == "open" for keeper in keepers))

    await keepers.revoked()
    keepers.assign([0])
    await until(lambda: "stop" in bench.producers[1].calls)

    assert await keepers.position(0) == 0
    assert keepers.get(1) is None
    assert bench.producers[0].calls == ["start"]
    await keepers.close()


async def test_a_fenced_partition_that_stays_ours_is_opened_again() -> None:
    """Given a keeper fenced at its first write after a rebalance, when the partition is still ours, then it reopens."""
    bench = Bench()
    keepers = bench.keepers = Keepers(bench.tools)
    keepers.assign([0])
    await keepers.position(0)
    await keepers.revoked()
    keepers.assign([0])
    await keepers.position(0)
    bench.producers[0].fenced = True
    bench.flow.keepers = keepers.by_partition

    keepers.offer(delivery(bench, fact_record(0)))
    await until(lambda: bench.fenced)
    keepers.fenced(0)
    await until(lambda: len(bench.producers) == 2)
    await keepers.position(0)

    keepers.offer(delivery(bench, fact_record(0)))
    await until(lambda: decided(bench) == [(0, "decided")])
    await keepers.close()


async def test_a_fenced_partition_is_not_opened_again_while_the_group_rebalances() -> None:
    """Given a keeper that was fenced, when a rebalance begins before it reopens, then only the new assignment opens it."""
    bench = Bench()
    keepers = bench.keepers = Keepers(bench.tools, reopen_seconds=0.0)
    keepers.assign([0])
    await keepers.position(0)
    bench.producers[0].fenced = True
    keepers.offer(delivery(bench, fact_record(0)))
    await until(lambda: bench.fenced)

    keepers.fenced(0)
    await keepers.revoked()
    asking = asyncio.ensure_future(keepers.position(0))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(bench.producers) == 1
    assert not asking.done()
    keepers.assign([0])
    await asyncio.wait_for(asking, 90)

    keepers.offer(delivery(bench, fact_record(0)))
    await until(lambda: decided(bench) == [(0, "decided")])
    await keepers.close()


async def test_rest_aborts_a_turn_that_takes_too_long() -> None:
    """Given brokers that hang, when a rebalance begins, then the turn is aborted in time and the keeper closed."""
    bench = Bench()
    keeper = await bench.keeper()
    bench.producer.gate.clear()
    keeper.offer(delivery(bench, fact_record(0)))
    await until(lambda: "begin" in bench.producer.calls)

    await asyncio.wait_for(keeper.rest(0.01), 90)

    assert keeper.state == "closed"
    assert "abort" in bench.producer.calls
    assert not decided(bench)


async def test_recovery_refuses_logs_that_do_not_belong_together() -> None:
    """Given a decision whose fact is missing, when the keeper recovers, then it says so instead of going on."""
    log = [log_record(0, decision_on(fact_of("f7"), 7))]

    with pytest.raises(LogsDisagree, match="offset 7"):
        await recover(FakeLedger, logs_of(*log, fact_record(5), fact_record(9)), "facts[0]")


async def test_recovery_walks_over_holes() -> None:
    """Given holes in both logs, when they are read, then every decision meets its own fact."""
    offsets = [0, 1, 5, 6, 1_010]
    log = [log_record(3 * n, decision_on(fact_of(f"f{offset}"), offset)) for n, offset in enumerate(offsets)]
    ledger = FakeLedger()

    logs = logs_of(*log, *(fact_record(offset) for offset in [*offsets, 1_011]))
    found = await recover(lambda: ledger, logs, "")

    assert ledger.taken == [(f"f{offset}", offset) for offset in offsets]
    assert (found.next_offset, found.facts, found.parts_written) == (1_011, 5, 0)


def test_a_large_decision_goes_in_parts_and_comes_back_whole() -> None:
    """Given a decision larger than a record, when it is written, then its parts fit and join to the same decision."""
    decision = decision_on(fact_of("big"), 4)
    decision.notes = [Note("n", None, f"{number:04d}" * 20) for number in range(200)]
    decision.progress = [("2026-01-01T00:00:00.000000Z", number) for number in range(50)]

    values = records_of([decision], 4_000)
    parts = [parse_decision(value) for value in values]

    assert max(map(len, values)) <= 4_000
    assert [part.part for part in parts] == list(range(len(parts)))
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert encode_decision(joined(parts)) == encode_decision(decision)


async def test_a_keeper_is_not_open_before_it_recovered() -> None:
    """Given a new keeper, when nobody started it, then it takes nothing."""
    bench = Bench()
    keeper = Keeper(0, bench.tools)

    keeper.offer(delivery(bench, fact_record(0)))

    assert keeper.state == "opening"
    assert not bench.acknowledged


async def test_snapshots_that_are_deleted_while_they_are_read_cost_time_only() -> None:
    """Given snapshots that somebody deletes during a recovery, when it reads on, then it folds the logs from their start."""
    logs = logs_of(fact_record(0), log_record(0, decision_on(fact_of("f0"), 0)))

    async def deleted() -> AsyncGenerator[Sequence[Record], None]:
        yield []
        raise LogEndsEarlier("member-snapshots/0 does not hold offset 0")

    logs.snapshots = deleted  # type: ignore[method-assign]
    found = await recover(FakeLedger, logs, "facts[0]")

    assert (found.source, found.next_offset) == ("start", 1)
