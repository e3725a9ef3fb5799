"""How good a chance is that was given for something that did or did not happen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import optimize
from scipy.special import expit, logit
from scipy.stats import rankdata

from projections.models.history import Floats

Bools = npt.NDArray[np.bool_]
# Chances are kept off 0 and 1, whose logarithms have no end.
NEAREST = 1e-6


class Bin(NamedTuple):
    """A line of a reliability table: members whose chance lies in a tenth, the mean of the chances and what happened."""

    low: float
    high: float
    members: int
    mean_chance: float
    happened: float


def auc(chance: Floats, happened: Bools) -> float:
    """Area under the ROC curve: how often who it happened to had the higher chance; ties count half (Hanley and McNeil 1982).

    NaN where it happened to everybody or to nobody.
    """
    yes = int(np.sum(happened))
    no = len(happened) - yes
    if yes == 0 or no == 0:
        return float("nan")
    ranks = rankdata(chance)
    return float((np.sum(ranks[happened]) - yes * (yes + 1) / 2) / (yes * no))


def brier(chance: Floats, happened: Bools) -> float:
    """Mean squared distance of chances from what happened: 0 is perfect (Brier 1950)."""
    return float(np.mean((chance - happened) ** 2))


def precision_recall(flagged: Bools, happened: Bools) -> tuple[float, float]:
    """Of those flagged, to how many it happened; of those it happened to, how many were flagged. NaN where there are none."""
    both = float(np.sum(flagged & happened))
    flags, cases = float(np.sum(flagged)), float(np.sum(happened))
    return both / flags if flags else float("nan"), both / cases if cases else float("nan")


def reliability(chance: Floats, happened: Bools, bins: int = 10) -> list[Bin]:
    """Members by tenths of their chance; empty tenths are left out."""
    place = np.minimum((chance * bins).astype(int), bins - 1)
    table = []
    for one in range(bins):
        here = place == one
        if np.any(here):
            mean, share = float(np.mean(chance[here])), float(np.mean(happened[here]))
            table.append(Bin(one / bins, (one + 1) / bins, int(np.sum(here)), mean, share))
    return table


def calibrated_out_of_fold(
    chance: Floats, purchase_days: Floats, silent_days: Floats, happened: Bools, fold: npt.NDArray[np.int64]
) -> Floats:
    """Return chances corrected by a logistic curve that was fitted on the other folds alone (after Platt 1999).

    The curve sees the log-odds of the chance, their square, and the logarithms of purchase days and of silence: where a shop's
    members differ from the model in one of these, it shows.

    Args:
        fold: of each member, from 0; what happened to a member never touches his own chance.
    """
    odds = logit(np.clip(chance, NEAREST, 1 - NEAREST))
    seen = np.column_stack((odds, odds * odds, np.log1p(purchase_days), np.log1p(silent_days), np.ones(len(chance))))
    corrected = np.array(chance, dtype=np.float64)
    for one in np.unique(fold):
        others = fold != one
        if len(np.unique(happened[others])) == 2:
            corrected[~others] = expit(seen[~others] @ _logistic(seen[others], happened[others]))
    return corrected


def _logistic(seen: Floats, happened: Bools) -> Floats:
    def cost(weights: Floats) -> float:
        value = seen @ weights
        return float(np.mean(np.logaddexp(0.0, value) - value * happened))

    begin = np.zeros(seen.shape[1])
    begin[0] = 1.0
    return np.asarray(optimize.minimize(cost, begin, method="BFGS").x, dtype=np.float64)
