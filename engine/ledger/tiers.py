"""Tiers: the level a member's progress reaches, and until when it holds if nothing more happens.

The level is a function of the progress by day, the moment and the programme version in force at that moment; nothing else
is remembered. So a level follows late facts and refunds by itself, and a new version's thresholds count from the member's
next fact or review on.

Windows, in local days of the programme's time zone:

- ``calendar_year``: what was earned in a year holds to the end of the next.
- ``rolling``: the amount of day D counts until the midnight that ends day D + N months (clamped to the month's end).
- ``lifetime``: one window.

Under ``downgrade: none`` the best window ever decides, so only a refund can lower the level.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from zoneinfo import ZoneInfo

from engine.ledger.member import Member
from engine.ledger.moved import Moved
from engine.ledger.orders import day_number, day_text
from rules.book import Book, Level, Programme, TierPlan
from rules.local_time import day_date, local_day
from rules.local_time import midnight_us as _midnight
from schemas.decisions import Decision, TierChange
from schemas.envelope import TIMER_SOURCE, Fact
from schemas.ids import hash_id
from schemas.times import to_text


def review(
    member: Member, programme: Programme, now_us: int, progress: Progress, source: str, fact_id: str
) -> TierChange | None:
    """Return the change of tier that ``progress`` or the passing of time brings at ``now_us``, if any.

    Args:
        member: as he stood before; not changed.
        programme: the version in force at ``now_us``.
        progress: [local day, amount] pairs of the decision being made.
        source, fact_id: of the fact or timer that moved the tier.
    """
    plan = programme.tiers
    before = member.standing
    if plan is None:
        return (
            None
            if before is None or before.until_us is None
            else _change(member, before.tier, None, now_us, source, fact_id)
        )
    level, until_us = standing_at(plan, member, progress, now_us, programme.time_zone)
    if before is not None and before.tier == level.id and before.until_us == until_us:
        return None
    return _change(member, level.id, until_us, now_us, source, fact_id)


def due_us(member: Member) -> int | None:
    """Return when time next changes the member's tier, None for never."""
    return member.standing.until_us if member.standing is not None else None


def review_when_due(member: Member, book: Book, due: int) -> Moved:
    """Review the tier at the moment until which it held."""
    fact_id = hash_id("tier_review", member.key, to_text(due))
    programme = book.at(due)
    change = None if programme is None else review(member, programme, due, [], TIMER_SOURCE, fact_id)
    if change is None:
        # No version in force, or none that would move it: the tier stays, and this timer must not fire again.
        standing = member.standing
        assert standing is not None
        since = to_text(standing.since_us)
        change = TierChange(member.key, standing.tier, standing.tier, since, None, TIMER_SOURCE, fact_id, to_text(due))
    return Moved(tiers=[change])


# Many members' tiers begin and end at the same few moments.
_text = lru_cache(maxsize=1 << 14)(to_text)


def _change(member: Member, tier: str, until_us: int | None, now_us: int, source: str, fact_id: str) -> TierChange:
    before = member.standing
    since_us = before.since_us if before is not None and before.tier == tier else now_us
    return TierChange(
        member_id=member.key,
        tier=tier,
        previous=before.tier if before is not None else None,
        since=_text(since_us),
        until=None if until_us is None else _text(until_us),
        source=source,
        fact_id=fact_id,
        occurred_at=_text(now_us),
    )


Progress = Sequence[tuple[str, int]]


def count_progress(fact: Fact, programme: Programme, amount: int, decision: Decision) -> None:
    """Put ``amount`` towards tiers on the fact's local day into a decision that has none yet; nothing for 0."""
    if amount:
        decision.progress = [(day_text(local_day(fact.time_us, programme.time_zone)), amount)]


def standing_at(
    plan: TierPlan, member: Member, progress: Progress, now_us: int, zone: ZoneInfo
) -> tuple[Level, int | None]:
    """Return the level that the member's progress and ``progress`` reach at ``now_us``, and when time would lower it."""
    if plan.over == "lifetime":
        return plan.level_at(sum(_years(member, progress).values())), None
    if plan.over == "calendar_year":
        return _calendar_years(plan, _years(member, progress), now_us, zone)
    days = _days(member, progress)
    if plan.downgrade == "none":
        return plan.level_at(_best_rolling(days, plan.months)), None
    return _rolling(plan, days, now_us, zone)


def _years(member: Member, progress: Progress) -> dict[int, int]:
    years = dict(member.years)
    for day, amount in progress:
        year = int(day[:4])
        years[year] = years.get(year, 0) + amount
    return years


def _days(member: Member, progress: Progress) -> dict[int, int]:
    days = dict(member.days)
    for day, amount in progress:
        number = day_number(day)
        days[number] = days.get(number, 0) + amount
    return days


def _calendar_years(plan: TierPlan, years: Mapping[int, int], now_us: int, zone: ZoneInfo) -> tuple[Level, int | None]:
    if plan.downgrade == "none":
        return plan.level_at(max(years.values(), default=0)), None
    year = _year_of(local_day(now_us, zone))
    this_year = years.get(year, 0)
    level = plan.level_at(max(this_year, years.get(year - 1, 0)))
    if level is plan.levels[0]:
        return level, None
    # What was earned this year carries through the next; a level that only last year carries ends with this one.
    carried = this_year >= level.from_amount
    return level, _new_year(year + 2 if carried else year + 1, zone)


@lru_cache(maxsize=1 << 14)
def _year_of(day: int) -> int:
    return day_date(day).year


@lru_cache(maxsize=1 << 10)
def _new_year(year: int, zone: ZoneInfo) -> int:
    """Return the moment at which a year begins."""
    return _midnight((date(year, 1, 1) - date(1970, 1, 1)).days, zone)


def _rolling(plan: TierPlan, days: Mapping[int, int], now_us: int, zone: ZoneInfo) -> tuple[Level, int | None]:
    first = _first_counting(local_day(now_us, zone), plan.months)
    total = sum([amount for day, amount in days.items() if day >= first])
    level = plan.level_at(total)
    if level is plan.levels[0]:
        return level, None
    ends: dict[int, int] = {}
    for day in days:
        if day >= first:
            # Days at the end of a month can fall out together: 29, 30 and 31 January all count to 28 February.
            end = last_day(day, plan.months)
            ends[end] = ends.get(end, 0) + days[day]
    for end in sorted(ends):
        total -= ends[end]
        if total < level.from_amount:
            return level, _midnight(end + 1, zone)
    return level, None


@lru_cache(maxsize=1 << 10)
def _first_counting(today: int, months: int) -> int:
    """Return the first local day whose amount still counts on ``today``."""
    day = today - 31 * (months + 1)
    while last_day(day, months) < today:
        day += 1
    return day


def _best_rolling(days: Mapping[int, int], months: int) -> int:
    """Return the largest sum any window ever held; a window changes only on a day with progress."""
    ordered = sorted(days)
    best = total = first = 0
    for day in ordered:
        total += days[day]
        while last_day(ordered[first], months) < day:
            total -= days[ordered[first]]
            first += 1
        best = max(best, total)
    return best


@lru_cache(maxsize=1 << 14)
def last_day(day: int, months: int) -> int:
    """Return the last local day on which the amount of ``day`` counts: ``months`` later, clamped to the month's end."""
    start = day_date(day)
    month = start.month - 1 + months
    year, month = start.year + month // 12, month % 12 + 1
    end = date(year, month, min(start.day, monthrange(year, month)[1]))
    return (end - date(1970, 1, 1)).days
