"""What goods that came back could not take, because its points were spent, is taken once those very points come back.

Under ``within_balance`` a refund takes what is there and leaves the rest to the member. A redemption or a transfer that was open
then may still be cancelled or returned; without this file, refund first and cancel second would leave him points for goods that
he gave back, and cancel first would not. What he earns later is never touched.
"""

from __future__ import annotations

from engine.ledger.caps import caps_given_back
from engine.ledger.debt import taken_back
from engine.ledger.member import MISSED, Member, Missed
from engine.ledger.returns import note
from rules.book import Book, Programme
from schemas.decisions import Decision, Entry, StateChange
from schemas.envelope import Fact
from schemas.ids import hash_id
from schemas.times import to_us


def fell_short(
    member: Member,
    fact: Fact,
    programme: Programme | None,
    award: tuple[str, str, int],
    points: int,
    order: str,
    decision: Decision,
) -> None:
    """Write down that a refund left points of an award (entry, rule, version) to a member whose spent points may come back.

    Args:
        points: that were not taken.
        order: name of the order, empty where the award is no order's.
    """
    policy = "within_balance" if programme is None else programme.negative_balance
    if policy != "within_balance" or not any(spent.burns for spent in member.spent.values()):
        return
    entry_id, rule_id, version = award
    name = hash_id(fact.source, fact.id, member.key, "missed", entry_id)
    missed = Missed(name, points, version, entry_id, rule_id, order, ())
    decision.states = [*decision.states, _state(member, fact, missed)]


def retake(member: Member, fact: Fact, decision: Decision, book: Book) -> None:
    """Add to ``decision`` what is taken of the points that it gives back: also by what it falls short of itself, where the points
    that paid for the goods come back with them."""
    came = _came_back(member, fact, decision)
    entries: list[Entry] = []
    states: list[StateChange] = []
    later: list[StateChange] = []
    new = _new(member, decision)
    for missed in [*member.missed, *new]:
        burns = []
        due = missed.points
        for name, lots in came:
            for lot_id in lots if name in missed.names else ():
                take = min(due, lots[lot_id])
                if take:
                    lots[lot_id] -= take
                    due -= take
                    burns.append((lot_id, take))
        taken = missed.points - due
        if not taken:
            continue
        entry = taken_back(member, fact, (missed.entry_id, missed.rule_id, missed.version), taken, burns)
        entry.entry_id = hash_id(
            fact.source, fact.id, member.key, "missed", missed.name
        )  # beside what it claims itself
        entry.order = missed.order or None
        entries.append(entry)
        (later if missed in new else states).append(_state(member, fact, missed._replace(points=due)))
        order = member.order(missed.order) if missed.order else None
        if order is not None and order.counts:
            decision.counts = [*decision.counts, *caps_given_back(order, [entry], book)]
    if entries:
        points = -sum([entry.points for entry in entries])
        note(decision, "taken_now", f"{points} points of goods that came back were spent then: they are taken now")
        decision.entries = [*decision.entries, *entries]
        decision.states = [
            *states,
            *decision.states,
            *later,
        ]  # before the redemption ends: what waits for it is known till then


def falls_short(decision: Decision) -> bool:
    """Tell whether a decision writes such a thing down."""
    return any(change.what == MISSED for change in decision.states)


def _new(member: Member, decision: Decision) -> list[Missed]:
    names = tuple([name for name, spent in member.spent.items() if spent.burns])
    found = []
    for change in decision.states:
        if change.what == MISSED:
            points, version, entry_id, rule_id, order = change.state.split("|", 4)
            found.append(Missed(change.id, int(points), int(version), entry_id, rule_id, order, names))
    return found


def _came_back(member: Member, fact: Fact, decision: Decision) -> list[tuple[str, dict[str, int]]]:
    """Return what comes back, by redemption or transfer: the points that stay in each lot."""
    names = {spent.entry_id: name for name, spent in member.spent.items() if spent.burns}
    found: list[tuple[str, dict[str, int]]] = []
    over: dict[str, int] = {}
    now_us = member.now_us(fact.time_us)
    for entry in decision.entries:
        name = names.get(entry.caused_by or "")
        if entry.kind == "expire":
            for lot_id, points in entry.burns:
                over[lot_id] = over.get(lot_id, 0) + points
        elif name is not None and entry.kind == "restore":
            found.append((name, {lot_id: -points for lot_id, points in entry.burns}))
        elif name is not None and entry.makes_lot and not _is_over(entry, now_us):
            found.append((name, {entry.entry_id: entry.points - sum([points for _, points in entry.burns])}))
    for _, lots in found:
        for lot_id in lots:
            gone = min(over.get(lot_id, 0), lots[lot_id])
            if gone:
                over[lot_id] -= gone
                lots[lot_id] -= gone
    return found


def _is_over(entry: Entry, now_us: int) -> bool:
    return entry.expires_at is not None and to_us(entry.expires_at) <= now_us


def _state(member: Member, fact: Fact, missed: Missed) -> StateChange:
    state = f"{missed.points}|{missed.version}|{missed.entry_id}|{missed.rule_id}|{missed.order}"
    return StateChange(member.key, MISSED, missed.name, state, fact.source, fact.id, fact.time)
