"""A member's state: nothing but the fold of his (fact, decision) pairs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from rules.local_time import day_date
from schemas import facts
from schemas.decisions import Decision, Entry, TierChange
from schemas.envelope import ORDER_KEY, Fact
from schemas.times import DAY_US, to_us

DEDUPE_HORIZON_US = 400 * DAY_US
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


class Seen(NamedTuple):
    """What is remembered of a fact to tell its duplicates: kept for the dedupe horizon."""

    body_hash: str
    time_us: int


class Standing(NamedTuple):
    """A tier, since when, and until when it holds if nothing more happens (None: for good)."""

    tier: str
    since_us: int
    until_us: int | None


@dataclass(slots=True)
class Lot:
    """Points that came together; every debit names the lots it takes from."""

    points: int
    left: int


@dataclass(slots=True)
class OrderLine:
    """What refunds need to know of one order line: quantities in thousandths, money in minor units."""

    sku: str
    quantity_milli: int
    amount_minor: int
    returned_milli: int = 0
    refunded_minor: int = 0


@dataclass(slots=True)
class Grant:
    """An earn entry of an order, and how much of it refunds have taken back, per line."""

    entry_id: str
    rule_id: str
    rule_version: int
    lines: list[tuple[int, int]]
    taken: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Order:
    """An order that counted once."""

    at_us: int
    currency: str
    total_minor: int
    lines: list[OrderLine]
    grants: list[Grant] = field(default_factory=list)
    progress_day: str | None = None
    progress: int = 0
    progress_taken: int = 0

    @property
    def amount_minor(self) -> int:
        """Sum of the lines, minor units."""
        return sum([line.amount_minor for line in self.lines])


@dataclass(slots=True)
class Referral:
    """Who brought this member, and whether the award for it is still to come."""

    referrer: str
    at_us: int
    open: bool


@dataclass(slots=True)
class Member:
    """State of one key: a member, or the order of an anonymous sale.

    ``days`` holds progress towards tiers by local day (days since 1970-01-01); ``caps`` holds [points, times] used by cap
    key; ``visits`` the newest visit by store. It satisfies ``rules.book.MemberView``.
    """

    key: str
    joined_us: int | None = None
    joined_said: bool = False
    newest_us: int | None = None
    balance: int = 0
    standing: Standing | None = None
    orders_counted: int = 0
    last_purchase_us: int | None = None
    referral: Referral | None = None
    lots: dict[str, Lot] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    seen: dict[tuple[str, str], Seen] = field(default_factory=dict)
    days: dict[int, int] = field(default_factory=dict)
    caps: dict[str, tuple[int, int]] = field(default_factory=dict)
    visits: dict[str, int] = field(default_factory=dict)
    brought: set[str] = field(default_factory=set)

    @property
    def anonymous(self) -> bool:
        """Tell whether this is the key of an order without a member."""
        return self.key.startswith(ORDER_KEY)

    @property
    def tier(self) -> str | None:
        """Id of the tier the member holds; None before the first review."""
        return self.standing.tier if self.standing else None

    def bought_since(self, sku: str, since_us: int) -> bool:
        """Tell whether an order counted at or after ``since_us`` has a line of ``sku``."""
        return any(
            order.at_us >= since_us and any(line.sku == sku for line in order.lines) for order in self.orders.values()
        )

    def spent_since(self, since_us: int) -> int:
        """Return the totals of the orders counted at or after ``since_us``, minor units, refunds not taken off."""
        return sum(order.total_minor for order in self.orders.values() if order.at_us >= since_us)


def order_ref(data: facts.PurchaseForm | facts.RefundForm) -> str:
    """Return the name of an order, stable for ever. Ids of orders hold no ``|``, so it cannot be read in two ways."""
    return f"{data['order_source']}|{data['order_id']}"


def quantity_milli(text: str) -> int:
    """Return a quantity in thousandths: 1500 of ``1.5``."""
    if "." not in text:
        return int(text) * 1000
    whole, _, fraction = text.partition(".")
    return int(whole) * 1000 + int(fraction.ljust(3, "0"))


def day_number(day: str) -> int:
    """Return days since 1970-01-01 of an ISO date."""
    return date.fromisoformat(day).toordinal() - _EPOCH_ORDINAL


def day_text(day: int) -> str:
    """Return the ISO date of a number of days since 1970-01-01."""
    return day_date(day).isoformat()


def evolve(member: Member, fact: Fact, decision: Decision) -> None:
    """Change ``member`` by what ``decision`` says about ``fact``.

    The caller owns ``member`` and folds it in the log's order; decide never changes one. Only the first part of a decision
    brings the fact itself, every part brings its own entries.
    """
    if decision.outcome != "decided":
        return
    if decision.part == 0:
        _remember(member, fact)
        _evolve_fact(member, fact, decision)
    evolve_entries(member, decision.entries)
    evolve_tiers(member, decision.tiers)
    for day, amount in decision.progress:
        number = day_number(day)
        member.days[number] = member.days.get(number, 0) + amount
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
    seen[fact.source, fact.id] = Seen(fact.body_hash, time_us)
    horizon_us = member.newest_us - DEDUPE_HORIZON_US
    # Facts come nearly in the order of time, so looking at the first one is enough to bound memory; whether an entry
    # still counts is decided by its time, never by its presence.
    while seen[oldest := next(iter(seen))].time_us < horizon_us:
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
    lines = [OrderLine(line["sku"], quantity_milli(line["quantity"]), line["amount_minor"]) for line in data["lines"]]
    order = Order(fact.time_us, data["currency"], data["total_minor"], lines)
    if decision.progress:
        order.progress_day, order.progress = decision.progress[0]
    member.orders[order_ref(data)] = order
    member.orders_counted += 1
    if member.last_purchase_us is None or fact.time_us > member.last_purchase_us:
        member.last_purchase_us = fact.time_us


def _return_lines(member: Member, fact: Fact, decision: Decision) -> None:
    if not decision.returned:
        return
    order = member.orders[order_ref(fact.data)]
    for number, milli, minor in decision.returned:
        line = order.lines[number - 1]
        line.returned_milli += milli
        line.refunded_minor += minor
    order.progress_taken -= sum(amount for _, amount in decision.progress)


def evolve_entries(member: Member, entries: Iterable[Entry]) -> None:
    """Move points: an earn makes a lot, a debit takes from the lots it names."""
    for entry in entries:
        member.balance += entry.points
        if entry.kind == "earn":
            member.lots[entry.entry_id] = Lot(entry.points, entry.points)
            if entry.order is not None and entry.lines:
                grant = Grant(entry.entry_id, entry.rule_id, entry.rule_version, entry.lines)
                member.orders[entry.order].grants.append(grant)
        else:
            _burn(member, entry)


def _burn(member: Member, entry: Entry) -> None:
    for lot_id, points in entry.burns:
        lot = member.lots[lot_id]
        lot.left -= points
        if lot.left < 0:
            raise AssertionError(f"lot {lot_id} would hold {lot.left} points: this decision is not of this log")
    if entry.order is None:
        return
    for grant in member.orders[entry.order].grants:
        if grant.entry_id == entry.caused_by:
            for line, points in entry.lines:
                grant.taken[line] = grant.taken.get(line, 0) - points


def evolve_tiers(member: Member, changes: Iterable[TierChange]) -> None:
    """Take over the newest standing."""
    for change in changes:
        until_us = None if change.until is None else to_us(change.until)
        member.standing = Standing(change.tier, to_us(change.since), until_us)
