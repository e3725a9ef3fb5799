"""What a single field of margin and goals cannot know: is there such a metric, does its unit fit, does the date lie ahead?"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from pydantic_core import PydanticCustomError

from rules.draft import Draft, Path
from rules.errors import did_you_mean
from rules.money import EXAMPLES
from rules.values import LocalMoment, parse_moment, shown
from schemas.metrics import GOAL_METRICS, MONEY, NUMBER, PLACES, SHARE, GoalMetric

_CALLED = {SHARE: "a share", MONEY: "money", NUMBER: "a number"}


def check_goals(draft: Draft) -> None:
    """Report what is wrong with goals: unknown metrics, units, targets that are none, days that are over before they begin."""
    goals = draft.at("goals")
    begin = _moment(draft.at("valid", "from"))
    for index, goal in enumerate(goals if isinstance(goals, list) else ()):
        if isinstance(goal, dict):
            _check_goal(draft, ("goals", index), goal, begin)


def _check_goal(draft: Draft, path: Path, goal: dict[str, Any], begin: LocalMoment | None) -> None:
    name = goal.get("metric")
    metric = GOAL_METRICS.get(name) if isinstance(name, str) else None
    if metric is None:
        if name is not None:
            known = did_you_mean(str(name), list(GOAL_METRICS), few=len(GOAL_METRICS))
            draft.report((*path, "metric"), f"there is no metric {shown(name)}", known)
    else:
        _check_units(draft, path, goal, str(name), metric)
    if _number(goal.get("target")) is not None and _number(goal.get("target")) == _number(goal.get("baseline")):
        draft.report((*path, "target"), "the goal is reached before it begins", "name another target than the baseline")
    if "store" in goal and "channel" in goal:
        draft.report((*path, "channel"), "a goal is narrowed by store or by channel", "take one of them out")
    by = _moment(goal.get("by"))
    if by is not None and not by.whole_day:
        draft.report((*path, "by"), "a goal has a day, not an hour", f"write {by.local.date()}")
    elif by is not None and begin is not None and by.local <= begin.local:
        draft.report((*path, "by"), f"{by} is not after {begin}, when this version begins", "name a later day")


def _check_units(draft: Draft, path: Path, goal: dict[str, Any], name: str, metric: GoalMetric) -> None:
    for key in ("baseline", "target"):
        if key in goal and goal[key] is not None and _unit(goal[key]) != metric.unit:
            draft.report(
                (*path, key),
                f"{name} is {_CALLED[metric.unit]}, and {shown(goal[key])} is not",
                f"write it like {EXAMPLES[metric.unit]}",
            )
    for key in PLACES:
        if key in goal and not metric.by_place:
            by = [one for one, about in GOAL_METRICS.items() if about.by_place]
            draft.report(
                (*path, key), f"{name} is not told of each {key}", f"take it out; told of each are {', '.join(by)}"
            )


def _unit(value: Any) -> str:
    text = str(value)
    return SHARE if "%" in text else MONEY if " " in text.strip() else NUMBER


def _number(value: Any) -> Decimal | None:
    """What stands before the unit; None for what is no value."""
    try:
        return (
            None
            if value is None or isinstance(value, bool | dict | list)
            else Decimal(str(value).rstrip("% ").split(" ")[0])
        )
    except (InvalidOperation, IndexError):
        return None


def _moment(value: Any) -> LocalMoment | None:
    try:
        return parse_moment(value)
    except (PydanticCustomError, ValueError):
        return None
