"""Programmes as the naive model sees them: plain data; conditions stay as a file says them.

Nothing here knows the engine's compiled rules. `tests.properties.writing` writes the same data as a programme file, and
that text is the only way by which it reaches the engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
# A condition just as a programme file says it: {"category": ["coffee"], "amount": {"at_least": "10.00 EUR"}}.
Said = dict[str, Any]
PHASES = ("base", "bonus", "multiply", "limit")


@dataclass(frozen=True)
class Limit:
    """At most so many points or grants per window."""

    points: int | None = None
    times: int | None = None
    per_place: bool = False
    every: str = "ever"


@dataclass(frozen=True)
class Bracket:
    """Up to so much money in all, None for no end, so many points per so much."""

    to: int | None
    points: int
    per_minor: int


@dataclass(frozen=True)
class Points:
    """A fixed number of points, or so many per amount of money."""

    points: int
    per_minor: int | None = None
    gross: bool = False
    rounding: str = "floor"
    each_line: bool = False
    round_before: bool = False
    brackets: tuple[Bracket, ...] = ()
    over: str = "calendar_year"


@dataclass(frozen=True)
class Earn:
    """One earning rule; exactly one of award, by and limit is set."""

    id: str
    on: str
    award: Points | None = None
    by: Fraction | None = None
    limit: Limit | None = None
    bonus: bool = False
    only: tuple[str, ...] = ()
    priority: int = 0
    exclusive: str | None = None
    stop: bool = False
    cap: Limit | None = None
    when: Said | None = None
    unless: Said | None = None
    starts: str | None = None
    until: str | None = None
    held_out: str | None = None
    expire: Said | str | None = None
    pending: Said | str | None = None

    @property
    def phase(self) -> str:
        """Where in the order of rules it stands."""
        if self.limit is not None:
            return "limit"
        if self.by is not None:
            return "multiply"
        return "bonus" if self.bonus else "base"

    @property
    def order(self) -> tuple[int, int, str]:
        """Phase, then priority, then id."""
        return (PHASES.index(self.phase), -self.priority, self.id)


@dataclass(frozen=True)
class Step:
    """One tier."""

    id: str
    start: int
    by: Fraction = Fraction(1)
    keep: bool = False
    welcome: int = 0
    again: bool = False  # it is welcomed each time
    expire: Said | str | None = None
    pending: Said | str | None = None


@dataclass(frozen=True)
class Ladder:
    """How tiers are reached; ``over`` is calendar_year, membership_year, lifetime or a number of months."""

    by: str
    over: str | int
    falls: str  # none: the passing of time never lowers; earned_level; one_level
    steps: tuple[Step, ...]
    grace: int = 0

    def level(self, amount: int) -> Step:
        """Return the highest step that ``amount`` reaches."""
        return [step for step in self.steps if step.start <= amount or step is self.steps[0]][-1]

    def height(self, step_id: str) -> int:
        """Return how high that step is."""
        return [step.id for step in self.steps].index(step_id)


@dataclass(frozen=True)
class Bring:
    """What a referral is worth."""

    moment: str  # referral | joined | first_purchase | every_purchase
    at_least_minor: int = 0
    within_days: int | None = None
    referrer: tuple[int, Limit | None] | None = None
    referred: tuple[int, Limit | None] | None = None


@dataclass(frozen=True)
class Lots:
    """What the programme says about all points, just as a file says it."""

    expire: Said | str | None = None
    pending: Said | str | None = None
    negative: str = "within_balance"
    pays_back: bool = False


@dataclass(frozen=True)
class Prize:
    """What points can be spent on."""

    id: str
    cost: int
    tiers: tuple[str, ...] = ()
    valid_days: int | None = None
    stock: str | None = None


@dataclass(frozen=True)
class Plan:
    """One version of a programme."""

    version: int
    starts: date
    zone: ZoneInfo
    currency: str = "EUR"
    digits: int = 2
    ends: date | None = None
    accept_late_days: int | None = None
    refund_waits_days: int | None = None  # None: the default of 30 days
    visit_gap_minutes: int | None = None  # None: the default of half an hour
    join_explicit: bool = False
    gifts: bool = False
    rules: tuple[Earn, ...] = ()
    ladder: Ladder | None = None
    bring: Bring | None = None
    lots: Lots = Lots()
    prizes: tuple[Prize, ...] = ()

    @property
    def start(self) -> datetime:
        """The moment from which it is in force."""
        return midnight(self.starts, self.zone)

    @property
    def end(self) -> datetime | None:
        """The moment from which it is no longer in force, if it says so."""
        return None if self.ends is None else midnight(self.ends, self.zone)

    @property
    def visit_gap(self) -> timedelta:
        """How close two check-ins may be to be one visit."""
        return timedelta(minutes=30 if self.visit_gap_minutes is None else self.visit_gap_minutes)

    def local(self, moment: datetime) -> datetime:
        """Return the wall clock of the programme's time zone."""
        return moment.astimezone(self.zone)

    def rules_on(self, kind: str) -> list[Earn]:
        """Return the rules for that type of fact in total order."""
        return sorted((rule for rule in self.rules if rule.on == kind), key=lambda rule: rule.order)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the moment at which a local day begins."""
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def in_force(plans: list[Plan], moment: datetime) -> Plan | None:
    """Return the version in force: the latest that has begun, unless it has ended."""
    begun = [plan for plan in plans if plan.start <= moment]
    if not begun:
        return None
    latest = max(begun, key=lambda plan: plan.start)
    return None if latest.end is not None and moment >= latest.end else latest


def window(limit: Limit, local: datetime) -> str:
    """Return the label of the window of a limit."""
    iso = local.isocalendar()
    return {
        "day": f"{local:%Y-%m-%d}",
        "week": f"{iso.year}-W{iso.week:02d}",
        "month": f"{local:%Y-%m}",
        "quarter": f"{local:%Y}-Q{(local.month - 1) // 3 + 1}",
        "year": f"{local:%Y}",
        "ever": "ever",
    }[limit.every]


def add_months(day: date, months: int) -> date:
    """Return the same day so many months later, or the last one of a shorter month."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    last = (date(year + (month + 1) // 12, (month + 1) % 12 + 1, 1) - DAY).day
    return date(year, month + 1, min(day.day, last))
