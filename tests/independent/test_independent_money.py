"""Costs, return, goals and liability in money once more, in plain Python from the till's file and the list of costs."""

from __future__ import annotations

import os
import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from engine.cli import main
from schemas.metrics import GOAL_METRICS
from tests.independent.money import (
    BEGINS,
    GOALS,
    SEED,
    WORTH,
    bookkeeping,
    goal_values,
    kept,
    owed,
    programme,
    progress,
    shop_of,
)
from tests.independent.test_independent_gift_shop import MONTH, WHOLE_FILE
from tests.independent.test_independent_lift import DAY, WINDOW_DAYS, expected, invented, met, until_day
from tests.projections import given

LAST = date(2010, 12, 31)


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """December 2010 and a list of costs, imported and replayed under a programme with margin and goals; and that list."""
    return replayed(MONTH, tmp_path_factory.mktemp("money"), LAST)


def replayed(till: Path, folder: Path, last: date) -> tuple[Path, list[dict[str, Any]]]:
    """A till's file until the end of its last day and a list of costs, imported and replayed; and that list."""
    rows = bookkeeping(folder / "costs.csv", (last - date(2010, 11, 20)).days - 1)
    (folder / "programme").mkdir()
    (folder / "programme" / f"{BEGINS}.yaml").write_text(programme(), encoding="utf-8")
    sales, costs, both = folder / "sales.jsonl", folder / "costs.jsonl", folder / "both.jsonl"
    run("import", till, "--preset", "online-retail", "--out", sales)
    run("import", folder / "costs.csv", "--preset", "costs", "--currency", "GBP", "--out", costs)
    both.write_bytes(costs.read_bytes() + sales.read_bytes() + costs.read_bytes())  # told before, and once more after
    until = f"{last + timedelta(1)}T00:00:00Z"
    run("replay", both, "--programme", folder / "programme", "--db", folder / "m.duckdb", "--until", until)
    return folder / "m.duckdb", rows


def run(*arguments: object) -> None:
    """Run the command."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output


def ask(db: Path, question: str) -> list[dict[str, Any]]:
    """The rows of an answer."""
    with duckdb.connect(str(db), read_only=True) as connection:
        cursor = connection.execute(question)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@pytest.mark.timeout(300)
def test_costs_by_day_and_month_are_those_of_the_list(month: tuple[Path, list[dict[str, Any]]]) -> None:
    """Every line once, though all were told twice; corrections taken off; what was spent after the day asked for left out."""
    db, rows = month
    days: Counter[tuple[date, str, bool]] = Counter()
    months: Counter[tuple[date, bool]] = Counter()
    for row in rows:
        if row["day"] <= date(2010, 12, 15):
            days[row["day"], row["kind"], row["foreseen"]] += row["pennies"]
        months[row["day"].replace(day=1), row["foreseen"]] += row["pennies"]
    found = ask(db, "from cost_days_as_of(date '2010-12-15')")

    assert {(row["spent_on"], row["kind"], row["foreseen"]): row["amount_minor"] for row in found} == dict(days)
    for row in ask(db, f"from programme_costs_as_of(date '{LAST}')"):
        told = months[row["month"], True], months[row["month"], False]
        assert (row["foreseen_minor"], row["unforeseen_minor"]) == told
        assert (row["points_spent"], row["cost_minor"]) == (0, sum(told))


def check_money(till: Path, db: Path, costs: list[dict[str, Any]]) -> None:
    """Return, goals, costs by month and what is owed, each beside plain Python, as of the last day of the file's last month."""
    shop = shop_of(till)
    last, cost = shop.last, sum(row["pennies"] for row in costs)
    months: Counter[date] = Counter()
    for order in shop.until(last):
        if order.member is not None:
            months[order.day.replace(day=1)] += order.net(last)
    ours = months.total()
    (gross,) = ask(db, f"from roi_as_of(date '{last}') where basis = 'gross'")
    assert (gross["sales_minor"], gross["cost_minor"], gross["roi_low"]) == (ours, cost, None)
    assert gross["kept"] == pytest.approx(kept(shop), abs=1e-6)
    assert gross["roi"] == pytest.approx((ours * kept(shop) - cost) / cost)

    values = goal_values(till, costs)
    found = {row["goal_id"]: row for row in ask(db, f"from goal_progress_as_of(date '{last}')")}
    assert set(found) == set(GOALS)
    for goal, row in found.items():
        value = values.get(GOALS[goal][0])
        way, time, state = progress(value, goal, last)
        assert row["value"] == (None if value is None else pytest.approx(value)), row
        assert row["share_of_way"] == (None if way is None else pytest.approx(way)), row
        assert row["share_of_time"] == pytest.approx(time), row
        assert row["state"] == state, row

    by_expiry, given_points = owed(till)
    told = ask(db, "from liability_in_money")
    assert {row["expires_month"]: row["owed_minor"] for row in told} == by_expiry
    assert all(row["expected_minor"] + row["breakage_minor"] == row["owed_minor"] for row in told)
    for row in ask(db, f"from programme_costs_as_of(date '{last}')"):
        points = given_points.get(row["month"], 0)
        spent = sum(one["pennies"] for one in costs if one["day"].replace(day=1) == row["month"])
        assert (row["points_given"], row["given_minor"] or 0) == (points, points * WORTH), row
        assert (row["cost_minor"], row["points_spent"], row["member_net_minor"]) == (spent, 0, months[row["month"]])


