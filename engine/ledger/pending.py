"""Points that cannot be spent yet: the fact they wait for came, did not come in time, or they pay a debt when they may.

Points that wait for a time alone need nothing here: their lot says from when on they can be spent.
"""

from __future__ import annotations

from engine.ledger.expiry import expire_entry
from engine.ledger.lots import Lot
from engine.ledger.member import ARRIVED, Member
from engine.ledger.moved import Moved
from engine.ledger.orders import Grant
from engine.ledger.welcomes import after_cancelling
from rules.book import Book, Programme
from schemas.decisions import Decision, Entry, StateChange
from schemas.envelope import TIMER_SOURCE, Fact
from schemas.ids import hash_id
from schemas.times import to_text

#: The rule that entries of kind ``release`` and ``cancel`` carry.
PENDING = "pending"


def release_awaited(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> None:
    """Make spendable what the lots of an order waited for: the activity names the order as its attribute ``order_id``."""
    attributes = fact.data["attributes"]
    order_id, source = attributes.get("order_id"), attributes.get("order_source", fact.source)
    if order_id is None:
        return
    ref = f"{source}|{order_id}"
    order = member.order(ref)
    entries, debt = [], member.debt
    for grant in () if order is None else order.grants:
        lot = member.lots_apart.get(grant[0])
        if lot is None or lot.left == 0 or lot.waits_for != fact.data["name"]:
            continue
        entry = _release(member, fact, programme, ref, grant, lot, debt)
        debt -= entry.burns[0][1]
        entries.append(entry)
        if entry.expires_at is not None and (ends := entry.expires_at) <= to_text(member.now_us(fact.time_us)):
            entries.append(_over(member, programme, lot, ends))
    if entries:
        decision.entries = [*decision.entries, *entries]


def keep_arrival(member: Member, fact: Fact, programme: Programme, decision: Decision) -> None:
    """Remember a fact that points wait for and whose order is not known yet: the parcel overtook the receipt."""
    attributes, name = fact.data["attributes"], fact.data["name"]
    order_id = attributes.get("order_id")
    if programme.lots is None or name not in programme.lots.awaited or order_id is None:
        return
    ref = f"{attributes.get('order_source', fact.source)}|{order_id}"
    if not member.has_order(ref):
        state = StateChange(member.key, ARRIVED, f"{name}|{ref}", fact.time, fact.source, fact.id, fact.time)
        decision.states = [*decision.states, state]


def _release(
    member: Member, fact: Fact, programme: Programme | None, ref: str, grant: Grant, lot: Lot, debt: int
) -> Entry:
    entry_id, rule_id, rule_version, _ = grant
    expiry = None
    if programme is not None and programme.lots is not None:
        expiry = programme.lots.terms(rule_id, member.tier).expiry
    ends_us = None if expiry is None or programme is None else expiry.ends_us(fact.time_us, programme.time_zone)
    over = ends_us is not None and ends_us <= member.now_us(fact.time_us)
    return Entry(
        entry_id=hash_id(fact.source, fact.id, member.key, "release", entry_id),
        member_id=member.key,
        kind="release",
        points=0,
        rule_id=rule_id,
        rule_version=rule_version,
        source=fact.source,
        fact_id=fact.id,
        occurred_at=fact.time,
        caused_by=entry_id,
        active_from=fact.time,
        expires_at=None if ends_us is None else to_text(ends_us),
        order=ref,
        burns=[(entry_id, 0 if over else min(debt, lot.left))],
    )


def _over(member: Member, programme: Programme | None, lot: Lot, at: str) -> Entry:
    return expire_entry(member, programme, [lot], hash_id("expiry", member.key, lot.id), at)


def cancel_due_us(member: Member) -> int | None:
    """Return when points are next taken because the fact they wait for did not come, None for never."""
    return member.cancel_us


def cancel_when_due(member: Member, book: Book, due: int) -> Moved:
    """Take what is left of the lots that have waited long enough, each by its own entry."""
    programme, at, moved = book.at(due), to_text(due), Moved()
    fact_id = hash_id(PENDING, member.key, at)
    for lot in member.lots_apart.values():
        if lot.left and lot.cancel_us is not None and lot.cancel_us <= due:
            entry = Entry(
                entry_id=hash_id(TIMER_SOURCE, fact_id, member.key, "cancel", lot.id),
                member_id=member.key,
                kind="cancel",
                points=-lot.left,
                rule_id=PENDING,
                rule_version=0 if programme is None else programme.version,
                source=TIMER_SOURCE,
                fact_id=fact_id,
                occurred_at=at,
                caused_by=lot.id,
                burns=[(lot.id, lot.left)],
            )
            moved.entries.append(entry)
    if moved.entries:
        moved.add(after_cancelling(member, book, moved.entries, due))
    return moved


def activation_due_us(member: Member) -> int | None:
    """Return when a lot next becomes spendable and pays a debt with it, None without a debt."""
    if not member.debt:
        return None
    return min([lot.active_us for lot in _waiting_for_a_time(member) if lot.active_us is not None], default=None)


def _waiting_for_a_time(member: Member) -> list[Lot]:
    return [
        lot for lot in member.lots_apart.values() if lot.left and lot.active_us is not None and lot.waits_for is None
    ]


def pay_when_active(member: Member, book: Book, due: int) -> Moved:
    """Let the lots that become spendable pay what the member owes."""
    programme, at, moved, debt = book.at(due), to_text(due), Moved(), member.debt
    fact_id = hash_id("activation", member.key, at)
    for lot in _waiting_for_a_time(member):
        if debt and lot.active_us is not None and lot.active_us <= due:
            paid = min(debt, lot.left)
            debt -= paid
            entry = Entry(
                entry_id=hash_id(TIMER_SOURCE, fact_id, member.key, "release", lot.id),
                member_id=member.key,
                kind="release",
                points=0,
                rule_id=PENDING,
                rule_version=0 if programme is None else programme.version,
                source=TIMER_SOURCE,
                fact_id=fact_id,
                occurred_at=at,
                caused_by=lot.id,
                active_from=to_text(lot.active_us),
                expires_at=None if lot.expires_us is None else to_text(lot.expires_us),
                burns=[(lot.id, paid)],
            )
            moved.entries.append(entry)
    return moved
