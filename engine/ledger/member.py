"""A member's state: nothing but the fold of his (fact, decision) pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import NamedTuple

import orjson

from rules.local_time import day_date
from schemas import facts
from schemas.decisions import Decision, Entry, TierChange
from schemas.envelope import ORDER_KEY, TIMER_SOURCE, Fact
from schemas.times import DAY_US, to_us

DEDUPE_HORIZON_US = 400 * DAY_US
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
# Tiers begin and end at few moments, and many facts fall on one day: their texts are remembered.
_to_us = lru_cache(maxsize=1 << 14)(to_us)


class Standing(NamedTuple):
    """A tier, since when, and until when it holds if nothing more happens (None: for good)."""

    tier: str
    since_us: int
    until_us: int | None


#: SKU, quantity as decimal text, amount in minor units.
OrderLine = tuple[str, str, int]
#: entry id, rule id, rule version, [order line from 1, points] pairs of an earn entry.
Grant = tuple[str, str, int, Sequence[tuple[int, int]]]


@dataclass(slots=True)
class Returned:
    """What came back of an order so far, by line from 1: thousandths of quantity, minor units; and what that took.

    ``points`` is by (earn entry, line), ``progress`` is the tier progress taken back.
    """

    milli: dict[int, int] = field(default_factory=dict)
    minor: dict[int, int] = field(default_factory=dict)
    points: dict[tuple[str, int], int] = field(default_factory=dict)
    progress: int = 0


@dataclass(slots=True)
class Order:
    """An order that counted once; ``progress`` is [local day, amount] towards tiers, None without.

    A member keeps it packed: most orders are never looked at again, and one text is a tenth of its objects.
    """

    at_us: int
    currency: str
    total_minor: int
    lines: Sequence[OrderLine]
    progress: tuple[str, int] | None = None
    grants: Sequence[Grant] = ()
    returned: Returned | None = None

    def pack(self) -> bytes:
        """Return the order as one text."""
        back = self.returned
        returned = None if back is None else [[*pairs.items()] for pairs in (back.milli, back.minor, back.points)]
        taken = 0 if back is None else back.progress
        record = [self.at_us, self.currency, self.total_minor, self.lines, self.progress, self.grants, returned, taken]
        # A copy of its own size: orjson's buffer begins at 1 KB, and what is cut off it stays with the heap.
        return bytes(memoryview(orjson.dumps(record)))

    @classmethod
    def unpack(cls, packed: bytes) -> Order:
        """Return the order that was packed."""
        at_us, currency, total_minor, lines, progress, grants, returned, taken = orjson.loads(packed)
        order = cls(
            at_us,
            currency,
            total_minor,
            [(sku, quantity, amount) for sku, quantity, amount in lines],
            None if progress is None else (progress[0], progress[1]),
            [
                (entry_id, rule_id, version, [(line, points) for line, points in granted])
                for entry_id, rule_id, version, granted in grants
            ],
        )
        if returned is not None:
            milli, minor, points = returned
            order.returned = Returned(dict(milli), dict(minor), {(place[0], place[1]): n for place, n in points}, taken)
        return order


@dataclass(slots=True)
class Referral:
    """Who brought this member, and whether the award for it is still to come."""

    referrer: str
    at_us: int
    open: bool


@dataclass(slots=True)
class Member:
    """State of one key: a member, or the order of an anonymous sale.

    ``lots`` holds the points left by lot, ``orders`` packed orders by name (`order_ref`), ``seen`` the body hash and time
    of every (source, id) within the dedupe horizon, ``days`` and ``years`` progress towards tiers by local day (days since
    1970-01-01) and by year, ``caps`` [points, times] used by cap key, ``visits`` the newest visit by store, ``offset`` the
    place in the log of the newest fact or tick that changed him. It satisfies ``rules.book.MemberView``.
    """

    key: str
    offset: int = -1
    joined_us: int | None = None
    joined_said: bool = False
    newest_us: int | None = None
    balance: int = 0
    standing: Standing | None = None
    settled_us: int | None = None
    orders_counted: int = 0
    last_purchase_us: int | None = None
    referral: Referral | None = None
    lots: dict[str, int] = field(default_factory=dict)
    orders: dict[str, bytes] = field(default_factory=dict)
    seen: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    days: dict[int, int] = field(default_factory=dict)
    years: dict[int, int] = field(default_factory=dict)
    caps: dict[str, tuple[int, int]] = field(default_factory=dict)
    visits: dict[str, int] = field(default_factory=dict)
    brought: set[str] = field(default_factory=set)

    def now_us(self, time_us: int) -> int:
        """Return where the member's timeline stands at a fact of ``time_us``: never behind his newest fact or fired timer."""
        return max(time_us, self.newest_us or time_us, self.settled_us or time_us)

    @property
    def anonymous(self) -> bool:
        """Tell whether this is the key of an order without a member."""
        return self.key.startswith(ORDER_KEY)

    @property
    def tier(self) -> str | None:
        """Id of the tier the member holds; None before the first review."""
        return self.standing.tier if self.standing else None

    def order(self, ref: str) -> Order | None:
        """Return an order by its name, a copy of its own."""
        packed = self.orders.get(ref)
        return None if packed is None else Order.unpack(packed)

    def _orders_since(self, since_us: int) -> Iterator[Order]:
        orders = (Order.unpack(packed) for packed in self.orders.values())
        return (order for order in orders if order.at_us >= since_us)

    def bought_since(self, sku: str, since_us: int) -> bool:
        """Tell whether an order counted at or after ``since_us`` has a line of ``sku``."""
        return any(line[0] == sku for order in self._orders_since(since_us) for line in order.lines)

    def spent_since(self, since_us: int) -> int:
        """Return the totals of the orders counted at or after ``since_us``, minor units, refunds not taken off."""
        return sum(order.total_minor for order in self._orders_since(since_us))


