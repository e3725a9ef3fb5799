"""Gamma-Gamma: what a customer spends per purchase, where spending and frequency are nearly independent.

Source: Fader, Hardie and Lee (2005), RFM and CLV: Using Iso-Value Curves for Customer Base Analysis, JMR 42(4); Fader and Hardie
(2013), The Gamma-Gamma Model of Monetary Value.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from projections.models.fitting import NoFit, maximise
from projections.models.history import Floats, History

START = (5.0, 4.0, 15.0)


class GammaGamma(NamedTuple):
    """Fitted parameters, in the money of the data."""

    p: float
    q: float
    gamma: float
    log_likelihood: float

    def mean_spend(self) -> float:
        """What a customer of whom nothing is known spends per purchase. Defined for q > 1."""
        return self.p * self.gamma / (self.q - 1)

    def expected_spend(self, data: History) -> Floats:
        """Money expected per purchase: a customer's own mean, drawn to everybody's; a one-time buyer has everybody's."""
        return np.asarray(self.p * (self.gamma + data.x * data.spend) / (self.p * data.x + self.q - 1))


def fit(data: History) -> GammaGamma:
    """Fit on those who came back and left money.

    Raises:
        NoFit: fewer than two of them, or a population whose mean spend is not defined (q <= 1).
    """
    chosen = data.repeaters()
    if len(chosen.x) < 2:
        raise NoFit("fewer than two customers came back and left money: there is no spend to learn")
    scale = float(np.mean(chosen.spend))
    x, spend = chosen.x, chosen.spend / scale

    def log_likelihood(parameters: Floats) -> float:
        p, q, gamma = parameters
        px = p * x
        ends = gammaln(px + q) - gammaln(px) - gammaln(q) + q * np.log(gamma)
        return float(np.sum(ends + (px - 1) * np.log(spend) + px * np.log(x) - (px + q) * np.log(gamma + x * spend)))

    begin = (START[0], START[1], 0.5)
    (p, q, gamma), best = maximise(log_likelihood, begin)
    if q <= 1:
        raise NoFit("the spends scatter so widely that their mean is not defined (q <= 1)")
    return GammaGamma(float(p), float(q), float(gamma) * scale, best - len(x) * float(np.log(scale)))
