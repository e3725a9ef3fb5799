"""Spending, staff's points and deliveries, plainly; see `naive_lots` for what a purse is."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from typing import Any

from tests.properties.naive_lots import Asked, Missed, Purse, ends_at, expiry, said_about, take, text_of
from tests.properties.naive_refunds import half_up
from tests.properties.plans import DAY, Plan

FactDict = dict[str, Any]


def released(purse: Purse, fact: FactDict, plan: Plan | None, tier: str | None, now: datetime) -> list[Any]:
    """Return the moves that make spendable what the lots of an order waited for; what is over then goes at once."""
    from tests.properties.naive import Move

    said = fact["data"]["attributes"]
    order = f"{said.get('order_source', fact['source'])}|{said.get('order_id')}"
    debt, moves = purse.debt(), []
    for lot in purse.lots():
        waits = lot.waits == fact["data"]["name"] and lot.order == order and purse.release(lot) is None
        if not waits or not purse.left(lot):
            continue
        begin = datetime.fromisoformat(fact["time"])
        ends = None if plan is None else ends_at(said_about(plan, lot.rule, tier, "expire"), begin, plan)
        over = ends is not None and ends <= now
        move = Move(purse.key, 0, lot.rule, lot.version, fact, order, cause=lot, kind="release")
        move.active, move.ends = begin, ends
        paid = 0 if over else min(debt, purse.left(lot))
        move.burns = [(lot, paid)]
        debt -= paid
        moves.append(move)
        if ends is not None and over:
            moves.append(expiry(purse.key, [(lot, purse.left(lot))], plan, ends, (lot.name,)))
    return moves


def arrives(purse: Purse, fact: FactDict, plan: Plan | None, orders: Any, newest: datetime) -> None:
    """Remember what points of an order will wait for, where it is told before the order."""
    said, name = fact["data"]["attributes"], fact["data"]["name"]
    order = f"{said.get('order_source', fact['source'])}|{said.get('order_id')}"
    if plan is None or "order_id" not in said or order in orders:
        return
    steps = plan.ladder.steps if plan.ladder else ()
    waits: list[Any] = [plan.lots.pending, *[rule.pending for rule in plan.rules], *[step.pending for step in steps]]
    if any(isinstance(wait, dict) and wait.get("until") == name for wait in waits):
        known = {what: at for what, at in purse.arrived.items() if at >= newest - 400 * DAY}
        purse.arrived = {**known, (name, order): datetime.fromisoformat(fact["time"])}


def adjust(purse: Purse, fact: FactDict, plan: Plan | None, now: datetime, verdict: Any) -> None:
    """Staff gives points, takes some, or gives back what had expired."""
    from tests.properties.naive import Move

    version, points = plan.version if plan else 0, fact["data"]["points"]
    if fact["data"]["reinstate"] is not None:
        verdict.reason = "nothing_to_reinstate"  # these stories name no entry that was
        return
    if points > 0:
        verdict.moves.append(Move(purse.key, points, "staff", version, fact, kind="adjust"))
        return
    policy = "allow" if plan is not None and plan.lots.negative == "allow" else "within_balance"
    ((burns, owed),) = take(purse, [(None, -points)], [], policy, now)
    taken = owed + sum(part for _, part in burns)
    if taken < -points:
        verdict.notes.add(("not_taken", None))
    if taken:
        verdict.moves.append(Move(purse.key, -taken, "staff", version, fact, kind="adjust", burns=burns))


def spend(purse: Purse, fact: FactDict, plan: Plan | None, who: tuple[str | None, datetime], verdict: Any) -> None:
    """Grant a redemption, or refuse it."""
    from tests.properties.naive import Move

    tier, now = who
    if plan is None:
        verdict.reason = "no_programme"
        return
    wanted = fact["data"]["reward"]
    prize = next((prize for prize in plan.prizes if prize.id == wanted), None)
    base = plan.ladder.steps[0].id if plan.ladder else None
    cost = prize.cost if prize is not None else fact["data"]["points"]
    if wanted is not None and prize is None:
        verdict.reason = "unknown_reward"
    elif prize is not None and prize.tiers and (tier or base) not in prize.tiers:
        verdict.reason = "tier_too_low"
    elif purse.available(now) < cost:
        verdict.reason = "not_enough_points"
        verdict.notes.add(("balance", None))
    else:
        burns = purse.burn([lot for lot in purse.open() if purse.can_spend(lot, now)], cost)
        rule = "points" if prize is None else f"reward:{prize.id}"
        move = Move(purse.key, -cost, rule, plan.version, fact, kind="redeem", burns=burns)
        asked = Asked(f"{fact['source']}|{fact['id']}", move)
        verdict.moves.append(move)
        verdict.states.append(("redemption", asked.name, "granted"))
        if prize is not None and prize.valid_days is not None:
            asked.until = datetime.fromisoformat(fact["time"]) + prize.valid_days * DAY
            verdict.states.append(("redemption_until", asked.name, text_of(asked.until)))
        if fact["data"]["order_id"] is not None:
            asked.order = f"{fact['data']['order_source']}|{fact['data']['order_id']}"
            verdict.states.append(("redemption_order", asked.name, asked.order))
        purse.asked[asked.name] = asked


def end(purse: Purse, fact: FactDict, plan: Plan | None, now: datetime, verdict: Any) -> None:
    """End a redemption; where it is cancelled, its lots get back what they gave, less what is owed."""

    asked = purse.asked.get(f"{fact['data']['redemption_source']}|{fact['data']['redemption']}")
    if asked is None:
        verdict.reason = "unknown_redemption"
        return
    if asked.state != "granted":
        verdict.reason = f"already_{asked.state}"
        return
    asked.state = fact["type"].split(".")[1].removeprefix("redemption_")
    verdict.states.append(("redemption", asked.name, asked.state))
    if asked.state != "cancelled":
        return
    verdict.moves += restored(
        purse, asked, sum(points for _, points in purse.unreturned(asked)), purse.debt(), fact, plan, now
    )


def restored(
    purse: Purse, asked: Asked, total: int, debt: int, fact: FactDict, plan: Plan | None, now: datetime
) -> list[Any]:
    """Return the moves that give so many points of a redemption back, less what is owed, and take what of them is over."""
    from tests.properties.naive import Move

    keep, left, moves = total - min(debt, total), total, []
    spent = asked.move
    back = Move(purse.key, total, spent.rule, spent.version, fact, cause=spent, kind="restore")
    for lot, points in purse.unreturned(asked):
        part = min(points, left)
        left -= part
        if part:
            back.burns.append((lot, -min(part, keep)))
            keep -= min(part, keep)
    if back.burns:  # else all of it had come back before
        moves.append(back)
    for lot, points in back.burns:
        ends = purse.ends(lot)
        if points and ends is not None and ends <= now:
            named = (lot.name, fact["source"], fact["id"])
            moves.append(expiry(purse.key, [(lot, -points)], plan, datetime.fromisoformat(fact["time"]), named))
    return moves


def open_ones(purse: Purse) -> list[Asked]:
    """Return the redemptions that can still give points back: the granted ones, and used ones that paid for an order."""
    alive = [
        asked
        for asked in purse.asked.values()
        if asked.state == "granted" or (asked.state == "fulfilled" and asked.order is not None)
    ]
    return [asked for asked in alive if purse.unreturned(asked)]


def miss(purse: Purse, lot: Any, points: int) -> None:
    """Remember what goods could not take, as long as some redemption may give points back."""
    had = open_ones(purse)
    if had:
        purse.missed.append(Missed(lot, points, had))


def retaken(purse: Purse, verdict: Any) -> list[Any]:
    """Return the moves that take, out of points which come back, what goods could not take while they were spent."""
    from tests.properties.naive import Move

    came = [(move, lot, -points) for move in verdict.moves if move.kind == "restore" for lot, points in move.burns]
    left = {}
    for move, lot, points in came:
        over = sum(part for each in verdict.moves if each.kind == "expire" for gone, part in each.burns if gone is lot)
        left[id(move), id(lot)] = max(0, points - over)
    moves = []
    for missed in purse.missed:
        burns = []
        for move, lot, _ in came:
            part = min(missed.points, left[id(move), id(lot)])
            if part and any(asked.move is move.cause for asked in missed.had):
                left[id(move), id(lot)] -= part
                missed.points -= part
                burns.append((lot, part))
        if burns:
            taken, gave = sum(part for _, part in burns), missed.lot
            moves.append(Move(purse.key, -taken, gave.rule, gave.version, came[0][0].fact, gave.order, cause=gave))
            moves[-1].burns = burns
            verdict.notes.add(("taken_now", None))
    return moves


def paid_back(
    purse: Purse, order: str, part: Fraction, owed: int, fact: FactDict, plan: Plan | None, now: datetime
) -> list[Any]:
    """Return the moves by which points that paid a part of an order come back as far as the order did."""
    moves: list[Any] = []
    if plan is None or not plan.lots.pays_back:
        return moves
    debt = purse.debt() + owed
    for asked in purse.asked.values():
        if asked.order != order or asked.state not in ("granted", "fulfilled"):
            continue
        whole = -asked.move.points
        left = sum(points for _, points in purse.unreturned(asked))
        due = half_up(whole * part) - (whole - left)
        if due > 0:
            moves += restored(purse, asked, due, debt, fact, plan, now)
            debt -= min(debt, due)
    return moves
