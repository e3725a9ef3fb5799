"""What is parsed beside the writer gives the rows that the writer's own parsing gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from projections import ahead as ahead_module
from projections import sql
from projections.ahead import Ahead, apply_all
from projections.parsing import MEMORY_LIMIT, Parser
from projections.warehouse import DECISIONS, FACTS, LOG_SCHEMA, SCRIPTS, Record, Warehouse
from tests.projections import given
from tests.projections.measure_apply import as_table, purchase

TOLD = tuple(name for name in sql.names("marts") if sql.mart(name).get("given"))
PROFILE = {
    "source": "s",
    "id": "p",
    "subject": "anna",
    "time": "2026-03-01T10:00:00.000000Z",
    "recordedat": "2026-03-01T10:00:00.000000Z",
    "bodyhash": "0",
}
ODD = [
    b"\xff",
    b"",
    b"null",
    b'{"id": "without the rest"}',
    json.dumps(PROFILE | {"type": "stammgast.profile.v1", "data": {"sealed": "x"}}).encode(),
    json.dumps(PROFILE | {"type": "stammgast.takeover.v1", "data": {"profile": {"sealed": "x"}, "lots": [1]}}).encode(),
]


@pytest.fixture(autouse=True)
def every_batch_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stories are short."""
    monkeypatch.setattr(ahead_module, "WORTH_RECORDS", 1)


def table_of(records: list[Record]) -> pa.Table:
    """Records as the projector hands them over."""
    return as_table(records) if records else LOG_SCHEMA.empty_table()


def staged(warehouse: Warehouse) -> dict[str, list[dict[str, Any]]]:
    """All rows that the logs write."""
    tables = warehouse.connection.execute(
        "select table_name from duckdb_tables() where schema_name = 'staging' and table_name <> 'identity'"
    ).fetchall()
    return {name: given.rows(warehouse, f"from staging.{name}") for (name,) in tables}


def test_every_mart_s_story_gives_the_same_rows(tmp_path: Path) -> None:
    """Each story in one batch, parsed here and parsed beside, in turn in one connection: no table differs, JSON included."""
    compared = 0
    with (
        Ahead() as ahead,
        Warehouse.open(tmp_path / "a.duckdb") as beside,
        Warehouse.open(tmp_path / "h.duckdb") as here,
    ):
        for partition, name in enumerate(TOLD):
            facts, decisions = map(table_of, given.records(sql.mart(name)["given"], partition))
            parsed = ahead.parse(facts, decisions) if partition % 3 else {}
            assert set(parsed) == ({FACTS, DECISIONS} if partition % 3 else set())
            beside.apply(facts, decisions, parsed=parsed)
            here.apply(facts, decisions)
            compared += len(parsed)
        odd = table_of([Record(99, offset, 1_000, value) for offset, value in enumerate(ODD)])
        beside.apply(odd, parsed=ahead.parse(odd, LOG_SCHEMA.empty_table()))
        here.apply(odd)
        rows = staged(here)
        assert staged(beside) == rows
        assert beside.all_positions() == here.all_positions()
    assert compared > 20
    assert [
        row["payload"] for row in rows["facts"] if row["type"] == "stammgast.profile.v1" and row["partition"] == 99
    ] == [None]
    assert '"sealed"' not in str([row["payload"] for row in rows["facts"] if row["partition"] == 99])


def test_what_was_applied_meanwhile_is_left_out(tmp_path: Path) -> None:
    """A second delivery that reaches further: what was parsed of it holds too much, and is not taken."""
    facts, decisions = map(table_of, given.records([purchase(number) for number in range(9)]))
    with Ahead() as ahead, Warehouse.open(tmp_path / "a.duckdb") as warehouse:
        parsed = ahead.parse(facts, decisions)
        warehouse.apply(facts.slice(0, 4), decisions.slice(0, 4))
        warehouse.apply(facts, decisions, parsed=parsed)

        assert [len(given.rows(warehouse, f"from staging.{name}")) for name in ("facts", "decisions")] == [10, 10]
        assert warehouse.positions(DECISIONS) == {0: 9}


def test_batches_go_in_order_and_the_failed_one_is_told(tmp_path: Path) -> None:
    """Several batches give what one gives; a decision that is none is told by the writer, and what was before it stays."""
    facts, decisions = given.records([purchase(number) for number in range(20)])
    pairs = [(table_of(facts[at : at + 3]), table_of(decisions[at : at + 3])) for at in range(0, len(facts), 3)]
    with Warehouse.open(tmp_path / "a.duckdb") as several, Warehouse.open(tmp_path / "b.duckdb") as one:
        apply_all(several, pairs)
        one.apply(facts, decisions)
        assert staged(several) == staged(one)
        broken = table_of([Record(0, len(decisions), 0, b'{"id": "without the rest"}')])
        with pytest.raises(duckdb.Error):
            apply_all(several, [(LOG_SCHEMA.empty_table(), broken)])
        assert several.positions(DECISIONS) == {0: len(decisions) - 1}
        assert staged(several) == staged(one)


def test_a_parser_that_gives_up_leaves_the_batch_to_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory beside the writer costs time and nothing else."""

    def no_room(*_: object) -> None:
        raise duckdb.OutOfMemoryException(MEMORY_LIMIT)

    monkeypatch.setattr(Parser, "parse", no_room)
    facts, decisions = map(table_of, given.records([purchase(1)]))
    with Warehouse.open(tmp_path / "a.duckdb") as warehouse:
        apply_all(warehouse, [(facts, decisions)])
        assert len(given.rows(warehouse, "from staging.points_entries")) == 2


def test_a_record_that_cannot_be_parsed_leaves_its_batch_to_the_writer_and_the_next_to_the_parser() -> None:
    """Bytes that are no text, behind two thousand decisions that are well."""
    _, decisions = given.records([purchase(1)])
    well = [Record(0, offset, 0, decisions[-1].value) for offset in range(2_500)]
    broken = [*well, Record(0, len(well), 0, b"\xff")]
    with Ahead() as ahead:
        assert ahead.parse(LOG_SCHEMA.empty_table(), table_of(broken)) == {}
        found = ahead.parse(LOG_SCHEMA.empty_table(), table_of(well))
    assert found[DECISIONS].tables["parsed_decisions"].num_rows == len(well)


def test_parsing_needs_the_batch_alone() -> None:
    """Every parsing statement makes the table it is named for, and reads no table of the file."""
    for script, name in SCRIPTS.values():
        for statement, text in sql.parsing(script).items():
            assert "staging." not in text, f"{script}: {statement}"
            if statement != sql.PRESENT:
                made = f"create or replace temp table {sql.parsed_table(script, statement)} as\n"
                assert text.endswith(made + sql.query(text)), statement
                assert sql.query(text).startswith(("select ", "with ")), statement
        assert name.startswith("incoming_")
