"""Two keys, one member: a lost card, a second card, card and app, accounts that become one.

After ``link`` or ``merge`` the key is an alias: its partition answers every fact with outcome ``forwarded`` and writes it to
the member's partition, with the same source and id, so that a duplicate stays one. What the alias had moves over in facts of
the engine's own (``takeover``), written with the decision: its lots with their dates as a transfer, its debt, and what is known
of it, so that a later refund, second delivery or cap still finds it.

An alias can point at an alias. Its partition knows the keys that became its own, and refuses to point back at them; where two
staff close a circle at the same moment in two partitions, the takeover that comes round ends it at the smallest key.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import orjson

from engine.ledger.early import answer_what_was_early
from engine.ledger.following import follow
from engine.ledger.lots import burn_from, open_lots
from engine.ledger.member import SLIDING, Lot, Member, Spent
from engine.ledger.orders import Returned, day_text, keep_again
from engine.ledger.played import Played, states_of
from engine.ledger.repeats import answer_again
from engine.ledger.takeover import lot_here
from engine.ledger.waiting import act_on_takeover
from rules.book import Programme
from schemas import facts
from schemas.decisions import Decision, Entry, StateChange
from schemas.envelope import ALIAS_SOURCE, Fact
from schemas.ids import hash_id
from schemas.rejects import Rejected
from schemas.times import to_text

#: A record of facts holds no more than so many bytes of what moves over; the rest follows in the next one.
PART_BYTES = 400_000
#: What an alias answers itself: whose it is, it is asked.
_OWN_TYPES = facts.ALIASING | {facts.CLAIM_ASKED, facts.ALIAS_FORGET, facts.ORDER_OWNED}


def forward(member: Member, fact: Fact, decision: Decision) -> tuple[list[Fact], Rejected | None] | None:
    """Answer a fact that an alias gets; None where the alias answers it like a member.

    What the alias had seen itself before it became one is a duplicate here.
    """
    to = member.alias_of
    assert to is not None
    if fact.type in _OWN_TYPES or (fact.type == facts.TAKEOVER and _ends_circle(member, fact.data["through"])):
        return None
    seen = member.history.seen(fact.source, fact.id)
    if seen is not None:
        return [], answer_again(fact, seen[0], decision)
    data = fact.data
    if fact.type == facts.TAKEOVER:
        data = {**data, "through": [*data["through"], member.key]}
    decision.outcome = "forwarded"
    passed = follow(decision, fact, to, source=fact.source, fact_id=fact.id, kind=fact.type, data=data)
    if fact.type == facts.PROFILE:
        passed.body_hash = (
            fact.body_hash
        )  # sealed anew, the same profile has other bytes: only this hash knows it again
    return [passed], None


def _ends_circle(member: Member, through: list[str]) -> bool:
    """Tell whether a takeover came round to the key at which its circle is opened: the smallest."""
    if member.alias_of not in through:
        return False
    circle = [*through[through.index(member.alias_of) :], member.key]
    return member.key == min(circle)


def decide_link(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Fill ``decision`` with the end of a key of its own; return what it had, for the member whom it becomes."""
    to = target(fact)
    decision.reason = _refusal(member, to)
    if decision.reason is not None:
        return []
    version = 0 if programme is None else programme.version
    rule = facts.SHORT_NAMES[fact.type]
    lots = open_lots(member)
    points = sum([lot.left for lot in lots])
    entries = []
    if points:
        burns = burn_from(lots, points)
        entries.append(_entry(fact, member.key, "out", -points, rule, version, burns))
    if member.debt:
        entry = _entry(fact, member.key, "debt", member.debt, rule, version, [])
        entry.active_from, entry.burns = fact.time, [(entry.entry_id, member.debt)]
        entries.append(entry)
    if entries:
        decision.entries = entries
    return _takeovers(member, fact, lots, entries[0].entry_id if points else None, to, decision)


def target(fact: Fact) -> str:
    """Return whom a key becomes."""
    key: str = fact.data["member" if fact.type == facts.LINK else "into"]
    return key


