"""What holds for every story holds at the fair: books, fold, ticks, partitions, memory; see `tests.stories.fair`."""

from __future__ import annotations

from random import Random

import pytest

from tests.seeds import chosen_seed
from tests.stories.fair import FairThrower, fair_programme
from tests.stories.test_thrown import END, STORIES, check_thrown


@pytest.mark.timeout(900)
def test_what_holds_for_every_story_holds_at_the_fair() -> None:
    """Moments, notices, challenges, badges, tickets, codes, transfers, profiles; a failure says which story it is."""
    dice = Random(chosen_seed())
    for number in range(STORIES):
        check_thrown([fair_programme(dice)], [*FairThrower(dice).events(), END], f"story {number}")
