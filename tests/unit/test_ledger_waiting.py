"""A refund that comes before its purchase."""

from __future__ import annotations

from schemas import facts
from tests.unit.ledger import Stage, points, programme
from tests.unit.test_ledger_examples import REFER, SPEND, TIERS


def states(stage: Stage) -> list[tuple[str, str]]:
    """Return what was said of refunds that wait."""
    return [(one.id, one.state) for decision in stage.decisions for one in decision.states if one.what == "refund"]


def test_a_refund_waits_for_its_purchase_and_then_acts() -> None:
    """It moves nothing before; what it takes is decided right after the purchase, as of the later of both times."""
    stage = Stage(programme(SPEND + TIERS))
    early = stage.refund("2026-03-03T10:00:00Z", "o1", amount="40.00")
    assert (early.reason, points(early), early.notes[0].code) == ("unknown_order", [], "unknown_order")
    assert stage.buy("2026-03-02T10:00:00Z", ("mug", "120.00"), order="o1").tiers[0].tier == "regular"

    act = stage.decisions[-1]
    assert (act.type, act.reason, points(act)) == (facts.WAITED_REFUND, None, [("spend", -40)])
    assert (act.occurred_at, act.tiers[0].tier) == ("2026-03-03T10:00:00.000000Z", "guest")
    assert states(stage) == [("urn:till:7|e1", "2026-04-02T10:00:00.000000Z"), ("urn:till:7|e1", "found")]
    assert stage.balance() == 80


def test_what_waited_counts_into_later_refunds() -> None:
    """Two refunds waited; a third finds only what they left."""
    stage = Stage(programme(SPEND))
    for day in ("03", "04"):
        stage.refund(f"2026-03-{day}T10:00:00Z", "o1", amount="4.00")
    stage.buy("2026-03-02T10:00:00Z", ("mug", "10.00"), order="o1")
    assert stage.balance() == 2

    last = stage.refund("2026-03-05T10:00:00Z", "o1", amount="4.00")
    assert (points(last), last.notes[0].code) == ([("spend", -2)], "more_than_bought")


def test_a_refund_waits_no_longer_than_the_programme_says() -> None:
    """After it lapsed, whether a tick or a fact showed it, the purchase earns and keeps its points."""
    for ticked in (True, False):
        stage = Stage(programme("refund_waits: 5 days\n" + SPEND))
        stage.refund("2026-03-03T10:00:00Z", "o1", amount="4.00")
        if ticked:
            stage.tick("2026-03-08T10:00:00Z")
        stage.buy("2026-03-08T10:00:00Z", ("bean", "1.00"), order="o2")
        stage.buy("2026-03-02T10:00:00Z", ("mug", "10.00"), order="o1")

        assert states(stage)[-1] == ("urn:till:7|e1", "lapsed")
        assert stage.balance() == 11


def test_a_purchase_just_in_time() -> None:
    """A moment before the wait ends it is found."""
    stage = Stage(programme("refund_waits: 5 days\n" + SPEND))
    stage.refund("2026-03-03T10:00:00Z", "o1", amount="4.00")
    stage.tick("2026-03-08T09:59:59Z")
    stage.buy("2026-03-08T09:59:59Z", ("mug", "10.00"), order="o1")

    assert stage.balance() == 6


def test_a_refund_that_is_told_too_late_to_wait_does_not() -> None:
    """The member is 40 days further: nothing waits, and the purchase keeps its points."""
    stage = Stage(programme(SPEND))
    stage.buy("2026-04-12T10:00:00Z", ("bean", "1.00"), order="o2")
    assert stage.refund("2026-03-03T10:00:00Z", "o1", amount="4.00").states == ()


def test_a_referral_paid_by_a_purchase_that_came_back_before_is_taken_back() -> None:
    """Purchase, both bonuses, refund that waited, both bonuses back."""
    stage = Stage(programme(SPEND + REFER))
    stage.say(facts.REFERRAL, "ben", "2026-03-01T10:00:00Z", {"referrer": "anna"})
    stage.refund("2026-03-03T10:00:00Z", "o1", member="ben", amount="20.00")
    stage.buy("2026-03-02T10:00:00Z", ("mug", "20.00"), order="o1", member="ben")

    assert (stage.balance("anna"), stage.balance("ben")) == (0, 0)


def test_what_waits_is_packed_with_its_member() -> None:
    """Given a member who was packed in between, when the purchase comes, then the refund acts."""
    stage = Stage(programme(SPEND))
    stage.refund("2026-03-03T10:00:00Z", "o1", lines=[{"sku": "mug", "quantity": 1}])
    stage.partition.restore("anna", *stage.partition.snapshot("anna"))
    stage.buy("2026-03-02T10:00:00Z", ("mug", "10.00"), ("bean", "5.00"), order="o1")

    assert stage.balance() == 5


def test_what_waits_goes_with_its_key_to_the_member() -> None:
    """Given a card whose refund waits, when the card becomes Anna's and the purchase comes by it, then it is Anna's refund."""
    stage = Stage(programme(SPEND))
    stage.refund("2026-03-03T10:00:00Z", "o1", member="card", amount="4.00")
    stage.staff(facts.LINK, "card", "2026-03-04T10:00:00Z", member="anna")
    stage.buy("2026-03-02T10:00:00Z", ("mug", "10.00"), order="o1", member="card")

    assert stage.balance() == 6
