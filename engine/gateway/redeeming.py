"""Points are spent over HTTP: the request becomes a fact, and its answer is the decision in points-log.

Safe to send again: a request is named by its source and id. What was decided on that name is answered again, and what is
under way is waited for. The log decides, never the gateway: twenty gateways may ask for the last hundred points at once.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from engine.explain.words import sentence_of
from engine.gateway.asking import RedemptionAsk
from engine.gateway.card import points_of
from engine.gateway.following import Decided
from engine.gateway.model import Found, ReadModel
from engine.gateway.problems import Problem
from engine.ledger.member import GRANTED, RESERVED, Spent
from engine.ledger.redemptions import redemption_name
from engine.ledger.timers import settle
from schemas import facts
from schemas.envelope import Fact
from schemas.times import to_text

GRANTED_ANSWER, REFUSED_ANSWER, UNDECIDED = "granted", "refused", "undecided"
UNDECIDED_RETRY_S = 1
_USED_BEFORE = "this id was used before, and nothing was spent by it; a new request needs a new id"


def event_of(ask: RedemptionAsk, source: str, request_id: str, now_us: int) -> bytes:
    """The redemption as an event in structured JSON."""
    data = ask.model_dump(include={"reward", "points", "store", "order_id", "order_source"}, exclude_none=True)
    event = {
        "specversion": "1.0",
        "id": request_id,
        "source": source,
        "type": facts.REDEMPTION,
        "subject": ask.member,
        "time": ask.time or to_text(now_us),
        "data": data,
    }
    return json.dumps(event).encode()


def known_answer(model: ReadModel, fact: Fact, clock_us: int) -> dict[str, Any] | None:
    """The answer to a request that was decided before; None where nothing of this name was.

    Errors: Problem id_reused where the name was given to another request.
    """
    name = fact.source, fact.id
    found = model.find(fact.subject or "")
    remembered = model.remembered(name)
    if remembered is not None:
        if remembered.fact.data != fact.data or not _same_member(model, remembered.fact, found):
            raise _reused(fact)
        spent = None if found is None else found.member.spent.get(redemption_name(*name))
        if spent is not None and spent.state == RESERVED:
            return None
        return told(model, remembered.fact, remembered, clock_us)
    if found is None:
        return None
    spent = found.member.spent.get(redemption_name(*name))
    if spent is not None:
        if spent.rule_id != ("points" if fact.data["reward"] is None else f"reward:{fact.data['reward']}"):
            raise _reused(fact)
        return None if spent.state == RESERVED else _told_of(found, fact, spent, clock_us)
    if found.member.history.seen(*name) is not None:
        # Seen and not among what he spent: decided before this gateway's memory begins, and nothing was spent by it.
        return _answer(found, fact, REFUSED_ANSWER, "id_used_before", clock_us, _USED_BEFORE)
    return None


def _same_member(model: ReadModel, earlier: Fact, found: Found | None) -> bool:
    first = model.find(earlier.subject or "")
    return (first is None) == (found is None) and (first is None or found is None or first.keys[-1] == found.keys[-1])


def _reused(fact: Fact) -> Problem:
    return Problem("id_reused", f"id {fact.id} of {fact.source} was given to another request", "id")


async def outcome(
    model: ReadModel, fact: Fact, future: asyncio.Future[Decided], wait_s: float, clock_us: int
) -> dict[str, Any]:
    """The decision once the log holds it, or `undecided` after `wait_s` seconds. Errors: Problem id_reused."""
    try:
        async with asyncio.timeout(wait_s):
            decided = await asyncio.shield(future)
    except TimeoutError:
        return {"outcome": UNDECIDED, "id": fact.id, "source": fact.source}
    if decided.decision.outcome == "duplicate" or decided.decision.reason == "id_reused":
        known = known_answer(model, fact, clock_us)
        if known is not None:
            return known
        raise _reused(fact)
    return told(model, fact, decided, clock_us)


def told(model: ReadModel, fact: Fact, decided: Decided, clock_us: int) -> dict[str, Any]:
    """A decision as the till reads it."""
    found = model.find(fact.subject or "")
    if found is None:
        return _answer(None, fact, REFUSED_ANSWER, decided.decision.reason, clock_us, _notes(decided))
    spent = found.member.spent.get(redemption_name(fact.source, fact.id))
    if spent is not None and spent.state != "refused":
        return _told_of(found, fact, spent, clock_us)
    return _answer(found, fact, REFUSED_ANSWER, decided.decision.reason, clock_us, _notes(decided))


def _notes(decided: Decided) -> str:
    return "; ".join(note.text for note in decided.decision.notes)


def _told_of(found: Found, fact: Fact, spent: Spent, clock_us: int) -> dict[str, Any]:
    """A redemption that was granted once, whatever became of it since."""
    said = _answer(found, fact, GRANTED_ANSWER, None, clock_us)
    until = None if spent.until_us is None else to_text(spent.until_us)
    cost = sum(points for _, points in spent.burns)
    return said | {"state": spent.state, "points": -cost if cost else None, "collect_until": until, "code": spent.code}


def _answer(
    found: Found | None, fact: Fact, word: str, reason: str | None, clock_us: int, message: str = ""
) -> dict[str, Any]:
    said: dict[str, Any] = {
        "outcome": word,
        "id": fact.id,
        "source": fact.source,
        "member": None if found is None else found.keys[-1],
        "reward": fact.data["reward"],
        "reason": reason,
        "message": message or sentence_of(reason),
    }
    if found is not None:
        settled = settle(found.member, found.partition.book, clock_us)[0]
        said["balance"] = points_of(settled, settled.now_us(clock_us))
    return said


__all__ = ["GRANTED", "event_of", "known_answer", "outcome", "told"]
