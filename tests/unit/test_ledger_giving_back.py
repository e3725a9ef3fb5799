"""Goods that come back give back what their order moved beside its points."""

from __future__ import annotations

from tests.unit.ledger import Stage, points, programme
from tests.unit.test_ledger_examples import SPEND

CAP = "    cap: {{points: 20, per: member, every: {every}}}\n"
TWICE = """
earn:
  - id: coffee
    on: purchase
    when: {category: coffee}
    award: {points: 5}
    cap: {times: 2, every: week}
"""
LIMITED = """
earn:
  - {id: all, on: purchase, award: {points: 1, per: 1.00 EUR}}
  - {id: web, on: purchase, when: {category: web}, award: {points: 1, per: 1.00 EUR}, bonus: true}
  - {id: lid, on: purchase, limit: {points: 10, every: day, only: web}}
"""


def test_a_cap_that_a_refund_gives_back_may_be_used_again() -> None:
    """20 points a month: 20 earned, half of the order returned, 10 more may be earned, then none."""
    stage = Stage(programme(SPEND + CAP.format(every="month")))
    stage.buy("2026-03-02T10:00:00Z", ("mug", "30.00"), order="o1")
    assert points(stage.buy("2026-03-03T10:00:00Z", ("mug", "5.00"))) == []

    refund = stage.refund("2026-03-04T10:00:00Z", "o1", amount="15.00")
    assert (points(refund), refund.counts) == ([("spend", -10)], [("spend||2026-03", -10, 0)])
    assert points(stage.buy("2026-03-05T10:00:00Z", ("mug", "12.00"))) == [("spend", 10)]
    assert points(stage.buy("2026-03-06T10:00:00Z", ("mug", "12.00"))) == []


def test_points_go_back_to_the_window_of_the_purchase() -> None:
    """A return in April gives March its points back; April's are its own."""
    stage = Stage(programme(SPEND + CAP.format(every="month")))
    stage.buy("2026-03-02T10:00:00Z", ("mug", "20.00"), order="o1")
    refund = stage.refund("2026-04-04T10:00:00Z", "o1", amount="20.00")

    assert refund.counts == [("spend||2026-03", -20, -1)]
    assert points(stage.buy("2026-04-05T10:00:00Z", ("mug", "25.00"))) == [("spend", 20)]
    assert points(stage.buy("2026-03-31T10:00:00Z", ("mug", "25.00"))) == [("spend", 20)]


def test_a_time_comes_back_when_all_its_points_have() -> None:
    """Two coffees a week: half a coffee returned is still a coffee; a whole one may be earned again."""
    stage = Stage(programme(TWICE))
    for day in ("02", "03"):
        stage.buy(f"2026-03-{day}T10:00:00Z", ("espresso", "2.00"), order=f"c{day}", category="coffee")
    assert stage.refund("2026-03-03T11:00:00Z", "c02", amount="1.00").counts == [("coffee||2026-W10", -3, 0)]
    assert points(stage.buy("2026-03-04T10:00:00Z", ("espresso", "2.00"), category="coffee")) == []

    assert stage.refund("2026-03-04T11:00:00Z", "c02", amount="1.00").counts == [("coffee||2026-W10", -2, -1)]
    assert points(stage.buy("2026-03-05T10:00:00Z", ("espresso", "2.00"), category="coffee")) == [("coffee", 5)]


def test_a_limit_gets_back_what_the_rules_under_it_lose() -> None:
    """The limit is over `web` alone: what `all` loses does not open it again."""
    stage = Stage(programme(LIMITED))
    stage.buy("2026-03-02T10:00:00Z", ("mug", "20.00"), order="o1", category="web")
    stage.buy("2026-03-02T11:00:00Z", ("mug", "20.00"), order="o2", category="shop")

    assert stage.refund("2026-03-02T12:00:00Z", "o2", amount="20.00").counts == ()
    assert stage.refund("2026-03-02T13:00:00Z", "o1", amount="5.00").counts == [("lid||2026-03-02", -3, 0)]
    assert points(stage.buy("2026-03-02T14:00:00Z", ("mug", "9.00"), category="web")) == [("all", 9), ("web", 3)]


def test_what_an_order_used_of_caps_is_packed_with_it() -> None:
    """Given a member who was packed in between, when his order comes back, then the caps get the same back."""
    stage = Stage(programme(SPEND + CAP.format(every="ever")))
    stage.buy("2026-03-02T10:00:00Z", ("mug", "30.00"), order="o1")
    stage.partition.restore("anna", *stage.partition.snapshot("anna"))

    assert stage.refund("2026-03-04T10:00:00Z", "o1", amount="30.00").counts == [("spend||ever", -20, -1)]
    assert stage.partition.members["anna"].caps == {}
