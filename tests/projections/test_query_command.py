"""`stammgast query`: formats, ways to the tables, and what it says when there is none."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

from engine.commands.query import query
from projections import sql
from projections.server import endpoint_path, read_endpoint
from projections.warehouse import Warehouse
from tests.projections import given

STORY: list[dict[str, Any]] = [
    {"type": "purchase", "id": "p1", "subject": "anna", "time": "2026-03-01T10:00:00Z",
     "decision": {"entries": [{"entry_id": "e1", "points": 10, "rule_id": "base", "lines": [[1, 10]]}]}},
    {"type": "visit", "id": "v1", "subject": "bert", "time": "2026-03-07T10:00:00Z"},
]  # fmt: skip
SERVING = (
    "import sys; from projections.warehouse import Warehouse; from projections.server import Server\n"
    "from tests.projections import given, test_query_command as t\n"
    "warehouse = Warehouse.open(sys.argv[1], log_id='test'); server = Server.start(warehouse.connection, sys.argv[1])\n"
    "warehouse.apply(*given.records(t.STORY)); print(flush=True); sys.stdin.read(); server.close(); warehouse.close()\n"
)
TYPES = "select 1 as number, 1.50 as exact, null as nothing, occurred_at, lines from points_entries"


def ask(*arguments: str | Path) -> Result:
    """Run the command."""
    return CliRunner().invoke(query, [str(argument) for argument in arguments])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that nobody holds."""
    path = tmp_path / "shop.duckdb"
    with Warehouse.open(path, log_id="test") as warehouse:
        warehouse.apply(*given.records(STORY))
    return path


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    """A file that another process holds and serves."""
    path = tmp_path / "served.duckdb"
    command = [sys.executable, "-c", SERVING, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        yield path
        assert process.stdin is not None
        process.stdin.close()
        process.wait(20)


def test_csv_is_exact(file: Path) -> None:
    """Header, ISO times, exact decimals, nothing for NULL, lists as JSON."""
    rows = list(csv.reader(io.StringIO(ask(TYPES, "--db", file, "--format", "csv").stdout)))

    assert rows == [
        ["number", "exact", "nothing", "occurred_at", "lines"],
        ["1", "1.50", "", "2026-03-01T10:00:00+00:00", '[{"line":1,"points":10}]'],
    ]


def test_json_is_a_list_of_objects(file: Path) -> None:
    """One object per row, decimals as numbers."""
    answer = ask(TYPES, "--db", file, "--format", "json")

    assert '"exact":1.50' in answer.stdout
    assert json.loads(answer.stdout) == [
        {
            "number": 1,
            "exact": 1.5,
            "nothing": None,
            "occurred_at": "2026-03-01T10:00:00+00:00",
            "lines": [{"line": 1, "points": 10}],
        }
    ]


def test_no_rows_are_valid_json(file: Path) -> None:
    """An empty result is an empty list."""
    assert json.loads(ask("from redemptions", "--db", file, "--format", "json").stdout) == []


def test_parquet_keeps_the_types(file: Path) -> None:
    """Whoever reads it gets the same columns."""
    answer = ask("select member_id, available from balances", "--db", file, "--format", "parquet")

    assert parquet.read_table(io.BytesIO(answer.stdout_bytes)).to_pylist() == [{"member_id": "anna", "available": 10}]


def test_a_table_is_readable(file: Path) -> None:
    """Column names above, one line a row, a dash for NULL."""
    lines = ask("select member_id, available, null as x from balances", "--db", file).stdout.splitlines()

    assert lines[0].split() == ["member_id", "available", "x"]
    assert lines[2].split() == ["anna", "10", "-"]


def test_markup_in_data_is_shown_as_it_is(file: Path) -> None:
    """What looks like a colour is a text."""
    assert "[red]no[/red]" in ask("select '[red]no[/red]' as x", "--db", file).stdout


@pytest.mark.parametrize("shape", ["table", "csv", "json"])
def test_a_served_file_answers_like_a_free_one(file: Path, served: Path, shape: str) -> None:
    """--db FILE is enough, whoever holds the file."""
    free = ask(TYPES, "--db", file, "--format", shape)
    through_server = ask(TYPES, "--db", served, "--format", shape)

    assert (free.exit_code, through_server.exit_code) == (0, 0)
    assert free.stdout == through_server.stdout


def test_a_server_can_be_named(served: Path) -> None:
    """--remote with the token file asks a server without its file."""
    endpoint = read_endpoint(served)
    assert endpoint is not None
    answer = ask(
        "select count(*) as n from facts",
        "--remote",
        endpoint.uri,
        "--token-file",
        endpoint.token_file,
        "--format",
        "csv",
    )

    assert answer.stdout == "n\n3\n"


def test_a_refusal_says_why(served: Path) -> None:
    """Exit code 1 and the reason, without our own call around it."""
    answer = ask("drop view facts", "--db", served)

    assert answer.exit_code == 1
    assert "refused: only one SELECT" in answer.output
    assert "quack_query" not in answer.output


def test_a_free_file_is_not_written(file: Path) -> None:
    """Nor by a query on a file that nobody holds."""
    assert ask("delete from log_positions", "--db", file).exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("select 1",), 2, "--db FILE"),
        (("select 1", "--db", "{folder}/none.duckdb"), 2, "there is no"),
        (("select 1", "--remote", "quack:127.0.0.1:1"), 2, "--token-file"),
        (("select 1", "--remote", "127.0.0.1", "--token-file", "{folder}/shop.duckdb"), 2, "quack:HOST:PORT"),
        (("select 1", "--remote", "quack:127.0.0.1:1", "--token-file", "{folder}/none"), 2, "cannot be read"),
        (("select 1", "--remote", "quack:127.0.0.1:1", "--token-file", "{folder}/token"), 1, "nobody answers"),
        (("select 1", "--remote", "quack:127.0.0.1:1", "--db", "{folder}/shop.duckdb"), 2, "one of them"),
        (("select nonsense from facts", "--db", "{folder}/shop.duckdb"), 1, "nonsense"),
        (("selct 1", "--db", "{folder}/shop.duckdb"), 1, "syntax error"),
        (
            ("select 1", "--db", "{folder}/foreign.duckdb"),
            2,
            "foreign.duckdb holds no tables of stammgast: name another",
        ),
        (("select 1", "--db", "{folder}/token"), 1, "token is no DuckDB file: name another one with --db.\n"),
        (
            ("select 1", "--db", "{folder}/cut.duckdb"),
            1,
            "`stammgast projector --db {folder}/cut.duckdb` sets it aside",
        ),
    ],
)
def test_wrong_usage_says_how_to_mend_it(file: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    """One clear sentence and the documented exit code."""
    (file.parent / "token").write_text("x" * 43)
    (file.parent / "cut.duckdb").write_bytes(file.read_bytes()[:100_000])
    with duckdb.connect(str(file.parent / "foreign.duckdb")) as foreign:
        foreign.execute("create table t (a integer)")
    answer = ask(*(argument.format(folder=file.parent) for argument in arguments))

    assert answer.exit_code == code
    assert words.format(folder=file.parent) in answer.output
    assert "Traceback" not in answer.output


def test_a_wrong_token_is_said_so(served: Path, tmp_path: Path) -> None:
    """The sentence names the server and the token file."""
    endpoint = read_endpoint(served)
    assert endpoint is not None
    (tmp_path / "wrong").write_text("x" * 43)
    answer = ask("select 1", "--remote", endpoint.uri, "--token-file", tmp_path / "wrong")

    assert (answer.exit_code, "refuses the token" in answer.output) == (1, True)


def test_a_file_held_by_something_else_is_said_so(served: Path) -> None:
    """A replay holds its file and serves nobody."""
    endpoint_path(served).unlink()
    answer = ask("select 1", "--db", served)

    assert answer.exit_code == 1
    assert "does not serve it" in answer.output


def test_an_answer_names_its_stamp(file: Path, served: Path) -> None:
    """The same from the file and from its server: positions, programmes, metric versions; rows and their order as without."""
    for db in (file, served):
        plain = ask("select member_id, type from facts order by occurred_at desc", "--db", db, "--format", "csv")
        said = ask(
            "select member_id, type from facts order by occurred_at desc; ", "--db", db, "--format", "csv", "--stamp"
        )
        stamp = json.loads(said.stderr)

        assert (said.exit_code, said.stdout) == (0, plain.stdout)
        assert stamp["positions"] == {"facts": {"0": 2}, "points-log": {"0": 2}}
        assert (stamp["as_of"], stamp["settled_at"]) == ("2026-03-07", "2026-03-07T10:00:00+00:00")
        assert [text.split()[:2] for text in stamp["programmes"]] == [["test", "v1"]]
        assert stamp["metrics"] == sql.versions()
        assert stamp["metrics"]["retention"] >= 1


def test_an_answer_without_rows_has_a_stamp_too(file: Path, served: Path) -> None:
    """Nothing, as of when?"""
    for db in (file, served):
        said = ask("from refunds -- none", "--db", db, "--format", "json", "--stamp")
        assert (said.exit_code, json.loads(said.stdout)) == (0, [])
        assert json.loads(said.stderr)["as_of"] == "2026-03-07"


def test_parquet_carries_the_stamp(file: Path) -> None:
    """Under the same key as an export's."""
    said = ask("from facts", "--db", file, "--format", "parquet", "--stamp")
    table = parquet.read_table(io.BytesIO(said.stdout_bytes))

    assert table.num_rows == 3
    assert "stammgast_stamp" not in table.column_names
    assert json.loads(table.schema.metadata[b"stammgast.stamp"])["as_of"] == "2026-03-07"


def test_tables_may_be_described_with_their_stamp(file: Path) -> None:
    """SHOW and DESCRIBE are questions; EXPLAIN has no rows."""
    assert json.loads(ask("describe balances", "--db", file, "--stamp").stderr)["as_of"] == "2026-03-07"
    assert "stamp" in ask("show tables", "--db", file, "--stamp").stdout
    refused = ask("explain from facts", "--db", file, "--stamp")
    assert (refused.exit_code, "EXPLAIN" in refused.stderr) == (2, True)
