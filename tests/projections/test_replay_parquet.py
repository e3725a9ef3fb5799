"""A replay from Parquet makes the tables of a replay from JSON; what cannot be an event is named by row and column."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

from engine.commands.replay import replay

PROGRAMME = Path(__file__).parents[2] / "rules" / "programmes" / "coffee-bar"
EVENTS: list[dict[str, Any]] = [
    {
        "specversion": "1.0", "source": "urn:till", "id": f"p{number}", "type": "stammgast.purchase.v1",
        "subject": None if number % 5 == 0 else f"m{number % 3}", "time": f"2026-03-0{1 + number % 7}T10:00:00Z",
        "data": {
            "order_id": f"p{number}", "lines": [{"sku": "cup", "quantity": "1", "unit_price": f"{number}.50"}],
            "total": f"{number}.50", "currency": "EUR", "channel": "pos", "store": None,
        },
    }
    for number in range(1, 30)
]  # fmt: skip
EVENTS.append({**EVENTS[0], "id": "odd", "data": {"order_id": "odd"}})  # an event that intake refuses


def write(path: Path, changed: dict[str, list[Any]] | None = None, types: dict[str, pa.DataType] | None = None) -> Path:
    """The events as Parquet, some columns changed or, with None, left out."""
    columns: dict[str, Any] = {
        name: [event[name] for event in EVENTS] for name in ("source", "id", "type", "subject", "time")
    }
    columns["data"] = [json.dumps(event["data"]) for event in EVENTS]
    columns |= changed or {}
    arrays = {name: pa.array(values, (types or {}).get(name)) for name, values in columns.items() if values is not None}
    parquet.write_table(pa.table({**arrays, "more": pa.array(range(len(EVENTS)))}), path)
    return path


def run(events: Path, db: Path) -> Result:
    """Replay."""
    return CliRunner().invoke(replay, [str(events), "--programme", str(PROGRAMME), "--db", str(db), "--json"])


def told(db: Path) -> list[list[tuple[Any, ...]]]:
    """What stands in some tables, but for when it was recorded."""
    with duckdb.connect(str(db), read_only=True) as connection:
        asked = (
            "source, fact_id, member_id, occurred_at, payload from facts",
            "* from balances",
            "reason, position from rejects",
        )
        return [connection.execute(f"select {one} order by all").fetchall() for one in asked]


def test_the_same_tables_as_from_json(tmp_path: Path) -> None:
    """Times as text or as timestamps; a refused event has its row's number."""
    lines = tmp_path / "events.jsonl"
    lines.write_text("".join(json.dumps({k: v for k, v in one.items() if v is not None}) + "\n" for one in EVENTS))
    moments = [event["time"] for event in EVENTS]
    stamped = (
        pa.array([moment.removesuffix("Z") for moment in moments])
        .cast(pa.timestamp("us"))
        .cast(pa.timestamp("us", "UTC"))
    )
    files = [
        lines,
        write(tmp_path / "text.parquet"),
        write(tmp_path / "moments.parquet", {"time": stamped}),
        write(
            tmp_path / "large.parquet", types={"data": pa.large_string(), "type": pa.dictionary(pa.int8(), pa.string())}
        ),
    ]
    found = []
    for file in files:
        done = run(file, tmp_path / f"{file.name}.duckdb")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["rejects"] == 1
        found.append(told(tmp_path / f"{file.name}.duckdb"))

    assert len(found[0][1]) == 3
    assert found[1:] == [found[0]] * 3


COLUMNS_OF = len(EVENTS)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"data": None}, "there is no column 'data'"),
        ({"id": list(range(COLUMNS_OF))}, "the column 'id' is int64, not text"),
        ({"data": [{"a": 1}] * COLUMNS_OF}, "the column 'data' is struct<a: int64>, not text with JSON"),
        ({"id": [*(f"p{n}" for n in range(COLUMNS_OF - 1)), None]}, f"row {COLUMNS_OF}, column 'id': it is empty"),
        ({"data": ["{}", "{", *["{}"] * (COLUMNS_OF - 2)]}, "row 2, column 'data': this is not JSON"),
        ({"data": ["[]"] * COLUMNS_OF}, "row 1, column 'data': this is JSON, but no object"),
        ({"time": pa.array([0] * COLUMNS_OF, pa.timestamp("us"))}, "the column 'time' has no time zone"),
    ],
)
def test_what_cannot_be_an_event_is_named(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    """Exit code 2, and no file."""
    done = run(write(tmp_path / "e.parquet", changed), tmp_path / "x.duckdb")

    assert (done.exit_code, says in done.output) == (2, True), done.output
    assert not (tmp_path / "x.duckdb").exists()


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    """Parquet at its head, nothing behind."""
    path = tmp_path / "e.parquet"
    path.write_bytes(b"PAR1 and then something else")
    done = run(path, tmp_path / "x.duckdb")
    assert (done.exit_code, "cannot be read" in done.output) == (2, True), done.output
