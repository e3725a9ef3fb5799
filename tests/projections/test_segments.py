"""Who entered and left a segment: only changes, once, and the same however often it is asked."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from engine.cli import main
from projections.segments import SOURCE, Change, changes, due_day
from projections.warehouse import Warehouse
from tests.projections import given

# anna was a regular and fell silent, bert came today; the tick makes 30 June over.
NOTES: list[dict[str, Any]] = [
    *(
        {"type": "purchase", "id": f"a{n}", "subject": "anna", "time": f"2026-01-{1 + 3 * n:02}T10:00:00Z"}
        for n in range(8)
    ),
    {"type": "purchase", "id": "b1", "subject": "bert", "time": "2026-06-30T10:00:00Z"},
    {"type": "tick", "source": "urn:stammgast:clock", "id": "t", "subject": None, "time": "2026-06-30T23:00:00Z"},
]
DAY = date(2026, 6, 30)


def told(change: Change) -> dict[str, Any]:
    """The fact that a change becomes, as a note."""
    event = json.loads(change.event())
    return {
        "type": "segment", "source": event["source"], "id": event["id"], "subject": event["subject"],
        "time": event["time"][:19] + "Z", "data": event["data"],
    }  # fmt: skip


def file_of(path: Path, notes: list[dict[str, Any]]) -> Path:
    """A file with these facts."""
    path.unlink(missing_ok=True)
    with Warehouse.open(path, log_id="test", threads=1) as warehouse:
        warehouse.apply(*given.records(notes))
    return path


def run(*arguments: object) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["segments", *map(str, arguments)])


def test_only_changes_are_told(tmp_path: Path) -> None:
    """First everybody enters; once that stands in the facts nothing is left to tell; who comes back leaves a segment."""
    db = file_of(tmp_path / "t.duckdb", NOTES)
    first = changes(db, DAY, 90)
    again = changes(file_of(db, [*NOTES, *map(told, first)]), DAY, 90)
    back: list[dict[str, Any]] = [
        {"type": "purchase", "id": "a9", "subject": "anna", "time": "2026-07-01T10:00:00Z"},
        {"type": "tick", "source": "urn:stammgast:clock", "id": "u", "subject": None, "time": "2026-07-01T23:00:00Z"},
    ]
    second = changes(file_of(db, [*NOTES, *map(told, first), *back]), date(2026, 7, 1), 90)

    assert ("anna", "churn-risk") in {(one.member, one.segment) for one in first}
    assert all(one.entered for one in first)
    assert len({one.member for one in first if one.segment.startswith("rfm-")}) == 2
    assert again == []
    assert ("anna", "churn-risk", False) in {(one.member, one.segment, one.entered) for one in second}


def test_an_event_says_it_once_and_for_all(tmp_path: Path) -> None:
    """Ids name segment, member and day; the time is the midnight after the day, in the programme's time zone."""
    db = file_of(tmp_path / "t.duckdb", NOTES)
    one, two = changes(db, DAY, 90), changes(db, DAY, 90)
    assert [change.event() for change in one] == [change.event() for change in two]
    event = json.loads(next(change for change in one if change.segment == "churn-risk").event())
    assert (event["id"], event["source"]) == ("churn-risk:anna:2026-06-30", SOURCE)
    assert event["time"].startswith("2026-06-30T23:00:00")
    assert event["data"] == {"segment": "churn-risk", "entered": True, "as_of": "2026-06-30"}


def test_whoever_has_another_key_now_is_told_under_it(tmp_path: Path) -> None:
    """What was told of a card counts for the member it belongs to: nobody is told to leave for having changed his key."""
    db = file_of(tmp_path / "t.duckdb", NOTES)
    first = changes(db, DAY, 90)
    merge = {"type": "merge", "id": "m", "subject": "anna", "time": "2026-06-30T11:00:00Z",
             "data": {"into": "nina", "operator": "op-1", "reason": "asked"}}  # fmt: skip
    after = changes(file_of(db, [*NOTES, merge, *map(told, first)]), DAY, 90)
    assert [one for one in after if one.member == "anna"] == []


def test_days_are_multiples(tmp_path: Path) -> None:
    """The due day is the newest whole day whose number since 1970 is a multiple."""
    db = file_of(tmp_path / "t.duckdb", NOTES)
    assert due_day(db, 1) == DAY
    weekly = due_day(db, 7)
    assert weekly is not None
    assert (weekly - date(1970, 1, 1)).days % 7 == 0
    assert 0 <= (DAY - weekly).days < 7
    assert due_day(file_of(db, []), 1) is None


def test_the_command_shows_what_it_would_tell(tmp_path: Path) -> None:
    """Without --bootstrap it shows the changes; a day that is not over is refused."""
    db = file_of(tmp_path / "t.duckdb", NOTES)
    words, data, early = run("--db", db), run("--db", db, "--json"), run("--db", db, "--day", "2026-07-01")
    assert (words.exit_code, "churn-risk: 1 entered, 0 left" in words.output) == (0, True), words.output
    assert json.loads(data.output)["told"] is False
    assert (early.exit_code, "is not over" in early.output) == (2, True), early.output
    assert run("--db", file_of(db, [])).exit_code == 1
