"""Examples of anonymous sales that are claimed later."""

from __future__ import annotations

from engine.ledger.packing import pack, unpack
from schemas import facts
from schemas.decisions import Decision
from tests.unit.ledger import Stage, points, programme

SPEND = "earn: [{id: spend, on: purchase, award: {points: 1, per: 1.00 EUR}}]\n"
CLAIM = "claim: {within: 30 days}\n"


def claim(stage: Stage, member: str, order: str = "o1", time: str = "2026-03-10T10:00:00Z") -> Decision:
    """Scan a receipt."""
    return stage.say(facts.CLAIM, member, time, {"order_id": order})


def told(stage: Stage, since: Decision) -> list[tuple[str, str | None, str | None]]:
    """Return type, member and reason of what was decided from ``since`` on."""
    behind = stage.decisions[stage.decisions.index(since) :]
    return [(one.type.split(".")[1], one.member_id, one.reason) for one in behind]


def test_the_first_claim_has_the_sale_and_later_ones_hear_why_not() -> None:
    """It earns as it would have, with its own time; nobody else gets it."""
    stage = Stage(programme(SPEND + CLAIM))
    stage.buy("2026-03-01T10:00:00Z", ("mug", "9.00"), member=None, order="o1")
    first = claim(stage, "anna")
    assert told(stage, first) == [
        ("claim", "anna", None),
        ("claim_asked", None, None),
        ("claim_answered", "anna", None),
        ("purchase", "anna", None),
    ]
    sale = stage.decisions[-1]
    assert (points(sale), sale.occurred_at) == ([("spend", 9)], "2026-03-01T10:00:00.000000Z")
    assert told(stage, claim(stage, "ben"))[-1] == ("claim_answered", "ben", "claimed_by_another")
    assert claim(stage, "anna").reason == "order_already_counted"
    assert "ben" in stage.partition.members
    assert (stage.balance("anna"), stage.balance("ben")) == (9, 0)


def test_what_cannot_be_claimed() -> None:
    """An order nobody knows, one that is too old, and anything under a programme without claims."""
    stage = Stage(programme(SPEND + CLAIM))
    stage.buy("2026-03-01T10:00:00Z", ("mug", "9.00"), member=None, order="o1")
    assert told(stage, claim(stage, "anna", "o7"))[-1] == ("claim_answered", "anna", "unknown_order")
    late = claim(stage, "anna", time="2026-03-31T10:00:00.000001Z")
    assert told(stage, late)[-1] == ("claim_answered", "anna", "too_late_to_claim")
    assert told(stage, claim(stage, "anna", time="2026-03-31T10:00:00Z"))[-1] == ("purchase", "anna", None)
    without = Stage(programme(SPEND))
    without.buy("2026-03-01T10:00:00Z", ("mug", "9.00"), member=None, order="o1")
    assert claim(without, "anna").reason == "no_claims"


def test_card_shown_and_receipt_scanned() -> None:
    """The order is the member's already, or another's: it counts once."""
    stage = Stage(programme(SPEND + CLAIM))
    stage.buy("2026-03-01T10:00:00Z", ("mug", "9.00"), order="o1")
    assert claim(stage, "anna").reason == "order_already_counted"
    assert told(stage, claim(stage, "ben"))[-1] == ("claim_answered", "ben", "unknown_order")
    assert stage.balance() == 9


def test_a_refund_without_a_subject_reaches_the_owner() -> None:
    """What came back before the claim is taken off as well as what comes back later."""
    stage = Stage(programme(SPEND + CLAIM))
    stage.buy("2026-03-01T10:00:00Z", ("mug", "9.00"), member=None, order="o1")
    data = {"order_id": "o1", "currency": "EUR", "amount": "3.00"}
    stage.say(facts.REFUND, None, "2026-03-02T10:00:00Z", data)
    claim(stage, "anna")
    assert stage.balance() == 6
    later = stage.say(facts.REFUND, None, "2026-03-11T10:00:00Z", data)
    assert (later.outcome, points(stage.decisions[-1])) == ("forwarded", [("spend", -3)])
    assert stage.balance() == 3


def test_a_sale_delivered_again_after_its_claim_is_a_duplicate() -> None:
    """And the same order under another id is counted already."""
    stage = Stage(programme(SPEND + CLAIM))
    for event_id in ("s1", "s1", "s2"):
        data = {
            "order_id": "o1",
            "lines": [{"sku": "mug", "quantity": "1", "unit_price": "9.00"}],
            "total": "9.00",
            "currency": "EUR",
            "channel": "pos",
        }
        sale = stage.say(facts.PURCHASE, None, "2026-03-01T10:00:00Z", data, event_id)
        if event_id == "s1" and sale.outcome == "decided":
            claim(stage, "anna")
    assert stage.decisions[-1].reason == "order_already_counted"
    assert stage.balance() == 9


def test_a_claimed_sale_is_never_too_late() -> None:
    """The member bought since then; the claim is in time, so the sale is taken."""
    stage = Stage(programme("accept_late: 2 days\n" + SPEND + CLAIM))
    stage.buy("2026-03-01T10:00:00Z", ("mug", "9.00"), member=None, order="o1")
    stage.buy("2026-03-20T10:00:00Z", ("mug", "5.00"), order="o2")
    claim(stage, "anna", time="2026-03-20T11:00:00Z")
    assert stage.balance() == 14


def test_a_claim_by_a_card_is_the_members() -> None:
    """The alias forwards the claim like any other fact."""
    stage = Stage(programme(SPEND + CLAIM))
    stage.staff(facts.LINK, "card-7", "2026-02-01T10:00:00Z", member="anna")
    stage.buy("2026-03-01T10:00:00Z", ("mug", "9.00"), member=None, order="o1")
    claim(stage, "card-7")
    assert stage.balance() == 9


def test_an_order_that_waits_for_its_claim_is_packed_and_one_that_cannot_be_claimed_keeps_nothing() -> None:
    """Only where a programme allows claims the sale is kept as it was told."""
    for body, kept in ((SPEND + CLAIM, 1), (SPEND, 0)):
        stage = Stage(programme(body))
        stage.buy("2026-03-01T10:00:00Z", ("mug", "9.00"), member=None, order="o1")
        key = "order:urn:till:7:o1"
        member = stage.partition.members[key]
        assert len(member.kept) == kept
        assert pack(unpack(key, pack(member))) == pack(member)
