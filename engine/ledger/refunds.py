"""Goods came back: the points of the returned part go back, cumulatively and pro rata per order line.

target = half_up(granted x refunded so far / line amount); the difference to what was taken so far is posted. So halves
never take more than the whole, and a full return takes everything.
"""

from __future__ import annotations

from engine.ledger.caps import caps_given_back
from engine.ledger.counters import counters_given_back
from engine.ledger.member import Member, order_ref
from engine.ledger.orders import Grant, Order
from engine.ledger.returns import OrderLines, lay, note
from rules.book import Book
from schemas import facts
from schemas.decisions import Decision, Entry
from schemas.envelope import Fact
from schemas.ids import hash_id
from schemas.money import half_up


def decide_refund(member: Member, fact: Fact, decision: Decision, book: Book) -> list[Fact]:
    """Fill ``decision`` with what a refund takes back."""
    data: facts.RefundForm = fact.data
    ref = order_ref(data)
    order = member.order(ref)
    if order is None:
        decision.reason = "unknown_order"
        note(decision, "unknown_order", f"no order {data['order_id']} is known here: nothing moves")
        return []
    if order.currency != data["currency"]:
        decision.reason = "other_currency"
        text = f"the order was paid in {order.currency}, the refund is in {data['currency']}"
        note(decision, "other_currency", text)
        return []
    take_back(member, fact, ref, order, decision, book)
    return []


def take_back(member: Member, fact: Fact, ref: str, order: Order, decision: Decision, book: Book) -> None:
    """Add to ``decision`` everything that a refund takes back of its order."""
    lines = OrderLines(order)
    lay(lines, fact.data, decision)
    returned = lines.returned()
    if not returned:
        return
    decision.returned = [*decision.returned, *returned]
    clawbacks = [_claw_back(member, fact, ref, order, grant, lines) for grant in order.grants]
    entries = [entry for entry in clawbacks if entry is not None]
    if entries:
        decision.entries = [*decision.entries, *entries]
    if order.counts:
        decision.counts = [*decision.counts, *caps_given_back(order, entries, book)]
    if order.counters:
        decision.counters = [*decision.counters, *counters_given_back(order, lines)]
    _take_progress(order, lines, decision)


def _claw_back(member: Member, fact: Fact, ref: str, order: Order, grant: Grant, lines: OrderLines) -> Entry | None:
    """Return the entry that takes back one grant's points for the returned lines, None if that is nothing."""
    entry_id, rule_id, rule_version, granted_lines = grant
    before = order.returned.points if order.returned is not None else {}
    taken = []
    for number, granted in granted_lines:
        back, whole = lines.share(number)
        points = half_up(granted * back, whole) - before.get((entry_id, number), 0)
        if points:
            taken.append((number, -points))
    total = -sum(points for _, points in taken)
    if total == 0:
        return None
    return Entry(
        entry_id=hash_id(fact.source, fact.id, member.key, "clawback", rule_id, str(rule_version), entry_id),
        member_id=member.key,
        kind="clawback",
        points=-total,
        rule_id=rule_id,
        rule_version=rule_version,
        source=fact.source,
        fact_id=fact.id,
        occurred_at=fact.time,
        caused_by=entry_id,
        order=ref,
        lines=taken,
        burns=[(entry_id, total)],
    )


def _take_progress(order: Order, lines: OrderLines, decision: Decision) -> None:
    """Take back tier progress in the window of the purchase, by the part of the whole order that is refunded."""
    if order.progress is None:
        return
    day, amount = order.progress
    back, whole = lines.whole_share()
    taken = half_up(amount * back, whole) - (order.returned.progress if order.returned is not None else 0)
    if taken:
        decision.progress = [*decision.progress, (day, -taken)]
