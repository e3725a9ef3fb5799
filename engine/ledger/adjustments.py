"""Staff gives points, takes points, or gives back what had expired; the fact names who did it and why."""

from __future__ import annotations

from engine.ledger.debt import Purse
from engine.ledger.expiry import entry_id, expiry_id
from engine.ledger.member import Lot, Member
from rules.book import Programme
from schemas import facts
from schemas.decisions import Decision, Entry, Note
from schemas.envelope import Fact
from schemas.ids import hash_id

#: The rule that entries made by staff carry.
STAFF = "staff"


def decide_adjustment(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Fill ``decision`` with what staff gives or takes."""
    data: facts.AdjustmentForm = fact.data
    points = data["points"]
    if data["reinstate"] is not None:
        lots = expired_by(member, data["reinstate"])
        if not lots:
            decision.reason = "nothing_to_reinstate"
            text = "no points are known that went with this entry and were not given back"
            decision.notes = [Note("nothing_to_reinstate", None, text)]
            return []
        given = sum([lot.gone for lot in lots])
        entry = _entry(member, fact, programme, "reinstate", given, data["reinstate"])
        entry.burns = [(lot.id, 0) for lot in lots]
        decision.entries = [entry]
    elif points is not None and points > 0:
        decision.entries = [_entry(member, fact, programme, "adjust", points)]
    elif points is not None:
        _take(member, fact, programme, -points, decision)
    return []


def _take(member: Member, fact: Fact, programme: Programme | None, points: int, decision: Decision) -> None:
    purse = Purse(member, [], programme, member.now_us(fact.time_us), staff=True)
    ((burns, owed),) = purse.take([("", points)])
    taken = owed + sum([part for _, part in burns])
    if taken < points:
        text = f"{points} points were to be taken, {taken} were there"
        decision.notes = [Note("not_taken", None, text)]
    if taken:
        entry = _entry(member, fact, programme, "adjust", -taken)
        entry.burns = burns
        decision.entries = [entry]


def _entry(
    member: Member, fact: Fact, programme: Programme | None, kind: str, points: int, caused_by: str | None = None
) -> Entry:
    return Entry(
        entry_id=hash_id(fact.source, fact.id, member.key, kind),
        member_id=member.key,
        kind="reinstate" if kind == "reinstate" else "adjust",
        points=points,
        rule_id=STAFF,
        rule_version=0 if programme is None else programme.version,
        source=fact.source,
        fact_id=fact.id,
        occurred_at=fact.time,
        caused_by=caused_by,
        active_from=fact.time if points > 0 else None,
    )


def expired_by(member: Member, expiry: str) -> list[Lot]:
    """Return the lots out of which an entry of kind ``expire`` took points that were not given back since.

    The entry's id follows from the moment at which it took them, and a lot knows that moment.
    """
    lots = [lot for lot in member.lots_apart.values() if lot.gone and lot.expires_us is not None]
    moments = {lot.expires_us for lot in lots if lot.expires_us is not None}
    due = next((moment for moment in moments if entry_id(member.key, expiry_id(member.key, moment)) == expiry), None)
    if due is not None:
        return [lot for lot in lots if lot.expires_us == due]
    return [lot for lot in lots if entry_id(member.key, hash_id("expiry", member.key, lot.id)) == expiry]