def _refusal(member: Member, to: str) -> str | None:
    if member.alias_of is not None:
        return "already_alias"
    if to == member.key:
        return "own_alias"
    return "alias_loop" if to in member.aliases else None


def _entry(
    fact: Fact, member_id: str, leg: str, points: int, rule: str, version: int, burns: list[tuple[str, int]]
) -> Entry:
    return Entry(
        hash_id(fact.source, fact.id, member_id, "transfer", leg),
        member_id,
        "transfer",
        points,
        rule,
        version,
        fact.source,
        fact.id,
        fact.time,
        burns=burns,
    )


def _takeovers(
    member: Member, fact: Fact, lots: list[Lot], cause: str | None, to: str, decision: Decision
) -> list[Fact]:
    """Return the facts that carry over what a member has, in as many parts as it needs; they stand in ``decision`` too."""
    parts: list[facts.TakeoverForm] = [_empty(member, fact, cause)]
    parts[0] |= _rest(member)
    if member.sealed is not None:
        parts[0]["profile"] = [*member.sealed]
    room = PART_BYTES
    for name, item in _items(member, lots):
        size = len(orjson.dumps(item))
        if size > room:
            parts.append(_empty(member, fact, cause))
            room = PART_BYTES
        cast("dict[str, list[Any]]", parts[-1])[name].append(item)
        room -= size
    parts[-1]["debt"] = member.debt
    ids = [hash_id(fact.source, fact.id, member.key, "takeover", str(number)) for number in range(len(parts))]
    return [
        follow(decision, fact, to, source=ALIAS_SOURCE, fact_id=fact_id, kind=facts.TAKEOVER, data=part)
        for fact_id, part in zip(ids, parts, strict=True)
    ]


def _empty(member: Member, fact: Fact, cause: str | None) -> facts.TakeoverForm:
    return {
        "alias": member.key,
        "action": facts.SHORT_NAMES[fact.type],
        "through": [member.key],
        "cause_source": fact.source,
        "cause_id": fact.id,
        "cause_entry": cause,
        "lots": [],
        "spent": [],
        "orders": [],
        "seen": [],
        "debt": 0,
    }


def _rest(member: Member) -> facts.TakeoverForm:
    """What stands in the first part alone."""
    referral = member.referral
    rest: facts.TakeoverForm = {
        "progress": [[day_text(day), member.days[day]] for day in sorted(member.days) if member.days[day]],
        "counts": [[key, points, times] for key, (points, times) in member.caps.items()],
        "counters": [[key, number, moments, []] for key, (number, moments) in member.counters.items()],
        "override": None if member.override is None else [member.override.tier, member.override.until_day],
        "slides_us": member.slides_us,
        "bonuses": [[key, *bonus] for key, bonus in member.bonuses.items()],
        "arrived": [[name, at_us] for name, at_us in member.arrived.items()],
        "missed": [list(missed) for missed in member.missed],
        "waiting": [list(waiting) for waiting in member.waiting],
        "segments": {segment: list(said) for segment, said in member.segments.items()},
        "welcomed": [[level, *given] for level, given in member.welcomed.items()],
        "redemptions": [[name, *_with_moved(member, spent)] for name, spent in member.spent.items()],
        "played": [[name, *found] for name, found in member.played.items()],
        "visits": member.visits,
        "brought": sorted(member.brought),
        "aliases": sorted(member.aliases),
        "referral": None if referral is None else [referral.referrer, referral.at_us, referral.open],
        "joined_us": member.joined_us,
        "joined_said": member.joined_said,
    }  # type: ignore[typeddict-item]
    if member.told:
        rest["told"] = [list(one) for one in member.told]
    return rest


def _with_moved(member: Member, spent: Spent) -> Spent:
    """Return a redemption with the lots that it emptied: they do not move over, and what comes back makes them anew."""
    moved = {lot_id: (lot_id, earned, ends) for lot_id, earned, ends in spent.moved}
    for lot_id, _ in spent.burns:
        lot = member.lots_apart.get(lot_id)
        if lot is not None and not lot.left:
            moved.setdefault(lot_id, (lot_id, lot.earned_us, lot.expires_us))
    return spent._replace(moved=tuple(moved.values()))


