"""A replay that begins with a copy of the blank file makes what one that begins with nothing makes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest

from engine import loading as loading_module
from engine.demo.coffee_bar import week
from engine.replay import Replay
from projections import blank
from projections.warehouse import Warehouse
from rules.book import load_directory
from schemas.times import to_us
from tests.projections import given

PROGRAMME = Path(__file__).parents[2] / "rules" / "programmes" / "coffee-bar"
EXCLUDED = re.compile(r"EXCLUDE \(([^)]*)\)")
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the blank file; nobody changes it."""
    folder = tmp_path_factory.mktemp("kept")
    assert blank.make(folder)
    return folder


@pytest.fixture
def kept(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, from which replays take theirs."""
    folder = tmp_path / "kept"
    shutil.copytree(made, folder)
    monkeypatch.setattr(loading_module, "KEPT", folder)
    return folder


def in_order(excluded: re.Match[str]) -> str:
    """DuckDB writes these names in another order each time it is asked."""
    return f"EXCLUDE ({', '.join(sorted(excluded[1].split(', ')))})"


def contents(path: Path) -> dict[str, list[Any]]:
    """Everything defined in a file, and the rows of every table of ours, but for the name of its logs."""
    with Warehouse.open(path) as warehouse:
        found: dict[str, list[Any]] = {
            "tables": given.rows(warehouse, "select schema_name, table_name, sql from duckdb_tables() order by all"),
            "views": given.rows(warehouse, "select schema_name, view_name, sql from duckdb_views() order by all"),
            "indexes": given.rows(warehouse, "select index_name, sql from duckdb_indexes() order by all"),
            "macros": given.rows(
                warehouse,
                "select function_name, parameters, macro_definition from duckdb_functions() where not internal order by all",
            ),
        }
        for table in found["tables"]:
            name = f"{table['schema_name']}.{table['table_name']}"
            if table["table_name"] != "identity":
                found[name] = given.rows(warehouse, f"from {name} order by all")
    for macro in found["macros"]:
        macro["macro_definition"] = EXCLUDED.sub(in_order, macro["macro_definition"])
    return found


def test_a_copy_holds_what_a_new_file_holds_when_it_is_filled(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables, views and macros by their SQL, and every row; settings that differ from the usual ones, too."""
    run = Replay(load_directory(PROGRAMME), recorded_us=to_us("2030-01-01T00:00:00Z"))
    batches = list(run.events(map(orjson.dumps, week()), "week"))
    files = tmp_path / "copied.duckdb", tmp_path / "new.duckdb"
    for file, folder in zip(files, (kept, tmp_path / "none"), strict=True):
        monkeypatch.setattr(loading_module, "KEPT", folder)
        with loading_module._opened(file, {"churn_horizon_days": 30}) as warehouse:
            assert warehouse.log_id is not None
            for batch in batches:
                warehouse.apply(batch.facts.table(), batch.decisions.table(), batch.rejects)

    copied, new = map(contents, files)

    assert len(new["views"]) > 50
    assert len(new["staging.points_entries"]) > 10
    assert copied == new


def test_copies_of_one_file_can_be_asked_together(made: Path, tmp_path: Path) -> None:
    """DuckDB does not take them for one and the same."""
    for name in ("one", "two"):
        assert blank.copy(made, tmp_path / f"{name}.duckdb")
        Warehouse.open(tmp_path / f"{name}.duckdb", log_id=name).close()

    with duckdb.connect() as connection:
        for name in ("one", "two"):
            connection.execute(f"attach '{tmp_path / name}.duckdb' as {name} (read_only)")
        found = connection.execute(
            "select (select log_id from one.staging.identity), (select log_id from two.staging.identity)"
        ).fetchone()

    assert found == ("one", "two")


@pytest.mark.parametrize("damage", [b"", b"no DuckDB file" * 1_000])
def test_a_damaged_one_is_done_without(damage: bytes, kept: Path, tmp_path: Path) -> None:
    """What is kept only saves time: the replay makes its own."""
    blank.kept_in(kept).write_bytes(damage)

    with loading_module._opened(tmp_path / "x.duckdb", {}) as warehouse:
        assert warehouse.log_id is not None

    assert contents(tmp_path / "x.duckdb")["views"]


def test_a_cut_one_is_done_without(kept: Path, tmp_path: Path) -> None:
    """As is one whose end is missing."""
    file = blank.kept_in(kept)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    with loading_module._opened(tmp_path / "x.duckdb", {}) as warehouse:
        assert warehouse.log_id is not None

    assert contents(tmp_path / "x.duckdb")["views"]


def test_it_is_made_once_and_older_ones_go(kept: Path, tmp_path: Path) -> None:
    """Until the SQL changes; then it is found under another name."""
    old = kept / "blank-0123.duckdb"
    old.touch()

    assert not blank.make(kept)

    assert [file.name for file in kept.iterdir()] == [blank.kept_in(kept).name]
    assert not blank.copy(tmp_path / "none", tmp_path / "x.duckdb")
    assert not (tmp_path / "x.duckdb").exists()
