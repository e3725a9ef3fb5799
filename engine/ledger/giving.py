"""A rule gives a reward of the catalogue, free of cost: the tenth coffee.

It becomes a redemption like any other, without an entry: no points move. The rule's conditions alone say who gets it;
the reward's own cost, tiers and dates are about buying it. It goes back when everything that brought it came back, unless it was
collected.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.ledger.caps import cap_left, capped
from engine.ledger.member import GIVEN, GIVEN_COUNTED, GIVEN_FROM, GRANTED, RESERVED, Member
from engine.ledger.redemptions import CANCELLED, FULFILLED, grant, redemption_name, state_of
from engine.ledger.returns import OrderLines, note
from engine.ledger.stock import return_piece
from rules.book import Programme, Rule
from rules.counting import lines_counted
from schemas.decisions import Decision, Note
from schemas.envelope import REWARD_SOURCE, Fact
from schemas.ids import hash_id


def give(
    member: Member,
    fact: Fact,
    programme: Programme,
    rules: Sequence[tuple[Rule, tuple[int, ...]]],
    decision: Decision,
    order: str | None = None,
) -> list[Fact]:
    """Add to ``decision`` the rewards that rules give for a fact; return what is asked of their stocks.

    Args:
        member: as he stood before the fact.
        rules: those that apply and give a reward, with the lines that they are about, from 0.
        order: name of the order that a purchase is.
    """
    return [asked for rule, lines in rules for asked in _give(member, fact, programme, (rule, lines), decision, order)]


def _give(
    member: Member,
    fact: Fact,
    programme: Programme,
    found: tuple[Rule, tuple[int, ...]],
    decision: Decision,
    order: str | None,
) -> list[Fact]:
    rule, lines = found
    reward = programme.rewards[rule.reward or ""]
    store: str | None = fact.data.get("store")
    if reward.stock is not None and reward.stock.per_place and store is None:
        text = f"{reward.id} is in the stock of stores, and this fact names none"
        decision.notes = [*decision.notes, Note("no_store", rule.id, text)]
        return []
    counted = None
    if rule.cap is not None:
        counted, left = cap_left(member, fact, programme, rule.id, rule.cap)
        if left == 0:
            decision.notes = [*decision.notes, capped(rule.id, rule.cap, 1, 0)]
            return []
        decision.counts = [*decision.counts, (counted, 0, 1)]
    name = redemption_name(REWARD_SOURCE, hash_id(fact.source, fact.id, member.key, "reward", rule.id))
    states = [state_of(member, fact, name, f"{reward.id}|{rule.id}|{programme.version}", GIVEN)]
    if order is not None:
        numbers = [line + 1 for line in lines] if rule.nth is None else lines_counted(rule.nth, fact) or []
        states.append(state_of(member, fact, name, f"{order}|{','.join(map(str, numbers))}", GIVEN_FROM))
    if counted is not None:
        states.append(state_of(member, fact, name, counted, GIVEN_COUNTED))
    more, asked = grant(member, fact, reward, name, store, decision)
    decision.states = [*decision.states, *states, *more]
    return asked


def withdraw(member: Member, fact: Fact, order: str, lines: OrderLines, decision: Decision) -> list[Fact]:
    """Take back the rewards that an order brought of which nothing is left now; one that was collected stays, and that is said.

    Args:
        fact: the refund.
        order: name of the order.
        lines: what came back of it, this refund included.

    Returns:
        What goes back to stocks.
    """
    returned = []
    for name, spent in member.spent.items():
        gift = spent.gift
        if gift is None or gift.order != order:
            continue
        before, now, whole = lines.parts(gift.lines)
        if now < whole or before == whole:
            continue
        reward = spent.rule_id.removeprefix("reward:")
        if spent.state == FULFILLED:
            note(decision, "reward_used", f"{reward} came with this order and was collected: it is not taken back")
        elif spent.state in (GRANTED, RESERVED):
            decision.states = [*decision.states, state_of(member, fact, name, CANCELLED)]
            note(decision, "reward_withdrawn", f"{reward} came with this order: it cannot be collected any more")
            if gift.counted is not None:
                decision.counts = [*decision.counts, (gift.counted, 0, -1)]
            if spent.state == GRANTED and spent.store is not None:
                returned.append(return_piece(fact, spent, name, decision))
    return returned
