"""Every tenth order, so many days in a row, members who are held out: what counts, and what coming back takes of it."""

from __future__ import annotations

from engine.ledger.earning import member_number
from schemas import facts
from tests.unit.ledger import Stage, points, programme

EVERY_THIRD = """
earn:
  - {id: third, on: purchase, when: {every_nth: {n: 3}}, award: {points: 30}}
"""
COFFEES = """
earn:
  - {id: coffee, on: purchase, when: {every_nth: {n: 2, category: coffee}}, award: {points: 8}}
"""
WEEKS = """
earn:
  - {id: weeks, on: purchase, when: {streak: {n: 3, every: week}}, award: {points: 40}}
"""
DAYS = """
earn:
  - {id: days, on: visit, when: {streak: {n: 2}}, award: {points: 5}}
  - {id: sport, on: activity, when: {streak: {n: 2, name: sport}}, award: {points: 7}}
"""
TRIAL = """
earn:
  - {id: spend, on: purchase, award: {points: 1, per: 1.00 EUR}}
  - {id: trial, on: purchase, award: {points: 10}, bonus: true, hold_out: 50 %}
"""


def buy(stage: Stage, day: str, order: str = "", category: str = "goods") -> int:
    """Buy a mug and return the points for it."""
    decision = stage.buy(f"{day}T10:00:00Z", ("mug", "4.00"), order=order or f"o{day}", category=category)
    return sum(given for _, given in points(decision))


def test_every_third_order_is_the_third() -> None:
    """Orders 3 and 6, whatever was bought."""
    stage = Stage(programme(EVERY_THIRD))

    assert [buy(stage, f"2026-03-0{day}") for day in range(1, 8)] == [0, 0, 30, 0, 0, 30, 0]


def test_an_order_that_comes_back_makes_no_later_one_the_third_again() -> None:
    """The first of three comes back: the award stands, and the sixth that was kept is the next."""
    stage = Stage(programme(EVERY_THIRD))
    assert [buy(stage, f"2026-03-0{day}") for day in range(1, 4)] == [0, 0, 30]
    assert stage.refund("2026-03-04T10:00:00Z", "o2026-03-01", amount="4.00").counters == [
        ("purchase nth 3", -1, 0, [])
    ]

    assert [buy(stage, f"2026-03-0{day}") for day in range(5, 9)] == [0, 0, 0, 30]


def test_the_third_that_comes_back_leaves_its_award_to_the_next() -> None:
    """Its points go, and the order after it is the third."""
    stage = Stage(programme(EVERY_THIRD))
    assert [buy(stage, f"2026-03-0{day}") for day in range(1, 4)] == [0, 0, 30]
    refund = stage.refund("2026-03-04T10:00:00Z", "o2026-03-03", amount="4.00")
    assert (points(refund), refund.counters) == ([("third", -30)], [("purchase nth 3", -1, -1, [])])

    assert buy(stage, "2026-03-05") == 30


def test_half_an_order_that_comes_back_still_counts() -> None:
    """A counter moves back when everything that counted came back."""
    stage = Stage(programme(EVERY_THIRD))
    assert [buy(stage, f"2026-03-0{day}") for day in range(1, 3)] == [0, 0]
    assert not stage.refund("2026-03-03T10:00:00Z", "o2026-03-01", amount="2.00").counters
    assert buy(stage, "2026-03-04") == 30
    assert stage.refund("2026-03-05T10:00:00Z", "o2026-03-01", amount="2.00").counters == [
        ("purchase nth 3", -1, 0, [])
    ]


def test_every_second_coffee_counts_orders_with_coffee() -> None:
    """A cake counts nothing, and only the coffee that comes back counts back."""
    stage = Stage(programme(COFFEES))
    assert buy(stage, "2026-03-01", category="coffee") == 0
    assert buy(stage, "2026-03-02", category="cake") == 0
    assert buy(stage, "2026-03-03", category="coffee") == 8
    decision = stage.refund("2026-03-04T10:00:00Z", "o2026-03-03", amount="4.00")
    assert decision.counters == [("purchase nth 2 category coffee", -1, -1, [1])]


