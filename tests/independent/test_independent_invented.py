"""What a till does not tell: visits, reviews, surveys, rewards, points that end, hold-outs, each beside plain Python."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from projections.warehouse import Warehouse
from tests.independent.invented import COLUMNS, SEED, Life
from tests.independent.test_independent_picture import differences
from tests.projections import given


@pytest.fixture(scope="module")
def life() -> Life:
    """An invented half year."""
    return Life().live()


@pytest.fixture(scope="module")
def tables(life: Life) -> Iterator[Warehouse]:
    """Its facts and decisions in tables."""
    with given.warehouse(life.notes) as warehouse:
        yield warehouse


@pytest.mark.parametrize("name", COLUMNS)
def test_an_invented_half_year_agrees(life: Life, tables: Warehouse, name: str) -> None:
    """Every row of the table or metric is the same in plain Python and in DuckDB."""
    wanted, found = getattr(life, name)(), tables.connection.table(name).project(COLUMNS[name])
    if name == "leaderboards":
        found = found.filter("measure in ('visits', 'referrals')")

    assert len(wanted) > 1, f"seed {SEED}"
    assert differences(wanted, found.fetchall(), name) == [], f"seed {SEED}"


def test_an_invented_half_year_has_every_kind_of_thing(life: Life) -> None:
    """Each sign, each end of a reward, each way for points to go, and groups that differ."""
    assert {row[1] for row in life.unhappy_members()} == {"low_score", "low_rating", "open_complaint", "late_delivery"}
    assert {row["state"] for row in life.asked} == {"refused", "granted", "fulfilled", "cancelled"}
    assert {move.kind for move in life.moves} == {"earn", "redeem", "restore", "expire", "clawback"}
    assert any(row[-1] > row[2] for row in life.breakage()), "no month is expected to have more redeemed"
    assert max(row[3] for row in life.referral_chains()) > 2
    assert len(life.held_out) > 5
    assert len(life.treated) > 10
