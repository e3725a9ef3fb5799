"""What the language answers, word by word: values that are right and wrong, and a programme in plain words.

A changed answer is seen here; where it was meant, `python -m tests.unit.test_rules_wordings` writes the files anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticCustomError

from rules import values
from rules.book import load_directory
from rules.language import ProgrammeFile
from rules.lot_words import lot_words, point_words, reward_words
from rules.moment_words import given_words, moment_words, quiet_words
from rules.play_words import play_words
from rules.words import condition_words, effect_words, refer_words, tier_words, who_words

WORDINGS = Path(__file__).parent / "wordings"
READERS = (
    "parse_calendar", "parse_code_pattern", "parse_currency", "parse_factor", "parse_fixed", "parse_hour", "parse_moment",
    "parse_month_day", "parse_number", "parse_share", "parse_slug", "parse_span", "parse_stock", "parse_word", "parse_zone",
)  # fmt: skip
#: Everything that somebody may write where a value belongs.
WRITTEN: tuple[Any, ...] = (
    None, True, False, "", " ", "x", "none", "ever", 0, 1, 2, 1.5, 1.25, -1, 36_500, 36_501, 100_001, 10**9, "0",
    "1", "-1", "1.25", "2", "0.0000001", "1000", "1001", "100 %", "125 %", "0 %", "100%", "101 %", "10.5 %",
    "0.05 %", "1 day", "1 days", "2 day", "30 days", "36500 days", "36501 days", "1 week", "53 weeks", "12 months",
    "1201 months", "1200 months", "1 month", "10 years", "100 years", "101 years", "30 minutes", "90 seconds",
    "1 hour", "0 days", "-1 days", "1.5 days", "day", "31 Dec", "29 Feb", "30 Feb", "31 Apr", "0 Jan", "32 Jan",
    "1 jan", "1 Foo", "Dec 31", "1.00 EUR", "10 EUR", "EUR 10", "10.001 EUR", "-1.00 EUR", "0.00 EUR", "1 QQQ",
    "1e3 EUR", "5", "14:00", "24:00", "24:01", "7:00", "07:60", "2026-01-31", "2026-02-30",
    "2026-01-31T10:00:00+01:00", "2026-01-31 10:00", "9999-12-31", "10000-01-01", "Europe/Berlin", "Europe/Nowhere",
    "Berlin", "new york", "America/New York",
    "UTC", "EUR", "eur", "JPY", "QQQ", "40", "40 per month", "5 per week per store", "0 per day", "40 per moon",
    "40 per month per shop", [], ["a"], {}, {"a": 1},
)  # fmt: skip


def asked(function: Any, value: Any) -> str:
    """Return what a reader of values makes of something that was written: the value, or the mistake and its proposal."""
    try:
        return str(function(value))
    except PydanticCustomError as error:
        return f"MISTAKE {error.message()} | {(error.context or {}).get('proposal')}"


def answers() -> Iterator[str]:
    """Every reader of one value, asked about everything that can be written."""
    for name in READERS:
        function = getattr(values, name)
        for value in WRITTEN:
            given = Decimal(repr(value)) if isinstance(value, float) else value
            yield f"{name}({given!r}): {asked(function, given)}"


def told(document: ProgrammeFile) -> Iterator[str]:
    """A programme in plain words."""
    yield from (f"points: {line}" for line in point_words(document.points))
    for rule in document.earn:
        yield f"rule {rule.id}: {effect_words(rule)}; {condition_words(rule)}; {lot_words(rule.expire, rule.pending)}"
    yield from (f"tiers: {line}" for line in (tier_words(document.tiers) if document.tiers is not None else ()))
    yield from (f"refer: {line}" for line in ([refer_words(document)] if document.refer is not None else ()))
    yield from (f"who: {line}" for line in who_words(document))
    yield from (f"reward: {line}" for line in reward_words(document))
    for moment in document.moments or ():
        yield f"moment {moment.id}: {moment_words(moment)}: {given_words(moment)}"
    yield from (f"quiet: {line}" for line in quiet_words(document))
    yield from (f"play: {line}" for line in play_words(document))


def words() -> Iterator[str]:
    """A programme that says nearly everything."""
    for path in sorted(WORDINGS.glob("*.yaml")):
        (programme,) = load_directory(path)
        yield from told(programme.document)


FILES = {"values.txt": answers, "words.txt": words}


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_answer_is_the_one_that_is_written_down(name: str) -> None:
    """Each line is what it was: a word that changes is changed on purpose."""
    expected = (WORDINGS / name).read_text(encoding="utf-8").splitlines()
    found = list(FILES[name]())
    differs = [f"written {old}\nfound   {new}" for old, new in zip(expected, found, strict=False) if old != new]
    again = "where it is meant: python -m tests.unit.test_rules_wordings"
    assert not differs, "\n".join(differs[:5]) + f"\n{again}"
    assert len(found) == len(expected), again


def test_what_one_word_says_of_dates() -> None:
    """A rule may take back what the programme says of all points."""
    assert lot_words("none", "none") == ["never expire", "can be spent at once"]
    assert lot_words(None, None) == []


if __name__ == "__main__":
    for name, lines in FILES.items():
        (WORDINGS / name).write_text("".join(f"{line}\n" for line in lines()), encoding="utf-8")
