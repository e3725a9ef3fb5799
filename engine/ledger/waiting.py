"""A refund that comes before its purchase waits for it: it moves nothing, and acts when the purchase comes, or lapses.

When the purchase comes, its decision leads to a fact for the same member, right behind it in the log, that takes back what the
refund says. So the purchase is decided as any other, and so is what comes back of it.
"""

from __future__ import annotations

from engine.ledger.following import follow
from engine.ledger.member import FOUND, LAPSED, REFUND_WAITS, Member, Waiting, order_ref
from engine.ledger.moved import Moved
from engine.ledger.returns import note
from rules.book import REFUND_WAITS_US, Book, Programme
from schemas import facts
from schemas.decisions import Decision, StateChange
from schemas.envelope import REFUND_SOURCE, TIMER_SOURCE, Fact
from schemas.ids import hash_id
from schemas.times import to_text


def wait_for_purchase(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> None:
    """Let a refund wait for its purchase, as long as the programme of its time says; it moves nothing now."""
    decision.reason = "unknown_order"
    until_us = fact.time_us + (REFUND_WAITS_US if programme is None else programme.refund_waits_us)
    text = f"no order {fact.data['order_id']} is known here: nothing moves"
    if until_us <= member.now_us(fact.time_us):
        note(decision, "unknown_order", text)
        return
    note(decision, "unknown_order", f"{text} before it comes, by {to_text(until_us)}")
    change = StateChange(
        member.key, REFUND_WAITS, f"{fact.source}|{fact.id}", to_text(until_us), fact.source, fact.id, fact.time
    )
    decision.states = [*decision.states, change]


def act_on(member: Member, fact: Fact, decision: Decision) -> list[Fact]:
    """Return the facts by which refunds that waited for this purchase act."""
    order = order_ref(fact.data)
    if decision.reason == "order_already_counted":
        return []
    return [_act(member, waiting, fact, decision) for waiting in member.waiting if waiting.order == order]


def act_on_takeover(member: Member, fact: Fact, decision: Decision) -> list[Fact]:
    """Return the facts by which refunds act whose purchase the member knows once he takes an alias over."""
    data: facts.TakeoverForm = fact.data
    come = {f"{order_source}|{order_id}" for order_source, order_id, *_ in data["orders"]}
    waiting = [*member.waiting, *[Waiting(*said) for said in data.get("waiting", ())]]
    return [_act(member, one, fact, decision) for one in waiting if one.order in come or member.has_order(one.order)]


def _act(member: Member, waiting: Waiting, fact: Fact, decision: Decision) -> Fact:
    change = StateChange(member.key, REFUND_WAITS, waiting.id, FOUND, fact.source, fact.id, fact.time)
    decision.states = [*decision.states, change]
    source, _, refund_id = waiting.id.partition("|")
    data: facts.WaitedRefundForm = {**waiting.data, "refund_source": source, "refund_id": refund_id}
    fact_id, time_us = hash_id(source, refund_id, member.key, "waited"), max(fact.time_us, waiting.at_us)
    kind = facts.WAITED_REFUND
    to = None if member.anonymous else member.key
    return follow(decision, fact, to, source=REFUND_SOURCE, fact_id=fact_id, kind=kind, data=data, time_us=time_us)


def due_us(member: Member) -> int | None:
    """Return when a refund has next waited for its purchase in vain, None for never."""
    return min([waiting.until_us for waiting in member.waiting]) if member.waiting else None


def lapse(member: Member, _book: Book, due: int) -> Moved:
    """End the wait of the refunds whose purchases did not come in time."""
    fact_id, text = hash_id("refund_lapses", member.key, to_text(due)), to_text(due)
    over = [waiting for waiting in member.waiting if waiting.until_us <= due]
    return Moved(
        states=[
            StateChange(member.key, REFUND_WAITS, waiting.id, LAPSED, TIMER_SOURCE, fact_id, text) for waiting in over
        ]
    )
