"""The metrics agree with a second computation in plain Python straight from the till's file."""

from __future__ import annotations

import os
from collections import Counter
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.independent.compare import SHOWN, books, ordered
from tests.independent.shop import Rows, Shop
from tests.independent.test_independent_gift_shop import MONTH, WHOLE_FILE, replay_to
from tests.independent.till import LONDON

WINDOW = 90


@cache
def statements() -> dict[str, str]:
    """The questions of metrics.sql by their names."""
    parts = Path(__file__).with_name("metrics.sql").read_text(encoding="utf-8").split("-- statement: ")[1:]
    return {name.strip(): query for name, _, query in (part.partition("\n") for part in parts)}


def expected(csv: Path) -> dict[str, Rows]:
    """What plain Python says."""
    shop = Shop(csv)
    earlier = shop.last - timedelta(14)
    return {
        "repeat_purchases": shop.repeat_purchases(),
        "retention": shop.retention(WINDOW),
        "cohorts": shop.cohorts(),
        "purchase_rhythm": shop.purchase_rhythm(),
        "sleepers": shop.sleepers(),
        "sales_months": shop.sales_months(),
        "preferred_products": shop.preferred_products(),
        "products": shop.products(),
        "churn": [shop.churn(14)],
        "leaders": shop.leaders(),
        "points_months": points_months(csv),
        f"rfm {shop.last}": [(member, *one) for member, one in shop.rfm(shop.last).items()],
        f"rfm {earlier}": [(member, *one) for member, one in shop.rfm(earlier).items()],
    }


def points_months(csv: Path) -> Rows:
    """(month, earned, clawed back, outstanding) out of the independent books."""
    earned: Counter[Any] = Counter()
    taken: Counter[Any] = Counter()
    for member in books(csv).members.values():
        for entry in member.entries:
            when = entry.when.astimezone(LONDON).date().replace(day=1)
            (earned if entry.kind == "earn" else taken)[when] += abs(entry.points)
    rows, outstanding = [], 0
    for one in sorted({*earned, *taken}):
        outstanding += earned[one] - taken[one]
        rows.append((one, earned[one], taken[one], outstanding))
    return rows


def differences(csv: Path, db: Path) -> list[str]:
    """What differs, in words."""
    told = []
    with duckdb.connect(str(db), read_only=True) as connection:
        for name, rows in expected(csv).items():
            question, _, day = name.partition(" ")
            found = connection.execute(statements()[question].replace(":day", day)).fetchall()
            wanted = ordered(comparable(row) for row in rows)
            given = ordered(comparable(row) for row in found)
            if wanted != given:
                missing, surplus = set(wanted) - set(given), set(given) - set(wanted)
                told.append(
                    f"{name}: {len(wanted)} rows expected, {len(given)} found; "
                    f"missing {ordered(missing)[:SHOWN]}, surplus {ordered(surplus)[:SHOWN]}"
                )
    return told


def comparable(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Numbers as floats, whatever they came as; all of them are small enough to be exact."""
    return tuple(one if one is None or not hasattr(one, "__float__") else float(one) for one in row)


@pytest.mark.timeout(300)
def test_the_bundled_month_agrees(month: Path) -> None:
    """Every row of these metrics in December 2010 is the same in plain Python and in DuckDB."""
    assert differences(MONTH, month) == []


def test_a_difference_is_told(month: Path) -> None:
    """The comparison can fail: another window of activity is told, and the month has something to compare everywhere."""
    found = expected(MONTH)
    with duckdb.connect(str(month), read_only=True) as connection:
        rows = connection.execute(statements()["retention"]).fetchall()

    assert {name for name, rows in found.items() if not rows} <= {"sleepers"}
    assert ordered(Shop(MONTH).retention(7)) != ordered(rows)
    assert any(row[6] > 1 for row in found["cohorts"])
    assert any(row[3] > 0 for row in found["products"])


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_whole_file_agrees(tmp_path: Path) -> None:
    """The same for the whole published file."""
    given = os.environ.get(WHOLE_FILE)
    if not given:
        pytest.skip(f"{WHOLE_FILE} names no file; only December 2010 is in the repository")
    csv = Path(given).resolve()

    assert differences(csv, replay_to(csv, tmp_path)) == []


@pytest.mark.timeout(300)
def test_every_metric_keeps_its_invariants_on_the_month(month: Path) -> None:
    """Whatever is stated beside a metric holds on a real month too."""
    from projections import sql

    with duckdb.connect(str(month), read_only=True) as connection:
        for name in sql.METRICS:
            for invariant in sql.metric(name)["invariants"]:
                assert connection.execute(invariant["sql"]).fetchall() == [], f"{name}: {invariant['says']}"
