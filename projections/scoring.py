"""Fit the models and score every member, on fixed days, from what was known when such a day was over.

The newest fit stands in the tables, with its day, its parameters and the version of this computation; the days are multiples of
`every_days` since 1970, so that a rebuild scores the same day from the same rows.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from projections import sql

if TYPE_CHECKING:
    from projections.models.bg_nbd import BetaGeometric
    from projections.models.gamma_gamma import GammaGamma
    from projections.models.history import History

STATEMENTS = "staging/scoring"
# Raised whenever the same rows would give other numbers.
METRIC_VERSION = 2
VALUE_MONTHS = 12
MONTHLY_DISCOUNT = 0.01
# A tenth of a cent, a millionth of a chance: what other processors make of the last bits stays below it.
MONEY_DIGITS, CHANCE_DIGITS, PARAMETER_DIGITS = 2, 6, 5
DAYS_PER_WEEK = 7.0


def load_models() -> None:
    """Import what fits: half a second, which whoever waits for the first records has and whoever has just begun a day has not."""
    import projections.models.bg_nbd
    import projections.models.gamma_gamma
    import projections.models.pareto_nbd
    import projections.models.value  # noqa: F401 - all four for `score`


def due(connection: duckdb.DuckDBPyConnection, every_days: int) -> tuple[date, datetime] | None:
    """Return the day to be scored and when the tables first knew that it was over; None where there is nothing to do."""
    row = connection.execute(sql.statements(STATEMENTS)["due"], [every_days]).fetchone()
    return None if row is None or row[1] is None else (row[0], row[1])


def score(connection: duckdb.DuckDBPyConnection, day: date, known_at: datetime, horizon_days: int) -> bool:
    """Fit and score as of the end of `day`, in the caller's transaction; False where the data tell no parameters.

    The value of a member is that of `VALUE_MONTHS` at `MONTHLY_DISCOUNT`, of money and not of margin.
    """
    from projections.models import bg_nbd, gamma_gamma, pareto_nbd
    from projections.models.fitting import NoFit
    from projections.models.history import history

    rows = connection.execute(sql.statements(STATEMENTS)["histories"], [day, known_at]).fetchall()
    if not rows:
        return False
    members, *columns = zip(*rows, strict=True)
    data = history(*columns)
    try:
        buying, spending = bg_nbd.fit(data, modified=True), gamma_gamma.fit(data)
        fits = {
            "mbg_nbd": buying,
            "bg_nbd": bg_nbd.fit(data),
            "pareto_nbd": pareto_nbd.fit(data),
            "gamma_gamma": spending,
        }
    except NoFit:
        return False
    version = [day, known_at, METRIC_VERSION]
    _replace(connection, "fits", _fits_table(fits, len(members)), version)
    _replace(connection, "values", _values_table(members, data, buying, spending, horizon_days), [day, horizon_days])
    return True


def _fits_table(fits: dict[str, Any], members: int) -> pa.Table:
    rows = [
        (model, name, round(value, PARAMETER_DIGITS), round(fit.log_likelihood, PARAMETER_DIGITS), members)
        for model, fit in fits.items()
        for name, value in fit._asdict().items()
        if name not in {"log_likelihood", "modified"}
    ]
    names = ("model", "parameter", "value", "log_likelihood", "members")
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def _values_table(
    members: tuple[str, ...], data: History, buying: BetaGeometric, spending: GammaGamma, horizon_days: int
) -> pa.Table:
    from projections.models.value import lifetime_value

    weeks = horizon_days / DAYS_PER_WEEK
    value = lifetime_value(buying, spending, data, months=VALUE_MONTHS, monthly_discount=MONTHLY_DISCOUNT)
    return pa.table(
        {
            "member_id": list(members),
            "p_alive": buying.p_alive(data).round(CHANCE_DIGITS),
            "p_no_purchase": buying.p_no_purchase(data, weeks).round(CHANCE_DIGITS),
            "expected_purchases": buying.expected_purchases(data, weeks).round(CHANCE_DIGITS),
            "expected_spend_minor": spending.expected_spend(data).round(MONEY_DIGITS),
            "value_minor": value.round(MONEY_DIGITS),
        }
    )


def _replace(connection: duckdb.DuckDBPyConnection, what: str, rows: pa.Table, values: list[Any]) -> None:
    statements = sql.statements(STATEMENTS)
    connection.execute(statements[f"forget_{what}"])
    connection.register(f"new_{what}", rows)
    try:
        connection.execute(statements[f"keep_{what}"], values)
    finally:
        connection.unregister(f"new_{what}")
