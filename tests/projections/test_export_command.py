"""`stammgast export`: every table, all rows, the stamp; a folder that appears whole or not at all."""

from __future__ import annotations

import csv
import json
import math
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import duckdb
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

from engine.commands.export import export_
from projections import sql
from projections.warehouse import Warehouse
from projections.workbook import CELL_CHARACTERS, CUT, write_workbook
from tests.projections import given

STORY: list[dict[str, Any]] = [
    {"type": "purchase", "id": "p1", "subject": "=cmd", "time": "2026-03-01T10:00:00Z",
     "decision": {"entries": [{"entry_id": "e1", "points": 10, "rule_id": "base"}]}},
    {"type": "visit", "id": "v1", "subject": "bert", "time": "2026-03-07T10:00:00Z"},
]  # fmt: skip


def run(*arguments: str | Path) -> Result:
    """Run the command."""
    return CliRunner().invoke(export_, [str(argument) for argument in arguments])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A small file."""
    path = tmp_path / "shop.duckdb"
    with Warehouse.open(path, log_id="test") as warehouse:
        warehouse.apply(*given.records(STORY))
    return path


def test_parquet_holds_every_table_and_its_stamp(file: Path, tmp_path: Path) -> None:
    """Each mart is a file with the rows that the tables have, and each file says what its rows come from."""
    answer = run("--db", file, "--out", tmp_path / "out", "--json")

    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    with duckdb.connect(str(file), read_only=True) as connection:
        for name in sql.names("marts"):
            ((rows,),) = connection.execute(f"select count(*) from {name}").fetchall()  # noqa: S608 - names of our own
            assert parquet.read_table(tmp_path / "out" / f"{name}.parquet").num_rows == rows == told["rows"][name], name
    stamp = json.loads((tmp_path / "out" / "stamp.json").read_text(encoding="utf-8"))
    assert stamp == told["stamp"]
    assert stamp["positions"] == {"facts": {"0": 2}, "points-log": {"0": 2}}
    assert stamp["as_of"] == "2026-03-07"
    assert stamp["programmes"] == ["test v1 4e1f"]
    assert json.loads(parquet.read_schema(tmp_path / "out" / "balances.parquet").metadata[b"stammgast.stamp"]) == stamp
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "shop.duckdb"]


def test_csv_is_for_spreadsheets(file: Path, tmp_path: Path) -> None:
    """A member's key that would be a formula is a text."""
    assert run("--db", file, "--out", tmp_path / "out", "--format", "csv", "--table", "balances").exit_code == 0

    rows = list(csv.DictReader((tmp_path / "out" / "balances.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["member_id"], row["available"]) for row in rows] == [("'=cmd", "10")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["balances.csv", "stamp.json"]


def test_a_workbook_is_for_spreadsheets(file: Path, tmp_path: Path) -> None:
    """Every table is a workbook; a member's key that would be a formula is a text, and is not changed for it."""
    answer = run("--db", file, "--out", tmp_path / "out", "--format", "xlsx", "--json")

    assert answer.exit_code == 0, answer.output
    assert {path.stem for path in (tmp_path / "out").glob("*.xlsx")} == set(json.loads(answer.stdout)["rows"])
    header, row = _cells(tmp_path / "out" / "balances.xlsx")
    assert header[:2] == ["inlineStr member_id", "inlineStr available"]
    assert row[:2] == ["inlineStr =cmd", "10"]


def test_cells_are_what_their_values_are(tmp_path: Path) -> None:
    """Keys keep their zeros, times and days are numbers with a format, and what a cell cannot hold is a text or is cut."""
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    values = [
        "00123",
        "1e5",
        7,
        Decimal("12.50"),
        10**15,
        math.nan,
        True,
        None,
        noon,
        noon.date(),
        [{"line": 1}],
        "x" * 40_000,
        "a\x07b",
    ]

    assert write_workbook(tmp_path / "x.xlsx", "t", ["c"] * len(values), [values]) == 1

    assert _cells(tmp_path / "x.xlsx")[1] == [
        "inlineStr 00123", "inlineStr 1e5", "7", "12.50", "inlineStr 1000000000000000", "inlineStr nan", "b 1",
        "46082.5", "46082", 'inlineStr [{"line":1}]', f"inlineStr {'x' * (CELL_CHARACTERS - len(CUT))}{CUT}",
        "inlineStr a_x0007_b",
    ]  # fmt: skip


def test_what_does_not_fit_on_a_sheet_goes_on_to_the_next(tmp_path: Path) -> None:
    """Given sheets of three rows with the header, then five rows take three of them and each says its columns."""
    assert write_workbook(tmp_path / "x.xlsx", "t", ["c"], ([n] for n in range(5)), sheet_rows=3) == 5

    assert [_cells(tmp_path / "x.xlsx", sheet) for sheet in (1, 2, 3)] == [
        [["inlineStr c"], ["0"], ["1"]],
        [["inlineStr c"], ["2"], ["3"]],
        [["inlineStr c"], ["4"]],
    ]


def _cells(path: Path, sheet: int = 1) -> list[list[str]]:
    """Kind (none: a number) and value of each cell that is not empty, read without the library that wrote them."""
    name = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    with zipfile.ZipFile(path) as book:
        rows = ET.fromstring(book.read(f"xl/worksheets/sheet{sheet}.xml")).iter(f"{name}row")  # noqa: S314 - our own
    return [[f"{cell.get('t') or ''} {''.join(cell.itertext())}".strip() for cell in row] for row in rows]


def test_a_duckdb_file_holds_tables(file: Path, tmp_path: Path) -> None:
    """Nothing of ours is needed to read it."""
    assert run("--db", file, "--out", tmp_path / "out", "--format", "duckdb", "--table", "balances").exit_code == 0

    with duckdb.connect(str(tmp_path / "out" / "stammgast.duckdb"), read_only=True) as connection:
        assert connection.execute("select member_id, available from balances").fetchall() == [("=cmd", 10)]
        assert connection.execute("select count(*) from duckdb_views() where not internal").fetchone() == (0,)


def test_daily_writes_each_day_once(file: Path, tmp_path: Path) -> None:
    """The second run of a day does nothing; `latest` leads to the newest day."""
    first = run("--db", file, "--out", tmp_path / "days", "--daily", "--table", "visits")
    again = run("--db", file, "--out", tmp_path / "days", "--daily", "--table", "visits")
    with Warehouse.open(file) as warehouse:
        later = {"type": "visit", "id": "v2", "subject": "bert", "time": "2026-03-09T10:00:00Z"}
        facts, decisions = given.records([*STORY, later])
        warehouse.apply(facts, decisions)
    next_day = run("--db", file, "--out", tmp_path / "days", "--daily", "--table", "visits")

    assert [one.exit_code for one in (first, again, next_day)] == [0, 0, 0]
    assert "there already" in again.output
    assert sorted(path.name for path in (tmp_path / "days").iterdir()) == ["2026-03-07", "2026-03-09", "latest"]
    assert (tmp_path / "days" / "latest").resolve().name == "2026-03-09"


def test_what_cannot_be_written_is_said_and_leaves_nothing(file: Path, tmp_path: Path) -> None:
    """A folder that exists, a table that does not, a file that does not, no day yet."""
    (tmp_path / "there").mkdir()
    with Warehouse.open(tmp_path / "empty.duckdb", log_id="test"):
        pass

    for arguments, says in (
        (("--db", file, "--out", tmp_path / "there"), "exists already"),
        (("--db", file, "--out", tmp_path / "new", "--table", "nothing"), "there is no table nothing"),
        (("--db", tmp_path / "missing", "--out", tmp_path / "new"), "cannot be read"),
        (("--db", tmp_path / "empty.duckdb", "--out", tmp_path / "new", "--daily"), "has no day"),
    ):
        answer = run(*arguments)
        assert answer.exit_code == 2, answer.output
        assert says in answer.output
    assert not (tmp_path / "new").exists()
    assert list((tmp_path / "there").iterdir()) == []


def test_an_export_is_made_while_the_file_is_held(file: Path, tmp_path: Path) -> None:
    """The projector's own connection is open meanwhile."""
    with Warehouse.open(file):
        assert run("--db", file, "--out", tmp_path / "out", "--table", "facts").exit_code == 0