def test_three_weeks_in_a_row_then_three_anew() -> None:
    """Weeks 10, 11, 12 make a streak; 13 and 14 begin the next, and a week without an order ends it."""
    stage = Stage(programme(WEEKS))
    days = [
        "2026-03-02",
        "2026-03-08",
        "2026-03-09",
        "2026-03-16",
        "2026-03-17",
        "2026-03-23",
        "2026-03-30",
        "2026-04-06",
    ]

    assert [buy(stage, day) for day in days] == [0, 0, 0, 40, 0, 0, 0, 40]
    assert [buy(stage, day) for day in ("2026-04-20", "2026-04-27", "2026-05-04")] == [0, 0, 40]


def test_a_late_order_closes_the_gap_in_a_streak() -> None:
    """It counts in the week of its own time, and earns what it completes."""
    stage = Stage(programme(WEEKS))
    assert [buy(stage, day) for day in ("2026-03-02", "2026-03-16")] == [0, 0]

    assert buy(stage, "2026-03-10") == 40


def test_a_week_whose_order_came_back_is_no_part_of_a_streak() -> None:
    """The second week is empty again."""
    stage = Stage(programme(WEEKS))
    assert [buy(stage, day) for day in ("2026-03-02", "2026-03-09")] == [0, 0]
    stage.refund("2026-03-10T10:00:00Z", "o2026-03-09", amount="4.00")

    assert buy(stage, "2026-03-16") == 0


def test_visits_and_activities_have_streaks_of_their_own() -> None:
    """Two days in a row by the local calendar; an activity of another name counts nothing."""
    stage = Stage(programme(DAYS))
    visit = {"store": "s1"}
    assert points(stage.say(facts.VISIT, "anna", "2026-03-02T22:59:00Z", visit)) == []
    assert points(stage.say(facts.VISIT, "anna", "2026-03-02T23:31:00Z", visit)) == [("days", 5)]
    for day, name, given in (("02", "sport", 0), ("03", "news", 0), ("03", "sport", 7), ("04", "sport", 0)):
        said = stage.say(facts.ACTIVITY, "anna", f"2026-03-{day}T10:00:00Z", {"name": name})
        assert sum(number for _, number in points(said)) == given


def test_who_is_held_out_gets_nothing_from_the_rule_and_the_decision_says_so() -> None:
    """Chosen by the member and the rule, so always the same; the other rules go on."""
    stage = Stage(programme(TRIAL))
    seen = set()
    for number in range(40):
        member = f"m{number}"
        decision = stage.buy("2026-03-02T10:00:00Z", ("mug", "4.00"), order=f"o{number}", member=member)
        held = member_number(member, "trial") < 1 << 31
        assert points(decision) == ([("spend", 4)] if held else [("spend", 4), ("trial", 10)])
        assert [(note.code, note.rule_id) for note in decision.notes] == ([("hold_out", "trial")] if held else [])
        seen.add(held)
    assert seen == {True, False}


def test_counters_are_packed_with_their_member() -> None:
    """Given a member who was packed in between, when he goes on, then he goes on from there."""
    stage = Stage(programme(EVERY_THIRD))
    assert [buy(stage, f"2026-03-0{day}") for day in range(1, 3)] == [0, 0]
    stage.partition.restore("anna", *stage.partition.snapshot("anna"))

    assert buy(stage, "2026-03-03") == 30
    refund = stage.refund("2026-03-04T10:00:00Z", "o2026-03-03", amount="4.00")
    assert refund.counters == [("purchase nth 3", -1, -1, [])]


def test_a_rule_for_a_segment_asks_what_was_said_last() -> None:
    """In, and out again; what a late fact says of an earlier moment changes nothing, and says so."""
    stage = Stage(
        programme("earn:\n  - {id: vip, on: purchase, when: {segment: [champions, loyal]}, award: {points: 9}}\n")
    )
    assert buy(stage, "2026-03-01") == 0
    stage.say(
        facts.SEGMENT, "anna", "2026-03-02T10:00:00Z", {"segment": "champions", "entered": True, "as_of": "2026-03-01"}
    )
    assert buy(stage, "2026-03-03") == 9
    stage.partition.restore("anna", *stage.partition.snapshot("anna"))
    assert buy(stage, "2026-03-04") == 9

    stage.say(facts.SEGMENT, "anna", "2026-03-05T10:00:00Z", {"segment": "champions", "entered": False})
    late = stage.say(facts.SEGMENT, "anna", "2026-03-04T10:00:00Z", {"segment": "champions", "entered": True})
    assert (late.outcome, late.reason) == ("decided", "older_than_known")
    assert buy(stage, "2026-03-06") == 0
