"""When time brings a member a moment next: pure arithmetic on what is known of him and on the versions known here.

A moment belongs to the version that is in force when it comes. It comes once: never at or before the member's newest fact, as
all that was due by then had its chance, and never twice by one rule. So a version that becomes known later brings its moments
from then on to everybody, also to those who do nothing, and what was missed before is not made up for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from engine.ledger.member import CLOSED, Member
from engine.ledger.notices import Why, length_text
from rules.book import Book, Moment, Profile, Programme, Span
from rules.local_time import day_date, local_day, midnight_us, next_of
from rules.plan import DATES
from schemas.times import DAY_US

#: A habit needs two gaps.
FEWEST_PURCHASES = 3
_NEVER = 1 << 62


class Due(NamedTuple):
    """A moment that time brings.

    Attributes:
        at_us: when.
        moment, programme: the rule, and its version.
        about: what was awaited, by its name among the member's; empty for any other moment.
    """

    at_us: int
    moment: Moment
    programme: Programme
    about: str = ""


def look_ahead(member: Member, book: Book) -> None:
    """Work out when moments come next: ``dates_us`` and ``waits_us``."""
    dates = waits = _NEVER
    for due in dues(member, book):
        if due.moment.word in DATES:
            dates = min(dates, due.at_us)
        else:
            waits = min(waits, due.at_us)
    for _, until_us in member.awaited.values():
        waits = min(waits, until_us)
    member.dates_us = None if dates == _NEVER else dates
    member.waits_us = None if waits == _NEVER else waits


def dues(member: Member, book: Book) -> Iterator[Due]:
    """Yield when each rule of each version comes next, but for what is awaited."""
    if member.anonymous or member.alias_of is not None or member.joined_us is None:
        return
    newest_us = -1 if member.newest_us is None else member.newest_us
    settled_us = -1 if member.settled_us is None else member.settled_us - 1
    for span in book.spans:
        if span.until_us is not None and span.until_us <= newest_us:
            continue
        if span.programme.join_explicit and not member.joined_said:
            continue
        for moment in span.moments.timed:
            after_us = max(newest_us, settled_us, span.from_us - 1, member.came.get(moment.id, -1))
            at_us = _next(member, moment, span, after_us)
            if at_us is None or (span.until_us is not None and at_us >= span.until_us):
                continue
            if member.left_us is None or at_us < member.left_us:
                yield Due(at_us, moment, span.programme)


def _next(member: Member, moment: Moment, span: Span, after_us: int) -> int | None:
    """Return when a moment comes first behind ``after_us``, None for never."""
    zone = span.programme.time_zone
    match moment.word:
        case "silence":
            at_us = silent_us(member, moment)
            if at_us is None:
                return None
            # At the beginning of a day: so members who are silent wait for a few common moments.
            at_us = midnight_us(local_day(at_us - 1, zone) + 1, zone)
            return at_us if at_us > after_us else None
        case "points_expiring":
            found = [us for us, _ in expiring(member, moment, span.programme) if us > after_us]
            return min(found, default=None)
        case "birthday":
            born = birthday(member)
            return None if born is None else _day_of_year(born, moment, span, after_us)
        case _:
            joined_us = member.joined_us or 0
            joined = day_date(local_day(joined_us, zone))
            # Not on the day itself, nor as many days before it: the first is a year later.
            first_us = midnight_us(local_day(joined_us, zone) + 1, zone)
            return _day_of_year((joined.month, joined.day), moment, span, max(after_us, first_us))


def _day_of_year(day: tuple[int, int], moment: Moment, span: Span, after_us: int) -> int:
    zone = span.programme.time_zone
    start = local_day(after_us, zone) + moment.days_before
    while True:
        found = next_of(start, *day)
        at_us = midnight_us(found - moment.days_before, zone)
        if at_us > after_us:
            return at_us
        start = found + 1


def silent_us(member: Member, moment: Moment) -> int | None:
    """Return since when a member is silent for as long as a rule says, None where he has no habit, or bought nothing."""
    last_us = member.last_purchase_us
    if last_us is None:
        return None
    wait_us = moment.at_least_us
    if moment.times is not None:
        gap_us = usual_gap_us(member)
        if gap_us is None:
            return None
        num, den = moment.times
        wait_us = max(wait_us, -(-gap_us * num // den))
    return last_us + max(1, wait_us)


def usual_gap_us(member: Member) -> int | None:
    """Return the mean time between a member's purchases, None with less than three of them."""
    first_us, last_us = member.first_purchase_us, member.last_purchase_us
    if first_us is None or last_us is None or member.orders_counted < FEWEST_PURCHASES:
        return None
    return (last_us - first_us) // (member.orders_counted - 1)


