"""Every metric says what it is, gives the rows expected beside it, and stands in docs/metrics.md as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from projections import sql
from projections.warehouse import Warehouse
from tests.projections import given, metrics_page
from tests.projections.test_marts import chosen


@pytest.fixture(scope="module", params=sql.METRICS)
def told(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, Any], Warehouse]]:
    """A metric, what stands beside it, and a warehouse with the rows given there: opened once for all its tests."""
    beside = sql.metric(request.param)
    with given.warehouse(beside["given"]) as warehouse:
        yield request.param, beside, warehouse


def test_metric_gives_the_expected_rows(told: tuple[str, dict[str, Any], Warehouse]) -> None:
    """The rows given beside a metric make the rows expected beside it."""
    name, beside, warehouse = told
    expected = beside["expect"]
    columns = list(expected[0])

    found = chosen(given.rows(warehouse, f"from {name}"), columns)
    assert chosen(expected, columns) == found


def test_metric_describes_itself(told: tuple[str, dict[str, Any], Warehouse]) -> None:
    """Grain, definition, formula and source are said, and every column in its order."""
    name, beside, warehouse = told
    described = given.rows(warehouse, f"describe {name}")

    assert [row["column_name"] for row in described] == list(beside["columns"])
    assert beside["grain"].startswith("One row")
    assert all(len(beside[key]) > 10 for key in ("definition", "formula", "source"))


def test_metric_keeps_its_invariants(told: tuple[str, dict[str, Any], Warehouse]) -> None:
    """Its own story breaks no invariant of it."""
    _, beside, warehouse = told
    assert beside["invariants"]
    for invariant in beside["invariants"]:
        assert given.rows(warehouse, invariant["sql"]) == [], invariant["says"]


def test_the_page_says_what_stands_beside_the_metrics() -> None:
    """docs/metrics.md is what tests/projections/metrics_page.py makes of the definitions."""
    assert metrics_page.PAGE.read_text(encoding="utf-8") == metrics_page.page(), (
        "python -m tests.projections.metrics_page"
    )
