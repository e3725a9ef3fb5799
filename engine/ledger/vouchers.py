"""A purchase names the vouchers that paid a part of it: each is used up by it, once.

What happened at the till has happened: a code that is not the member's, or was used before, changes nothing here, and is told.
"""

from __future__ import annotations

from engine.ledger.member import GRANTED, REDEMPTION_ORDER, Member, order_ref
from engine.ledger.redemptions import FULFILLED, by_code, state_of
from engine.ledger.returns import note
from rules.book import Book
from schemas import facts
from schemas.decisions import Decision
from schemas.envelope import Fact


def use_vouchers(member: Member, fact: Fact, decision: Decision, book: Book) -> None:
    """Add to the decision on a purchase that its vouchers are used, or why one of them is not.

    Args:
        member: whose order it is; an order without a member, or one that was counted before, uses nothing.
        fact: the purchase; its data have ``vouchers``.
        book: the versions known here.
    """
    if member.anonymous or decision.reason == "order_already_counted":
        return
    data: facts.PurchaseForm = fact.data
    used = set()
    for code in data["vouchers"]:
        name = by_code(member, code)
        if name is None:
            note(decision, "unknown_voucher", f"{code} is no voucher of this member: it changes nothing here")
            continue
        spent = member.spent[name]
        if name in used or spent.state != GRANTED:
            state = FULFILLED if name in used else spent.state
            note(decision, "voucher_ended", f"the voucher {code} was {state} before: it changes nothing here")
            continue
        used.add(name)
        order = state_of(member, fact, name, order_ref(data), REDEMPTION_ORDER)
        decision.states = [*decision.states, order, state_of(member, fact, name, FULFILLED)]
        programme = book.of_number(spent.rule_version)
        reward = None if programme is None else programme.rewards.get(spent.rule_id.removeprefix("reward:"))
        voucher = None if reward is None else reward.voucher
        if voucher is not None and sum([line["amount_minor"] for line in data["lines"]]) < voucher.at_least_minor:
            note(decision, "voucher_below", f"the voucher {code} was for orders of {voucher.at_least} or more")
