"""Slow facts and slow brokers make transactions smaller, quick ones make them larger; nothing takes a whole backlog at once."""

from __future__ import annotations

from typing import Any

import pytest

from engine.stream.keeper import Keeper
from engine.stream.pace import Pace
from engine.stream.tools import Delivery
from engine.stream.turn import BREATH_RECORDS, DECIDE_SECONDS, FIRST_BREATH
from schemas.decisions import parse_decision
from schemas.envelope import Fact
from tests.unit.stream_fakes import Bench, FakeBroker, FakeLedger, fact_record


def test_it_doubles_while_full_measures_go_quickly() -> None:
    """Up to the most; a part of a measure proves nothing."""
    pace = Pace(4, 30, quick_s=1.0, slow_s=3.0)
    seen = []
    for _ in range(5):
        seen.append(pace.records)
        pace.took(pace.records, 0.5)
    assert seen == [4, 8, 16, 30, 30]
    pace.took(10, 2.0)
    assert pace.records == 30


def test_it_shrinks_to_what_fits() -> None:
    """To the share of it that is quick, at most half, never below one."""
    pace = Pace(100, 100, quick_s=1.0, slow_s=4.0)
    pace.took(100, 10.0)
    assert pace.records == 10
    pace.took(10, 4.1)
    assert pace.records == 2
    for _ in range(4):
        pace.took(1, 60.0)
    assert pace.records == 1
    small = Pace(4, 30, quick_s=1.0, slow_s=3.0)
    small.took(1, 0.1)
    assert small.records == 4


class Slow(FakeLedger):
    """Every decision takes a while on the bench's clock."""

    def __init__(self, clock: list[float], seconds: float) -> None:
        super().__init__()
        self._clock, self._seconds = clock, seconds

    def answer(self, fact: Fact, offset: int) -> Any:
        """Take the time."""
        self._clock[0] += self._seconds
        return super().answer(fact, offset)


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.1, 3.0], ids=str)
async def test_a_turn_never_decides_for_long(seconds: float) -> None:
    """Given a backlog of slow facts, when it is decided, then no transaction holds more than two seconds of it (or one fact),
    and fast facts soon fill large ones."""
    clock = [0.0]
    broker = FakeBroker()
    bench = Bench(broker=broker, new_ledger=lambda _: Slow(clock, seconds), seconds=lambda: clock[0])
    records = [fact_record(offset) for offset in range(1_200)]
    broker.hold(records)
    keeper = Keeper(0, bench.tools)
    keeper.start()
    await bench.opened.wait()
    keeper.position()
    done = []
    keeper.offer(Delivery(records, lambda: done.append(1)))
    await keeper.idle()
    await keeper.close()

    assert done == [1]
    log = [parse_decision(record.value or b"") for record in broker.logs["points-log", 0]]
    assert [decision.offset for decision in log] == list(range(1_200))
    sizes = [sum(tally.outcomes.values()) for tally in bench.watch.tallies]
    assert sum(sizes) == 1_200
    step = max(FIRST_BREATH, min(BREATH_RECORDS, 0.3 / seconds if seconds else BREATH_RECORDS))
    assert max(sizes) * seconds <= DECIDE_SECONDS + step * seconds
    if seconds < 0.01:
        assert max(sizes) > 250
