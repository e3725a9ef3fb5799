"""Which level some progress holds on a day, until when, and which one then: a pure function, nothing is remembered.

A window carries a level on a day if the progress in it reaches the level's threshold. Windows, in local days of the
programme's time zone:

- ``calendar_year`` and ``membership_year`` (from the day the account began): a year carries until the end of the next.
- ``rolling``: the amount of day D counts until the end of the day D + N months (clamped to the month's end).
- ``lifetime``: one window, which has no end.

After the last day on which some window carries a level it holds for the ``grace``. Then the member goes to the level that
was earned, or, one level at a time, one down for each further period. What was reached ever counts where time takes nothing.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from rules.book import TierPlan
from rules.local_time import day_date

_EPOCH = date(1970, 1, 1)
#: The place of a window, the year or the last day on which all of a rolling one counts, and what it came to.
Window = tuple[int, int]


class Held(NamedTuple):
    """A level by its height, the first day on which it is lower if nothing more happens (None: never), the height then."""

    height: int
    until_day: int | None
    then: int | None


def held_on(plan: TierPlan, windows: Sequence[Window], first_day: int, today: int) -> Held:
    """Return what the member holds ``today``.

    Args:
        plan: how levels are reached and kept.
        windows: of the member, newest first, see `windows_of_years` and `windows_of_days`.
        first_day: the day from which years count: the first of the account, or 1 January 1970.
        today: local day.
    """
    best = best_ever(plan, windows)
    if best == 0:
        return Held(best, None, None)
    kept = plan.kept_of(best)
    for height in range(best, kept, -1):
        last = _last(plan, windows, height, best, first_day)
        if last >= today:
            then = height - 1
            while then > kept and _last(plan, windows, then, best, first_day) <= last:
                then -= 1
            return Held(height, last + 1, then)
    return Held(kept, None, None)


def best_ever(plan: TierPlan, windows: Sequence[Window]) -> int:
    """Return the greatest height that any window ever carried."""
    return plan.height_at(max([amount for _, amount in windows])) if windows else 0


def overridden(
    plan: TierPlan, windows: Sequence[Window], first_day: int, today: int, held: Held, override: tuple[str, int]
) -> Held:
    """Return what ``held`` is for a member whom staff gave at least a tier, until the end of a day; see `held_on`."""
    level_id, last = override
    given = plan.height_of(level_id)
    if given is None or last < today:
        return held
    height = max(given, held.height)
    for day in sorted([last + 1, last + 1 if held.until_day is None else held.until_day]):
        then = held_on(plan, windows, first_day, day).height
        if day <= last:
            then = max(then, given)
        if then < height:
            return Held(height, day, then)
    return Held(height, None, None)


def _last(plan: TierPlan, windows: Sequence[Window], height: int, best: int, first_day: int) -> int:
    """Return the last day on which a height holds: what a higher level leaves when it is lost counts too."""
    last = _carried(plan, _newest(windows, plan.levels[height].from_amount), 0, first_day)
    if plan.downgrade == "one_level":
        for higher in range(height + 1, best + 1):
            place = _newest(windows, plan.levels[higher].from_amount)
            last = max(last, _carried(plan, place, higher - height, first_day))
    return last


def _newest(windows: Sequence[Window], threshold: int) -> int:
    """Return the place of the newest window that carries a level; there is one."""
    for place, amount in windows:
        if amount >= threshold:
            return place
    return windows[-1][0]


def _carried(plan: TierPlan, place: int, periods: int, first_day: int) -> int:
    """Return the last day of what a window carries, some periods later, with the grace."""
    if plan.over == "rolling":
        return last_day(last_day(place, plan.months * periods), plan.grace_months)
    if plan.over == "calendar_year":
        place -= _EPOCH.year
    return last_day(year_begins(place + 2 + periods, first_day) - 1, plan.grace_months)


def windows_of_years(years: Mapping[int, int]) -> list[Window]:
    """Return what each year came to, newest first."""
    return sorted(years.items(), reverse=True)


def windows_of_days(days: Mapping[int, int], months: int) -> list[Window]:
    """Return what every rolling window came to on its last day, newest first.

    A window loses something only behind the last day of one of its days, so no other days need be looked at.
    """
    ordered = sorted(days)
    found: list[Window] = []
    first, behind, total = 0, 0, 0
    for day in ordered:
        end = last_day(day, months)
        if found and found[-1][0] == end:  # 29, 30 and 31 January all count to 28 February
            continue
        while behind < len(ordered) and ordered[behind] <= end:
            total += days[ordered[behind]]
            behind += 1
        while last_day(ordered[first], months) < end:
            total -= days[ordered[first]]
            first += 1
        found.append((end, total))
    found.reverse()
    return found


def years_of_days(days: Mapping[int, int], first_day: int) -> dict[int, int]:
    """Return progress by the number of the year, counted from ``first_day``, out of progress by day."""
    years: dict[int, int] = {}
    for day, amount in days.items():
        year = year_of(day, first_day)
        years[year] = years.get(year, 0) + amount
    return years


@lru_cache(maxsize=1 << 14)
def year_of(day: int, first_day: int) -> int:
    """Return in which year, counted from ``first_day``, a day lies: 0 is the first."""
    year = day_date(day).year - day_date(first_day).year
    return year if year_begins(year, first_day) <= day else year - 1


@lru_cache(maxsize=1 << 14)
def year_begins(year: int, first_day: int) -> int:
    """Return the first day of a year counted from ``first_day``; who began on a leap day has 28 February in other years."""
    return last_day(first_day, 12 * year)


@lru_cache(maxsize=1 << 14)
def last_day(day: int, months: int) -> int:
    """Return the day ``months`` later, clamped to the month's end: 31 January + 1 month is 28 February."""
    start = day_date(day)
    month = start.month - 1 + months
    year, month = start.year + month // 12, month % 12 + 1
    end = date(year, month, min(start.day, monthrange(year, month)[1]))
    return (end - _EPOCH).days
