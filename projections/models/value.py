"""Customer lifetime value: expected purchases times expected spend, discounted; and the plain formula."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from projections.models.gamma_gamma import GammaGamma
from projections.models.history import Floats, History

WEEKS_PER_MONTH = 4.345


class Buying(Protocol):
    """A model that tells how often customers will buy."""

    def expected_purchases(self, data: History, weeks: float) -> Floats:
        """Purchase days expected of each customer in the next `weeks`."""


def lifetime_value(
    buying: Buying, spending: GammaGamma, data: History, *, months: int, monthly_discount: float, margin: float = 1.0
) -> Floats:
    """Return each customer's value over the next months, in the money of `spending`: sum of spend x purchases / (1 + d)^month.

    Args:
        months: how far to look; the money of a month is discounted as if it came at its end.
        monthly_discount: 0.01 is 1 % a month.
        margin: share of the money that is earned; 1.0 values turnover.
    """
    spend = spending.expected_spend(data)
    total, before = np.zeros(len(data.x)), np.zeros(len(data.x))
    for month in range(1, months + 1):
        until = buying.expected_purchases(data, month * WEEKS_PER_MONTH)
        total += spend * margin * (until - before) / (1 + monthly_discount) ** month
        before = until
    return np.asarray(total)


def plain_value(order_value: float, orders_per_period: float, margin: float, churn: float) -> float:
    """Return order value x orders per period x margin x lifetime, where lifetime is 1 / churn periods.

    Raises:
        ValueError: nobody leaves, so that the lifetime has no end.
    """
    if churn <= 0:
        raise ValueError("the plain formula needs a churn above 0: without it the lifetime has no end")
    return order_value * orders_per_period * margin / churn
