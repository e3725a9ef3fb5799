"""What a member takes over of a key that became his, and what then is left at that key.

`engine.ledger.aliases` decides both; here they are folded.
"""

from __future__ import annotations

from typing import Any

import orjson

from engine.ledger.early import brought
from engine.ledger.history import ANY_BODY, Fresh
from engine.ledger.member import (
    DEDUPE_HORIZON_US,
    Bonus,
    Lot,
    Member,
    Missed,
    Override,
    Referral,
    Sealed,
    Spent,
    Waiting,
    Welcomed,
)
from engine.ledger.orders import Returned
from schemas import facts
from schemas.envelope import Fact
from schemas.ids import hash_id


def lot_here(fact: Fact, key: str, lot_id: str) -> str:
    """Return the name that a lot of an alias has with the member who took it over."""
    return hash_id(fact.data["cause_source"], fact.data["cause_id"], key, "transfer", lot_id)


def take_over(member: Member, fact: Fact) -> None:
    """Take in what is known of a key that became this member's: orders and facts that count as seen, and the rest.

    What the member knows himself stays as he knows it. Points, progress and caps are in the decision.
    """
    data: facts.TakeoverForm = fact.data
    member.alias_of = None
    member.aliases |= {data["alias"], *data["through"], *data.get("aliases", ())} - {member.key}
    for lot_id, earned_us, gone in data["spent"]:
        here = lot_here(fact, member.key, lot_id)
        member.lots_apart[here] = Lot(here, 0, earned_us, gone=gone)
    for order_source, order_id, *order in data["orders"]:
        if not member.history.has_order(order_source, order_id):
            _take_order(member, fact, (order_source, order_id), order)
    horizon_us = (member.newest_us or 0) - DEDUPE_HORIZON_US
    for source, fact_id, at_us in data["seen"]:
        if member.history.seen(source, fact_id) is None:
            member.history.remember(source, fact_id, Fresh(ANY_BODY, at_us, None, None), horizon_us)
    for store, at_us in data.get("visits", {}).items():
        member.visits[store] = max(at_us, member.visits.get(store, at_us))
    member.brought |= set(data.get("brought", ()))
    _take_given(member, fact)
    member.told = sorted([*member.told, *[(channel, at_us) for channel, at_us in data.get("told", ())]], key=_second)
    member.waiting += tuple([Waiting(*waiting) for waiting in data.get("waiting", ())])
    for segment, (at_us, entered) in data.get("segments", {}).items():
        member.take_segment(segment, at_us, entered)
    _take_standing(member, data)
    profile = data.get("profile")
    if profile is not None and (member.sealed is None or profile[0] > member.sealed.at_us):
        member.sealed = Sealed(*profile)


def _second(pair: tuple[str, int]) -> int:
    return pair[1]


def _take_standing(member: Member, data: facts.TakeoverForm) -> None:
    override, referral = data.get("override"), data.get("referral")
    if member.override is None and override is not None:
        member.override = Override(*override)
    if member.referral is None and referral is not None:
        member.referral = Referral(*referral)
    joined_us, said = data.get("joined_us"), data.get("joined_said", False)
    if joined_us is not None and (said, -joined_us) > (member.joined_said, -(member.joined_us or joined_us)):
        member.joined_us, member.joined_said = joined_us, said


def _take_given(member: Member, fact: Fact) -> None:
    """Take in what an alias was given, and what it spent: whatever is given back later finds its lots."""
    data: facts.TakeoverForm = fact.data
    for level, entry_id, *given in data.get("welcomed", ()):
        member.welcomed.setdefault(level, Welcomed(lot_here(fact, member.key, entry_id), *given))
    for key, entry_id, *bonus in data.get("bonuses", ()):
        own = None if entry_id is None else lot_here(fact, member.key, entry_id)
        member.bonuses.setdefault(key, Bonus(own, *bonus))
    for what, at_us in data.get("arrived", ()):
        member.arrived.setdefault(what, at_us)
    for name, points, version, entry_id, rule_id, order, names in data.get("missed", ()):
        here = lot_here(fact, member.key, entry_id)
        member.missed += (Missed(name, points, version, here, rule_id, order, tuple(names)),)
    for name, *fields in data.get("redemptions", ()):
        spent = Spent.of(fields)
        took = tuple([(lot_here(fact, member.key, lot_id), points) for lot_id, points in spent.burns])
        moved = tuple([(lot_here(fact, member.key, lot_id), earned, ends) for lot_id, earned, ends in spent.moved])
        member.spent[name] = brought(member.spent.get(name), spent._replace(burns=took, moved=moved))
        member.find_lapse()


def _take_order(member: Member, fact: Fact, name: tuple[str, str], order: list[Any]) -> None:
    """Keep an order of an alias; its grants are lots of the member's own, which stand apart: what is left came as a transfer."""
    source, fact_id, at_us, kept, returned = order
    *about, grants, used = kept
    here = [(rule, version, shares, lot_here(fact, member.key, entry_id)) for rule, version, shares, entry_id in grants]
    packed = bytes(memoryview(orjson.dumps((*about, here, used))))
    horizon_us = (member.newest_us or 0) - DEDUPE_HORIZON_US
    member.history.remember(source, fact_id, Fresh(ANY_BODY, at_us, packed, name), horizon_us)
    member.orders_counted += 1
    member.last_purchase_us = max(at_us, member.last_purchase_us or at_us)
    member.first_purchase_us = min(at_us, at_us if member.first_purchase_us is None else member.first_purchase_us)
    if returned is not None:
        bought = member.history.order(*name)
        assert bought is not None
        milli, minor, points, taken = returned
        back = {(lot_here(fact, member.key, entry_id), line): gone for entry_id, line, gone in points}
        member.returned[bought.number] = Returned(dict(milli), dict(minor), back, taken)


def become_alias(member: Member, to: str) -> None:
    """What a key had is the member's now: here stands only whose it is, and which facts were seen."""
    member.alias_of, member.standing, member.referral, member.left_us = to, None, None, None
    member.days, member.years, member.caps, member.visits = {}, {}, {}, {}
    member.brought, member.returned, member.counters, member.override = set(), {}, {}, None
    member.slides_us, member.bonuses, member.welcomed, member.waiting = None, {}, {}, ()
    member.missed, member.arrived = (), {}
    member.spent, member.lapse_us, member.played = {}, None, {}
    member.segments, member.sealed = {}, None
    member.came, member.awaited, member.told = {}, {}, []
