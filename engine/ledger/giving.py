"""A rule gives a reward of the catalogue, free of cost: the tenth coffee; or a badge, tickets, the beginning of a challenge.

A reward becomes a redemption like any other, without an entry: no points move. The rule's conditions alone say who gets it;
the reward's own cost, tiers and dates are about buying it. It goes back when everything that brought it came back, unless it was
collected.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.ledger.caps import cap_left, capped
from engine.ledger.member import GIVEN, GIVEN_COUNTED, GIVEN_FROM, GRANTED, RESERVED, Member
from engine.ledger.prizes import CameWith, give_badge, give_tickets
from engine.ledger.redemptions import CANCELLED, FULFILLED, grant, redemption_name, state_of
from engine.ledger.returns import OrderLines, note
from engine.ledger.stock import return_piece
from engine.ledger.windows import offer
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
    """Add to ``decision`` what rules give for a fact beside points; return what is asked of the stocks of rewards.

    Args:
        member: as he stood before the fact.
        rules: those that apply and give something, with the lines that they are about, from 0.
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
    counted = None
    if rule.cap is not None:
        counted, left = cap_left(member, fact, programme, rule.id, rule.cap)
        if left == 0:
            decision.notes = [*decision.notes, capped(rule.id, rule.cap, 1, 0)]
            return []
    numbers = [line + 1 for line in lines] if rule.nth is None else lines_counted(rule.nth, fact) or []
    asked: list[Fact] = []
    if rule.reward is not None:
        more = [] if order is None else [(GIVEN_FROM, f"{order}|{','.join(map(str, numbers))}")]
        more += [] if counted is None else [(GIVEN_COUNTED, counted)]
        name, asked = give_reward(member, fact, programme, rule.reward, rule.id, decision, more)
        given = name is not None
    else:
        came = CameWith(rule.id, programme.version, order or "", numbers if order else (), counted or "")
        given = _give_other(member, fact, programme, rule, came, decision)
    if given and counted is not None:
        decision.counts = [*decision.counts, (counted, 0, 1)]
    return asked


def _give_other(
    member: Member, fact: Fact, programme: Programme, rule: Rule, came: CameWith, decision: Decision
) -> bool:
    """Give what is no reward; return whether it was given."""
    if rule.badge is not None:
        return give_badge(member, fact, rule.badge, came, decision)
    if rule.tickets is not None:
        return give_tickets(member, fact, programme, rule.tickets, came, decision)
    plan = programme.challenge(rule.offers or "")
    return plan is not None and offer(member, fact, plan, decision)


def give_reward(
    member: Member,
    fact: Fact,
    programme: Programme,
    reward_id: str,
    rule_id: str,
    decision: Decision,
    more: Sequence[tuple[str, str]] = (),
) -> tuple[str | None, list[Fact]]:
    """Give a reward of the catalogue; return the name of its redemption, and what its stock is asked.

    Args:
        rule_id: of what gives it.
        more: further states of it, with their kinds.

    Returns:
        None and nothing, with a note in the decision, where it is in the stock of stores and the fact names none.
    """
    reward = programme.rewards[reward_id]
    store: str | None = fact.data.get("store")
    if reward.stock is not None and reward.stock.per_place and store is None:
        text = f"{reward.id} is in the stock of stores, and this fact names none"
        decision.notes = [*decision.notes, Note("no_store", rule_id, text)]
        return None, []
    name = redemption_name(REWARD_SOURCE, hash_id(fact.source, fact.id, member.key, "reward", rule_id))
    states = [state_of(member, fact, name, f"{reward.id}|{rule_id}|{programme.version}", GIVEN)]
    states += [state_of(member, fact, name, state, what) for what, state in more]
    granted, asked = grant(member, fact, reward, name, store, decision)
    decision.states = [*decision.states, *states, *granted]
    return name, asked


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
        if now >= whole and before < whole:
            returned += take_back_reward(member, fact, name, decision)
    return returned


def take_back_reward(member: Member, fact: Fact, name: str, decision: Decision) -> list[Fact]:
    """Take back a reward that was given, by the name of its redemption, unless it was collected; return its piece."""
    spent = member.spent.get(name)
    if spent is None or spent.gift is None:
        return []
    reward, counted = spent.rule_id.removeprefix("reward:"), spent.gift.counted
    with_what = "a challenge that is not met any more" if spent.gift.order is None else "this order"
    if spent.state == FULFILLED:
        note(decision, "reward_used", f"{reward} came with {with_what} and was collected: it is not taken back")
    elif spent.state in (GRANTED, RESERVED):
        decision.states = [*decision.states, state_of(member, fact, name, CANCELLED)]
        note(decision, "reward_withdrawn", f"{reward} came with {with_what}: it cannot be collected any more")
        if counted is not None:
            decision.counts = [*decision.counts, (counted, 0, -1)]
        if spent.state == GRANTED and spent.store is not None:
            return [return_piece(fact, spent, name, decision)]
    return []
