"""What a basket would earn and why: the core decides it as if it came now, and nothing is written or taken in."""

from __future__ import annotations

import json
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from engine.explain.examining import rules_asked
from engine.gateway.asking import Basket, QuoteAsk
from engine.gateway.card import points_of, rewards_of, vouchers_of
from engine.gateway.problems import Problem, of_rejected
from engine.ledger.member import Member
from engine.ledger.outlook import outlook
from engine.ledger.partition import Answer, Partition
from engine.ledger.timers import settle
from rules.book import Programme
from schemas import facts
from schemas.decisions import Entry
from schemas.envelope import Fact
from schemas.money import minor_digits
from schemas.normalise import OPEN_POLICY, Policy, line_amount, normalise, plain
from schemas.rejects import Rejected
from schemas.times import DAY_US, canonical, to_text

#: A quote is no event: its source and order are the engine's own, so it is like no event that anybody can send.
SOURCE = "urn:stammgast:quote"
ID = NOBODY = "quote"
#: A basket may be quoted for a day to come, up to a year ahead.
_POLICY = Policy("quote", frozenset({facts.PURCHASE}), 366 * DAY_US, OPEN_POLICY.max_bytes)


def purchase_of(ask: QuoteAsk, key: str, programme: Programme, now_us: int) -> Fact:
    """The basket as a purchase of this moment. Errors: Problem of an event that intake would refuse."""
    basket = ask.basket
    currency = basket.currency or programme.currency
    data = basket.model_dump(exclude={"total", "currency"}, exclude_none=True) | {
        "order_id": ID,
        "currency": currency,
        "total": _total(basket, currency),
    }
    event = {
        "specversion": "1.0",
        "id": ID,
        "source": ID,
        "type": facts.PURCHASE,
        "subject": key,
        "time": ask.time or to_text(now_us),
        "data": data,
    }
    try:
        fact = normalise(json.dumps(event, default=_as_text).encode(), to_text(now_us), now_us, _POLICY)
    except Rejected as rejected:
        problem = of_rejected(rejected)
        problem.field = problem.field.replace("data.", "basket.", 1)
        raise problem from rejected
    fact.source = fact.data["order_source"] = SOURCE
    return fact


def _as_text(value: Any) -> str:
    if isinstance(value, Decimal):
        return plain(value)
    raise TypeError(type(value).__name__)


def _total(basket: Basket, currency: str) -> Decimal:
    if basket.total is not None:
        return basket.total
    try:
        digits = minor_digits(currency)
    except KeyError:
        raise Problem("unknown_currency", f"{currency[:16]!r} is no ISO 4217 code", "basket.currency") from None
    minor = 0
    for line in basket.lines:
        gross = line_amount(plain(line.quantity), plain(line.unit_price), 0, digits)
        minor += gross - int((line.discount or Decimal(0)).scaleb(digits))
    return Decimal(max(0, minor)).scaleb(-digits)


def quote(partition: Partition, member: Member | None, fact: Fact, programme: Programme) -> dict[str, Any]:
    """What the purchase would do.

    Args:
        partition: of the member; any where nobody is named.
        member: None for somebody of whom nothing is known.
        programme: in force at the fact's time.

    Errors: ProfileUnavailable where the answer depends on a profile that does not open here.
    """
    answer = partition.preview(fact)
    settled = settle(member or Member(fact.subject or NOBODY), partition.book, fact.time_us)[0]
    sealed = settled.sealed
    if sealed is not None and partition.book.asks_profile:
        settled = settled.fork()  # the state itself keeps it sealed
        settled.opened = partition.opens(sealed)
    decision, now_us = answer.decisions[0], settled.now_us(fact.time_us)
    mine = [entry for entry in decision.entries if entry.fact_id == fact.id]
    before = points_of(settled, now_us)
    points = sum(entry.points for entry in mine)
    seen = outlook(settled, programme, now_us)
    return {
        "member": None if member is None else member.key,
        "as_of": to_text(fact.time_us),
        "points": points,
        "points_name": programme.points_name,
        "outcome": decision.outcome,
        "reason": decision.reason,
        "entries": [_entry(entry) for entry in mine],
        "why": [asdict(rule) for rule in rules_asked(settled, fact, programme, decision)],
        "notes": [asdict(note) for note in decision.notes],
        "tier": {
            "id": settled.tier or programme.base_tier,
            "after": _tier_after(answer, settled) or programme.base_tier,
            "benefits": [] if seen is None else list(seen.benefits),
        },
        "available": before["available"],
        "vouchers": vouchers_of(settled, partition.book, sum(line["amount_minor"] for line in fact.data["lines"])),
        "rewards": rewards_of(settled, programme, now_us, before["available"]),
    }


def _tier_after(answer: Answer, member: Member) -> str | None:
    changes = [change for decision in answer.decisions for change in decision.tiers if change.member_id == member.key]
    return changes[-1].tier if changes else member.tier


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "rule": entry.rule_id,
        "rule_version": entry.rule_version,
        "kind": entry.kind,
        "points": entry.points,
        "lines": [list(line) for line in entry.lines],
        "active_from": entry.active_from,
        "expires_at": entry.expires_at,
        "waits_for": entry.waits_for,
    }


def programme_at(partition: Partition, time: str | None, now_us: int) -> Programme:
    """The version in force at the moment of a quote. Errors: Problem no_programme, bad_request."""
    moment = now_us
    if time is not None:
        try:
            _, moment = canonical(time.upper())
        except (ValueError, OverflowError) as error:
            raise Problem("bad_request", f"{time} is no moment of the calendar", "time") from error
    programme = partition.book.at(moment)
    if programme is None:
        raise Problem("no_programme", f"no version of the programme is in force at {to_text(moment)}")
    return programme
