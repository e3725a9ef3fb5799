"""The rest of the customer picture agrees with plain Python, row by row; and no table is without a check or a reason."""

from __future__ import annotations

import os
from datetime import datetime
from math import log
from pathlib import Path
from typing import Any

import duckdb
import pytest
from scipy.optimize import minimize

from engine.settings import SETTINGS
from projections import sql
from tests.independent import catalogue
from tests.independent.compare import SHOWN, ordered
from tests.independent.picture import COLUMNS, HORIZON, Picture
from tests.independent.shop import Rows
from tests.independent.test_independent_gift_shop import MONTH, WHOLE_FILE, replay_to
from tests.independent.values import History, bg_nbd, histories, scored_day

SHORT = 14  # days of a horizon that fits into one month
ROOT = Path(__file__).parents[2]


def differences(wanted: Rows, given: Rows, name: str) -> list[str]:
    """What differs, in words; nothing where the rows are the same."""
    one, other = (ordered(plain(row) for row in rows) for rows in (wanted, given))
    if one == other:
        return []
    missing, surplus = ordered(set(one) - set(other))[:SHOWN], ordered(set(other) - set(one))[:SHOWN]
    return [f"{name}: {len(one)} rows expected, {len(other)} found; missing {missing}, surplus {surplus}"]


def plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Numbers to six decimals whatever they came as, moments as seconds, lists as text."""
    return tuple(_plain(value) for value in row)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return int(value.timestamp())
    if isinstance(value, list):
        return str(value)
    return round(float(value), 6) if hasattr(value, "__float__") else value


def compare(picture: Picture, db: Path) -> list[str]:
    """Every table and metric of COLUMNS, and churn by group within a span that also fits into a month."""
    told = []
    with duckdb.connect(str(db), read_only=True) as connection:
        for name, wanted in picture.rows().items():
            told += differences(wanted, connection.table(name).project(COLUMNS[name]).fetchall(), name)
        short = connection.table_function("churn_by_as_of", [picture.shop.last, SHORT]).project(COLUMNS["churn_by"])
        told += differences(picture.churn_by(SHORT), short.fetchall(), f"churn_by_as_of {SHORT} days")
    return told


@pytest.fixture(scope="module")
def picture() -> Picture:
    """The bundled month in plain Python."""
    return Picture(MONTH)


@pytest.mark.timeout(300)
def test_the_bundled_month_agrees(picture: Picture, month: Path) -> None:
    """Every row of these tables and metrics in December 2010 is the same in plain Python and in DuckDB."""
    assert compare(picture, month) == []


def test_the_month_has_something_to_compare(picture: Picture, month: Path) -> None:
    """Every table has rows, the groups of churn differ, and a difference is told."""
    rows = picture.rows()
    assert [name for name, found in rows.items() if not found] == ["churn_by"]  # nobody is known for HORIZON days
    assert {row[0] for row in picture.churn_by(SHORT)} == {"all", "store", "channel", "category", "segment", "tier"}
    assert len({row[5] for row in picture.churn_by(SHORT)}) > 3
    assert {row[4] for row in rows["churn_flags"]} == {True, False}
    assert {row[-1] for row in rows["refunds"]} == {None, "unknown_order"}
    assert len(differences(picture.churn_by(SHORT), picture.churn_by(SHORT + 1), "churn_by")) == 1
    with duckdb.connect(str(month), read_only=True) as connection:
        assert connection.table("churn_by").fetchall() == []


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_whole_file_agrees(tmp_path: Path) -> None:
    """The same for the whole published file, where months end, tiers are carried over and every group has members.

    No model can be fitted to that half year: the likelihood grows until nobody ever leaves.
    """
    given = os.environ.get(WHOLE_FILE)
    if not given:
        pytest.skip(f"{WHOLE_FILE} names no file; only December 2010 is in the repository")
    whole = Picture(Path(given).resolve())
    db = replay_to(whole.csv, tmp_path)

    assert compare(whole, db) == []
    assert all(whole.rows().values())
    with duckdb.connect(str(db), read_only=True) as connection:
        assert connection.table("model_fits").fetchall() == connection.table("customer_values").fetchall() == []
    people = list(histories(whole.shop, scored_day(whole.shop, 7)).values())
    likely = [likelihood(people, leaving) for leaving in (1e-6, 1e-4, 1e-3, 1e-2, 1e-1)]
    assert likely == sorted(likely, reverse=True), likely


def likelihood(people: list[History], leaving: float) -> float:
    """The logarithm of the chance of all histories at the best rate of buying, where a purchase is the last with this chance."""

    def cost(logs: Any) -> float:
        told = {"r": 2.0 ** logs[0], "alpha": 2.0 ** logs[1], "a": leaving, "b": 1 - leaving}
        return -sum(log(bg_nbd(told, one)) for one in people)

    return -float(minimize(cost, [0.0, 3.0], method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-3}).fun)


def test_every_table_and_metric_is_checked_or_says_why_not() -> None:
    """A new mart or metric needs a line in catalogue.py; a check that is named there exists, and names it."""
    names = {*sql.names("marts"), *sql.METRICS}
    assert set(catalogue.CHECKED) | set(catalogue.NOT_CHECKED) == names
    assert not set(catalogue.CHECKED) & set(catalogue.NOT_CHECKED)
    assert all(len(reason) > 30 for reason in catalogue.NOT_CHECKED.values())
    for name, place in catalogue.CHECKED.items():
        file, _, test = place.partition("::")
        text = (ROOT / file).read_text(encoding="utf-8")
        assert f"def {test}(" in text, f"{name}: there is no {place}"
        words = "".join(one.read_text(encoding="utf-8") for one in catalogue.words_of(ROOT / file))
        assert name in words, f"{name} does not stand in {file} or what it asks"


def test_a_horizon_is_that_of_the_product() -> None:
    """The number restated here is the product's default."""
    assert {setting.name: setting.default for setting in SETTINGS}["churn_horizon_days"] == HORIZON
