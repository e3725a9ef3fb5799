"""Maximum likelihood from fixed start values: the same data give the same parameters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import optimize

from projections.models.history import Floats

# Parameters are searched as logarithms between these: all of them are positive, and further out the likelihood is flat.
LOWEST, HIGHEST = -12.0, 12.0
TOLERANCE = 1e-10
STEPS_MAX = 4_000
NOWHERE = 1e300
NO_MAXIMUM = (
    "the customers' histories have no most likely parameters: too few of them, nobody came back, or nobody leaves"
)


class NoFit(Exception):
    """The data do not tell the parameters: too few customers, or nobody came back."""


def maximise(log_likelihood: Callable[[Floats], float], start: tuple[float, ...]) -> tuple[Floats, float]:
    """Return the parameters (all positive) that make the data most likely, and their log-likelihood.

    A quasi-Newton search finds the neighbourhood, a simplex search the digits (Nelder and Mead 1965).

    Raises:
        NoFit: no finite maximum inside the bounds.
    """

    def cost(logs: Floats) -> float:
        if np.any(logs < LOWEST) or np.any(logs > HIGHEST):
            return NOWHERE
        with np.errstate(all="ignore"):
            value = -log_likelihood(np.exp(logs))
        return value if np.isfinite(value) else NOWHERE

    begin = np.log(np.asarray(start, dtype=np.float64))
    # Its first step is as long as the slope is steep: many customers make a slope that leads straight out of the bounds.
    size = abs(cost(begin)) or 1.0

    def even(logs: Floats) -> float:
        return cost(logs) / size

    rough = optimize.minimize(even, begin, method="L-BFGS-B", bounds=[(LOWEST, HIGHEST)] * len(start))
    fine = optimize.minimize(
        cost,
        np.asarray(rough.x, dtype=np.float64),
        method="Nelder-Mead",
        callback=_stay_inside,
        options={"xatol": TOLERANCE, "fatol": TOLERANCE, "maxiter": STEPS_MAX, "maxfev": STEPS_MAX},
    )
    _stay_inside(fine)
    if fine.fun >= NOWHERE:
        raise NoFit(NO_MAXIMUM)
    return np.exp(fine.x), -float(fine.fun)


def _stay_inside(intermediate_result: optimize.OptimizeResult) -> None:
    """Raise as soon as the best parameters so far lie at the bounds: from there on the likelihood only becomes flatter."""
    if np.any(np.abs(intermediate_result.x) > HIGHEST - 1):
        raise NoFit(NO_MAXIMUM)
