"""Margin and goals in plain words."""

from __future__ import annotations

from fractions import Fraction

from rules.language import ProgrammeFile
from rules.money import Goal
from rules.values import share_text
from schemas.metrics import GOAL_METRICS


def margin_words(document: ProgrammeFile) -> str:
    """Return what is kept of sales, empty where it is not said: ``60 % of sales is kept, of beans 35 %``."""
    margin = document.margin
    if margin is None:
        return ""
    if isinstance(margin, Fraction):
        return f"{share_text(margin)} of sales is kept"
    parts = [f"of {name} {share_text(share)}" for name, share in margin.categories.items()]
    return ", ".join([f"{share_text(margin.share)} of sales is kept", *parts])


def goal_words(goal: Goal) -> str:
    """Return a goal: ``come-back: retention from 31 % to 36 % by 2028-12-31``."""
    place = f" in store {goal.store}" if goal.store else f" by channel {goal.channel}" if goal.channel else ""
    return f"{goal.id}: {goal.metric}{place} from {goal.baseline} to {goal.target} by {goal.by}"


def money_words(document: ProgrammeFile) -> list[str]:
    """Return one line for the margin and one for each goal; empty where nothing is said."""
    margin = margin_words(document)
    return ([f"Margin: {margin}"] if margin else []) + [
        f"Goal {goal_words(goal)} ({GOAL_METRICS[goal.metric].says})" for goal in document.goals or ()
    ]
