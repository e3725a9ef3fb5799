"""Versions of a programme: which one is in force when, which ones do not go together, and what windows are called."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.book import Book, Cap, OverlapError, Programme, load_directory
from rules.errors import ProgrammeErrors
from rules.local_time import local_day, midnight_us, to_local_us
from schemas.times import DAY_US, to_datetime, to_us
from tests.unit.rules_help import compiled

SHIPPED = Path(__file__).parents[2] / "rules" / "programmes"
BERLIN = ZoneInfo("Europe/Berlin")


def version(number: int, begins: str, until: str | None = None, name: str = "corner-cafe") -> Programme:
    """Return an empty version of the programme."""
    valid = {"from": begins} if until is None else {"from": begins, "until": until}
    return compiled(programme=name, version=number, valid=valid)


V1, V2 = version(1, "2026-01-01"), version(2, "2026-03-05")


def test_the_version_of_the_facts_time_is_in_force() -> None:
    """A version begins at local midnight and ends when the next one begins."""
    book = Book([V2, V1])
    assert book.versions == (V1, V2)
    assert book.at(to_us("2025-12-31T22:59:59Z")) is None
    assert book.at(to_us("2025-12-31T23:00:00Z")) == V1
    assert book.at(to_us("2026-03-04T22:59:59.999999Z")) == V1
    assert book.at(to_us("2026-03-04T23:00:00Z")) == V2
    assert book.at(to_us("2036-01-01T00:00:00Z")) == V2
    assert Book().at(0) is None


def test_a_gap_has_no_version() -> None:
    """After a version's last day, and before the next one, nothing is in force."""
    book = Book([version(1, "2026-01-01", "2026-01-31"), V2])
    assert book.at(to_us("2026-01-31T22:59:59Z")) is not None
    assert book.at(to_us("2026-01-31T23:00:00Z")) is None
    assert book.at(to_us("2026-03-05T00:00:00Z")) == V2


def test_a_book_is_immutable() -> None:
    """Adding a version makes another book; adding one it holds makes none."""
    book = Book([V1])
    more = book.with_version(V2)
    assert (book.versions, more.versions) == ((V1,), (V1, V2))
    assert more.with_version(V1) is more


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (version(2, "2026-01-01"), "both begin"),
        (version(1, "2026-02-01"), "have the number 1"),
        (version(2, "2026-02-01", name="other-cafe"), "two: corner-cafe and other-cafe"),
        (version(2, "2025-12-01", "2026-01-01"), "before 2 ends"),
    ],
)
def test_versions_that_claim_the_same_are_refused(other: Programme, message: str) -> None:
    """The same day, the same number, another programme and an overlap are refused."""
    with pytest.raises(OverlapError, match=message):
        Book([V1]).with_version(other)


@given(st.lists(st.integers(0, 3000), unique=True, max_size=6), st.integers(-10, 3010))
def test_the_latest_version_that_has_begun_is_in_force(days: list[int], day: int) -> None:
    """For any versions and any moment: the one with the latest beginning at or before it."""
    made = [version(number, str(to_datetime((10_000 + at) * DAY_US).date())) for number, at in enumerate(days, 1)]
    moment_us = midnight_us(10_000 + day, BERLIN)
    begun = [each for each in made if each.valid_from_us <= moment_us]
    assert Book(made).at(moment_us) == max(begun, key=lambda each: each.valid_from_us, default=None)


def write(folder: Path, file: str, **changes: str) -> None:
    """Write the gift shop's first version under another name, with some texts replaced."""
    text = (SHIPPED / "gift-shop" / "2010-12-01.yaml").read_text(encoding="utf-8")
    for old, new in changes.items():
        wanted = {"begin": "{from: 2010-12-01}", "number": "version: 1", "name": "programme: gift-shop"}[old]
        assert wanted in text
        text = text.replace(wanted, new)
    (folder / file).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "place", "message", "proposal"),
    [
        ({"number": "version: 2"}, "b.yaml", "begins with", "versions do not overlap"),
        ({"begin": "{from: 2011-01-01}"}, "b.yaml", "version 1 begins after version 1", "write version: 2"),
        (
            {"name": "programme: toy-shop", "begin": "{from: 2011-01-01}", "number": "version: 2"},
            "b.yaml",
            "two programmes in one directory",
            "one directory",
        ),
        ({"begin": "{from: 2010-11-01, until: 2010-12-01}", "number": "version: 0"}, "b.yaml", "0 is too small", "1"),
        ({"begin": "{from: 2010-11-01, until: 2010-12-01}"}, "b.yaml", "overlaps", "write until: 2010-11-30"),
    ],
)
def test_a_directory_holds_versions_that_go_together(
    tmp_path: Path, changes: dict[str, str], place: str, message: str, proposal: str
) -> None:
    """Overlaps, repeated numbers and a second programme are told with file and line."""
    write(tmp_path, "a.yaml")
    write(tmp_path, "b.yaml", **changes)
    with pytest.raises(ProgrammeErrors) as caught:
        load_directory(tmp_path)
    found = [problem for problem in caught.value.problems if message in problem.message]
    assert found, str(caught.value)
    assert Path(found[0].file).name == place
    assert found[0].line > 0
    assert proposal in found[0].proposal


@pytest.mark.parametrize("name", ["coffee-bar", "gift-shop"])
def test_shipped_programmes_have_versions(name: str) -> None:
    """Each shipped programme has several versions, in files named after the day on which they begin."""
    programmes = load_directory(SHIPPED / name)
    assert [(each.name, each.version) for each in programmes] == [(name, n + 1) for n in range(len(programmes))]
    assert len(programmes) >= 3
    begins = [str(each.document.valid.from_) for each in programmes]
    assert begins == sorted(file.stem for file in (SHIPPED / name).glob("*.yaml"))
    Book(programmes)


@pytest.mark.parametrize(
    ("every", "at", "label"),
    [
        ("day", "2026-02-28T23:30:00Z", "2026-03-01"),
        ("week", "2026-03-01T22:30:00Z", "2026-W09"),
        ("week", "2026-03-01T23:30:00Z", "2026-W10"),
        ("week", "2027-01-01T12:00:00Z", "2026-W53"),
        ("month", "2026-02-28T22:30:00Z", "2026-02"),
        ("month", "2026-02-28T23:30:00Z", "2026-03"),
        ("quarter", "2026-03-31T22:30:00Z", "2026-Q2"),
        ("year", "2026-12-31T23:30:00Z", "2027"),
        ("ever", "2026-12-31T23:30:00Z", "ever"),
    ],
)
def test_windows_are_local(every: str, at: str, label: str) -> None:
    """A cap's window is the calendar's, in the programme's time zone; weeks are ISO weeks."""
    assert Cap(points=1, every=every).window(to_us(at), BERLIN) == label


@given(
    st.integers(0, 2**31 * 1_000_000),
    st.sampled_from(["Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "UTC"]),
)
def test_local_days_are_the_calendars(time_us: int, name: str) -> None:
    """The quick way to a local day and clock agrees with the library's, for every moment and zone."""
    zone = ZoneInfo(name)
    local = to_datetime(time_us).astimezone(zone)
    day = local_day(time_us, zone)
    assert to_datetime(day * DAY_US).date() == local.date()
    clock_us = to_local_us(time_us, zone) % DAY_US
    assert clock_us == ((local.hour * 60 + local.minute) * 60 + local.second) * 1_000_000 + local.microsecond
    assert midnight_us(day, zone) <= time_us < midnight_us(day + 1, zone)
