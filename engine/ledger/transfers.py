"""Points go from one member to another, as one piece of business in two partitions: reserved, credited, confirmed or returned.

The sender's decision takes the points from his lots and offers them (``transfer_offer``); the receiver's takes them as lots with
their old dates, or refuses; its answer (``transfer_answer``) confirms the transfer or gives the sender's lots back what they had.
Every step is written in one transaction with the next one's fact, so there is no end but these two.
"""

from __future__ import annotations

from typing import Any

from engine.ledger.following import follow
from engine.ledger.joining import bar
from engine.ledger.lots import available, burn, open_lots
from engine.ledger.member import EARLY, TRANSFER, Member, transfer_name
from engine.ledger.redemptions import give_back
from rules.book import Programme
from schemas import facts
from schemas.decisions import Decision, Entry, Note, StateChange
from schemas.envelope import TRANSFER_SOURCE, Fact
from schemas.ids import hash_id
from schemas.times import to_text

RESERVED, CREDITED, CONFIRMED, RETURNED = "reserved", "credited", "confirmed", "returned"


def decide_transfer(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Reserve the points and offer them, or refuse and say why."""
    data: facts.TransferForm = fact.data
    now_us = member.now_us(fact.time_us)
    decision.reason = _refusal(member, fact, programme)
    if decision.reason is not None or programme is None:
        return []
    points, has = data["points"], available(member, now_us)
    if points > has:
        decision.reason, decision.notes = "not_enough_points", [Note("balance", None, f"needs {points}, has {has}")]
        return []
    burns = burn(member, points, now_us)
    entry = _entry(member, fact, -points, programme.version, hash_id(fact.source, fact.id, member.key, "transfer"))
    entry.burns = burns
    decision.entries = [entry]
    decision.states = [_state(member, fact, fact.source, fact.id, RESERVED)]
    lots = {lot.id: lot for lot in open_lots(member)}
    offer: facts.TransferOfferForm = {
        "sender": member.key,
        "transfer_source": fact.source,
        "transfer_id": fact.id,
        "cause_entry": entry.entry_id,
        "lots": [[lot_id, taken, lots[lot_id].earned_us, lots[lot_id].expires_us] for lot_id, taken in burns],
    }
    return [_follow(fact, facts.TRANSFER_OFFER, data["to"], offer, decision)]


def _refusal(member: Member, fact: Fact, programme: Programme | None) -> str | None:
    if programme is None:
        return "no_programme"
    plan = programme.transfer
    if plan is None:
        return "no_transfers"
    if fact.data["to"] == member.key or fact.data["to"] in member.aliases:
        return "own_account"
    if fact.data["points"] < plan.at_least:
        return "too_few_points"
    if plan.at_most is not None and fact.data["points"] > plan.at_most:
        return "too_many_points"
    return bar(member, fact, programme)


def decide_transfer_offer(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Take the points that another member sends, or refuse them; answer him in either case."""
    data: facts.TransferOfferForm = fact.data
    decision.reason = _not_taken(member, fact, programme)
    if decision.reason is None:
        version = 0 if programme is None else programme.version
        decision.entries = [_credit(member, fact, lot, version) for lot in data["lots"]]
        decision.states = [_state(member, fact, data["transfer_source"], data["transfer_id"], CREDITED)]
    answer: facts.TransferAnswerForm = {
        "transfer_source": data["transfer_source"],
        "transfer_id": data["transfer_id"],
        "refused": decision.reason,
    }
    return [_follow(fact, facts.TRANSFER_ANSWER, data["sender"], answer, decision)]


def _not_taken(member: Member, fact: Fact, programme: Programme | None) -> str | None:
    if member.joined_us is None:
        return "unknown_member"
    if member.key == fact.data["sender"] or fact.data["sender"] in member.aliases:
        return "own_account"
    return None if programme is None else bar(member, fact, programme)


def _credit(member: Member, fact: Fact, lot: list[Any], version: int) -> Entry:
    lot_id, points, earned_us, expires_us = lot
    source, transfer_id = fact.data["transfer_source"], fact.data["transfer_id"]
    entry = _entry(member, fact, points, version, hash_id(source, transfer_id, member.key, "transfer", lot_id))
    entry.active_from, entry.earned_at, entry.caused_by = fact.time, to_text(earned_us), fact.data["cause_entry"]
    entry.expires_at = None if expires_us is None else to_text(expires_us)
    return entry


def decide_transfer_answer(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Confirm a transfer, or give back what was reserved for it."""
    data: facts.TransferAnswerForm = fact.data
    source, transfer_id, refused = data["transfer_source"], data["transfer_id"], data["refused"]
    state = CONFIRMED if refused is None else RETURNED
    reserved = member.spent.get(transfer_name(source, transfer_id))
    if reserved is None or reserved.state == EARLY:
        decision.reason = "unknown_transfer"
        return []
    if refused is not None:
        decision.entries = give_back(member, fact, programme, reserved)
        decision.notes = [Note(refused, None, "the other side did not take the points: they are back in their lots")]
    decision.states = [_state(member, fact, source, transfer_id, state)]
    return []


def _entry(member: Member, fact: Fact, points: int, version: int, entry_id: str) -> Entry:
    return Entry(entry_id, member.key, "transfer", points, TRANSFER, version, fact.source, fact.id, fact.time)


def _state(member: Member, fact: Fact, source: str, transfer_id: str, state: str) -> StateChange:
    name = transfer_name(source, transfer_id)
    return StateChange(member.key, TRANSFER, name, state, fact.source, fact.id, fact.time)


def _follow(fact: Fact, kind: str, to: str, data: Any, decision: Decision) -> Fact:
    fact_id = hash_id(fact.source, fact.id, to, kind)
    return follow(decision, fact, to, source=TRANSFER_SOURCE, fact_id=fact_id, kind=kind, data=data)
