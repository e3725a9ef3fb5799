"""Answers as tables that a shop owner can read: each question is a .sql file, its column names are the headings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

QUESTIONS = Path(__file__).with_name("questions")
CAPTION = "caption"


class Result(NamedTuple):
    """What came back: column names, which of them are numbers, and the rows."""

    names: Sequence[str]
    numeric: Sequence[bool]
    rows: Sequence[tuple[Any, ...]]


Ask = Callable[[str], Result]


class Question(NamedTuple):
    """A question of the demo: its file in `questions/`, and the title over its answer."""

    file: str
    title: str


COMMON = (
    Question("decided", "What came in, and what was answered"),
    Question("balances", "Balances: who has most {points}"),
    Question("tiers", "Tiers"),
    Question("segments", "Segments: recency, frequency, money"),
    Question("churn", "Churn: who will probably buy nothing in the next {horizon_days} days"),
    Question("rules", "Which rule gave how many {points}"),
)


def statement(file: str) -> str:
    """Return the SQL of a question."""
    return (QUESTIONS / f"{file}.sql").read_text(encoding="utf-8")


def show(console: Console, ask: Ask, questions: Sequence[Question], **words: object) -> None:
    """Ask every question and print its answer; ``words`` go into the titles."""
    for question in questions:
        result = ask(statement(question.file))
        console.print(as_table(result, question.title.format(**words)))
        console.print()


def as_table(result: Result, title: str) -> Table:
    """Return a rich table of an answer; an empty one says so. A last column `caption` stands below the table."""
    table = Table(
        title=escape(title),
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        header_style="cyan",
        min_width=40,
    )
    width = len(result.names) - (result.names[-1] == CAPTION)
    for name, numeric in list(zip(result.names, result.numeric, strict=True))[:width]:
        table.add_column(escape(name), justify="right" if numeric else "left", overflow="fold")
    for row in result.rows:
        table.add_row(*(escape(cell(value)) for value in row[:width]))
    if not result.rows:
        table.caption = "nobody"
    elif width < len(result.names):
        table.caption = escape(str(result.rows[0][-1]))
    return table


def cell(value: object) -> str:
    """Return a value as people read it."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.2f}".rstrip("0").rstrip(".")
        case datetime():
            return f"{value:%Y-%m-%d %H:%M}"
        case date():
            return value.isoformat()
        case _:
            return str(value)
