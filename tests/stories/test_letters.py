"""Every story says to the letter what was written down of it; see `tests.stories.letter`."""

from __future__ import annotations

import pytest

from tests.stories.letter import digests, names, parts, written

MEANT = "where that is meant: python -m tests.stories --anew {0}; what it is now: python -m tests.stories --show {0}"


@pytest.fixture(scope="module")
def known() -> dict[str, dict[str, str]]:
    """What was written down."""
    return written()


@pytest.mark.parametrize("name", names())
def test_a_story_to_the_letter(name: str, known: dict[str, dict[str, str]]) -> None:
    """Its logs, states, explanations and words are what they were."""
    assert name in known, "nothing is written down of this story yet: python -m tests.stories"
    found = parts(name)
    now, before = digests(found), known[name]
    changed = [part for part in found if part not in before or now[part] != before[part]]

    assert not changed, f"other than it was: {', '.join(changed)}; " + MEANT.format(name)
    assert [*before] == [*now], f"other steps than there were; {MEANT.format(name)}"


def test_nothing_is_written_down_of_what_is_gone(known: dict[str, dict[str, str]]) -> None:
    """A story that was taken away or has another name takes its letters along."""
    assert sorted(known) == sorted(names()), "python -m tests.stories"
