"""BG/NBD and MBG/NBD: purchases at a steady rate, and after a purchase the customer may leave for good.

Sources: Fader, Hardie and Lee (2005), "Counting Your Customers" the Easy Way, Marketing Science 24(2) (BG/NBD); Batislam, Denizel
and Filiztekin (2007), Empirical validation and comparison of models for customer base analysis, IJRM 24(3) (MBG/NBD, where the
first purchase too can be the last, so that a one-time buyer is not alive for certain).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, hyp2f1

from projections.models.fitting import NoFit, maximise
from projections.models.history import Floats, History

START = (1.0, 10.0, 1.0, 2.0)


class BetaGeometric(NamedTuple):
    """Fitted parameters: rates are Gamma(r, alpha), chances to leave Beta(a, b); `modified` is MBG/NBD. Time in weeks."""

    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float
    modified: bool = False

    def odds_gone(self, data: History) -> Floats:
        """Odds that a customer has left, of the shape of the data; BG/NBD gives a one-time buyer none."""
        since = ((self.alpha + data.t) / (self.alpha + data.t_x)) ** (self.r + data.x)
        if self.modified:
            return np.asarray(self.a / (self.b + data.x) * since)
        return np.where(data.x > 0, self.a / np.maximum(self.b + data.x - 1, 1e-12) * since, 0.0)

    def p_alive(self, data: History) -> Floats:
        """Chance that a customer is still there."""
        return np.asarray(1 / (1 + self.odds_gone(data)))

    def p_no_purchase(self, data: History, weeks: float) -> Floats:
        """Chance of no purchase in the next `weeks`: leaving follows a purchase, so whoever is alive buys at his rate."""
        none = ((self.alpha + data.t) / (self.alpha + data.t + weeks)) ** (self.r + data.x)
        return np.asarray(1 - self.p_alive(data) * (1 - none))

    def expected_purchases(self, data: History, weeks: float) -> Floats:
        """Purchase days expected of each customer in the next `weeks`. Defined for a <> 1."""
        extra = 1 if self.modified else 0
        top, rate = self.a + self.b + data.x - 1 + extra, self.r + data.x
        share = hyp2f1(rate, self.b + data.x + extra, top, weeks / (self.alpha + data.t + weeks))
        left = 1 - ((self.alpha + data.t) / (self.alpha + data.t + weeks)) ** rate * share
        return np.asarray(top / (self.a - 1) * left * self.p_alive(data))


def fit(data: History, *, modified: bool = False) -> BetaGeometric:
    """Fit BG/NBD, or MBG/NBD.

    Raises:
        NoFit: too few customers, or nobody came back.
    """
    if len(data.x) < 2 or not np.any(data.x > 0):
        raise NoFit("nobody came back yet: there is no rhythm to learn")
    grouped, counts = data.grouped()

    def log_likelihood(parameters: Floats) -> float:
        model = _model(parameters, 0.0, modified)
        return float(np.sum(counts * _log_likelihoods(model, grouped)))

    parameters, best = maximise(log_likelihood, START)
    return _model(parameters, best, modified)


def _model(parameters: Floats, log_likelihood: float, modified: bool) -> BetaGeometric:
    r, alpha, a, b = (float(one) for one in parameters)
    return BetaGeometric(r, alpha, a, b, log_likelihood, modified)


def _log_likelihoods(model: BetaGeometric, data: History) -> Floats:
    r, alpha, a, b, x = model.r, model.alpha, model.a, model.b, data.x
    extra = 1 if model.modified else 0
    rate = gammaln(r + x) - gammaln(r) + r * np.log(alpha) - (r + x) * np.log(alpha + data.t)
    stayed = gammaln(a + b) + gammaln(b + x + extra) - gammaln(b) - gammaln(a + b + x + extra)
    return np.asarray(rate + stayed + np.log1p(model.odds_gone(data)))
