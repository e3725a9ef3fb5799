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
    columns = list(expected[0]) if expected else list(beside["columns"])

    found = chosen(given.rows(warehouse, f"from {name}"), columns)
    assert chosen(expected, columns) == found


def test_metric_describes_itself(told: tuple[str, dict[str, Any], Warehouse]) -> None:
    """Grain, definition, formula and source are said, and every column in its order."""
    name, beside, warehouse = told
    described = given.rows(warehouse, f"describe {name}")

    assert [row["column_name"] for row in described] == list(beside["columns"])
    assert beside["grain"].startswith("One row")
    assert all(len(beside[key]) > 10 for key in ("definition", "formula", "source"))
    assert beside["version"] >= 1
    ((known,),) = warehouse.connection.execute("select metrics from stamp").fetchall()
    assert {"metric": name, "version": beside["version"]} in known


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


@pytest.mark.parametrize(
    ("allocated", "steps"),
    [
        (867_600, [(4_500, 9_500, 410_968), (8_500, 9_700, 760_268)]),
        (900_000, [(4_500, 9_700, 417_526), (8_500, 9_900, 772_727)]),
    ],
)
def test_points_are_earned_as_ifrs_15_shows(allocated: int, steps: list[tuple[int, int, int]]) -> None:
    """Illustrative Example 52: 100,000.00 sold with 10,000 points of 1.00, 95 % expected: 8,676 deferred, 4,110 and then
    3,493 earned; and the rounded variant of a handbook (9,000 deferred: 4,175, then 3,552)."""
    with given.warehouse(()) as warehouse:
        (share,) = given.rows(warehouse, "select ifrs15_points_share(10000000, 10000, 100, 0.95) as deferred")
        earned = [
            given.rows(warehouse, f"select ifrs15_earned_to_date({allocated}, {spent}, {expected}) as earned")[0][
                "earned"
            ]
            for spent, expected, _ in steps
        ]
    assert round(share["deferred"], -2) == 867_600
    assert earned == [wanted for _, _, wanted in steps]
    assert [round(earned[0] / 100), round((earned[1] - earned[0]) / 100)] == (
        [4110, 3493] if allocated == 867_600 else [4175, 3552]
    )


def test_what_was_not_known_then_is_left_out() -> None:
    """A purchase that was recorded after `known_at` does not count, and counts without it: both times of every as-of question."""
    entry = {"entry_id": "e1", "points": 10, "rule_id": "base"}
    notes = [
        {
            "type": "purchase",
            "id": "p1",
            "subject": "anna",
            "time": "2026-01-10T10:00:00Z",
            "decision": {"entries": [entry]},
        }
    ]
    with given.warehouse(notes) as warehouse:  # recorded on 25 February 2026
        for name in (
            "purchase_rhythm",
            "rfm",
            "sales_months",
            "products",
            "leaderboards",
            "points_months",
            "cohorts",
            "breakage",
        ):
            then, now = (
                given.rows(warehouse, f"from {name}_as_of(date '2026-01-31', known_at := {known})")
                for known in ("timestamptz '2026-02-01'", "null")
            )
            assert (name, then, bool(now)) == (name, [], True)