def birthday(member: Member) -> tuple[int, int] | None:
    """Return month and day, None where nothing is known of them here."""
    return None if member.born is None or member.born[0] is not member.sealed else member.born[1]


def expiring(member: Member, moment: Moment, programme: Programme) -> list[tuple[int, int]]:
    """Return when a rule speaks of points that expire, and how many they are; each moment once."""
    zone, found = programme.time_zone, dict[int, int]()
    for lot in member.lots_apart.values():
        ends_us = member.slides_us if lot.expires_us is None else lot.expires_us
        if lot.left and ends_us is not None and lot.waits_for is None:
            found[ends_us] = found.get(ends_us, 0) + lot.left
    sliding = _in_orders(member) if member.slides_us is not None else 0
    if sliding and member.slides_us is not None:
        found[member.slides_us] = found.get(member.slides_us, 0) + sliding
    told: dict[int, int] = {}
    for ends_us, points in found.items():
        # Expiry is the midnight behind the last day.
        at_us = midnight_us(local_day(ends_us, zone) - moment.days_before, zone)
        told[at_us] = told.get(at_us, 0) + points
    return [(at_us, points) for at_us, points in told.items() if points >= moment.at_least]


def _in_orders(member: Member) -> int:
    """Points of lots that are still as their order made them."""
    return sum(lot.left for lot in member.order_lots() if lot.id not in member.lots_apart)


def why_due(member: Member, due: Due) -> Why:
    """Return why a moment came, in words."""
    moment, zone = due.moment, due.programme.time_zone
    match moment.word:
        case "silence":
            days = (due.at_us - (member.last_purchase_us or due.at_us)) // DAY_US
            gap_us = usual_gap_us(member)
            if gap_us is None:
                return Why(f"no purchase for {days} days", {"days": days})
            usual = max(1, (gap_us + DAY_US // 2) // DAY_US)
            every = "every day" if usual == 1 else f"every {usual} days"
            return Why(f"no purchase for {days} days, usually {every}", {"days": days, "usual_days": usual})
        case "points_expiring":
            points = dict(expiring(member, moment, due.programme)).get(due.at_us, 0)
            days = moment.days_before
            return Why(f"{points} points expire in {_days(days)}", {"expiring": points, "days": days})
        case "birthday":
            return Why(_ahead("the birthday is", moment.days_before), {"days": moment.days_before})
        case "anniversary":
            day = day_date(local_day(due.at_us, zone) + moment.days_before)
            years = day.year - day_date(local_day(member.joined_us or 0, zone)).year
            text = _ahead(f"a member for {years} year{'' if years == 1 else 's'}", moment.days_before)
            return Why(text, {"years": years, "days": moment.days_before})
        case _:
            length, about = length_text(moment.within_us), due.about.partition("|")[2]
            fields = {"within": length} | ({} if moment.same is None else {moment.same: about})
            of = f" of {about}" if about else ""
            return Why(f"nothing followed{of} within {length}", fields)


def _days(number: int) -> str:
    return f"{number} day{'' if number == 1 else 's'}"


def _ahead(what: str, days: int) -> str:
    return f"{what} today" if days == 0 else f"{what} in {_days(days)}"


def learn_birthday(member: Member, opened: Profile | None) -> bool:
    """Take down the birthday of a member's profile; tell whether it is known now, or none is to be known.

    ``opened``: his profile; None: its key was destroyed, `CLOSED`: it does not open here.
    """
    if member.sealed is None:
        member.born = None
        return True
    if member.born is not None and member.born[0] is member.sealed:
        return True
    if opened is CLOSED:
        return False
    member.born = (member.sealed, None if opened is None else opened.birthday)
    return True
