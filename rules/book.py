"""The book of programme versions: which one is in force at a moment, and the door to the compiled rules.

A book is immutable. A version begins at its `valid.from` and ends when the next begins, or at its own `valid.until`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import NamedTuple

from rules.compiling import from_canonical
from rules.files import read_directory
from rules.plan import (
    PHASES,
    REFUND_WAITS_US,
    Award,
    BadgePlan,
    Brackets,
    Cap,
    ChallengePlan,
    Counter,
    Expiry,
    GivenTierPlan,
    Level,
    LotPlan,
    MemberView,
    Moment,
    MomentPlan,
    Multiply,
    NoticePlan,
    Profile,
    Programme,
    QuietPlan,
    RafflePlan,
    ReferAward,
    ReferPlan,
    RewardPlan,
    Rule,
    Terms,
    TicketPlan,
    TierPlan,
    Wait,
)
from schemas.times import to_text

__all__ = [
    "PHASES",
    "REFUND_WAITS_US",
    "Award",
    "BadgePlan",
    "Book",
    "Brackets",
    "Cap",
    "ChallengePlan",
    "Counter",
    "Expiry",
    "GivenTierPlan",
    "Level",
    "LotPlan",
    "MemberView",
    "Moment",
    "MomentPlan",
    "Multiply",
    "NoticePlan",
    "OverlapError",
    "Profile",
    "Programme",
    "QuietPlan",
    "RafflePlan",
    "ReferAward",
    "ReferPlan",
    "RewardPlan",
    "Rule",
    "Span",
    "Terms",
    "TicketPlan",
    "TierPlan",
    "Wait",
    "from_json",
    "load_directory",
]


class OverlapError(ValueError):
    """Two versions claim the same moment, or the same number, or are of two programmes."""


class Span(NamedTuple):
    """A stretch of time in which a version with moments is in force; ``until_us`` is exclusive, None: for ever."""

    from_us: int
    until_us: int | None
    programme: Programme
    moments: MomentPlan


class Book:
    """Programme versions in the order in which they begin; ``spans`` are those with moments that time brings, and from
    ``birthdays_from_us`` on some of them ask for birthdays (None: never)."""

    __slots__ = ("_starts", "asks_profile", "birthdays_from_us", "spans", "versions")

    versions: tuple[Programme, ...]
    asks_profile: bool
    birthdays_from_us: int | None
    spans: tuple[Span, ...]

    def __init__(self, programmes: Iterable[Programme] = ()) -> None:
        """Make a book of ``programmes``, in any order; a version given twice counts once.

        Raises:
            OverlapError: see :meth:`with_version`.
        """
        distinct = {programme.hash: programme for programme in programmes}
        self.versions = tuple(sorted(distinct.values(), key=lambda programme: programme.valid_from_us))
        self.asks_profile = any(programme.asks_profile for programme in self.versions)
        self.spans = tuple(_spans(self.versions))
        self.birthdays_from_us = min([one.from_us for one in self.spans if one.moments.asks_birthday], default=None)
        self._starts = [programme.valid_from_us for programme in self.versions]
        for earlier, later in pairwise(self.versions):
            _refuse_overlap(earlier, later)
        _refuse_same_number(self.versions)

    def with_version(self, programme: Programme) -> Book:
        """Return a book that also holds ``programme``; the same book if it does already.

        Raises:
            OverlapError: it begins with or inside the stated span of another, has its number, or another name.
        """
        if programme in self.versions:
            return self
        return Book((*self.versions, programme))

    def at(self, time_us: int) -> Programme | None:
        """Return the version in force at ``time_us``, None before the first, in a gap, and after the last one's end."""
        index = bisect_right(self._starts, time_us) - 1
        if index < 0:
            return None
        programme = self.versions[index]
        if programme.valid_until_us is not None and time_us >= programme.valid_until_us:
            return None
        return programme

    def of_hash(self, programme_hash: str | None) -> Programme | None:
        """Return the version of that hash, None if it is not known here."""
        return next((programme for programme in self.versions if programme.hash == programme_hash), None)

    def of_number(self, version: int) -> Programme | None:
        """Return the version of that number, None if it is not known here."""
        return next((programme for programme in self.versions if programme.version == version), None)


def _spans(versions: Sequence[Programme]) -> Iterator[Span]:
    for version, following in zip_longest(versions, versions[1:]):
        moments, until_us = version.moments, version.valid_until_us
        if until_us is None and following is not None:
            until_us = following.valid_from_us
        if moments is not None and (moments.timed or moments.awaited):
            yield Span(version.valid_from_us, until_us, version, moments)


def _refuse_overlap(earlier: Programme, later: Programme) -> None:
    if earlier.name != later.name:
        raise OverlapError(f"one deployment has one programme, here are two: {earlier.name} and {later.name}")
    begins = to_text(later.valid_from_us)
    if earlier.valid_from_us == later.valid_from_us:
        raise OverlapError(f"versions {earlier.version} and {later.version} of {later.name} both begin at {begins}")
    if earlier.valid_until_us is not None and earlier.valid_until_us > later.valid_from_us:
        ends = to_text(earlier.valid_until_us)
        raise OverlapError(
            f"version {later.version} of {later.name} begins at {begins}, before {earlier.version} ends at {ends}"
        )


def _refuse_same_number(versions: Iterable[Programme]) -> None:
    seen: dict[int, Programme] = {}
    for programme in versions:
        if programme.version in seen:
            raise OverlapError(f"two different versions of {programme.name} have the number {programme.version}")
        seen[programme.version] = programme


def from_json(text: bytes) -> Programme:
    """Compile what the `programmes` topic holds.

    Raises:
        rules.errors.ProgrammeErrors: it is no programme this engine understands.
    """
    return from_canonical(text)


def load_directory(path: str | Path) -> list[Programme]:
    """Read, check and compile every version in a directory (or one file), in the order in which they begin.

    Raises:
        rules.errors.ProgrammeErrors: with every problem of every file.
    """
    return read_directory(Path(path))
