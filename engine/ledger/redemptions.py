"""Points are spent: a redemption is granted or refused with the numbers, then fulfilled, cancelled, or it lapses.

What there is only so many of is reserved first, and granted or given back when its stock has answered (see `stock`).
It is decided in the member's own order, so of twenty that want the last hundred points one is granted. Points that wait or
that are over cannot be spent. Cancelling gives the same lots back, with their old dates.
"""

from __future__ import annotations

from engine.ledger.expiry import expire_entry
from engine.ledger.lots import available, burn
from engine.ledger.member import (
    AT_LEAST,
    CODE,
    EARLY,
    GRANTED,
    REDEMPTION,
    REDEMPTION_ORDER,
    REDEMPTION_STORE,
    REDEMPTION_UNTIL,
    RESERVED,
    WORTH,
    Lot,
    Member,
    Spent,
)
from engine.ledger.moved import Moved
from engine.ledger.stock import ask_for_piece, return_piece
from rules.book import Book, Programme, RewardPlan
from rules.codes import plain_code
from schemas import facts
from schemas.decision_forms import EntryKind
from schemas.decisions import Decision, Entry, Note, StateChange
from schemas.envelope import TIMER_SOURCE, Fact
from schemas.ids import hash_id
from schemas.money import half_up
from schemas.times import to_text

FULFILLED, CANCELLED, LAPSED, REFUSED = "fulfilled", "cancelled", "lapsed", "refused"
#: The rule of points that are spent on no reward.
BY_POINTS = "points"


