"""A till takes a voucher: the use becomes a fact, and its answer is the decision; safe to send again, as a redemption is."""

from __future__ import annotations

import json
from typing import Any

from engine.explain.words import sentence_of
from engine.gateway.asking import VoucherAsk
from engine.gateway.card import voucher_of
from engine.gateway.following import Decided
from engine.gateway.model import ReadModel
from engine.gateway.problems import Problem
from engine.gateway.redeeming import GRANTED_ANSWER, REFUSED_ANSWER
from engine.ledger.redemptions import by_code
from schemas import facts
from schemas.envelope import Fact
from schemas.times import to_text


def event_of(ask: VoucherAsk, code: str, source: str, request_id: str, now_us: int) -> bytes:
    """The use of a voucher as an event in structured JSON."""
    event = {
        "specversion": "1.0",
        "id": request_id,
        "source": source,
        "type": facts.REDEMPTION_FULFILLED,
        "subject": ask.member,
        "time": ask.time or to_text(now_us),
        "data": {"code": code},
    }
    return json.dumps(event).encode()


def known_answer(model: ReadModel, fact: Fact) -> dict[str, Any] | None:
    """The answer to a use that was decided before; None where none of this name was.

    Errors: Problem id_reused where the name was given to another request.
    """
    name = fact.source, fact.id
    remembered = model.remembered(name)
    if remembered is not None:
        if remembered.fact.type != fact.type or remembered.fact.data != fact.data:
            raise reused(fact)
        return told(model, fact, remembered)
    found = model.find(fact.subject or "")
    if found is not None and found.member.history.seen(*name) is not None:
        said = _answer(model, fact, REFUSED_ANSWER)
        return said | {"reason": "id_used_before", "message": "this id was used before; a new use needs a new id"}
    return None


def reused(fact: Fact) -> Problem:
    """The problem of an id that was given to something else."""
    return Problem("id_reused", f"id {fact.id} of {fact.source} was given to another request", "id")


def told(model: ReadModel, fact: Fact, decided: Decided) -> dict[str, Any]:
    """A decision as the till reads it."""
    decision = decided.decision
    if decision.reason is None:
        return _answer(model, fact, GRANTED_ANSWER)
    notes = "; ".join(note.text for note in decision.notes)
    said = _answer(model, fact, REFUSED_ANSWER)
    return said | {"reason": decision.reason, "message": notes or sentence_of(decision.reason)}


def _answer(model: ReadModel, fact: Fact, word: str) -> dict[str, Any]:
    found = model.find(fact.subject or "")
    name = None if found is None else by_code(found.member, fact.data["code"])
    spent = None if found is None or name is None else found.member.spent[name]
    voucher = None if found is None or spent is None else voucher_of(spent, found.partition.book)
    return {
        "outcome": word,
        "id": fact.id,
        "source": fact.source,
        "member": None if found is None else found.keys[-1],
        "code": fact.data["code"],
        "state": None if spent is None else spent.state,
        "worth": None if voucher is None else voucher.worth,
        "at_least": None if voucher is None else voucher.at_least,
        "reason": None,
        "message": "",
    }