@pytest.mark.timeout(300)
def test_gross_return_goals_costs_and_liability_agree(month: tuple[Path, list[dict[str, Any]]]) -> None:
    """Margin by category, values of goals and the straight line, points at their worth; and before there was a programme."""
    db, rows = month
    check_money(MONTH, db, rows)

    (then,) = ask(db, "from liability_as_of(timestamptz '2010-12-20')")
    (points,) = ask(
        db, "select sum(points) as points from points_entries where occurred_at <= timestamptz '2010-12-20'"
    )
    assert (then["point_minor"], then["owed_minor"]) == (WORTH, points["points"] * WORTH)
    (before,) = ask(db, "from liability_as_of(timestamptz '2010-11-30 12:00:00+00')")
    assert (before["point_minor"], before["owed_minor"]) == (None, None)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_the_money_of_the_whole_file_agrees(tmp_path: Path) -> None:
    """The same for the whole published file."""
    given_file = os.environ.get(WHOLE_FILE)
    if not given_file:
        pytest.skip(f"{WHOLE_FILE} names no file; only December 2010 is in the repository")
    till = Path(given_file).resolve()
    last = shop_of(till).last
    db, rows = replayed(till, tmp_path, last)

    check_money(till, db, rows)
    values = goal_values(till, rows)
    assert {"retention", "churn"} <= set(values)
    assert len({progress(values[metric], goal, last)[2] for goal, (metric, *_) in GOALS.items()}) >= 3


@pytest.mark.timeout(300)
def test_the_questions_of_the_page_are_answered(month: tuple[Path, list[dict[str, Any]]]) -> None:
    """Those of docs/costs.md, on this month."""
    page = (Path(__file__).parents[2] / "docs" / "costs.md").read_text(encoding="utf-8")
    costs, goals, returns = [one for one in page.partition("```sql\n")[2].partition("```")[0].split(";\n") if one]

    assert [row["month"].month for row in ask(month[0], costs)] == [11, 12]
    assert {row["goal_id"] for row in ask(month[0], goals)} == set(GOALS)
    assert ask(month[0], returns) == []  # no moment has a hold-out here


def test_goals_know_the_metrics_that_the_tables_tell() -> None:
    """What `rules check` lets through has a value, what has one can be a goal; stores and channels are told where promised."""
    sale = {"type": "purchase", "id": "p", "subject": "anna", "time": "2026-01-10T10:00:00Z"}
    visit = {"type": "visit", "id": "v", "subject": "anna", "time": "2026-02-10T10:00:00Z"}
    with given.warehouse([sale, visit]) as warehouse:
        rows = given.rows(warehouse, "from goal_values")

    assert {row["metric"] for row in rows} == set(GOAL_METRICS)
    assert {row["metric"] for row in rows if row["dimension"] is not None} == {
        name for name, one in GOAL_METRICS.items() if one.by_place
    }