def decide_redemption(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Grant a redemption, or refuse it and say why."""
    data: facts.RedemptionForm = fact.data
    if programme is None:
        decision.reason = "no_programme"
        return []
    reward = None if data["reward"] is None else programme.rewards.get(data["reward"])
    cost = (data["points"] or 0) if reward is None else reward.cost
    now_us = member.now_us(fact.time_us)
    refused = _refusal(member, fact, programme, reward)
    if refused is not None:
        decision.reason, decision.notes = refused.code, [refused]
        return []
    has = available(member, now_us)
    if cost > has:
        decision.reason, decision.notes = "not_enough_points", [Note("balance", None, f"needs {cost}, has {has}")]
        return []
    entry = Entry(
        entry_id=hash_id(fact.source, fact.id, member.key, "redeem"),
        member_id=member.key,
        kind="redeem",
        points=-cost,
        rule_id=BY_POINTS if reward is None else f"reward:{reward.id}",
        rule_version=programme.version,
        source=fact.source,
        fact_id=fact.id,
        occurred_at=fact.time,
        burns=burn(member, cost, now_us),
    )
    decision.entries = [entry]
    name = redemption_name(fact.source, fact.id)
    states, asked = grant(member, fact, reward, name, data["store"], decision)
    decision.states = [*states, *_for_order(member, fact, name)]
    return asked


def grant(
    member: Member, fact: Fact, reward: RewardPlan | None, name: str, store: str | None, decision: Decision
) -> tuple[list[StateChange], list[Fact]]:
    """Return the states of a reward that is the member's now, or reserved for him, and then what its stock is asked.

    Args:
        reward: None for a number of points.
        name: of the redemption.
        store: where he wants it.
        decision: in which the stock's question is announced.
    """
    if reward is None or reward.stock is None:
        return _granted(member, fact, name, reward), []
    place = (store or "") if reward.stock.per_place else ""
    states = [state_of(member, fact, name, RESERVED), state_of(member, fact, name, place, REDEMPTION_STORE)]
    return states, [ask_for_piece(member, fact, reward.id, place, name, decision)]


def _for_order(member: Member, fact: Fact, name: str) -> list[StateChange]:
    data: facts.RedemptionForm = fact.data
    if data["order_id"] is None:
        return []
    return [state_of(member, fact, name, f"{data['order_source']}|{data['order_id']}", REDEMPTION_ORDER)]


def state_of(member: Member, fact: Fact, name: str, state: str, what: str = REDEMPTION) -> StateChange:
    """Return that a redemption is now in a state, or another of its states."""
    return StateChange(member.key, what, name, state, fact.source, fact.id, fact.time)


def _granted(
    member: Member, fact: Fact, name: str, reward: RewardPlan | None, code: str | None = None
) -> list[StateChange]:
    states = [state_of(member, fact, name, GRANTED)]
    if reward is not None and reward.valid_us is not None:
        states.append(state_of(member, fact, name, to_text(fact.time_us + reward.valid_us), REDEMPTION_UNTIL))
    voucher = None if reward is None else reward.voucher
    if voucher is not None:
        states.append(state_of(member, fact, name, code or voucher.code(name), CODE))
        states.append(state_of(member, fact, name, voucher.worth, WORTH))
        if voucher.at_least is not None:
            states.append(state_of(member, fact, name, voucher.at_least, AT_LEAST))
    return states


def decide_stock_answered(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Grant what was reserved, or give its points back: the last piece went to somebody else."""
    data: facts.StockAnsweredForm = fact.data
    name = data["redemption"]
    spent = member.spent.get(name)
    if spent is not None and spent.state == CANCELLED and data["refused"] is None:
        decision.reason = "already_cancelled"  # the order that brought it came back meanwhile
        return [return_piece(fact, spent, name, decision)]
    if spent is None or spent.state != RESERVED:
        decision.reason = "unknown_redemption"
        return []
    decision.reason = data["refused"]
    if data["refused"] is not None:
        decision.states = [state_of(member, fact, name, REFUSED)]
        decision.entries = give_back(member, fact, programme, spent)
        gift = spent.gift
        if gift is not None and gift.counted is not None:
            decision.counts = [(gift.counted, 0, -1)]
        return []
    reward = None if programme is None else programme.rewards.get(spent.rule_id.removeprefix("reward:"))
    decision.states = _granted(member, fact, name, reward, data.get("code"))
    return []


def redemption_name(source: str, fact_id: str) -> str:
    """Return the name of a redemption; ids hold no ``|``."""
    return f"{source}|{fact_id}"


def _refusal(member: Member, fact: Fact, programme: Programme, reward: RewardPlan | None) -> Note | None:
    wanted = fact.data["reward"]
    if reward is None:
        if wanted is None:
            return None
        known = ", ".join(programme.rewards) or "none"
        return Note("unknown_reward", None, f"there is no reward {wanted} in version {programme.version}: {known}")
    begun = reward.from_us is None or fact.time_us >= reward.from_us
    if not begun or (reward.until_us is not None and fact.time_us >= reward.until_us):
        return Note("not_offered_now", None, f"{wanted} is not offered at {fact.time}")
    if reward.stock is not None and reward.stock.per_place and fact.data["store"] is None:
        return Note("no_store", None, f"{wanted} is in the stock of stores: say which one")
    tier = member.tier or programme.base_tier
    if reward.tiers is not None and tier not in reward.tiers:
        return Note("tier_too_low", None, f"{wanted} is for {', '.join(sorted(reward.tiers))}, the member is {tier}")
    return None


def decide_redemption_end(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Take a redemption as fulfilled, or cancel it and give its points back."""
    data: facts.RedemptionEndForm = fact.data
    code = data.get("code")
    name = redemption_name(data["redemption_source"], data["redemption"]) if code is None else by_code(member, code)
    spent = member.spent.get(name or "")
    if spent is None or name is None or spent.state == EARLY:
        decision.reason = "unknown_redemption"
        what = f"redemption {data['redemption']}" if code is None else f"voucher with the code {code}"
        decision.notes = [Note("unknown_redemption", None, f"no {what} was granted here")]
        return []
    if spent.state != GRANTED:
        decision.reason = "not_granted_yet" if spent.state == RESERVED else f"already_{spent.state}"
        return []
    state = CANCELLED if fact.type == facts.REDEMPTION_CANCELLED else FULFILLED
    decision.states = [state_of(member, fact, name, state)]
    if state != CANCELLED:
        return []
    decision.entries = give_back(member, fact, programme, spent)
    return [] if spent.store is None else [return_piece(fact, spent, name, decision)]


def by_code(member: Member, code: str) -> str | None:
    """Return the name of the member's redemption with a code, the newest where it was given to him more than once."""
    wanted = plain_code(code)
    names = [
        name for name, spent in member.spent.items() if spent.code is not None and plain_code(spent.code) == wanted
    ]
    return names[-1] if names else None


def _left(spent: Spent) -> int:
    return sum([points for _, points in spent.burns])


def give_back(member: Member, fact: Fact, programme: Programme | None, spent: Spent) -> list[Entry]:
    """Return the entries that give back everything that has not come back yet."""
    return _restore(member, fact, programme, spent, _left(spent), member.debt)


def pay_back(
    member: Member, fact: Fact, programme: Programme, order: str, share: tuple[int, int], debt: int
) -> list[Entry]:
    """Return the entries that give back the points which paid a part of an order: of each redemption as much as came back of it.

    Args:
        member: whose order it is.
        fact: the refund.
        programme: the version in force.
        order: its name.
        share: which part of it came back by now, as a fraction.
        debt: what the member owes by then.
    """
    entries: list[Entry] = []
    for spent in member.spent.values():
        if spent.order != order or spent.state not in (GRANTED, FULFILLED):
            continue
        due = half_up((spent.back + _left(spent)) * share[0], share[1]) - spent.back
        if due > 0:
            entries += _restore(member, fact, programme, spent, due, debt)
            debt -= min(debt, due)
    return entries


def _restore(
    member: Member, fact: Fact, programme: Programme | None, spent: Spent, total: int, debt: int
) -> list[Entry]:
    """Return the entries that give points back to their lots, less what is owed, and what of them is over already.

    A lot that a merged account had emptied never moved over: what comes back of it is a lot of its own, with the old dates.
    """
    left, owed = total, min(debt, total)
    moved = {lot_id: (earned_us, ends_us) for lot_id, earned_us, ends_us in spent.moved}
    entry = _credit(
        member, fact, spent, "restore", hash_id(fact.source, fact.id, member.key, "restore", spent.entry_id)
    )
    parts = []
    for lot_id, points in spent.burns:
        part = min(points, left)
        left -= part
        if part:
            parts.append((lot_id, part))
    burns, anew, lots = [], [], []
    for lot_id, part in parts:
        if lot_id in moved:  # what is made anew pays first
            paid = min(part, owed)
            owed -= paid
            anew.append(_made_anew(member, fact, spent, (lot_id, part, part - paid), moved[lot_id]))
    keep = sum([part for lot_id, part in parts if lot_id not in moved]) - owed
    for lot_id, part in parts:
        if lot_id not in moved:
            back = min(part, keep)
            keep -= back
            entry.points += part
            burns.append((lot_id, -back))
            lots.append(member.lots_apart[lot_id]._replace(left=back))
    entry.burns = burns
    return [*([entry] if burns else []), *anew, *_over_already(member, fact, programme, lots)]


def _credit(member: Member, fact: Fact, spent: Spent, kind: EntryKind, entry_id: str) -> Entry:
    return Entry(
        entry_id=entry_id,
        member_id=member.key,
        kind=kind,
        points=0,
        rule_id=spent.rule_id,
        rule_version=spent.rule_version,
        source=fact.source,
        fact_id=fact.id,
        occurred_at=fact.time,
        caused_by=spent.entry_id,
    )


def _made_anew(
    member: Member, fact: Fact, spent: Spent, took: tuple[str, int, int], dates: tuple[int, int | None]
) -> Entry:
    """Return the credit that makes an emptied lot anew; if it is over already, it expires as any lot that comes late."""
    lot_id, points, back = took
    earned_us, ends_us = dates
    entry = _credit(
        member, fact, spent, "transfer", hash_id(fact.source, fact.id, member.key, "restore", spent.entry_id, lot_id)
    )
    entry.points, entry.active_from, entry.earned_at = points, fact.time, to_text(earned_us)
    entry.expires_at = None if ends_us is None else to_text(ends_us)
    if back < points:
        entry.burns = [(entry.entry_id, points - back)]
    return entry


def _over_already(member: Member, fact: Fact, programme: Programme | None, lots: list[Lot]) -> list[Entry]:
    now_us = member.now_us(fact.time_us)
    entries = []
    for lot in lots:
        if lot.left and lot.expires_us is not None and lot.expires_us <= now_us:
            fact_id = hash_id("expiry", member.key, lot.id, fact.source, fact.id)
            entries.append(expire_entry(member, programme, [lot], fact_id, fact.time))
    return entries


def lapse_due_us(member: Member) -> int | None:
    """Return when a granted reward next lapses, None for never."""
    return member.lapse_us


def lapse_when_due(member: Member, book: Book, due: int) -> Moved:
    """Rewards that were not collected in time lapse; their points are spent, their pieces go back to their stocks."""
    del book
    at, moved = to_text(due), Moved()
    for name, spent in member.spent.items():
        if spent.state == GRANTED and spent.until_us is not None and spent.until_us <= due:
            fact_id = hash_id("lapse", member.key, name)
            moved.states.append(StateChange(member.key, REDEMPTION, name, LAPSED, TIMER_SOURCE, fact_id, at))
            if spent.store is not None:
                moved.lapsed.append((name, spent, due))
    return moved
