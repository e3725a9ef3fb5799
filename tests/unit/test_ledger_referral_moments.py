"""When a referral pays, and that both sides give their bonus back with the order it was given for."""

from __future__ import annotations

from schemas import facts
from tests.unit.ledger import Stage, points, programme
from tests.unit.test_ledger_examples import REFER, SPEND

JOINED = """
refer: {moment: joined, referrer: {points: 100}, referred: {points: 50}}
"""
EVERY = """
refer:
  moment: {every: purchase, for: 30 days, at_least: 10.00 EUR}
  referrer: {points: 5, cap: {points: 8, every: month}}
"""


def brought(body: str) -> Stage:
    """Anna brings Ben."""
    stage = Stage(programme(body))
    stage.say(facts.REFERRAL, "ben", "2026-03-02T10:00:00Z", {"referrer": "anna"})
    return stage


def buy(stage: Stage, day: str, price: str, order: str) -> list[tuple[str, int]]:
    """Ben buys something."""
    return points(stage.buy(f"2026-{day}T10:00:00Z", ("mug", price), order=order, member="ben"))


def test_both_sides_give_their_bonus_back_with_the_first_purchase() -> None:
    """Each by its own entry that names the one it takes back; the referrer's follows from the refund."""
    stage = brought(SPEND + REFER)
    assert buy(stage, "03-03", "20.00", "o1") == [("spend", 20), ("refer:referred", 50)]
    assert stage.balance("anna") == 100
    awarded = stage.decisions[-1].entries[0]

    refund = stage.refund("2026-03-05T10:00:00Z", "o1", member="ben", amount="20.00")
    assert points(refund) == [("spend", -20), ("refer:referred", -50)]
    back = stage.decisions[-1]
    assert (back.type, back.member_id, points(back)) == (facts.REFERRAL_REVERSAL, "anna", [("refer:referrer", -100)])
    assert (back.entries[0].caused_by, back.entries[0].kind) == (awarded.entry_id, "clawback")
    assert (stage.balance("anna"), stage.balance("ben")) == (0, 0)


def test_what_is_kept_of_the_order_may_still_be_worth_the_bonus() -> None:
    """10 euros are asked for: 12 kept are enough, 9 are not."""
    stage = brought(SPEND + REFER)
    buy(stage, "03-03", "20.00", "o1")
    assert points(stage.refund("2026-03-05T10:00:00Z", "o1", member="ben", amount="8.00")) == [("spend", -8)]

    refund = stage.refund("2026-03-06T10:00:00Z", "o1", member="ben", amount="3.00")
    assert points(refund) == [("spend", -3), ("refer:referred", -50)]
    assert stage.balance("anna") == 0
    assert points(stage.refund("2026-03-07T10:00:00Z", "o1", member="ben", amount="9.00")) == [("spend", -9)]


def test_a_referral_whose_order_came_back_waits_for_the_next() -> None:
    """And the cap of one award a year is free again for it."""
    stage = brought(SPEND + REFER)
    buy(stage, "03-03", "20.00", "o1")
    stage.refund("2026-03-05T10:00:00Z", "o1", member="ben", amount="20.00")

    assert buy(stage, "03-06", "15.00", "o2") == [("spend", 15), ("refer:referred", 50)]
    assert stage.balance("anna") == 100
    assert buy(stage, "03-07", "15.00", "o3") == [("spend", 15)]


def test_a_referral_pays_when_both_are_told_whichever_comes_first() -> None:
    """Joining after the referral, or the referral after joining: once."""
    later = brought(SPEND + JOINED)
    assert later.balance("ben") == 0
    assert points(later.say(facts.JOINED, "ben", "2026-03-03T10:00:00Z", {})) == [("refer:referred", 50)]
    assert later.balance("anna") == 100

    sooner = Stage(programme(SPEND + JOINED))
    sooner.say(facts.JOINED, "ben", "2026-03-03T10:00:00Z", {})
    said = sooner.say(facts.REFERRAL, "ben", "2026-03-03T10:00:05Z", {"referrer": "anna"})
    assert (points(said), sooner.balance("anna")) == ([("refer:referred", 50)], 100)
    assert buy(sooner, "03-04", "20.00", "o1") == [("spend", 20)]


def test_every_purchase_pays_for_a_while_as_far_as_the_cap_leaves_some() -> None:
    """Not below 10 euros, not after 30 days; an order that comes back gives its own back, and the cap with it."""
    stage = brought(SPEND + EVERY)
    balances = []
    for day, price in (
        ("03-03", "9.99"),
        ("03-04", "10.00"),
        ("03-05", "30.00"),
        ("03-06", "30.00"),
        ("04-02", "30.00"),
    ):
        buy(stage, day, price, day)
        balances.append(stage.balance("anna") if "anna" in stage.partition.members else 0)
    assert balances == [0, 5, 8, 8, 8]

    stage.refund("2026-04-03T10:00:00Z", "03-04", member="ben", amount="10.00")
    assert stage.balance("anna") == 3
    assert stage.decisions[-1].counts == [("refer:referrer||2026-03", -5, -1)]


def test_a_bonus_is_packed_with_its_member() -> None:
    """Given members who were packed in between, when the order comes back, then both sides give the same back."""
    stage = brought(SPEND + REFER)
    buy(stage, "03-03", "20.00", "o1")
    for key in ("anna", "ben"):
        stage.partition.restore(key, *stage.partition.snapshot(key))
    stage.refund("2026-03-05T10:00:00Z", "o1", member="ben", amount="20.00")

    assert (stage.balance("anna"), stage.balance("ben")) == (0, 0)
