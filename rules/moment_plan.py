"""What the rules of `moments:` compile to: small frozen objects, as in `rules.plan`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from rules.plan import Cap, GivenTierPlan, Lines, NoticePlan, Rule

#: Moments that time brings by the calendar, and those that somebody waits for.
DATES, WAITS = frozenset({"birthday", "anniversary", "points_expiring"}), frozenset({"silence", "not_followed_by"})


class QuietPlan(NamedTuple):
    """At most so many notices in any stretch of time, of these channels together; None: of all."""

    at_most: int
    within_us: int
    channels: frozenset[str] | None


class Wanted(NamedTuple):
    """A kind of fact, by its short name, and which of them."""

    on: str
    lines: Lines


@dataclass(frozen=True, slots=True)
class Moment:
    """One rule of `moments:`.

    Attributes:
        word: the moment's, or the short name of the type of fact that it answers.
        lines: as in `rules.plan.Rule`: what it is about; () where the rule does not apply.
        gift: a rule that gives its reward.
        offers: id of the challenge that it begins.
        days_before: of birthday, anniversary and expiring points.
        times: of silence: times the usual gap, as a whole fraction; None: for everybody the same.
        at_least_us: of silence.
        within_us: of what should have followed, and of money spent.
        at_least: points that expire; minor units spent.
        after, by, same: of what should have followed.
        levels, way: of a tier: None: any.
        segments: of a segment.
    """

    id: str
    word: str
    lines: Lines = field(compare=False)
    points: int = 0
    gift: Rule | None = None
    offers: str | None = None
    tier: GivenTierPlan | None = None
    notice: NoticePlan | None = None
    cap: Cap | None = None
    hold_out: int | None = None
    hold_out_text: str = ""
    days_before: int = 0
    times: tuple[int, int] | None = None
    at_least_us: int = 0
    within_us: int = 0
    at_least: int = 0
    after: Wanted | None = None
    by: Wanted | None = None
    same: str | None = None
    levels: frozenset[str] | None = None
    way: str | None = None
    segments: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MomentPlan:
    """The moments of one version.

    Attributes:
        on: by the short name of a type: what its facts bring at once.
        tier_changed: what another tier brings.
        timed: what time alone brings.
        begins, ends: by the short name of a type: what its facts let begin to wait, and what they are waited for by.
        awaited: what may wait, by id.
        quiet: limits on notices.
        asks_profile, asks_birthday: it cannot be decided without profiles; without birthdays.
    """

    on: dict[str, tuple[Moment, ...]]
    tier_changed: tuple[Moment, ...]
    timed: tuple[Moment, ...]
    begins: dict[str, tuple[Moment, ...]]
    ends: dict[str, tuple[Moment, ...]]
    awaited: dict[str, Moment]
    quiet: tuple[QuietPlan, ...]
    asks_profile: bool
    asks_birthday: bool
