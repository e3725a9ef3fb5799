"""The runner itself: every kind of expectation can fail, and a story that is not understood says where and why."""

from __future__ import annotations

import pytest

from tests.stories.playing import Play
from tests.stories.reading import StoryError, parse_story
from tests.stories.test_stories import check
from tests.stories.wishes import WISHES

STORY = """
story: A purchase earns a point per euro
holds: [earning-rounding]
given:
  programme: spend
  facts:
    - {at: 2026-03-02 10:00, purchase: o0, lines: [mug 2.00]}
steps:
  - when: {at: 2026-03-02 10:00, purchase: o1, lines: [2 x mug 5.50 less 1.00 in goods]}
    then: {balance: 12}
"""

UNMET = {
    "outcome": "duplicate",
    "reason": "order_already_counted",
    "rejected": "naive_time",
    "version": "2",
    "entries": "[spend +11]",
    "lines": "{spend: {1: 9}}",
    "entries_at": "{spend: 2026-03-02 10:01}",
    "notes": "[capped]",
    "progress": "[2026-03-02 1000]",
    "follows": "[referral_award for ben]",
    "states": "[redemption r1 granted]",
    "tier_moves": "[none -> regular]",
    "tier": "regular",
    "balance": "13",
    "available": "11",
    "pending": "1",
    "debt": "1",
    "lots": "[spend 10 of 10]",
    "play": "[badge early-bird]",
    "notices": "[gone-quiet by mail]",
    "says": "{gone-quiet: no purchase for 34 days}",
    "values": "{gone-quiet: {days: 34}}",
    "comes_at": "{gone-quiet: 2026-03-02}",
    "not_before": "{gone-quiet: 2026-03-02 09:00}",
    "expires_at": "{gone-quiet: 2026-03-12}",
}


def play_with(then: str) -> None:
    """Play the story with another expectation."""
    story = parse_story(STORY.replace("{balance: 12}", then), "it.yaml")
    stage = Play(story.programmes)
    for step in story.steps:
        check(stage, step, story)


def test_a_story_whose_expectations_are_met_passes() -> None:
    """What the story says, each in another way."""
    play_with(
        "{balance: 12, entries: [spend +10], available: 12, pending: 0, debt: 0, version: 1, notes: [], states: []}"
    )
    play_with("{lots: [spend 2 of 2 from 2026-03-02 10:00, spend 10 of 10], lines: {spend: {1: 10}}, follows: []}")
    play_with("{entries: [earn spend +10], entries_at: {spend: 2026-03-02 10:00}, balance: {anna: 12, ben: 0}}")


@pytest.mark.parametrize("key", list(WISHES))
def test_every_expectation_can_be_unmet(key: str) -> None:
    """A runner that never complains proves nothing."""
    with pytest.raises(AssertionError, match=rf"it\.yaml:9: A purchase earns(?s:.*)  {key}: "):
        play_with(f"{{{key}: {UNMET[key]}}}")


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("given:", "givn:", "it.yaml:4: givn: unknown key givn - did you mean given?"),
        ("programme: spend", "programme: spent", "there is no shared programme spent - did you mean spend?"),
        ("programme: spend", "programme: {ern: []}", "it.yaml:5: ern: unknown key ern - did you mean earn?"),
        ("purchase: o1", "purchas: o1", "it.yaml:9: steps[1].when: a fact has one type"),
        ("at: 2026-03-02 10:00, purchase: o1", "purchase: o1", "at is missing"),
        ("2 x mug 5.50 less", "2 mugs 5.50 less", "is no line: write it like 2 x mug 5.50"),
        ("{balance: 12}", "{balanse: 12}", "steps[1].then.balanse: unknown key balanse - did you mean balance?"),
        ("{balance: 12}", "{entries: spend +11}", "it.yaml:10: steps[1].then.entries: here stands a list"),
        ("{balance: 12}", "{entries: [11]}", "11 is not understood: write it like spend +11"),
        ("{balance: 12}", "{tier: regular until 2026-02-30}", "2026-02-30 is not in the calendar"),
        ("story: A purchase earns a point per euro", "story: Earn", "a story begins with a sentence"),
    ],
)
def test_a_story_that_is_not_understood_says_where_and_why(right: str, wrong: str, said: str) -> None:
    """File, line, field, what is wrong and how to mend it."""
    with pytest.raises(StoryError) as raised:
        parse_story(STORY.replace(right, wrong), "it.yaml")

    assert said in str(raised.value)
