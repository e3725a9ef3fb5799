"""The engine and a naive model, written independently of each other, answer every fact alike."""

from __future__ import annotations

import pytest
from hypothesis import given

from tests.properties.harness import Pair
from tests.properties.plans import Plan
from tests.properties.profiles import examples
from tests.properties.spending import spending_stories
from tests.properties.strategies import Story, programmes, stories

pytestmark = pytest.mark.timeout(1800)


def agree(story: Story) -> None:
    """Feed both and compare after each fact: outcome, reason, entries, tiers, progress, caps, notes, derived facts."""
    pair = Pair(story.plans)
    for fact in story.facts:
        pair.feed(fact)


@examples(3)
@given(stories())
def test_any_history(story: Story) -> None:
    """Any history of any programme gets the model's answers."""
    agree(story)


@examples(2)
@given(stories(programmes(("purchase",), 1), ("purchase",), ("ann",), known_first=True, ticks=False))
def test_earning_rules(story: Story) -> None:
    """Phases, groups, stops, roundings and caps earn what the model earns."""
    agree(story)


@examples(2)
@given(stories(programmes(("purchase",), 1), ("purchase", "refund", "refund"), ("ann",), known_first=True))
def test_refunds(story: Story) -> None:
    """Returns by line, SKU and amount take back what the model takes back."""
    agree(story)


CLIMBING = ("purchase", "purchase", "purchase", "visit", "refund", "joined", "tier_override")


@examples(3)
@given(stories(programmes(("purchase", "visit"), 3, True), CLIMBING, ("ann",), 20))
def test_tiers(story: Story) -> None:
    """Tiers rise, fall and end at the model's moments."""
    agree(story)


@examples(4)
@given(spending_stories())
def test_spending(story: Story) -> None:
    """Points wait, end, are owed, are spent and come back as the model says."""
    agree(story)


def bringing(plans: list[Plan]) -> bool:
    """Tell whether some version awards referrals."""
    return any(plan.bring is not None for plan in plans)


@examples(2)
@given(
    stories(
        programmes(("purchase", "referral")).filter(bringing), ("purchase", "referral", "referral", "again"), most=12
    )
)
def test_referrals(story: Story) -> None:
    """Both sides of a referral get the model's points."""
    agree(story)
