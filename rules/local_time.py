"""Local days and hours of a programme's time zone, from microseconds, fast enough for every fact.

A time zone's offset is looked up once per UTC day and remembered. On the few days on which it changes it is looked up once
per quarter of an hour: all changes since 1970 fall on quarter hours, and where one does not, the exact offset is computed.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from schemas.times import DAY_US, EPOCH, SECOND_US, from_datetime

_QUARTER_US = 900 * SECOND_US
_FIRST_DAY = date(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


def _exact_offset_us(time_us: int, zone: ZoneInfo) -> int:
    moment = (EPOCH + timedelta(microseconds=time_us)).astimezone(zone)
    offset = moment.utcoffset()
    return 0 if offset is None else offset // _MICROSECOND


@lru_cache(maxsize=1 << 16)
def _steady_offset_us(begin_us: int, length_us: int, zone: ZoneInfo) -> int | None:
    """Return the offset of a whole stretch of time, None if it changes inside."""
    first = _exact_offset_us(begin_us, zone)
    last = _exact_offset_us(begin_us + length_us - 1, zone)
    return first if first == last else None


def to_local_us(time_us: int, zone: ZoneInfo) -> int:
    """Return ``time_us`` as microseconds of the local wall clock since 1970-01-01 00:00 local."""
    offset = _steady_offset_us(time_us - time_us % DAY_US, DAY_US, zone)
    if offset is None:
        offset = _steady_offset_us(time_us - time_us % _QUARTER_US, _QUARTER_US, zone)
    if offset is None:
        offset = _exact_offset_us(time_us, zone)
    return time_us + offset


def local_day(time_us: int, zone: ZoneInfo) -> int:
    """Return the local calendar day of ``time_us`` as days since 1970-01-01."""
    return to_local_us(time_us, zone) // DAY_US


def day_date(day: int) -> date:
    """Return the date of a day number (days since 1970-01-01)."""
    return _FIRST_DAY + timedelta(days=day)


@lru_cache(maxsize=1 << 12)
def midnight_us(day: int, zone: ZoneInfo) -> int:
    """Return the moment at which the local day ``day`` (days since 1970-01-01) begins, microseconds since the epoch."""
    return moment_us(datetime.combine(day_date(day), time()), zone)


def wall_us(time_us: int, day_us: int, zone: ZoneInfo) -> int:
    """Return the moment at which the wall clock of the local day of ``time_us`` shows ``day_us`` since midnight."""
    local = datetime.combine(day_date(local_day(time_us, zone)), time()) + timedelta(microseconds=day_us)
    return moment_us(local, zone)


def moment_us(local: datetime, zone: ZoneInfo) -> int:
    """Return microseconds since the epoch of a naive local time; a time that occurs twice is the first of the two."""
    return from_datetime(local.replace(tzinfo=zone).astimezone(UTC))


@lru_cache(maxsize=1 << 12)
def window_label(day: int, every: str) -> str:
    """Return the label of the calendar window that holds the local day ``day``.

    Labels are ``2026-03-01`` (day), ``2026-W09`` (ISO week), ``2026-03``, ``2026-Q1``, ``2026`` and ``ever``.
    """
    when = day_date(day)
    if every == "day":
        return when.isoformat()
    if every == "week":
        iso = when.isocalendar()
        return f"{iso.year:04d}-W{iso.week:02d}"
    if every == "month":
        return f"{when.year:04d}-{when.month:02d}"
    if every == "quarter":
        return f"{when.year:04d}-Q{(when.month + 2) // 3}"
    if every == "year":
        return f"{when.year:04d}"
    return "ever"


@lru_cache(maxsize=1 << 12)
def months_later(day: int, months: int) -> int:
    """Return the local day ``months`` after ``day``, clamped to the month's end: 31 Jan + 1 month is 28 or 29 Feb."""
    start = day_date(day)
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    return (date(year, month + 1, min(start.day, monthrange(year, month + 1)[1])) - _FIRST_DAY).days


@lru_cache(maxsize=1 << 12)
def end_of(day: int, every: str) -> int:
    """Return the last local day of the month, quarter or year that holds ``day``."""
    start = day_date(day)
    month = {"month": start.month, "quarter": (start.month + 2) // 3 * 3, "year": 12}[every]
    return (date(start.year, month, monthrange(start.year, month)[1]) - _FIRST_DAY).days


@lru_cache(maxsize=1 << 12)
def next_of(day: int, month: int, month_day: int) -> int:
    """Return the first local day from ``day`` on that is this day of the year; 29 Feb is the last of a shorter February."""
    year = day_date(day).year
    for candidate in (year, year + 1):
        found = date(candidate, month, min(month_day, monthrange(candidate, month)[1]))
        if (number := (found - _FIRST_DAY).days) >= day:
            return number
    raise AssertionError("one of two years holds it")
