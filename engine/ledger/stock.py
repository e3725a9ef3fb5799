"""What there is only so many of has one owner: the key of a reward's stock, in all stores or in one.

A redemption takes the points and asks the stock for a piece (``stock_asked``); the stock answers in the order in which it is
asked (``stock_answered``), so the last piece goes once, however many ask for it at one moment in other partitions. A redemption
that is cancelled or lapses returns its piece (``stock_returned``) to the window that it was counted in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine.ledger.following import follow
from engine.ledger.member import HELD, STOCK, STOCK_CODE, Member, Spent
from rules.book import Programme
from rules.codes import plain_code
from schemas import facts
from schemas.decisions import Decision, Note, StateChange
from schemas.envelope import STOCK_SOURCE, Fact, stock_key
from schemas.ids import hash_id


def ask_for_piece(member: Member, fact: Fact, reward: str, store: str, name: str, decision: Decision) -> Fact:
    """Return the fact that asks the stock for a piece, and announce it in the decision."""
    data: facts.StockAskedForm = {"reward": reward, "store": store, "member": member.key, "redemption": name}
    return _follow(fact, facts.STOCK_ASKED, None, data, stock_key(reward, store), decision)


def return_piece(fact: Fact, spent: Spent, name: str, decision: Decision) -> Fact:
    """Return the fact that brings a piece back to the stock, and announce it in the decision."""
    reward, store = spent.rule_id.removeprefix("reward:"), spent.store or ""
    data: facts.StockReturnedForm = {"reward": reward, "store": store, "redemption": name}
    return _follow(fact, facts.STOCK_RETURNED, None, data, stock_key(reward, store), decision)


def return_lapsed(fact: Fact, lapsed: Sequence[tuple[str, Spent, int]], decision: Decision) -> list[Fact]:
    """Return the facts that bring back pieces that nobody collected in time, and announce them in the decision.

    They are the same whichever fact or tick wakes their timer: they happen when the reward lapsed.
    """
    found = []
    for name, spent, due_us in lapsed:
        reward, store = spent.rule_id.removeprefix("reward:"), spent.store or ""
        data: facts.StockReturnedForm = {"reward": reward, "store": store, "redemption": name}
        fact_id = hash_id("lapse", stock_key(reward, store), name, facts.STOCK_RETURNED)
        kind = facts.STOCK_RETURNED
        found.append(
            follow(decision, fact, None, source=STOCK_SOURCE, fact_id=fact_id, kind=kind, data=data, time_us=due_us)
        )
    return found


def _follow(fact: Fact, kind: str, subject: str | None, data: Any, to: str, decision: Decision) -> Fact:
    fact_id = hash_id(fact.source, fact.id, to, kind)
    if any(one.id == fact_id for one in decision.derived):  # a fact that brings, or takes, two pieces of one stock
        fact_id = hash_id(fact.source, fact.id, to, kind, data["redemption"])
    return follow(decision, fact, subject, source=STOCK_SOURCE, fact_id=fact_id, kind=kind, data=data)


def decide_stock_asked(stock: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Give a piece to whoever asks first in this window, and answer."""
    data: facts.StockAskedForm = fact.data
    reward = None if programme is None else programme.rewards.get(data["reward"])
    cap = None if reward is None else reward.stock
    code = None
    if programme is None or cap is None or cap.times is None:
        decision.reason = "unknown_reward"
    else:
        key = f"stock|{cap.window(fact.time_us, programme.time_zone)}"
        codes = () if reward is None or reward.voucher is None else reward.voucher.codes
        code = _free_code(stock, codes)
        if code is None if codes else stock.caps.get(key, (0, 0))[1] >= cap.times:
            decision.reason = "out_of_stock"
            decision.notes = [Note("stock", None, f"all {cap.text} are gone")]
        else:
            decision.counts = [(key, 0, 1)]
            state = StateChange(stock.key, STOCK, data["redemption"], key, fact.source, fact.id, fact.time)
            decision.states = [state]
            if code is not None:
                decision.states = [state, replace(state, what=STOCK_CODE, state=code)]
    answer: facts.StockAnsweredForm = {"redemption": data["redemption"], "refused": decision.reason}
    if code is not None:
        answer["code"] = code
    return [_follow(fact, facts.STOCK_ANSWERED, data["member"], answer, data["member"], decision)]


def _free_code(stock: Member, codes: Sequence[str]) -> str | None:
    """Return the first code of a list that nobody has."""
    held = {plain_code(piece.code) for piece in stock.spent.values() if piece.state == HELD and piece.code is not None}
    return next((code for code in codes if plain_code(code) not in held), None)


def decide_stock_returned(stock: Member, fact: Fact, decision: Decision) -> list[Fact]:
    """Take a piece back, once."""
    name = fact.data["redemption"]
    piece = stock.spent.get(name)
    if piece is None or piece.state != HELD:
        decision.reason = "not_held"
        return []
    decision.counts = [(piece.rule_id, 0, -1)]
    decision.states = [StateChange(stock.key, STOCK, name, "returned", fact.source, fact.id, fact.time)]
    return []
