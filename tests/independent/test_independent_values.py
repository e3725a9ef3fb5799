"""Fits are the most likely ones, and what members are worth follows from them: by the papers' likelihoods and by integrals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date

import pytest

from projections.warehouse import Warehouse
from tests.independent.values import WEEK, History, Parameters, bands, customer_values, log_likelihood
from tests.projections import cdnow

HORIZON = 90
STEP = 0.03  # a step of a parameter to either side, far enough to tell beyond rounding


@pytest.fixture(scope="module")
def tables() -> Iterator[Warehouse]:
    """CDNOW's sample, scored: a population whose members do leave."""
    with cdnow.warehouse(":memory:", sample=True, score_every_days=7) as warehouse:
        assert warehouse.score_if_due()
        yield warehouse


def fits(tables: Warehouse) -> tuple[dict[str, Parameters], dict[str, float], date]:
    """(parameters by model, log-likelihoods, scored day) as the tables tell them."""
    told: dict[str, Parameters] = defaultdict(dict)
    likely: dict[str, float] = {}
    days = set()
    columns = "model, parameter, value, log_likelihood, as_of"
    for model, parameter, value, likelihood, day in tables.connection.table("model_fits").project(columns).fetchall():
        told[model][parameter] = value
        likely[model] = likelihood
        days.add(day)
    (day,) = days
    return dict(told), likely, day


def people(day: date) -> dict[str, History]:
    """Customers as the file tells them; money in cents."""
    found = {}
    for customer, days in cdnow.customers(sample=True).items():
        known = sorted(one for one in days if one <= day)
        if known:
            later = [days[one] for one in known[1:]]
            spend = sum(later) / len(later) if later else 0.0
            weeks = ((known[-1] - known[0]).days / WEEK, (day - known[0]).days / WEEK)
            found[f"c{customer}"] = History(len(later), *weeks, spend)
    return found


@pytest.mark.timeout(300)
def test_every_fit_is_the_most_likely_one(tables: Warehouse) -> None:
    """The likelihood is that of the papers, and no step of a parameter to either side makes the histories more likely."""
    told, likely, day = fits(tables)
    everybody = list(people(day).values())
    assert set(told) == {"bg_nbd", "mbg_nbd", "pareto_nbd", "gamma_gamma"}
    for model, parameters in told.items():
        best = log_likelihood(model, parameters, everybody)
        assert best == pytest.approx(likely[model], abs=0.01), model
        for name, value in parameters.items():
            for factor in (1 - STEP, 1 + STEP):
                moved = {**parameters, name: value * factor}
                assert log_likelihood(model, moved, everybody) < best, f"{model}: {name} x {factor}"


@pytest.mark.timeout(300)
def test_values_of_cdnow_agree_with_other_formulas(tables: Warehouse) -> None:
    """Chances, purchases, spend, value and band of every customer: customer_values beside integrals over what is not known."""
    told, _, day = fits(tables)
    wanted = {row[0]: row[1:] for row in customer_values(people(day), day, HORIZON, told)}
    columns = (
        "member_id, as_of, horizon_days, p_alive, p_no_purchase, expected_purchases, expected_spend_minor, value_minor, "
        "band"
    )
    found = {row[0]: row[1:] for row in tables.connection.table("customer_values").project(columns).fetchall()}

    assert len(found) == len(wanted) > 2_000
    for member, row in found.items():
        expected = wanted[member]
        assert row[:2] == expected[:2]
        assert [float(one) for one in row[2:5]] == pytest.approx(expected[2:5], abs=1e-5), member
        assert [float(one) for one in row[5:7]] == pytest.approx(expected[5:7], rel=1e-5, abs=0.02), member
    assert bands({member: float(row[6]) for member, row in found.items()}) == {
        member: row[7] for member, row in found.items()
    }
