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
            return 1e300
        with np.errstate(all="ignore"):
            value = -log_likelihood(np.exp(logs))
        return value if np.isfinite(value) else 1e300

    begin = np.log(np.asarray(start, dtype=np.float64))
    rough = optimize.minimize(cost, begin, method="L-BFGS-B", bounds=[(LOWEST, HIGHEST)] * len(start))
    fine = optimize.minimize(
        cost,
        np.asarray(rough.x, dtype=np.float64),
        method="Nelder-Mead",
        options={"xatol": TOLERANCE, "fatol": TOLERANCE, "maxiter": STEPS_MAX, "maxfev": STEPS_MAX},
    )
    if fine.fun >= 1e300 or np.any(np.abs(fine.x) > HIGHEST - 1):
        raise NoFit("the customers' histories have no most likely parameters: too few of them, or nobody came back")
    return np.exp(fine.x), -float(fine.fun)
