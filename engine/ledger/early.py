"""Answers that came before the business they answer.

Where staff close a circle of aliases while points are on their way, what an alias had reserved goes round by the partitions of
the whole circle, and the answer to it takes the shorter way. Such an answer is kept with the member, and given once more when
he takes over what it answers: nothing stays reserved for ever.
"""

from __future__ import annotations

from engine.ledger.following import follow
from engine.ledger.member import EARLY, RESERVED, Member, Spent, transfer_name
from schemas import facts
from schemas.decisions import Decision
from schemas.envelope import STOCK_SOURCE, TRANSFER_SOURCE, Fact
from schemas.ids import hash_id

_TRANSFER_MARK = "|transfer"


def keep_early(member: Member, fact: Fact) -> None:
    """Keep an answer to something that the member does not know of."""
    data = fact.data
    asked = fact.type == facts.STOCK_ANSWERED
    name = data["redemption"] if asked else transfer_name(data["transfer_source"], data["transfer_id"])
    if name not in member.spent:
        member.spent[name] = Spent(EARLY, "", data["refused"] or "", 0, code=data.get("code"))


def brought(known: Spent | None, other: Spent) -> Spent:
    """Return what stands for a name: what the member knows himself, but for a mere answer to it."""
    return other if known is None or known.state == EARLY else known


def answer_what_was_early(member: Member, fact: Fact, decision: Decision) -> list[Fact]:
    """Return the answers that are given once more, because a takeover brings what they answer, or them to it."""
    data: facts.TakeoverForm = fact.data
    again = []
    for name, *fields in data.get("redemptions", ()):
        known, other = member.spent.get(name), Spent.of(fields)
        if known is not None and {known.state, other.state} == {EARLY, RESERVED}:
            again.append(_answer(member, fact, decision, name, known if known.state == EARLY else other))
    return again


def _answer(member: Member, fact: Fact, decision: Decision, name: str, early: Spent) -> Fact:
    refused, fact_id = early.rule_id or None, hash_id(fact.source, fact.id, member.key, EARLY, name)
    if not name.endswith(_TRANSFER_MARK):
        stock: facts.StockAnsweredForm = {"redemption": name, "refused": refused}
        if early.code is not None:
            stock["code"] = early.code
        kind = facts.STOCK_ANSWERED
        return follow(decision, fact, member.key, source=STOCK_SOURCE, fact_id=fact_id, kind=kind, data=stock)
    source, _, transfer_id = name.removesuffix(_TRANSFER_MARK).partition("|")
    answer: facts.TransferAnswerForm = {"transfer_source": source, "transfer_id": transfer_id, "refused": refused}
    kind = facts.TRANSFER_ANSWER
    return follow(decision, fact, member.key, source=TRANSFER_SOURCE, fact_id=fact_id, kind=kind, data=answer)
