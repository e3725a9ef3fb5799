"""A fact that ends its worker: found by markers over several starts, alone, and nobody else is blamed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from engine.stream import recovery, turn
from engine.stream.attempts import KILLER, KILLER_TEXT, SOME_FACTS, TRIES, Attempt, Attempts
from engine.stream.keeper import Keeper
from engine.stream.tools import Delivery
from schemas.decisions import parse_decision
from schemas.envelope import UNREADABLE_SOURCE, Fact, readable
from tests.unit.stream_fakes import Bench, FakeBroker, FakeLedger, Record, fact_record

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Killed(BaseException):
    """The process is gone: nobody handles this."""


class Deadly(FakeLedger):
    """Dies of facts whose id says so, the moment they are decided."""

    def answer(self, fact: Fact, offset: int) -> Any:
        """Decide, or die."""
        if fact.id.startswith("deadly"):
            raise Killed
        return super().answer(fact, offset)


def bench_on(broker: FakeBroker, new_ledger: Callable[[int], FakeLedger] = lambda _: Deadly()) -> Bench:
    """A new process over what the ones before it left."""
    return Bench(broker=broker, new_ledger=new_ledger)


async def one_life(broker: FakeBroker, partitions: Sequence[int] = (0,)) -> tuple[Bench, bool]:
    """A worker that opens these partitions, decides what is there, and may die of it; did it live?"""
    bench = bench_on(broker)
    keepers = [Keeper(partition, bench.tools) for partition in partitions]
    for keeper in keepers:
        keeper.start()
    tasks = [keeper._task for keeper in keepers if keeper._task is not None]
    await until(lambda: all(keeper.state != "opening" for keeper in keepers))
    for keeper in keepers:
        start = keeper.position() or 0
        waiting = [r for r in broker.logs["facts", keeper.partition] if r.offset >= start]
        if waiting:
            keeper.offer(Delivery(waiting, lambda: None))
    await until(lambda: any(task.done() for task in tasks) or all(at_the_end(broker, keeper) for keeper in keepers))
    died = any(task.done() for task in tasks)
    if died:
        vanish(bench, tasks)
    for keeper in keepers:
        await keeper.close()
    return bench, not died


def vanish(bench: Bench, tasks: Sequence[asyncio.Task[None]]) -> None:
    """A dead process says nothing more: whatever its keepers still try to write fails."""
    for producer in bench.producers:
        producer.error = OSError("there is no process")
    assert any(isinstance(task.exception(), Killed) for task in tasks if task.done())


def at_the_end(broker: FakeBroker, keeper: Keeper) -> bool:
    """Is everything decided and committed?"""
    wanted = len(broker.logs["facts", keeper.partition])
    return len(broker.logs.get(("points-log", keeper.partition), ())) == wanted


def decisions(broker: FakeBroker, partition: int = 0) -> list[tuple[int, str, str | None]]:
    """(offset, outcome, reason) of every decision in the log."""
    log = [parse_decision(record.value or b"") for record in broker.logs.get(("points-log", partition), [])]
    return [(decision.offset, decision.outcome, decision.reason) for decision in log]


def broker_with(deadly: set[int], count: int = 200, partitions: Sequence[int] = (0,)) -> FakeBroker:
    """Facts in every partition; in partition 0 some of them are deadly."""
    broker = FakeBroker()
    for partition in partitions:
        broker.hold(
            fact_record(offset, f"deadly{offset}" if partition == 0 and offset in deadly else None, partition)
            for offset in range(count)
        )
    return broker


@pytest.mark.parametrize("deadly", [{0}, {150}, {199}, {10, 11}, {64, 128}], ids=str)
async def test_a_deadly_fact_is_found_and_given_up(deadly: set[int]) -> None:
    """Given facts that end every worker, when workers start again and again, then those alone are quarantined, once."""
    broker = broker_with(deadly)

    deaths = 0
    while not (await one_life(broker))[1]:
        deaths += 1
        assert deaths < 20

    assert [offset for offset, _, _ in decisions(broker)] == list(range(200))
    assert {offset for offset, outcome, _ in decisions(broker) if outcome == "quarantined"} == deadly
    assert {reason for _, outcome, reason in decisions(broker) if outcome == "quarantined"} == {KILLER}
    rejected = broker.logs["rejects", 0]
    assert [int(dict(record.headers)["stammgast-offset"]) for record in rejected] == sorted(deadly)
    assert dict(rejected[0].headers)["stammgast-message"] == KILLER_TEXT.encode()
    # The death, the start without progress, the few facts, and the tries alone.
    assert deaths <= len(deadly) * (3 + TRIES)


@pytest.mark.parametrize("deadly", [{0}, {150}, {10, 11}], ids=str)
async def test_a_fact_that_nobody_can_read_is_given_up_unread(
    deadly: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given facts that end every worker while they are parsed, when workers start again and again, then those alone are
    quarantined, under the names of their places, and whoever recovers later does not read them."""

    def lethal(value: bytes | None) -> Fact | None:
        if b"deadly" in (value or b""):
            raise Killed
        return readable(value)

    monkeypatch.setattr(turn, "readable", lethal)
    monkeypatch.setattr(recovery, "readable", lethal)
    broker, deaths = broker_with(deadly), 0
    while not (await one_life(broker))[1]:
        deaths += 1
        assert deaths < 20
    broker.hold([fact_record(200)])
    assert (await one_life(broker))[1]

    log = [parse_decision(record.value or b"") for record in broker.logs["points-log", 0]]
    assert [decision.offset for decision in log] == list(range(201))
    given_up = [(d.offset, d.source, d.reason) for d in log if d.outcome == "quarantined"]
    assert given_up == [(offset, UNREADABLE_SOURCE, KILLER) for offset in sorted(deadly)]
    rejected = broker.logs["rejects", 0]
    assert [int(dict(record.headers)["stammgast-offset"]) for record in rejected] == sorted(deadly)
    assert deaths <= len(deadly) * (4 + TRIES)


