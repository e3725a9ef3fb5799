"""`stammgast export`: every table, all rows, the stamp; a folder that appears whole or not at all."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

from engine.commands.export import export_
from projections import sql
from projections.warehouse import Warehouse
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
