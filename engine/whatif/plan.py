"""Which versions are in force on both sides: the present ones, and those of the shadow, in which another programme takes over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rules.book import Book, OverlapError, Programme
from schemas.ids import hash_id
from schemas.times import to_text


class WhatIfError(Exception):
    """A comparison that cannot be made; the message says what, where and how to mend it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Both sides of a comparison.

    Attributes:
        present: versions as published, by hash.
        kept: those of them that also hold in the shadow, by hash; the last one ends where the new programme takes over.
        taking_over: the new versions, the first from ``since_us`` on; their numbers are none of the present ones'.
        since_us: from this moment on the two sides may differ.
        renumbered: (number in the file, number here) of new versions whose number was taken.
    """

    present: dict[str, Programme]
    kept: dict[str, Programme]
    taking_over: tuple[Programme, ...]
    since_us: int
    renumbered: tuple[tuple[int, int], ...]

    def shadow_book(self, known: Book) -> Book:
        """Return the shadow's book where ``known`` are the present versions that the log has told so far."""
        kept = [self.kept[version.hash] for version in known.versions if version.hash in self.kept]
        return Book([*kept, *self.taking_over])

    @property
    def shadow(self) -> dict[str, Programme]:
        """Every version of the shadow by hash."""
        return self.kept | {version.hash: version for version in self.taking_over}

    def at(self, time_us: int) -> tuple[Programme | None, Programme | None]:
        """Return the versions in force at a moment, on the present side and in the shadow."""
        present = Book(self.present.values())
        return present.at(time_us), self.shadow_book(present).at(time_us)


def make_plan(present: Sequence[Programme], new: Sequence[Programme], since_us: int | None = None) -> Plan:
    """Work out both sides.

    Args:
        present: every published version.
        new: the versions of the new programme, at least one.
        since_us: from when on it holds; default: when its first version begins that is not published as it stands. Its
            version in force then, else its first, is moved to that moment, and its later ones follow when they say.

    Raises:
        WhatIfError: the two cannot be compared.
    """
    ordered = sorted(new, key=lambda version: version.valid_from_us)
    if since_us is None:
        since_us = _first_unlike(ordered, present).valid_from_us
    first = max((number for number, one in enumerate(ordered) if one.valid_from_us <= since_us), default=0)
    chosen = ordered[first:]
    if chosen[0].valid_until_us is not None and chosen[0].valid_until_us <= since_us:
        raise WhatIfError(
            f"the new programme ends at {to_text(chosen[0].valid_until_us)}, before it would take over at {to_text(since_us)}: "
            "give a later `valid.until`, or an earlier --since"
        )
    kept = {version.hash: _ended(version, since_us) for version in present if version.valid_from_us < since_us}
    _require_alike([*present, *chosen])
    taking_over, renumbered = _beside([version.version for version in present], chosen, since_us, present)
    plan = Plan({version.hash: version for version in present}, kept, taking_over, since_us, renumbered)
    try:
        plan.shadow_book(Book(present))
    except OverlapError as error:
        raise WhatIfError(f"{error}: mend `valid` of the new programme") from error
    return plan


def _first_unlike(ordered: Sequence[Programme], present: Sequence[Programme]) -> Programme:
    published = {version.hash for version in present}
    for version in ordered:
        if version.hash not in published:
            return version
    raise WhatIfError("every version given is published as it stands: change something, or say --since")


def _ended(version: Programme, since_us: int) -> Programme:
    """The same version, its hash too, over by ``since_us``."""
    if version.valid_until_us is None or version.valid_until_us <= since_us:
        return version
    return replace(version, valid_until_us=since_us)


def _require_alike(versions: Sequence[Programme]) -> None:
    currencies = sorted({version.currency for version in versions})
    if len(currencies) > 1:
        raise WhatIfError(
            f"the programmes count in {' and '.join(currencies)}: one deployment has one currency, so there is nothing to compare"
        )


def _beside(
    numbers: Sequence[int], chosen: Sequence[Programme], since_us: int, present: Sequence[Programme]
) -> tuple[tuple[Programme, ...], tuple[tuple[int, int], ...]]:
    """The new versions under numbers of their own and the present name, the first from ``since_us`` on."""
    taken, renumbered, made = set(numbers), [], []
    for place, version in enumerate(chosen):
        number = version.version
        if number in taken:
            number = max(taken | {one.version for one in chosen}) + 1
            renumbered.append((version.version, number))
        taken.add(number)
        begins_us = since_us if place == 0 else version.valid_from_us
        name = present[0].name if present else version.name
        # Another hash: the file may be, word for word, one that was published with other dates.
        unlike = hash_id("whatif", version.hash, to_text(begins_us))
        made.append(replace(version, hash=unlike, name=name, version=number, valid_from_us=begins_us))
    return tuple(made), tuple(renumbered)