async def test_partitions_of_the_same_worker_are_not_blamed() -> None:
    """Given five partitions and one deadly fact, when all are opened together again and again, then no other fact suffers."""
    everybody = range(5)
    broker = broker_with({100}, partitions=everybody)

    lives = 1
    while not (await one_life(broker, everybody))[1]:
        lives += 1
        assert lives < 20

    for partition in everybody:
        found = decisions(broker, partition)
        assert [offset for offset, _, _ in found] == list(range(200))
        assert [offset for offset, outcome, _ in found if outcome != "decided"] == ([100] if partition == 0 else [])


async def test_a_quick_run_through_innocent_facts_goes_on_as_always() -> None:
    """Given a worker that was killed without a fact's fault, when the next starts, then it goes carefully once."""
    broker = broker_with(set(), count=1_000)
    broker.hold([marker(Attempt("turn", 0, 999, 0, 999))])

    second, lived = await one_life(broker)

    assert lived
    assert second.watch.attempts == ["some"] * -(-1_000 // SOME_FACTS)
    assert [outcome for _, outcome, _ in decisions(broker)] == ["decided"] * 1_000
    third, _ = await one_life(broker)
    assert third.watch.attempts == []


def marker(attempt: Attempt) -> Record:
    """As a worker that died left it."""
    return Record("member-snapshots", 0, 0, b"attempt:0", attempt.encode())


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until something holds."""
    async with asyncio.timeout(90):
        while not condition():  # noqa: ASYNC110  the things waited for are plain attributes
            await asyncio.sleep(0)


async def held_in_its_first_turn(broker: FakeBroker) -> tuple[Bench, Keeper]:
    """A keeper whose marker stands, and whose decisions the brokers do not take."""
    bench = bench_on(broker)
    keeper = await bench.keeper()
    keeper.offer(Delivery(broker.logs["facts", 0], lambda: None))
    await until(lambda: broker.logs.get(("member-snapshots", 0)))
    bench.producer.gate.clear()
    return bench, keeper


def standing(broker: FakeBroker) -> Attempt | None:
    """The newest marker."""
    return Attempt.parse(broker.logs["member-snapshots", 0][-1].value)


async def test_a_stop_in_order_takes_the_marker_back() -> None:
    """Given a turn that is aborted because the worker stops, when it is gone, then the next start goes on as always."""
    broker = broker_with(set())
    _, keeper = await held_in_its_first_turn(broker)
    assert standing(broker) == Attempt("turn", 0, 199, 0, 199)

    await keeper.close()

    assert standing(broker) is None
    assert not decisions(broker)


async def test_a_death_that_kafka_is_to_blame_for_counts_for_nothing() -> None:
    """Given brokers that refuse a turn, when the worker dies of it, then no fact is suspected."""
    broker = broker_with(set())
    bench, _ = await held_in_its_first_turn(broker)
    failures: list[OSError] = [OSError("not enough replicas")]
    genuine = bench.producer.send_batch

    async def failing(batch: Any, topic: str, *, partition: int) -> Any:
        bench.producer.error = failures.pop() if failures else None
        return await genuine(batch, topic, partition=partition)

    bench.producer.send_batch = failing  # type: ignore[method-assign]
    bench.producer.gate.set()
    await until(lambda: bench.deaths)

    assert standing(broker) is None


async def test_a_fenced_keeper_leaves_the_marker_to_its_heir() -> None:
    """Given a keeper that is fenced in its first turn, when another opens, then every fact is decided, none given up."""
    broker = broker_with(set())
    bench, keeper = await held_in_its_first_turn(broker)
    bench.producer.fenced = True
    bench.producer.gate.set()
    await until(lambda: bench.fenced)
    await keeper.close()

    second, lived = await one_life(broker)

    assert lived
    assert "given_up" not in second.watch.attempts
    assert [outcome for _, outcome, _ in decisions(broker)] == ["decided"] * 200


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"[]", b'{"format":2,"kind":"one","first":1,"last":1,"tries":3,"until":1}',
     b'{"format":1,"kind":"all","first":1,"last":1,"tries":3,"until":1}',
     b'{"format":1,"kind":"one","first":"x","last":1,"tries":3,"until":1}'],
)  # fmt: skip
def test_a_marker_that_nobody_understands_is_none(value: bytes) -> None:
    """Given another format or garbage, when it is read, then facts are decided as always."""
    assert Attempt.parse(value) is None


def test_a_marker_before_decisions_is_void() -> None:
    """Given a decision on the marked fact or after it, when a worker starts, then it goes on as always."""
    attempt = Attempt("one", 7, 7, 3, 9)

    assert Attempt.parse(attempt.encode()) == attempt
    assert Attempts(attempt, 7).careful
    assert not Attempts(attempt, 8).careful
    assert not Attempts(None, 0).careful
