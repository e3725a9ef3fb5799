"""The churn flag held to the shop's own past: what it would have said on earlier days, and what members then did.

On a cut day only what happened until its evening is asked (`churn_as_of`); the `horizon_days` after it tell who stayed away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from engine.settings import No
from projections.models import scores
from projections.models.history import Floats
from projections.models.scores import Bin, Bools
from projections.reading import ask_named

STATEMENTS = "serving/backtest"
FOLDS = 5
# Cuts lie so many days apart: closer ones see nearly the same members do nearly the same.
DAYS_BETWEEN_CUTS = 30


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What was said of each member on a cut day, and what he did; arrays of one shape, an element per member."""

    chance: Floats
    flagged: Bools
    silent_days: Floats
    purchase_days: Floats
    stayed_away: Bools
    fold: Any


@dataclass(frozen=True, slots=True)
class Cut:
    """How good the flag was on one day; shares are fractions, `lead_days` the median over rightly flagged members."""

    day: date
    members: int
    stayed_away: float
    mean_chance: float
    auc: float
    brier: float
    brier_calibrated: float
    flagged: int
    precision: float
    recall: float
    lead_days: float


@dataclass(frozen=True, slots=True)
class Backtest:
    """All cuts, oldest first, and the reliability table over them together."""

    horizon_days: int
    cuts: list[Cut]
    reliability: list[Bin]


def backtest(db: Path, horizon_days: int, count: int, days: Sequence[date] = ()) -> Backtest:
    """Test the flag on `days`, or on the `count` newest days whose horizon is over.

    Raises:
        No: the tables hold no day whose horizon is over; other errors as `projections.reading.ask_file`.
    """
    first, newest = _span(db)
    last = newest - timedelta(days=horizon_days)
    chosen = sorted(days) or [last - timedelta(days=DAYS_BETWEEN_CUTS * back) for back in reversed(range(count))]
    usable = [day for day in chosen if first < day <= last]
    if days and len(usable) < len(chosen):
        bad = next(day for day in chosen if day not in usable)
        raise No(
            f"{bad} cannot be a cut: cuts lie after {first}, the day of the first purchase, and at least {horizon_days} days "
            f"before {newest}, the newest settled day. Name another --cut, or a shorter --churn-horizon-days."
        )
    if not usable:
        raise No(
            f"there is no day to test on: purchases begin on {first}, {newest} is settled, and {horizon_days} days must "
            "follow a cut. Say a shorter --churn-horizon-days."
        )
    found = [(day, _outcomes(db, day, horizon_days)) for day in usable]
    judged = [_judged(day, one, horizon_days) for day, one in found]
    chance, away = (np.concatenate([getattr(one, name) for _, one in found]) for name in ("chance", "stayed_away"))
    return Backtest(horizon_days, judged, scores.reliability(chance, away))


def _judged(day: date, said: Outcomes, horizon_days: int) -> Cut:
    away = said.stayed_away
    precision, recall = scores.precision_recall(said.flagged, away)
    calibrated = scores.calibrated_out_of_fold(said.chance, said.purchase_days, said.silent_days, away, said.fold)
    # Without a flag, silence shows who left once it has lasted the whole horizon; of who was silent so long nothing was won.
    warned = said.flagged & away & (said.silent_days < horizon_days)
    lead = float(np.median(horizon_days - said.silent_days[warned])) if np.any(warned) else float("nan")
    return Cut(
        day=day,
        members=len(away),
        stayed_away=float(np.mean(away)),
        mean_chance=float(np.mean(said.chance)),
        auc=scores.auc(said.chance, away),
        brier=scores.brier(said.chance, away),
        brier_calibrated=scores.brier(calibrated, away),
        flagged=int(np.sum(said.flagged)),
        precision=precision,
        recall=recall,
        lead_days=lead,
    )


def _span(db: Path) -> tuple[date, date]:
    (span,) = ask_named(db, STATEMENTS, "span")
    newest, first = span["as_of"], span["first_day"]
    if newest is None or first is None:
        raise No(f"{db} holds no purchase of a member yet: there is nothing to test on.")
    return first, newest


def _outcomes(db: Path, day: date, horizon_days: int) -> Outcomes:
    rows = ask_named(db, STATEMENTS, "outcomes", cut=day.isoformat(), horizon=str(int(horizon_days)))
    members, chance, flagged, silent, bought, away = zip(*(row.values() for row in rows), strict=True)
    return Outcomes(
        np.array(chance, dtype=np.float64),
        np.array(flagged, dtype=np.bool_),
        np.array(silent, dtype=np.float64),
        np.array(bought, dtype=np.float64),
        np.array(away, dtype=np.bool_),
        np.array([blake2b(one.encode(), digest_size=4).digest()[0] % FOLDS for one in members]),
    )
