"""docs/semantics.md names, for each line of the semantics, stories and tests that are there."""

from __future__ import annotations

import re

from tests.stories.semantics import NOBODY, PAGE, TESTS, held_by_stories, held_by_tests, lines, refreshed

#: Lines that are promised and not held by a test. It may only get shorter.
OPEN: set[str] = set()


def test_the_table_is_current() -> None:
    """It names every story and test that says it holds a line, and no other: `python -m tests.stories` writes it anew."""
    page = PAGE.read_text(encoding="utf-8")

    assert page == refreshed(page)


def test_every_line_is_held() -> None:
    """By a story or another test, or it is listed here and says so."""
    held = {*held_by_stories(), *held_by_tests()}
    page = lines(refreshed(PAGE.read_text(encoding="utf-8")))

    assert {name for name in page if name not in held} - OPEN == set()
    assert {name for name, said in page.items() if said == NOBODY} <= OPEN


def test_every_named_test_is_there() -> None:
    """Files, and tests in them."""
    for name in (test for tests in held_by_tests().values() for test in tests):
        file, _, test = name.partition("::")
        text = (TESTS / file).read_text(encoding="utf-8")
        assert not test or re.search(rf"^(async )?def {test}\b", text, re.MULTILINE), name


def test_ids_stand_once() -> None:
    """An id names one line."""
    ids = re.findall(r"^\| ([a-z0-9.-]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert sorted(set(ids) - {"id"}) == sorted(name for name in ids if name != "id")
