"""Pareto/NBD: purchases at a steady rate until the customer leaves, at any moment, at a rate of his own.

Sources: Schmittlein, Morrison and Colombo (1987), Counting Your Customers, Management Science 33(1); the likelihood in the form
of Fader and Hardie (2005), A Note on Deriving the Pareto/NBD Model.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, hyp2f1

from projections.models.fitting import NoFit, maximise
from projections.models.history import Floats, History

START = (0.8, 10.0, 0.8, 12.0)


class ParetoNbd(NamedTuple):
    """Fitted parameters: rates of buying are Gamma(r, alpha), rates of leaving Gamma(s, beta). Time in weeks."""

    r: float
    alpha: float
    s: float
    beta: float
    log_likelihood: float

    def p_alive(self, data: History) -> Floats:
        """Chance that a customer is still there, of the shape of the data."""
        return np.asarray(1 / (1 + np.exp(self._log_odds_gone(data))))

    def expected_purchases(self, data: History, weeks: float) -> Floats:
        """Purchase days expected of each customer in the next `weeks`. Defined for s <> 1."""
        rate = (self.r + data.x) * (self.beta + data.t) / ((self.alpha + data.t) * (self.s - 1))
        return np.asarray(
            rate * (1 - ((self.beta + data.t) / (self.beta + data.t + weeks)) ** (self.s - 1)) * self.p_alive(data)
        )

    def _log_odds_gone(self, data: History) -> Floats:
        total = self.r + self.s + data.x
        alive = (self.r + data.x) * np.log(self.alpha + data.t) + self.s * np.log(self.beta + data.t)
        return np.asarray(np.log(self.s / total) + alive + _log_a0(self, data))


def fit(data: History) -> ParetoNbd:
    """Fit Pareto/NBD.

    Raises:
        NoFit: too few customers, or nobody came back.
    """
    if len(data.x) < 2 or not np.any(data.x > 0):
        raise NoFit("nobody came back yet: there is no rhythm to learn")
    grouped, counts = data.grouped()

    def log_likelihood(parameters: Floats) -> float:
        model = _model(parameters, 0.0)
        return float(np.sum(counts * _log_likelihoods(model, grouped)))

    parameters, best = maximise(log_likelihood, START)
    return _model(parameters, best)


def _model(parameters: Floats, log_likelihood: float) -> ParetoNbd:
    r, alpha, s, beta = (float(one) for one in parameters)
    return ParetoNbd(r, alpha, s, beta, log_likelihood)


def _log_likelihoods(model: ParetoNbd, data: History) -> Floats:
    r, alpha, s, beta, x = model.r, model.alpha, model.s, model.beta, data.x
    head = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta)
    alive = -(r + x) * np.log(alpha + data.t) - s * np.log(beta + data.t)
    return np.asarray(head + alive + np.logaddexp(0.0, model._log_odds_gone(data)))


def _log_a0(model: ParetoNbd, data: History) -> Floats:
    """The logarithm of A0, the part of the likelihood in which the customer left between his last purchase and the end.

    The transformation is chosen by which of alpha and beta is larger, so that the series always converges.
    """
    r, alpha, s, beta, x = model.r, model.alpha, model.s, model.beta, data.x
    larger, second = (alpha, s + 1) if alpha >= beta else (beta, r + x)
    total = r + s + x

    def log_term(when: Floats) -> Floats:
        series = hyp2f1(total, second, total + 1, abs(alpha - beta) / (larger + when))
        return np.asarray(np.log(series) - total * np.log(larger + when))

    first, last = log_term(data.t_x), log_term(data.t)
    return np.asarray(first + np.log(-np.expm1(np.minimum(last - first, -1e-15))))