def _items(member: Member, lots: list[Lot]) -> Iterator[tuple[str, Any]]:
    for lot in lots:
        yield "lots", [lot.id, lot.left, lot.earned_us, lot.active_us, lot.expires_us, lot.waits_for, lot.cancel_us]
    for lot in member.lots_apart.values():
        if not lot.left:
            yield "spent", [lot.id, lot.earned_us, lot.gone]
    for source, fact_id, at_us, body, bought in member.history.everything():
        if bought is None:
            if body:
                yield "seen", [source, fact_id, at_us]
            continue
        order = member.unpacked(bought)
        name = [bought.order_source, bought.order_id]
        yield "orders", [*name, source, fact_id, at_us, keep_again(order), _returned(order.returned)]


def _returned(back: Returned | None) -> list[Any] | None:
    if back is None:
        return None
    points = [[entry, line, taken] for (entry, line), taken in back.points.items()]
    return [[*back.milli.items()], [*back.minor.items()], points, back.progress]


def decide_takeover(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Fill ``decision`` with what an alias brings: every lot keeps its dates, progress and caps add up."""
    data: facts.TakeoverForm = fact.data
    version = 0 if programme is None else programme.version
    entries = [_lot_entry(member, fact, Lot(*said), version) for said in data["lots"]]
    if data["debt"]:
        now_us = member.now_us(fact.time_us)
        burns = burn_from([lot for lot in open_lots(member) if lot.active(now_us)], data["debt"])
        entries.append(_entry(fact, member.key, "debt", -data["debt"], data["action"], version, burns))
    if entries:
        decision.entries = entries
    if data.get("progress"):
        decision.progress = [(day, amount) for day, amount in data["progress"]]
    if data.get("counts"):
        decision.counts = [(key, points, times) for key, points, times in data["counts"]]
    if data.get("counters"):
        decision.counters = [(key, number, moments, lines) for key, number, moments, lines in data["counters"]]
    slides_us = data.get("slides_us")
    if slides_us is not None and slides_us > max(member.slides_us or 0, member.now_us(fact.time_us)):
        until = to_text(slides_us)
        decision.states = [StateChange(member.key, SLIDING, SLIDING, until, fact.source, fact.id, fact.time)]
    if data.get("played"):
        decision.states = [*decision.states, *_play(member, fact)]
    return [*act_on_takeover(member, fact, decision), *answer_what_was_early(member, fact, decision)]


def _play(member: Member, fact: Fact) -> list[StateChange]:
    """Return the states by which what an alias played is the member's; what both have, he has as he knows it."""
    others = {name: Played(*said) for name, *said in fact.data["played"]}
    for name, other in others.items():
        if other.award:
            others[name] = other._replace(award=lot_here(fact, member.key, other.award))
    return [
        StateChange(member.key, what, name, state, fact.source, fact.id, to_text(at_us) if at_us else fact.time)
        for what, name, state, at_us in states_of(others, member.played)
    ]


def _lot_entry(member: Member, fact: Fact, lot: Lot, version: int) -> Entry:
    data: facts.TakeoverForm = fact.data
    entry = _entry(fact, member.key, "", lot.left, data["action"], version, [])
    entry.entry_id = lot_here(fact, member.key, lot.id)
    entry.caused_by, entry.earned_at = data["cause_entry"], to_text(lot.earned_us)
    entry.expires_at = _text(lot.expires_us)
    if lot.waits_for is not None:
        entry.waits_for, entry.cancel_at = lot.waits_for, _text(lot.cancel_us)
    elif lot.active(fact.time_us):
        entry.active_from = fact.time
    else:
        entry.active_from = _text(lot.active_us)
    return entry


def _text(moment_us: int | None) -> str | None:
    return None if moment_us is None else to_text(moment_us)
