"""Who collects points, plainly: when an account began and ended, told from all that was decided before."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

FactDict = dict[str, Any]
Past = Iterable[tuple[FactDict, Any]]
EARNING = ("purchase", "visit", "review", "activity", "referral_award")


def _kind(fact: FactDict) -> str:
    return str(fact["type"]).split(".")[1]


def _at(fact: FactDict) -> datetime:
    return datetime.fromisoformat(fact["time"])


def left_at(past: Past) -> datetime | None:
    """Return when the member left, None if he did not or came back."""
    left = None
    for fact, verdict in past:
        if _kind(fact) == "left" and verdict.reason is None:
            left = _at(fact)
        elif verdict.reason == "joined_again":
            left = None
    return left


def gone(past: Past, fact: FactDict) -> bool:
    """Tell whether the member had left when this happened."""
    left = left_at(past)
    return left is not None and _at(fact) >= left


def why_outside(past: Past, fact: FactDict, plan: Any) -> str | None:
    """Return why nothing can be earned by this fact, if the member is none at its time."""
    if plan is None:
        return None
    if gone(past, fact):
        return "has_left"
    joined = [_at(f) for f, _ in past if _kind(f) == "joined"]
    if plan.join_explicit and not (joined and _at(fact) >= joined[0]):
        return "not_joined"
    return None


def outside(past: Past, fact: FactDict, plan: Any, verdict: Any) -> bool:
    """Say why an earning fact of somebody who is no member at that time earns nothing."""
    if _kind(fact) not in EARNING:
        return False
    if _kind(fact) == "purchase":
        order = (fact["data"]["order_source"], fact["data"]["order_id"])
        told = [(f["data"]["order_source"], f["data"]["order_id"]) for f, _ in past if _kind(f) == "purchase"]
        if order in told:
            return False
    verdict.reason = why_outside(past, fact, plan)
    return verdict.reason is not None
