"""Goods come back with the receipt and without the card: the order's own key knows who bought it.

Under ``refund_by_receipt`` a purchase that counts tells the key of its order whose it is (``order_owned``). From then on that key
is an alias of the member, as after a claim: a refund without a subject reaches him, and nobody else can claim the order.
What was told of the order before, without a subject, follows.
"""

from __future__ import annotations

from engine.ledger.following import follow
from engine.ledger.member import FOUND, REFUND_WAITS, Member
from schemas import facts
from schemas.decisions import Decision, StateChange
from schemas.envelope import CLAIM_SOURCE, ORDER_SOURCE, REFUND_SOURCE, Fact
from schemas.ids import hash_id
from schemas.times import to_us


def tell_order(member: Member, fact: Fact, decision: Decision) -> list[Fact]:
    """Return the fact that tells the key of an order whose it is; that of a claimed sale knows it."""
    if fact.source == CLAIM_SOURCE:
        return []
    data: facts.OrderOwnedForm = {
        "order_source": fact.data["order_source"],
        "order_id": fact.data["order_id"],
        "member": member.key,
    }
    fact_id = hash_id(fact.source, fact.id, member.key, "owned")
    return [follow(decision, fact, None, source=ORDER_SOURCE, fact_id=fact_id, kind=facts.ORDER_OWNED, data=data)]


def decide_order_owned(order: Member, fact: Fact, decision: Decision) -> list[Fact]:
    """Make an order's key an alias of who bought it, unless it is somebody's already; return the refunds that were told here."""
    to: str = fact.data["member"]
    if order.alias_of is not None:
        decision.reason = "already_claimed" if order.alias_of == to else "claimed_by_another"
        return []
    told = [
        (source, refund_id, to_us(time), data)
        for kind, source, refund_id, time, data in order.kept
        if kind == facts.REFUND
    ]
    for waiting in order.waiting:
        source, _, refund_id = waiting.id.partition("|")
        told.append((source, refund_id, waiting.at_us, waiting.data))
        change = StateChange(order.key, REFUND_WAITS, waiting.id, FOUND, fact.source, fact.id, fact.time)
        decision.states = [*decision.states, change]
    return [
        follow(
            decision,
            fact,
            to,
            source=REFUND_SOURCE,
            fact_id=hash_id(source, refund_id, to, "waited"),
            kind=facts.WAITED_REFUND,
            data={**data, "refund_source": source, "refund_id": refund_id},
            time_us=max(fact.time_us, at_us),
        )
        for source, refund_id, at_us, data in told
    ]
