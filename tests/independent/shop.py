"""The metrics of a till's file once more, in plain Python: loops over everything that happened, nothing kept up to date."""

from __future__ import annotations

from calendar import monthrange
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

from tests.independent.till import LONDON, Return, Sale, read

Rows = list[tuple[Any, ...]]


@dataclass
class Order:
    """A sale with what came back of it: pennies paid back (never more than it was), pieces and pennies by line."""

    id: str
    member: str | None
    day: date
    total: int
    lines: list[Any]
    paid_back: list[tuple[date, int]] = field(default_factory=list)
    pieces_back: dict[int, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    pennies_back: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    returns: list[tuple[date, int, int]] = field(default_factory=list)

    def net(self, day: date) -> int:
        """What is left of its money at the end of a day."""
        return self.total - min(self.total, sum(pennies for when, pennies in self.paid_back if when <= day))

    def whole_back(self, day: date) -> bool:
        """Has every line come back whole by the end of a day? More paid for a line than it was makes up for no other."""
        back: Counter[int] = Counter()
        for when, line, pennies in self.returns:
            if when <= day:
                back[line] += pennies
        lost = sum(min(self.lines[line - 1].pennies, pennies) for line, pennies in back.items())
        return bool(back) and lost >= self.total


class Shop:
    """Everything that happened, and questions about it."""

    def __init__(self, csv: Path) -> None:
        """Read the till's file."""
        self.orders: dict[str, Order] = {}
        self.last = date.min
        for thing in read(csv):
            day = thing.when.astimezone(LONDON).date()
            self.last = max(self.last, day)
            if isinstance(thing, Sale):
                total = sum(line.pennies for line in thing.lines)
                self.orders[thing.id] = Order(thing.id, thing.member, day, total, thing.lines)
            else:
                self._take_back(thing, day)

    def _take_back(self, thing: Return, day: date) -> None:
        if thing.sale is None or thing.line is None:
            return
        order = self.orders[thing.sale]
        order.paid_back.append((day, thing.pennies))
        order.pieces_back[thing.line] += thing.quantity
        order.pennies_back[thing.line] += thing.pennies
        order.returns.append((day, thing.line, thing.pennies))

    def until(self, day: date) -> list[Order]:
        """Orders until the end of a day."""
        return [order for order in self.orders.values() if order.day <= day]

    def days(self, day: date) -> dict[str, list[date]]:
        """Member -> days with a purchase until the end of a day, in order."""
        found: dict[str, set[date]] = defaultdict(set)
        for order in self.until(day):
            if order.member is not None:
                found[order.member].add(order.day)
        return {member: sorted(days) for member, days in found.items()}

    # ------------------------------------------------------------------------------------------------- questions

    def repeat_purchases(self) -> Rows:
        """(within_days, buyers, repeaters)."""
        rows: Rows = []
        for within in (30, 60, 90, 180, 365, None):
            old = [d for d in self.days(self.last).values() if within is None or (self.last - d[0]).days >= within]
            again = [d for d in old if len(d) > 1 and (within is None or (d[1] - d[0]).days <= within)]
            rows.append((within, len(old), len(again)))
        return rows

    def retention(self, window: int) -> Rows:
        """(month, at start, kept, lost, new, returned, at end)."""
        people = self.days(self.last)
        rows: Rows = []
        for first in months(min(d[0] for d in people.values()), self.last):
            before, end = first - timedelta(1), min(month_end(first), self.last)
            start = {m for m, d in people.items() if active(d, before, window)}
            finish = {m for m, d in people.items() if active(d, end, window)}
            new = {m for m in finish if people[m][0] >= first}
            counts = (
                len(start),
                len(start & finish),
                len(start - finish),
                len(new),
                len(finish - start - new),
                len(finish),
            )
            rows.append((first, *counts))
        return rows

    def cohorts(self) -> Rows:
        """(cohort month, months since, size, active, orders, net, rolling)."""
        bought: dict[str, list[Order]] = defaultdict(list)
        for order in self.until(self.last):
            if order.member is not None:
                bought[order.member].append(order)
        groups: dict[date, list[list[Order]]] = defaultdict(list)
        for orders in bought.values():
            groups[min(one.day for one in orders).replace(day=1)].append(orders)
        rows: Rows = []
        for cohort, people in groups.items():
            for month in months(cohort, self.last):
                here = [one for orders in people for one in orders if one.day.replace(day=1) == month]
                later = sum(any(one.day >= month for one in orders) for orders in people)
                if here:
                    since = (month.year - cohort.year) * 12 + month.month - cohort.month
                    net = sum(one.net(self.last) for one in here)
                    rows.append((cohort, since, len(people), len({one.member for one in here}), len(here), net, later))
        return rows

    def purchase_rhythm(self) -> Rows:
        """(member, purchase days, mean gap, usual gap, shortest, longest, silent)."""
        rows: Rows = []
        for member, days in self.days(self.last).items():
            gaps = [(later - early).days for early, later in pairwise(days)]
            said = (tenths(gaps), median(gaps), min(gaps), max(gaps)) if gaps else (None,) * 4
            rows.append((member, len(days), *said, (self.last - days[-1]).days))
        return rows

    def sleepers(self) -> Rows:
        """(member, silent days, yearly pennies)."""
        rows: Rows = []
        for member, days, _, usual, _, _, silent in self.purchase_rhythm():
            if days >= 3 and silent > max(2 * usual, 30):
                orders = [one for one in self.until(self.last) if one.member == member]
                newest = max(one.day for one in orders)
                rows.append(
                    (member, silent, sum(one.net(self.last) for one in orders if (newest - one.day).days < 365))
                )
        return rows

    def sales_months(self) -> Rows:
        """(month, orders, member orders, members, net, members' net)."""
        groups: dict[date, list[Order]] = defaultdict(list)
        for order in self.until(self.last):
            groups[order.day.replace(day=1)].append(order)
        rows: Rows = []
        for month, orders in groups.items():
            ours = [one for one in orders if one.member is not None]
            money = [sum(one.net(self.last) for one in some) for some in (orders, ours)]
            rows.append((month, len(orders), len(ours), len({one.member for one in ours}), *money))
        return rows

    def preferred_products(self) -> Rows:
        """(member, SKU, pieces, pennies, orders)."""
        sums: dict[tuple[str, str], list[Any]] = defaultdict(lambda: [Decimal(0), 0, set()])
        for order, number, line in self._lines():
            if order.member is not None:
                one = sums[order.member, line.sku]
                one[0] += line.quantity - order.pieces_back[number]
                one[1] += line.pennies - min(line.pennies, order.pennies_back[number])
                one[2].add(order.id)
        return [(*key, pieces, pennies, len(ids)) for key, (pieces, pennies, ids) in sums.items()]

    def products(self) -> Rows:
        """(SKU, orders, pieces sold, pieces back, members, members on several days)."""
        sold: dict[str, list[tuple[Order, Decimal, Decimal]]] = defaultdict(list)
        for order, number, line in self._lines():
            sold[line.sku].append((order, line.quantity, order.pieces_back[number]))
        rows: Rows = []
        for sku, some in sold.items():
            days = Counter(member for member, _ in {(o.member, o.day) for o, _, _ in some} if member is not None)
            again = sum(count > 1 for count in days.values())
            pieces, back = sum((q for _, q, _ in some), Decimal(0)), sum((b for _, _, b in some), Decimal(0))
            rows.append((sku, len({o.id for o, _, _ in some}), pieces, back, len(days), again))
        return rows

    def _lines(self) -> Iterator[tuple[Order, int, Any]]:
        for order in self.orders.values():
            for number, line in enumerate(order.lines, start=1):
                yield order, number, line

    def churn(self, horizon: int) -> tuple[int, int]:
        """(active at the beginning of the horizon, of these without a purchase since)."""
        began = self.last - timedelta(horizon)
        people = [days for days in self.days(self.last).values() if active(days, began, horizon)]
        return len(people), sum(all(day <= began for day in days) for days in people)

    def rfm(self, day: date) -> dict[str, tuple[int, int]]:
        """Member -> (recency score, frequency score) by the middle of each member's ties."""
        recency = {member: -(day - days[-1]).days for member, days in self.days(day).items()}
        frequency: Counter[str] = Counter(dict.fromkeys(recency, 0))
        for order in self.until(day):
            if order.member is not None and not order.whole_back(day):
                frequency[order.member] += 1
        fifths = [scores(values) for values in (recency, frequency)]
        return {member: (fifths[0][member], fifths[1][member]) for member in recency}

    def leaders(self) -> Rows:
        """(month, place, member, pennies) of money."""
        sums: dict[date, Counter[str]] = defaultdict(Counter)
        for order in self.orders.values():
            if order.member is not None:
                sums[order.day.replace(day=1)][order.member] += order.net(self.last)
        rows: Rows = []
        for month, amounts in sums.items():
            for member, amount in amounts.items():
                place = 1 + sum(other > amount for other in amounts.values())
                if amount > 0 and place <= 100:
                    rows.append((month, place, member, amount))
        return rows


def tenths(gaps: list[int]) -> Decimal:
    """The mean, to one decimal, half a tenth counting as one."""
    return (Decimal(sum(gaps)) / len(gaps)).quantize(Decimal("0.1"), ROUND_HALF_UP)


def active(days: list[date], day: date, window: int) -> bool:
    """Did somebody with these purchase days buy in the window up to a day?"""
    return any(0 <= (day - one).days < window for one in days)


def months(first: date, last: date) -> Iterator[date]:
    """The first days of the months from one day to another."""
    month = first.replace(day=1)
    while month <= last:
        yield month
        month = month_end(month) + timedelta(1)


def month_end(first: date) -> date:
    """The last day of a month."""
    return first.replace(day=monthrange(first.year, first.month)[1])


def scores(values: dict[str, int]) -> dict[str, int]:
    """1 to 5: the fifth in which the middle of those with the same value lies."""
    counts, below, score = Counter(values.values()), 0, {}
    for value in sorted(counts):
        score[value] = ceil(5 * (below + counts[value] / 2) / len(values))
        below += counts[value]
    return {member: score[value] for member, value in values.items()}
