"""Points, lots and tiers of what happened at the till: a plain fold over decimals and fractions, nothing clever.

Everything here is computed anew from all that is known whenever it is asked for; nothing is kept up to date step by step.
"""

from __future__ import annotations

from bisect import bisect_right
from calendar import monthrange
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from math import floor
from zoneinfo import ZoneInfo

from tests.independent.till import BoughtLine, Return, Sale


@dataclass(frozen=True)
class Rule:
    """One rule of the programme.

    A ``base`` or ``bonus`` rule gives ``points`` for every ``per`` pennies of the lines it takes (per 0: once for the
    order); a ``multiply`` rule multiplies what base rules gave by ``factor``.
    """

    id: str
    phase: str
    points: int = 0
    per: int = 0
    factor: Fraction = Fraction(1)
    takes: Callable[[BoughtLine], bool] = lambda line: line.is_goods
    applies: Callable[[Sale], bool] = lambda _sale: True


@dataclass(frozen=True)
class Level:
    """A tier: from so many pennies on, base points times ``factor``."""

    name: str
    since: int
    factor: Fraction


@dataclass(frozen=True)
class Version:
    """A version of the programme; ``months`` is the length of its rolling window, 0 means calendar years."""

    number: int
    begins: datetime
    rules: Sequence[Rule]
    levels: Sequence[Level]
    months: int
    zone: ZoneInfo


@dataclass
class Entry:
    """A movement of points; ``by_line`` says how many of them each line (from 1) carries."""

    member: str
    kind: str
    points: int
    rule: str
    version: int
    fact: str
    when: datetime
    by_line: dict[int, int]
    of: Entry | None = None


