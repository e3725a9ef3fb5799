"""Points from one member to another, plainly: they leave the sender's lots at once, and arrive with their dates or come back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.ids import hash_id
from tests.properties.naive_lots import Asked, Purse, earned_at
from tests.properties.naive_spending import restored
from tests.properties.naive_who import why_outside
from tests.properties.plans import EPOCH, Plan

FactDict = dict[str, Any]
Past = list[tuple[FactDict, Any]]


def accounts(past: Iterable[tuple[FactDict, Any]]) -> Past:
    """Return what was decided of a member, without points that came while nobody had this key."""
    return [(fact, verdict) for fact, verdict in past if verdict.reason != "unknown_member"]


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - EPOCH) // timedelta(microseconds=1)


def send(purse: Purse, past: Past, fact: FactDict, plan: Plan | None, now: datetime, verdict: Any) -> None:
    """Take the points and offer them, or say why not."""
    from tests.properties.naive import Move

    to, points = fact["data"]["to"], fact["data"]["points"]
    if plan is None:
        verdict.reason = "no_programme"
    elif not plan.gifts:
        verdict.reason = "no_transfers"
    elif to == purse.key:
        verdict.reason = "own_account"
    elif (why := why_outside(past, fact, plan)) is not None:
        verdict.reason = why
    elif purse.available(now) < points:
        verdict.reason = "not_enough_points"
        verdict.notes.add(("balance", None))
    else:
        burns = purse.burn([lot for lot in purse.open() if purse.can_spend(lot, now)], points)
        move = Move(purse.key, -points, "transfer", plan.version, fact, kind="transfer", burns=burns)
        verdict.moves.append(move)
        asked = Asked(f"{fact['source']}|{fact['id']}|transfer", move, "reserved")
        purse.asked[asked.name] = asked
        lots = [[lot, part, _micros(earned_at(lot)), _micros(purse.ends(lot))] for lot, part in burns]
        offer = {
            "sender": purse.key,
            "transfer_source": fact["source"],
            "transfer_id": fact["id"],
            "cause_entry": move,
            "lots": lots,
        }
        verdict.derived.append((to, offer, None))


def receive(purse: Purse, past: Past, fact: FactDict, plan: Plan | None, verdict: Any) -> None:
    """Take the points as lots with their old dates, or refuse them; answer in either case."""
    from tests.properties.naive import Move

    said = fact["data"]
    if not accounts(past):
        verdict.reason = "unknown_member"
    else:
        verdict.reason = why_outside(past, fact, plan)
    if verdict.reason is None:
        for lot_id, points, earned, ends in said["lots"]:
            version = plan.version if plan else 0
            lot = Move(purse.key, points, "transfer", version, fact, caused_by=said["cause_entry"], kind="transfer")
            lot.earned = EPOCH + timedelta(microseconds=earned)
            lot.ends = None if ends is None else (EPOCH + timedelta(microseconds=ends)).astimezone(UTC)
            lot.called = hash_id(said["transfer_source"], said["transfer_id"], purse.key, "transfer", lot_id)
            verdict.moves.append(lot)
    answer = {name: said[name] for name in ("transfer_source", "transfer_id")}
    verdict.derived.append((said["sender"], {**answer, "refused": verdict.reason}, None))


def settle_transfer(purse: Purse, fact: FactDict, plan: Plan | None, now: datetime, verdict: Any) -> None:
    """Let go what the other side took; give back what it did not."""
    asked = purse.asked.pop(f"{fact['data']['transfer_source']}|{fact['data']['transfer_id']}|transfer")
    if fact["data"]["refused"] is not None:
        verdict.moves += restored(purse, asked, -asked.move.points, purse.debt(), fact, plan, now)
        verdict.notes.add((fact["data"]["refused"], None))
