"""Every mart does what stands beside it: grain, columns, invariants, given and expected rows."""

from __future__ import annotations

from typing import Any

import pytest

from projections import sql
from tests.projections import given

MARTS = sql.names("marts")


def chosen(rows: list[dict[str, Any]], columns: list[str]) -> list[dict[str, Any]]:
    """Only these columns, in an order that does not depend on the database."""
    return sorted(({name: row[name] for name in columns} for row in rows), key=repr)


@pytest.mark.parametrize("name", MARTS)
def test_mart_gives_the_expected_rows(name: str) -> None:
    """The rows given beside a mart make the rows expected beside it."""
    beside = sql.mart(name)
    with given.warehouse(beside.get("given", ()), beside.get("rejects", ())) as warehouse:
        rows = given.rows(warehouse, f"from {name}")
    expected = beside["expect"]
    columns = list(expected[0]) if expected else list(beside["columns"])

    assert sorted(expected, key=lambda row: repr({name: row[name] for name in columns})) == chosen(rows, columns)


@pytest.mark.parametrize("name", MARTS)
def test_mart_has_the_columns_it_describes(name: str) -> None:
    """The description names every column, in order, and opens with the grain."""
    beside = sql.mart(name)
    with given.warehouse(()) as warehouse:
        described = given.rows(warehouse, f"describe {name}")

    assert [row["column_name"] for row in described] == list(beside["columns"])
    assert beside["grain"].startswith("One row")
    assert beside["invariants"]


@pytest.mark.parametrize("name", MARTS)
def test_invariants_hold_on_every_given_story(name: str) -> None:
    """No story told beside any mart breaks an invariant of any mart."""
    beside = sql.mart(name)
    with given.warehouse(beside.get("given", ()), beside.get("rejects", ())) as warehouse:
        assert warehouse.broken_invariants() == []


def test_every_file_is_built() -> None:
    """No mart and no macro is forgotten in the build order."""
    files = {f"{folder}/{name}" for folder in ("marts", "macros", "metrics") for name in sql.names(folder)}

    steps = {f"staging/{name}" for name in ("points", "steps", "bought", "spent")}
    assert files | steps == set(sql.BUILD_ORDER)


def test_a_broken_invariant_is_told() -> None:
    """A lot below zero is found by name."""
    notes = [
        {"type": "visit", "id": "v1", "subject": "anna", "time": "2026-03-01T10:00:00Z", "decision": {"entries": [
            {"entry_id": "e1", "points": 3, "rule_id": "base"},
            {"entry_id": "c1", "kind": "clawback", "points": -5, "rule_id": "base", "burns": [["e1", 5]]},
        ]}},
    ]  # fmt: skip
    with given.warehouse(notes) as warehouse:
        broken = warehouse.broken_invariants()

    assert ("lots", "no lot is below zero or above what it held", 1) in broken


def test_each_cell_of_the_grid_is_one_segment() -> None:
    """The 25 cells of recency and frequency are covered as the grid of ten segments says."""
    grid = {
        "hibernating": {(r, f) for r in (1, 2) for f in (1, 2)},
        "at_risk": {(r, f) for r in (1, 2) for f in (3, 4)},
        "cant_lose": {(1, 5), (2, 5)},
        "about_to_sleep": {(3, 1), (3, 2)},
        "need_attention": {(3, 3)},
        "loyal": {(r, f) for r in (3, 4) for f in (4, 5)},
        "promising": {(4, 1)},
        "new": {(5, 1)},
        "potential_loyalist": {(r, f) for r in (4, 5) for f in (2, 3)},
        "champions": {(5, 4), (5, 5)},
    }
    with given.warehouse(()) as warehouse:
        cells = given.rows(
            warehouse, "select r, f, rfm_segment(r, f) as segment from range(1, 6) t(r), range(1, 6) s(f)"
        )

    assert {name: {(c["r"], c["f"]) for c in cells if c["segment"] == name} for name in grid} == grid
    assert sum(map(len, grid.values())) == len(cells) == 25


def test_versions_are_those_that_stand_beside_metrics_and_marts() -> None:
    """They are read without the rest of the file, and are what all of it says."""
    beside = {name: sql.metric(name) for name in sql.METRICS} | {name: sql.mart(name) for name in sql.names("marts")}
    said = {name: description["version"] for name, description in beside.items() if "version" in description}

    assert said
    assert sql.versions() == said
