"""What a purchase moves beside its points, and what goods that come back give back of it."""

from __future__ import annotations

from collections.abc import Iterable
from math import floor
from typing import Any

from tests.properties.naive_counters import Moved
from tests.properties.naive_refunds import Returned
from tests.properties.plans import Plan


def caps_given_back(
    plans: Iterable[Plan], earned: Any, before: Returned, after: Returned
) -> list[tuple[str, int, int]]:
    """Return what each cap that the purchase used gets back: the points taken, and the time once all are taken."""
    given = []
    for key, points, times in earned.counts:
        rule = key.split("|")[0]
        if rule.startswith("refer:") or times < 0:
            continue
        moves = [move for move in earned.moves if move.lines and move.rule in clipped_by(plans, earned.version, rule)]
        old = sum(sum(before.points_taken(move.lines).values()) for move in moves)
        new = sum(sum(after.points_taken(move.lines).values()) for move in moves)
        if new != old:
            given.append((key, old - new, -times if new == points else 0))
    return given


def counters_given_back(earned: Any, before: Returned, after: Returned) -> list[Moved]:
    """Return what counters get back: the part of what moved them that came back, in whole numbers."""
    given = []
    for key, number, moments, lines in earned.counters:
        old, new = before.part_of(lines), after.part_of(lines)
        back = floor(number * new) - floor(number * old), floor(moments * new) - floor(moments * old)
        if any(back):
            given.append((key, -back[0], -back[1], lines))
    return given


def awarded(past: Iterable[tuple[dict[str, Any], Any]]) -> bool:
    """Tell whether a referral was awarded last, and not taken back after that."""
    last = False
    for _, verdict in past:
        for _, data, _ in verdict.derived:
            if "cause_source" in data:  # a refund that waited is derived, too
                last = "award_id" not in data
    return last


def is_lost(plan: Plan | None, bought: dict[str, Any], after: Returned) -> bool:
    """Tell whether what is kept of an order is worth no award for a referral."""
    if after.part_of(()) == 1:
        return True
    least = plan.bring.at_least_minor if plan is not None and plan.bring is not None else 0
    return int(bought["data"]["total_minor"]) - sum(line.refunded for line in after.lines) < least


class Everything(frozenset[str]):
    """All rules."""

    def __contains__(self, rule: object) -> bool:
        return True


def clipped_by(plans: Iterable[Plan], version: int, rule_id: str) -> frozenset[str]:
    """Return the rules whose points a cap counts: its own rule's, or those of a limit."""
    rules = [rule for plan in plans if plan.version == version for rule in plan.rules if rule.id == rule_id]
    limit = next((rule for rule in rules if rule.limit is not None), None)
    if limit is None:
        return frozenset({rule_id})
    return frozenset(limit.only) or Everything()
