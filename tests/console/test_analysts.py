"""docs/analysts.md: every block of SQL and of Python is run on the demo's data, and the answers are those on the page."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from engine.cli import VERBS, load
from engine.console.asking import saved
from tests.console.guide import ORDER, PAGE, answer, refreshed

TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sql\n(.*?)```\n\n```text\n(.*?)\n```", TEXT, flags=re.DOTALL)


def test_there_are_ten_questions_and_more() -> None:
    """Each on the page with SQL and answer, and each a saved question of the console."""
    assert len(BLOCKS) == len(ORDER) >= 10
    assert set(ORDER) <= set(saved())
    assert TEXT.count("```sql") == len(BLOCKS)


@pytest.mark.parametrize("number", range(len(BLOCKS)), ids=ORDER)
def test_the_sql_on_the_page_gives_the_answer_on_the_page(month: Path, number: int) -> None:
    """As somebody gets it who copies the block."""
    statement, expected = BLOCKS[number]

    assert answer(month, statement) == expected
    assert len(expected.splitlines()) > 1, "an answer has rows"


def test_the_page_is_fresh(month: Path, tmp_path: Path) -> None:
    """The questions are those of the console, and the notebook runs against a served file."""
    shutil.copy(month, tmp_path / "shop.duckdb")

    assert refreshed(TEXT, tmp_path / "shop.duckdb") == TEXT, "stale: run `python -m tests.console.guide`"


def test_commands_on_the_page_exist() -> None:
    """Every option that the page names is one of its command."""
    named = re.findall(r"stammgast (query|export|console)([^`\n]*)", TEXT)
    named += [("query", "--format csv"), ("export", "--format duckdb --daily")]
    for verb, rest in named:
        known = {option for parameter in load(verb, VERBS[verb]).params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, (verb, rest)