@dataclass
class Order:
    """A sale that counted: what it earned, and what came back of each line so far."""

    sale: Sale
    earned: list[Entry]
    pieces_back: dict[int, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    pennies_back: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    spend_back: int = 0
    counted_spend: int = 0


@dataclass
class Standing:
    """A member's tier since a moment, until the moment at which time alone would lower it."""

    tier: str
    since: datetime
    until: datetime | None


@dataclass
class Member:
    """Everything about one member; ``stood`` is every tier so far with its first moment."""

    key: str
    entries: list[Entry] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    spend: dict[date, int] = field(default_factory=lambda: defaultdict(int))
    standing: Standing | None = None
    stood: list[tuple[str, datetime]] = field(default_factory=list)


class Books:
    """The books of the shop under a programme of several versions."""

    def __init__(self, versions: Sequence[Version]) -> None:
        self._versions = sorted(versions, key=lambda version: version.begins)
        self.members: dict[str, Member] = {}

    def enter_all(self, happened: Iterable[Sale | Return]) -> None:
        """Enter everything in order, then let time pass to the shop's midnight at or before the last of it."""
        last = None
        for thing in happened:
            last = thing.when
            if thing.member is not None:
                self._enter(self.members.setdefault(thing.member, Member(thing.member)), thing)
        if last is not None:
            midnight = last.astimezone(self._versions[0].zone).replace(hour=0, minute=0, second=0, microsecond=0)
            for member in self.members.values():
                self._let_time_pass(member, midnight)

    def _version_at(self, moment: datetime) -> Version | None:
        place = bisect_right([version.begins for version in self._versions], moment)
        return self._versions[place - 1] if place else None

    def _enter(self, member: Member, thing: Sale | Return) -> None:
        self._let_time_pass(member, thing.when)
        if isinstance(thing, Sale):
            self._sell(member, thing)
        else:
            self._take_back(member, thing)
        version = self._version_at(thing.when)
        if version:
            self._review(member, version, thing.when)

    # ------------------------------------------------------------------------------------------------------- earning

    def _sell(self, member: Member, sale: Sale) -> None:
        version = self._version_at(sale.when)
        order = member.orders[sale.id] = Order(sale, [])
        if version is None:
            return
        tier = member.standing.tier if member.standing else version.levels[0].name
        level = next((level for level in version.levels if level.name == tier), version.levels[0])
        for rule, by_line in earned(sale, version, level):
            if points := sum(by_line.values()):
                order.earned.append(
                    Entry(member.key, "earn", points, rule, version.number, sale.id, sale.when, by_line)
                )
        member.entries += order.earned
        order.counted_spend = sum(line.pennies for line in sale.lines)
        member.spend[local_day(sale.when, version.zone)] += order.counted_spend

    # ---------------------------------------------------------------------------------------------------- taking back

    def _take_back(self, member: Member, back: Return) -> None:
        order = member.orders.get(back.sale or "")
        if order is None or back.line is None:
            return
        line = order.sale.lines[back.line - 1]
        left = line.pennies - order.pennies_back[back.line]
        order.pieces_back[back.line] += Fraction(back.quantity)
        order.pennies_back[back.line] += min(back.pennies, left)
        for entry in order.earned:
            self._claw_back(member, order, entry, back)
        self._lower_spend(member, order)

    def _claw_back(self, member: Member, order: Order, entry: Entry, back: Return) -> None:
        """Take back so much that the entry keeps only the share of each line that the customer kept."""
        points: dict[int, int] = {}
        for number, granted in entry.by_line.items():
            due = half_up(granted * share_back(order, number))
            taken = sum(-other.by_line.get(number, 0) for other in member.entries if other.of is entry)
            points[number] = due - taken
        if total := sum(points.values()):
            by_line = {number: -part for number, part in points.items()}
            member.entries.append(
                Entry(member.key, "clawback", -total, entry.rule, entry.version, back.id, back.when, by_line, of=entry)
            )

    def _lower_spend(self, member: Member, order: Order) -> None:
        """The order counts towards tiers only as far as it was kept, on the day on which it was made."""
        pennies = sum(line.pennies for line in order.sale.lines)
        if pennies:
            share = Fraction(sum(order.pennies_back.values()), pennies)
        else:
            pieces = sum((Fraction(line.quantity) for line in order.sale.lines), Fraction())
            share = sum(order.pieces_back.values(), Fraction()) / pieces
        due = half_up(order.counted_spend * share)
        version = self._version_at(order.sale.when)
        if version is not None:
            member.spend[local_day(order.sale.when, version.zone)] -= due - order.spend_back
        order.spend_back = due

    # ---------------------------------------------------------------------------------------------------------- tiers

    def _let_time_pass(self, member: Member, moment: datetime) -> None:
        """Review the tier at every moment at which it was due to end."""
        while member.standing and member.standing.until and member.standing.until <= moment:
            due = member.standing.until
            version = self._version_at(due)
            if version is None:
                return
            self._review(member, version, due)

    def _review(self, member: Member, version: Version, moment: datetime) -> None:
        level = level_on(member.spend, local_day(moment, version.zone), version)
        until = first_drop(member.spend, moment, level, version)
        before = member.standing
        since = before.since if before and before.tier == level.name else moment
        if since == moment and (not before or before.tier != level.name):
            member.stood.append((level.name, moment))
        member.standing = Standing(level.name, since, until)


def earned(sale: Sale, version: Version, level: Level) -> list[tuple[str, dict[int, int]]]:
    """(rule, points by line) for every rule that gives points, in the order of the programme, the tier last."""
    given: list[tuple[str, dict[int, int]]] = []
    bases: list[tuple[Fraction, dict[int, int]]] = []
    for rule in (rule for phase in ("base", "bonus") for rule in version.rules if rule.phase == phase):
        pennies = {number: line.pennies for number, line in enumerate(sale.lines, 1) if rule.takes(line)}
        if not pennies or not rule.applies(sale):
            continue
        exact = Fraction(rule.points * sum(pennies.values()), rule.per) if rule.per else Fraction(rule.points)
        given.append((rule.id, shared(floor(exact), pennies)))
        if rule.phase == "base":
            bases.append((exact, pennies))
    factor = Fraction(1)
    multipliers = [(rule.id, rule.factor) for rule in version.rules if rule.phase == "multiply" and rule.applies(sale)]
    for rule_id, more in [*multipliers, (f"tier:{level.name}", level.factor)]:
        total: dict[int, int] = defaultdict(int)
        for exact, pennies in bases:
            difference = floor(exact * factor * more) - floor(exact * factor)
            for number, points in shared(difference, pennies).items():
                total[number] += points
        factor *= more
        given.append((rule_id, dict(total)))
    return given


def shared(points: int, weights: dict[int, int]) -> dict[int, int]:
    """Split points over lines by their pennies: the whole parts first, then one each to the largest remainders."""
    if not any(weights.values()):
        weights = dict.fromkeys(weights, 1)
    exact = {number: Fraction(points * weight, sum(weights.values())) for number, weight in weights.items()}
    parts = {number: floor(share) for number, share in exact.items()}
    by_remainder = sorted(weights, key=lambda number: (parts[number] - exact[number], number))
    for number in by_remainder[: points - sum(parts.values())]:
        parts[number] += 1
    return parts


def share_back(order: Order, number: int) -> Fraction:
    """Which share of a line came back, by money, or by pieces where it cost nothing."""
    line = order.sale.lines[number - 1]
    if line.pennies:
        return Fraction(order.pennies_back[number], line.pennies)
    return order.pieces_back[number] / Fraction(line.quantity)


def half_up(value: Fraction) -> int:
    """A share of points or pennies as a whole number, a half counting as one."""
    return floor(value + Fraction(1, 2))


def local_day(moment: datetime, zone: ZoneInfo) -> date:
    """The day on the shop's calendar."""
    return moment.astimezone(zone).date()


def months_later(day: date, months: int) -> date:
    """The same day some months later, or the last one of a shorter month."""
    month = day.month - 1 + months
    year, month = day.year + month // 12, month % 12 + 1
    return date(year, month, min(day.day, monthrange(year, month)[1]))


def level_on(spend: dict[date, int], today: date, version: Version) -> Level:
    """The level held on a day: what the rolling window reaches, or the better one of this year and the last."""
    if version.months:
        sums = [sum(pennies for day, pennies in spend.items() if months_later(day, version.months) >= today)]
    else:
        sums = [sum(pennies for day, pennies in spend.items() if day.year == today.year - back) for back in (0, 1)]
    return [level for level in version.levels if level.since == 0 or level.since <= max(sums)][-1]


def first_drop(spend: dict[date, int], moment: datetime, level: Level, version: Version) -> datetime | None:
    """The first midnight at which the level would be lower, if nothing more happened; None if it never would."""
    today = local_day(moment, version.zone)
    if version.months:
        ends = {months_later(day, version.months) + timedelta(days=1) for day in spend}
    else:
        ends = {date(today.year + more, 1, 1) for more in (1, 2)}
    for day in sorted(end for end in ends if end > today):
        if level_on(spend, day, version).since < level.since:
            return datetime(day.year, day.month, day.day, tzinfo=version.zone).astimezone(UTC)
    return None
