"""Goods came back: the points of the returned part go back, cumulatively and pro rata per order line.

target = half_up(granted x refunded so far / line amount); the difference to what was taken so far is posted. So halves
never take more than the whole, and a full return takes everything.
"""

from __future__ import annotations

from engine.ledger.caps import caps_given_back
from engine.ledger.challenges import take_play_back
from engine.ledger.counters import counters_given_back
from engine.ledger.debt import Purse, taken_back
from engine.ledger.giving import withdraw
from engine.ledger.lots import lots_of
from engine.ledger.member import Bonus, Member, order_ref
from engine.ledger.missed import fell_short
from engine.ledger.orders import Grant, Order
from engine.ledger.redemptions import pay_back
from engine.ledger.referrals import REFERRED
from engine.ledger.returns import OrderLines, lay, note
from engine.ledger.reversals import bonus_left, lost_bonus, reverse_referral
from engine.ledger.tiers import cancelled_points
from engine.ledger.waiting import wait_for_purchase
from rules.book import Book, Programme
from schemas import facts
from schemas.decisions import Decision, Entry
from schemas.envelope import Fact
from schemas.money import allot, half_up


def decide_refund(member: Member, fact: Fact, decision: Decision, book: Book) -> list[Fact]:
    """Fill ``decision`` with what a refund takes back."""
    data: facts.RefundForm = fact.data
    ref = order_ref(data)
    order = member.order(ref)
    if order is None:
        wait_for_purchase(member, fact, book.at(fact.time_us), decision)
        return []
    if order.currency != data["currency"]:
        decision.reason = "other_currency"
        text = f"the order was paid in {order.currency}, the refund is in {data['currency']}"
        note(decision, "other_currency", text)
        return []
    return take_back(member, fact, ref, order, decision, book)


def take_back(member: Member, fact: Fact, ref: str, order: Order, decision: Decision, book: Book) -> list[Fact]:
    """Add to ``decision`` everything that a refund takes back of its order; return facts that follow for others."""
    lines = OrderLines(order)
    lay(lines, fact.data, decision)
    returned = lines.returned()
    if not returned:
        return []
    decision.returned = [*decision.returned, *returned]
    programme = book.at(fact.time_us)
    bonus = lost_bonus(member, ref, order, lines, book) if member.bonuses else None
    entries = _claw_back(member, fact, ref, order, lines, bonus, decision, programme)
    if entries:
        decision.entries = [*decision.entries, *entries]
    if programme is not None and programme.pays_back and member.spent:
        owed = -sum([entry.points + sum([points for _, points in entry.burns]) for entry in entries])
        paid = pay_back(member, fact, programme, ref, lines.whole_share(), member.debt + owed)
        decision.entries = [*decision.entries, *paid]
    if order.counts:
        decision.counts = [*decision.counts, *caps_given_back(order, entries, book)]
    if order.counters:
        decision.counters = [*decision.counters, *counters_given_back(order, lines)]
    _take_progress(order, lines, decision, cancelled_points(order, member.lots_apart, book))
    derived = withdraw(member, fact, ref, lines, decision) if member.spent else []
    if member.played:
        derived = [*derived, *take_play_back(member, fact, ref, lines, decision, book)]
    return derived if bonus is None else [*derived, *reverse_referral(member, fact, bonus, entries, decision)]


def _claw_back(
    member: Member,
    fact: Fact,
    ref: str,
    order: Order,
    lines: OrderLines,
    bonus: Bonus | None,
    decision: Decision,
    programme: Programme | None,
) -> list[Entry]:
    """Return the entries that take back the grants' points for the returned lines and a lost bonus, each that had some."""
    claimed = [(grant, _claim(member, grant, lines)) for grant in order.grants]
    claims = [(grant, by_line, sum(by_line.values())) for grant, by_line in claimed if by_line]
    own = lots_of(member, order)
    if bonus is not None and bonus.entry_id is not None:
        lot, points = bonus_left(member, bonus)
        own.append(lot)
        claims.append(((bonus.entry_id, REFERRED, bonus.rule_version, ()), {}, points))
    if not claims:
        return []
    taken = Purse(member, own, programme, member.now_us(fact.time_us)).take(
        [(grant[0], due) for grant, _, due in claims]
    )
    entries, short = [], 0
    for (grant, by_line, due), (burns, owed) in zip(claims, taken, strict=True):
        points = owed + sum([points for _, points in burns])
        if points < due:
            short += due - points
            fell_short(member, fact, programme, grant[:3], due - points, ref if by_line else "", decision)
        if points:
            entry = taken_back(member, fact, grant[:3], points, burns)
            if by_line:
                entry.order = ref
                parts = allot(points, list(by_line.values()))
                entry.lines = [(number, -part) for number, part in zip(by_line, parts, strict=True) if part]
            entries.append(entry)
    if short:
        note(decision, "not_taken", f"{short} points of it were spent already: they are not taken back")
    return entries


def _claim(member: Member, grant: Grant, lines: OrderLines) -> dict[int, int]:
    """Return by line how much of a grant is to be taken back now: no more than what time left of it."""
    lot_id, _, _, granted_lines = grant
    lot = member.lots_apart.get(lot_id)
    by_line = {}
    for number, granted in granted_lines:
        points = lines.target(granted, number) - lines.target_before(granted, number)
        if points:
            by_line[number] = points
    if lot is not None and lot.gone:
        granted = sum([points for _, points in granted_lines])
        before = sum([lines.target_before(points, number) for number, points in granted_lines])
        most = max(0, granted - lot.gone - before)
        if most < sum(by_line.values()):
            parts = allot(most, list(by_line.values())) if most else []
            by_line = {number: part for number, part in zip(by_line, parts, strict=False) if part}
    return by_line


def _take_progress(order: Order, lines: OrderLines, decision: Decision, gone: int) -> None:
    """Take back tier progress in the window of the purchase, by the part of the whole order that is refunded; ``gone`` of it
    went back already, when points that waited were cancelled."""
    if order.progress is None:
        return
    day, amount = order.progress
    back, whole = lines.whole_share()
    taken = half_up((amount - gone) * back, whole) - (order.returned.progress if order.returned is not None else 0)
    if taken > 0:
        decision.progress = [*decision.progress, (day, -taken)]
