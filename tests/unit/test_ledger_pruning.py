"""What was counted in windows long over is dropped: a member of ten years has a state of bounded size."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from engine.ledger.packing import pack, unpack
from engine.ledger.pruning import over
from schemas import facts
from tests.unit.ledger import Stage, points, programme

BODY = """
earn:
  - {id: visit, on: visit, award: {points: 2}, cap: {times: 1, every: day}}
  - {id: row, on: visit, when: {streak: {n: 3, every: week}}, award: {points: 5}}
  - {id: long, on: visit, when: {streak: {n: 36, every: month}}, award: {points: 500}}
  - {id: spend, on: purchase, award: {points: 1, per: 1.00 EUR}, cap: {points: 50, every: month}}
  - {id: once, on: purchase, award: {points: 7}, bonus: true, cap: {times: 1}}
"""


def ten_years() -> tuple[Stage, list[int]]:
    """A visit a week for ten years, and the number of keys after each year; the long streak is won three times."""
    stage = Stage(programme(BODY))
    sizes, won = [], 0
    for week in range(520):
        day = date(2026, 1, 5) + timedelta(weeks=week)
        decision = stage.say(facts.VISIT, "anna", f"{day}T10:00:00Z", {"store": "s1"})
        won += ("long", 500) in points(decision)
        if week % 52 == 51:
            member = stage.partition.members["anna"]
            sizes.append(len(member.caps) + len(member.counters))
    assert won == 3
    return stage, sizes


def test_a_member_of_ten_years_has_a_state_of_bounded_size() -> None:
    """Keys grow for the years that are kept, and no more; the packed state knows no others, and the fold says the same."""
    stage, sizes = ten_years()
    assert sizes[3] > sizes[1] > sizes[0]
    assert max(sizes[5:]) <= max(sizes[3:5]) + 60
    assert sizes[9] < 5 * sizes[0]
    member = stage.partition.members["anna"]
    assert not [key for key in member.caps if key.endswith(("2030", "2030-06-03"))]
    assert unpack("anna", pack(member)).counters == member.counters


def test_a_refund_of_an_order_of_years_ago_gives_back_no_cap_that_was_dropped() -> None:
    """Its points go back; the window is over for good, and a cap for ever gets its time back."""
    stage = Stage(programme(BODY))
    stage.buy("2026-03-02T10:00:00Z", ("mug", "40.00"), order="o1")
    for year in range(2027, 2033):
        stage.say(facts.VISIT, "anna", f"{year}-03-02T10:00:00Z", {"store": "s1"})
    member = stage.partition.members["anna"]
    assert "spend||2026-03" not in member.caps
    assert member.caps["once||ever"] == (7, 1)
    back = stage.refund("2032-03-03T10:00:00Z", "o1", amount="40.00")
    assert points(back) == [("spend", -40), ("once", -7)]
    member = stage.partition.members["anna"]
    assert [key for key, used in member.caps.items() if min(used) < 0] == []
    assert "once||ever" not in member.caps


@pytest.mark.parametrize(
    ("key", "gone_in"),
    [
        ("visit|s1|2026-03-02", 2029),
        ("visit||2026-W09", 2029),
        ("visit||2026-Q1", 2029),
        ("purchase spent volume|2026", 2029),
        ("visit streak 3 week|2026-W09", 2030),
        ("visit streak 36 month|2026-03", 2033),
        ("stock|2026-03", 2029),
        ("visit||ever", None),
        ("stock|ever", None),
        ("purchase nth 10 category 2026", None),
    ],
)
def test_when_a_key_is_over(key: str, gone_in: int | None) -> None:
    """Two whole years later, a streak once it cannot go on; what has no window never."""
    years = [year for year in range(2026, 2060) if over(key, year)]
    assert years[:1] == ([] if gone_in is None else [gone_in])
