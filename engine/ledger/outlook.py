"""What a member's tier looks like at a moment: since when, until when, what is missing to stay and to rise. It tells and moves
nothing; the ledger decides without it.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.ledger.levels import last_day, year_of
from engine.ledger.member import Member
from rules.book import Programme, TierPlan
from rules.local_time import local_day


class Outlook(NamedTuple):
    """A tier at a moment; amounts are minor units, points or a count, as the programme qualifies.

    Attributes:
        tier, since_us, until_us, projected: as decided; until and projected are None where time takes nothing.
        progress: in the window that runs at the moment.
        next_tier, to_next: the level above, and what is missing to it in that window; None at the top.
        to_stay: what must come so that the level is carried on the day on which it would be lost; None without one.
        benefits: names of what members of the level have.
    """

    tier: str
    since_us: int
    until_us: int | None
    projected: str | None
    progress: int
    next_tier: str | None
    to_next: int | None
    to_stay: int | None
    benefits: tuple[str, ...]


def outlook(member: Member, programme: Programme, now_us: int) -> Outlook | None:
    """Return how the member's tier looks at ``now_us``, None where he has none.

    Args:
        member: settled to the moment.
        programme: the version in force at it.
        now_us: the moment.
    """
    plan, standing = programme.tiers, member.standing
    if plan is None or standing is None:
        return None
    window = _Window(plan, member, programme, now_us)
    height = plan.height_of(standing.tier) or 0
    progress = window.amount(window.today)
    above = plan.levels[height + 1] if height + 1 < len(plan.levels) else None
    to_stay = None
    if standing.until_us is not None:
        until_day = local_day(standing.until_us, programme.time_zone)
        to_stay = max(0, plan.levels[height].from_amount - window.carrying(until_day))
    return Outlook(
        tier=standing.tier,
        since_us=standing.since_us,
        until_us=standing.until_us,
        projected=standing.projected,
        progress=progress,
        next_tier=None if above is None else above.id,
        to_next=None if above is None else max(0, above.from_amount - progress),
        to_stay=to_stay,
        benefits=plan.levels[height].benefits,
    )


class _Window:
    """Progress of a member in the windows of days."""

    def __init__(self, plan: TierPlan, member: Member, programme: Programme, now_us: int) -> None:
        self._plan, self._days = plan, member.days
        self.today = local_day(now_us, programme.time_zone)
        joined_us = now_us if member.joined_us is None else member.joined_us
        self._first_day = local_day(joined_us, programme.time_zone) if plan.over == "membership_year" else 0

    def amount(self, day: int) -> int:
        """Return what the window that runs on a day came to."""
        if self._plan.over == "lifetime":
            return sum(self._days.values())
        if self._plan.over == "rolling":
            months = self._plan.months
            return sum([amount for done, amount in self._days.items() if done <= day <= last_day(done, months)])
        return self._in_year(year_of(day, self._first_day))

    def carrying(self, day: int) -> int:
        """Return the most that a window has which carries a level on a coming day, and can still grow."""
        if self._plan.over in ("lifetime", "rolling"):
            return self.amount(day)
        last = year_of(day, self._first_day)
        first = max(last - 1, year_of(self.today, self._first_day))
        return max([self._in_year(year) for year in range(first, last + 1)], default=0)

    def _in_year(self, year: int) -> int:
        return sum([amount for done, amount in self._days.items() if year_of(done, self._first_day) == year])
