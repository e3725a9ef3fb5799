"""What was counted in windows that are long over is dropped, so that a member of ten years has the state of one of three.

A fact more than the dedupe horizon (400 days) behind the member's newest is not taken, so caps, streaks and brackets of a window
that ended before are asked by nothing but what follows from facts that were taken. Windows are kept for two whole years more than
that needs at least; a streak is kept as long as it can still go on. Counters without a window, and caps for ever, stay.
"""

from __future__ import annotations

from engine.ledger.played import CHALLENGE, Played, record
from schemas.times import DAY_US

#: Whole years before the year of the newest fact whose windows are kept.
KEPT_YEARS = 2
_EPOCH_YEAR = 1970
_YEAR_US = 365 * DAY_US + DAY_US // 4
_A_YEAR = {"day": 365, "week": 52, "month": 12}


def year_of(time_us: int) -> int:
    """Return the year of a moment, within a day: what is kept for years does not ask more."""
    return _EPOCH_YEAR + time_us // _YEAR_US


def over(key: str, year: int) -> bool:
    """Tell whether nothing will ask a key of caps or counters any more.

    Args:
        key: ends with the label of its window (`rules.local_time.window_label`) behind a ``|``, if it has one.
        year: of the member's newest fact.
    """
    name, bar, label = key.rpartition("|")
    if not bar or not label[:4].isdigit():
        return False
    words = name.split(" ")
    more = 0
    if len(words) > 3 and words[1] == "streak":  # purchase streak 4 week
        more = int(words[2]) // _A_YEAR[words[3]] + 1
    return int(label[:4]) < year - KEPT_YEARS - more


def drop_over(counted: dict[str, tuple[int, int]], year: int) -> None:
    """Drop what nothing will ask any more."""
    for key in [key for key in counted if over(key, year)]:
        del counted[key]


def drop_windows(played: dict[str, Played], year: int) -> None:
    """Drop the windows of challenges to which no fact can belong any more; badges and tickets stay."""
    for name in [name for name in played if name.startswith(record(CHALLENGE, "")) and over(name, year)]:
        del played[name]
