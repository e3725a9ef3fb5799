"""The loading process of a replay: the rows of a warehouse that is given the same batches here, and its death is told."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine import loading as loading_module
from engine.bench import data
from engine.demo.coffee_bar import week
from engine.lines import ReplayError
from engine.loading import Batch, loading
from engine.replay import Replay
from projections.warehouse import Warehouse
from rules.book import load_directory
from schemas.times import DAY_US
from tests.projections import given

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(300)


def batches(events: list[bytes], programme: str, monkeypatch: pytest.MonkeyPatch, size: int = 60) -> list[Batch]:
    """What a replay of these events hands to its loader, in small pieces."""
    monkeypatch.setattr("engine.replay.BATCH_FACTS", size)
    monkeypatch.setattr("engine.normalising.BLOCK_LINES", size)
    versions = load_directory(ROOT / "rules" / "programmes" / programme)
    return list(Replay(versions, recorded_us=data.RECORDED_US + 10 * 366 * DAY_US).events(iter(events), "events"))


def test_what_crossed_to_the_loader_gives_the_rows_of_what_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every table that the logs write, row for row, with lines that are no events among them."""
    events = [b"no event", *map(orjson.dumps, week()), b"", b"none either"]
    given_batches = batches(events, "coffee-bar", monkeypatch)
    assert len(given_batches) > 2

    with loading(tmp_path / "beside.duckdb", {}) as load:
        for batch in given_batches:
            load(batch)
    with Warehouse.open(tmp_path / "here.duckdb", log_id="here") as here:
        for batch in given_batches:
            here.apply(batch.facts.table(), batch.decisions.table(), batch.rejects)

    with Warehouse.open(tmp_path / "here.duckdb") as here, Warehouse.open(tmp_path / "beside.duckdb") as beside:
        names = [
            name
            for (name,) in here.connection.execute(
                "select table_name from duckdb_tables() where schema_name = 'staging' and table_name <> 'identity'"
            ).fetchall()
        ]
        rows = {name: given.rows(here, f"from staging.{name} order by all") for name in names}
        assert len(rows["rejects"]) == sum(len(batch.rejects) for batch in given_batches) > 2
        assert len(rows["points_entries"]) > 10
        for name, expected in rows.items():
            assert given.rows(beside, f"from staging.{name} order by all") == expected, name


def test_a_loader_that_is_killed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever hands over learns it at once, not when the pipe is full, and no process stays."""
    some = batches(list(data.events(data.TWO_LINES, 200)), "gift-shop", monkeypatch)

    def until_told() -> None:
        with loading(tmp_path / "x.duckdb", {}) as load:
            (loader,) = multiprocessing.active_children()
            os.kill(loader.pid or 0, 9)
            for _ in range(10_000):
                for batch in some:
                    load(batch)

    with pytest.raises(ReplayError, match="the loading process died with exit code -9"):
        until_told()
    assert not multiprocessing.active_children()


def pieces_of(some: Iterable[Batch]) -> list[loading_module._Piece]:
    """The batches as they come out of the pipe."""
    return [
        loading_module._Piece(
            batch.facts.table().to_batches()[0], batch.decisions.table().to_batches()[0], batch.rejects
        )
        for batch in some
    ]


def test_months_are_kept_while_records_still_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only at the end, when whoever decided has nothing more to do; they are the same months."""
    pieces = pieces_of(batches(list(data.events(data.TWO_LINES, 3_000)), "gift-shop", monkeypatch, size=100))
    monkeypatch.setattr(loading_module, "APPLY_RECORDS", 500)
    keep = Warehouse.keep_month_if_due
    loaded: list[int] = []

    def noted(warehouse: Warehouse) -> bool:
        found = keep(warehouse)
        if found:
            loaded.append(warehouse.positions("facts")[0])
        return found

    monkeypatch.setattr(Warehouse, "keep_month_if_due", noted)

    def months(after: int) -> tuple[list[int], list[dict[str, Any]]]:
        monkeypatch.setattr(loading_module, "MONTHS_RECORDS", after)
        loaded.clear()
        with Warehouse.open(":memory:", log_id="x") as warehouse:
            loading_module._take_in(warehouse, iter(pieces))
            return loaded.copy(), given.rows(warehouse, "from staging.member_months order by all")

    (on_the_way, rows), (at_the_end, same_rows) = months(1_000), months(1_000_000)

    assert len(on_the_way) == len(at_the_end) > 2
    assert len(set(at_the_end)) == 1
    assert sum(loaded_by < at_the_end[0] for loaded_by in on_the_way) >= len(on_the_way) - 1
    assert rows == same_rows


def test_pieces_are_applied_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until they are worth their statements; what is left at the end is applied, too."""
    pieces = pieces_of(batches(list(data.events(data.TWO_LINES, 100)), "gift-shop", monkeypatch, size=10))
    monkeypatch.setattr(loading_module, "APPLY_RECORDS", 50)

    together = list(loading_module._together(iter(pieces)))

    assert [piece for group in together for piece in group] == pieces
    assert all(sum(one.facts.num_rows + one.decisions.num_rows for one in group) >= 50 for group in together[:-1])
    assert len(together) > 2