def test_the_return_of_moments_agrees_with_plain_python() -> None:
    """Margin on the difference of means, its interval, costs told for a rule, points at their worth: over invented moments."""
    chance = random.Random(SEED)
    notes = invented(chance)
    money = {
        "hash": "f00d", "programme": "test", "version": 1, "valid_from": "2026-01-01T00:00:00.000000Z", "currency": "GBP",
        "time_zone": "Europe/London", "base_tier": None, "point_minor": 2, "margin": {"share": "0.4", "categories": []},
    }  # fmt: skip
    programme = {
        "type": "programme", "id": "f00d", "source": "urn:stammgast:programme", "subject": None,
        "time": "2026-01-01T00:00:00Z", "data": money,
    }  # fmt: skip
    told: Counter[str | None] = Counter()
    costs = []
    for number in range(60):
        rule, pennies = chance.choice(("back", "top", None)), chance.randrange(100, 3_000)
        day = date(2026, 3, 20) + timedelta(chance.randrange(60))
        told[rule] += pennies if day <= DAY else 0
        data = {
            "day": str(day),
            "kind": "x",
            "foreseen": True,
            "amount_minor": pennies,
            "currency": "GBP",
            "rule": rule,
        }
        costs.append(
            {
                "type": "cost",
                "id": f"k{number}",
                "source": "urn:costs",
                "subject": None,
                "time": f"{day}T00:00:00Z",
                "data": data,
            }
        )
    with given.warehouse([programme, *costs, *notes]) as warehouse:
        rows = given.rows(warehouse, f"from roi_as_of(date '{DAY}', window_days := {WINDOW_DAYS})")
    found = {(row["rule_id"], row["rule_version"]): row for row in rows if row["basis"] == "hold_out"}
    bought = until_day(notes, "purchase")
    lifts = {
        (row["rule_id"], row["rule_version"]): row
        for row in expected(notes)
        if (row["channel"], row["goal"]) == ("all", "purchase")
    }

    assert set(found) == {key for key, row in lifts.items() if row["held_out_members"]}
    assert len(found) >= 3, f"seed {SEED}"
    for key, row in found.items():
        groups: dict[bool, list[int]] = {True: [], False: []}
        for who, (notice, began, ends) in met(notes)[key].items():
            inside = [
                one
                for one in bought.get(who, ())
                if began < datetime.fromisoformat(one["time"]).astimezone(UTC) <= ends
            ]
            spent = sum(one["data"]["total_minor"] for one in inside if "currency" not in one["data"])
            groups[notice.get("reason") == "held_out"].append(spent)
        treated, held = groups[False], groups[True]
        margin = (mean(treated) - mean(held)) * len(treated) * 0.4
        spread = 1.959964 * sqrt(stdev(treated) ** 2 / len(treated) + stdev(held) ** 2 / len(held)) * len(treated) * 0.4
        # costs name a rule, not its version: they belong to the one in force, and here that is version 1
        cost = lifts[key]["points"] * 2 + (told[key[0]] if key[1] == 1 else 0)
        assert row["cost_minor"] == cost
        assert row["margin_minor"] == pytest.approx(margin, abs=len(treated) * 0.01)
        assert row["margin_low_minor"] == pytest.approx(margin - spread, abs=len(treated) * 0.05)
        assert (
            row["roi"] == pytest.approx((row["margin_minor"] - cost) / cost, abs=1e-4) if cost else row["roi"] is None
        )
    (gross,) = [row for row in rows if row["basis"] == "gross"]
    assert gross["told_minor"] == told.total()


def test_what_was_not_known_then_costs_nothing() -> None:
    """`known_at` leaves out costs that were recorded after it, whatever day they are for."""
    data = {"day": "2026-01-10", "kind": "x", "foreseen": True, "amount_minor": 100, "currency": "GBP", "rule": None}
    note = {
        "type": "cost",
        "id": "k",
        "source": "urn:costs",
        "subject": None,
        "time": "2026-01-10T00:00:00Z",
        "data": data,
    }
    sale = {"type": "purchase", "id": "p", "subject": "anna", "time": "2026-01-10T10:00:00Z"}
    with given.warehouse([sale, note]) as warehouse:  # recorded on 25 February 2026
        for name in ("cost_days", "programme_costs"):
            then, now = (
                given.rows(warehouse, f"from {name}_as_of(date '2026-01-31', known_at := {known})")
                for known in ("timestamptz '2026-02-01'", "null")
            )
            assert (name, then, len(now)) == (name, [], 1)
