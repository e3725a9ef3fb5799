"""What the models know of a customer: how often, how recently, for how long, and for how much."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

#: The models count time in weeks, as the papers do: their start values lie in that range.
DAYS_PER_UNIT = 7.0


class History(NamedTuple):
    """Arrays of one shape, an element per customer.

    x: purchase days after the first; t_x: weeks from the first to the last of them (0 where x is 0); t: weeks from the first
    purchase to the end of observation; spend: mean money of the purchase days after the first (0 where x is 0).
    """

    x: Floats
    t_x: Floats
    t: Floats
    spend: Floats

    def grouped(self) -> tuple[History, Floats]:
        """The distinct (x, t_x, t), each once and without spend, and how many customers have them."""
        rows, counts = np.unique(np.column_stack((self.x, self.t_x, self.t)), axis=0, return_counts=True)
        return History(rows[:, 0], rows[:, 1], rows[:, 2], np.zeros(len(rows))), counts.astype(np.float64)

    def repeaters(self) -> History:
        """Those who came back and left money."""
        chosen = (self.x > 0) & (self.spend > 0)
        return History(self.x[chosen], self.t_x[chosen], self.t[chosen], self.spend[chosen])


def history(x: npt.ArrayLike, last_day: npt.ArrayLike, end_day: npt.ArrayLike, spend: npt.ArrayLike) -> History:
    """Make a history of counts, of days from the first purchase to the last and to the end, and of mean spends."""
    first, second, third, fourth = (np.asarray(one, dtype=np.float64) for one in (x, last_day, end_day, spend))
    return History(first, second / DAYS_PER_UNIT, third / DAYS_PER_UNIT, fourth)
