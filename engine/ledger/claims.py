"""A receipt is scanned later: the first claim gives an anonymous sale to a member, others are refused with the reason.

The claim is decided in two places. The member's partition asks the order's own (``claim_asked``); that one holds the order and
knows whether it is taken. It answers the member (``claim_answered``), and where the sale is his it sends him the sale and what
came back of it so far, as they were told, to be decided under the rules of their time. From then on the order's key is an alias
of the member: a refund without a subject reaches him.
"""

from __future__ import annotations

from engine.ledger.following import follow
from engine.ledger.joining import bar
from engine.ledger.member import Member, order_ref
from rules.book import Programme
from schemas import facts
from schemas.decisions import Decision, Note
from schemas.envelope import CLAIM_SOURCE, Fact
from schemas.ids import hash_id
from schemas.times import DAY_US, to_us

#: Code of the note by which an anonymous sale that may be claimed is kept as it was told.
CLAIMABLE = "claimable"


def may_be_claimed(programme: Programme | None, decision: Decision) -> None:
    """Say so in the decision on an anonymous sale."""
    if programme is not None and programme.claim_us is not None:
        days = programme.claim_us // DAY_US
        decision.notes = [Note(CLAIMABLE, None, f"a member may claim this sale within {days} days")]


def decide_claim(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Ask the order's partition; what the member's own state refuses is not asked."""
    decision.reason = _refusal(member, fact, programme)
    if decision.reason is not None or programme is None or programme.claim_us is None:
        return []
    data: facts.ClaimAskedForm = {
        "order_source": fact.data["order_source"],
        "order_id": fact.data["order_id"],
        "member": member.key,
        "claim_source": fact.source,
        "claim_id": fact.id,
        "within_us": programme.claim_us,
    }
    fact_id = hash_id(fact.source, fact.id, member.key, "claim")
    return [follow(decision, fact, None, source=CLAIM_SOURCE, fact_id=fact_id, kind=facts.CLAIM_ASKED, data=data)]


def _refusal(member: Member, fact: Fact, programme: Programme | None) -> str | None:
    if programme is None:
        return "no_programme"
    if programme.claim_us is None:
        return "no_claims"
    if member.has_order(order_ref(fact.data)):
        return "order_already_counted"
    return bar(member, fact, programme)


def decide_claim_asked(member: Member, fact: Fact, decision: Decision) -> list[Fact]:
    """Answer a claim on this order; a granted one sends the member what was told of it."""
    data: facts.ClaimAskedForm = fact.data
    decision.reason = _not_given(member, fact)
    answer: facts.ClaimAnsweredForm = {
        "order_source": data["order_source"],
        "order_id": data["order_id"],
        "claim_source": data["claim_source"],
        "claim_id": data["claim_id"],
        "refused": decision.reason,
    }
    told = [(facts.CLAIM_ANSWERED, hash_id(fact.source, fact.id, "answer"), fact.time_us, answer)]
    if decision.reason is None:
        told += [
            (kind, hash_id(source, fact_id, data["member"], "claimed"), to_us(time), said)
            for kind, source, fact_id, time, said in member.kept
        ]
    to = data["member"]
    return [
        follow(decision, fact, to, source=CLAIM_SOURCE, fact_id=fact_id, kind=kind, data=said, time_us=time_us)
        for kind, fact_id, time_us, said in told
    ]


def _not_given(member: Member, fact: Fact) -> str | None:
    data: facts.ClaimAskedForm = fact.data
    if member.alias_of is not None:
        return "already_claimed" if member.alias_of == data["member"] else "claimed_by_another"
    if not member.kept:
        return "unknown_order"
    sold_us = to_us(member.kept[0][3])
    return "too_late_to_claim" if fact.time_us > sold_us + data["within_us"] else None


def decide_claim_answered(fact: Fact, decision: Decision) -> list[Fact]:
    """Say what came of a claim; a sale that was granted comes in facts of its own."""
    decision.reason = fact.data["refused"]
    return []