def order_ref(data: facts.PurchaseForm | facts.RefundForm) -> str:
    """Return the name of an order, stable for ever. Ids of orders hold no ``|``, so it cannot be read in two ways."""
    return f"{data['order_source']}|{data['order_id']}"


def quantity_milli(text: str) -> int:
    """Return a quantity in thousandths: 1500 of ``1.5``."""
    if "." not in text:
        return int(text) * 1000
    whole, _, fraction = text.partition(".")
    return int(whole) * 1000 + int(fraction.ljust(3, "0"))


@lru_cache(maxsize=1 << 14)
def day_number(day: str) -> int:
    """Return days since 1970-01-01 of an ISO date."""
    return date.fromisoformat(day).toordinal() - _EPOCH_ORDINAL


@lru_cache(maxsize=1 << 14)
def day_text(day: int) -> str:
    """Return the ISO date of a number of days since 1970-01-01."""
    return day_date(day).isoformat()


def evolve(member: Member, fact: Fact, decision: Decision) -> None:
    """Change ``member`` by what ``decision`` says about ``fact``.

    The caller owns ``member`` and folds it in the log's order; decide never changes one.
    """
    if decision.outcome != "decided":
        return
    _remember(member, fact)
    _evolve_fact(member, fact, decision)
    _move_points(member, decision.entries)
    evolve_tiers(member, decision.tiers)
    for day, amount in decision.progress:
        number, year = day_number(day), int(day[:4])
        member.days[number] = member.days.get(number, 0) + amount
        member.years[year] = member.years.get(year, 0) + amount
    for key, points, times in decision.counts:
        used_points, used_times = member.caps.get(key, (0, 0))
        member.caps[key] = (used_points + points, used_times + times)


def _remember(member: Member, fact: Fact) -> None:
    time_us = fact.time_us
    if member.joined_us is None:
        member.joined_us = time_us
    if member.newest_us is None or time_us > member.newest_us:
        member.newest_us = time_us
    seen = member.seen
    seen[fact.source, fact.id] = (fact.body_hash, time_us)
    horizon_us = member.newest_us - DEDUPE_HORIZON_US
    # Facts come nearly in the order of time, so looking at the first one is enough to bound memory; whether an entry
    # still counts is decided by its time, never by its presence.
    while seen[oldest := next(iter(seen))][1] < horizon_us:
        del seen[oldest]


def _evolve_fact(member: Member, fact: Fact, decision: Decision) -> None:
    match fact.type:
        case facts.PURCHASE:
            if decision.reason != "order_already_counted":
                _open_order(member, fact, decision)
        case facts.REFUND:
            _return_lines(member, fact, decision)
        case facts.VISIT:
            store = fact.data["store"] or ""
            member.visits[store] = max(fact.time_us, member.visits.get(store, fact.time_us))
        case facts.JOINED:
            if not member.joined_said:
                member.joined_us, member.joined_said = fact.time_us, True
        case facts.REFERRAL:
            if decision.reason is None:
                member.referral = Referral(fact.data["referrer"], fact.time_us, open=True)
        case facts.REFERRAL_AWARD:
            member.brought.add(fact.data["referred"])
    if member.referral is not None and any(derived.type == facts.REFERRAL_AWARD for derived in decision.derived):
        member.referral.open = False


def _open_order(member: Member, fact: Fact, decision: Decision) -> None:
    data: facts.PurchaseForm = fact.data
    ref = order_ref(data)
    lines = [(line["sku"], line["quantity"], line["amount_minor"]) for line in data["lines"]]
    progress = decision.progress[0] if decision.progress else None
    grants = [
        (entry.entry_id, entry.rule_id, entry.rule_version, entry.lines)
        for entry in decision.entries
        if entry.order == ref and entry.lines
    ]
    order = Order(fact.time_us, data["currency"], data["total_minor"], lines, progress, grants)
    member.orders[ref] = order.pack()
    member.orders_counted += 1
    if member.last_purchase_us is None or fact.time_us > member.last_purchase_us:
        member.last_purchase_us = fact.time_us


def _return_lines(member: Member, fact: Fact, decision: Decision) -> None:
    """Take down what a refund brought back of its order, and what that took."""
    if not decision.returned:
        return
    ref = order_ref(fact.data)
    order = Order.unpack(member.orders[ref])
    returned = order.returned = order.returned or Returned()
    for number, milli, minor in decision.returned:
        returned.milli[number] = returned.milli.get(number, 0) + milli
        returned.minor[number] = returned.minor.get(number, 0) + minor
    for entry in decision.entries:
        for line, points in entry.lines:
            place = (entry.caused_by or "", line)
            returned.points[place] = returned.points.get(place, 0) - points
    returned.progress -= sum(amount for _, amount in decision.progress)
    member.orders[ref] = order.pack()


def _move_points(member: Member, entries: Iterable[Entry]) -> None:
    """An earn makes a lot, a debit takes from the lots it names."""
    for entry in entries:
        member.balance += entry.points
        if entry.kind == "earn":
            member.lots[entry.entry_id] = entry.points
            continue
        for lot_id, points in entry.burns:
            left = member.lots[lot_id] - points
            if left < 0:
                raise AssertionError(f"lot {lot_id} would hold {left} points: this decision is not of this log")
            member.lots[lot_id] = left


def evolve_tiers(member: Member, changes: Iterable[TierChange]) -> None:
    """Take over the newest standing."""
    for change in changes:
        until_us = None if change.until is None else _to_us(change.until)
        member.standing = Standing(change.tier, _to_us(change.since), until_us)
        if change.source == TIMER_SOURCE:
            member.settled_us = _to_us(change.occurred_at)
