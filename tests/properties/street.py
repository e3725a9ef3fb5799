"""A street with one shop, told in the plainest words: who somebody is, whose an order is, what there is only so many of.

Written from docs/points.md and semantics.md alone. Nobody's points are added up from entries here, and nothing is a fact of the
engine's own: lots, orders and redemptions are things that lie in somebody's drawer, and a merge empties one drawer into another.
One programme (`test_street.BODY`), with debts allowed, so that whatever is taken is taken at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from fractions import Fraction
from math import floor
from typing import Any
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Berlin")
DAYS = timedelta(days=1)
NEVER = datetime.max.replace(tzinfo=UTC)
CODES = ("SPRING-1", "SPRING-2")
#: Cost, days in which it must be collected, how many there are in a month; codes are a stock of their own.
REWARDS: dict[str, tuple[int, int | None, int | None]] = {
    "coffee": (6, None, None),
    "cake": (8, 10, None),
    "bag": (10, 15, 2),
    "spring": (5, 20, None),
}
ENDED = ("fulfilled", "cancelled", "lapsed")


@dataclass(eq=False)
class Lot:
    """Points that came at once."""

    points: int
    left: int
    earned: datetime
    ends: datetime | None
    taken: int = 0  # by goods that came back
    gone: int = 0  # by time


@dataclass(eq=False)
class Order:
    """What somebody bought: one line."""

    name: str
    minor: int
    at: datetime
    lot: Lot | None = None
    back: int = 0
    third: bool = False  # it was the moment for what every third order brings
    gifts: list[Asked] = field(default_factory=list)


@dataclass(eq=False)
class Asked:
    """A reward that somebody wanted, or was given."""

    name: str
    reward: str
    state: str
    burns: list[tuple[Lot, int]] = field(default_factory=list)
    until: datetime | None = None
    piece: str | None = None  # the month of the stock in which it was counted
    code: str | None = None
    counted: tuple[str, str] | None = None  # a cap that it used


@dataclass(eq=False)
class Drawer:
    """Everything of one member."""

    key: str
    now: datetime
    lots: list[Lot] = field(default_factory=list)
    debt: int = 0
    orders: dict[str, Order] = field(default_factory=dict)
    asked: dict[str, Asked] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    caps: dict[tuple[str, str], int] = field(default_factory=dict)
    thirds: list[int] = field(default_factory=lambda: [0, 0])  # orders that count, awards that were given
    waiting: list[tuple[datetime, str, int]] = field(default_factory=list)  # until, order, money
    profile: tuple[datetime, str | None] | None = None
    ended: list[list[tuple[Lot, int]]] = field(default_factory=list)  # what each entry of time took
    weeks: dict[str, list[int]] = field(default_factory=dict)  # visits, and the award of the challenge

    def open(self) -> list[Lot]:
        """Lots with something left, as they are spent."""
        return sorted((lot for lot in self.lots if lot.left), key=lambda lot: (lot.ends or NEVER, lot.earned))


@dataclass(eq=False)
class Sale:
    """What was sold to nobody, and what of it came back, until somebody claims it."""

    minor: int
    at: datetime
    codes: tuple[str, ...]
    back: list[int] = field(default_factory=list)
    owner: str | None = None


def half_up(value: Fraction) -> int:
    """Round; halves go up."""
    return floor(value + Fraction(1, 2))


def end_of_day(at: datetime, days: int) -> datetime:
    """The midnight that ends the day so many days later, in the shop's time zone."""
    day = (at.astimezone(ZONE) + timedelta(0)).date() + (days + 1) * DAYS
    return datetime.combine(day, time(), tzinfo=ZONE).astimezone(UTC)


class Street:
    """Everybody, the stock, and what was sold to nobody."""

    def __init__(self) -> None:
        """Begin on an empty street."""
        self.drawers: dict[str, Drawer] = {}
        self.alias: dict[str, str] = {}
        self.seen_by_alias: dict[str, set[str]] = {}
        self.sales: dict[str, Sale] = {}
        self.early: dict[str, list[tuple[datetime, int]]] = {}  # goods of a sale to nobody that is not told yet
        self.told_of_nobody: set[str] = set()
        self.stock: dict[str, int] = {}
        self.moves: list[tuple[str, str, int]] = []
        self.gift: Asked | None = None

    def root(self, key: str) -> str:
        """Whose a key is."""
        while key in self.alias:
            key = self.alias[key]
        return key

    def drawer(self, key: str, at: datetime) -> Drawer:
        """A member's drawer, settled to a moment."""
        drawer = self.drawers.setdefault(key, Drawer(key, at))
        self.settle(drawer, at)
        drawer.now = max(drawer.now, at)
        return drawer

    def entry(self, drawer: Drawer, kind: str, points: int) -> None:
        """Note that points moved."""
        self.moves.append((drawer.key, kind, points))

    # What time does.

    def settle(self, drawer: Drawer, at: datetime) -> None:
        """Points end, rewards lapse, refunds stop waiting."""
        while True:
            dues = [(lot.ends, "end") for lot in drawer.open() if lot.ends is not None]
            dues += [(one.until, "lapse") for one in drawer.asked.values() if one.state == "granted" and one.until]
            due, what = min(dues, default=(NEVER, ""))
            if due > at:
                break
            drawer.now = max(drawer.now, due)
            if what == "end":
                self.end(drawer, [lot for lot in drawer.open() if lot.ends is not None and lot.ends <= due])
                continue
            for one in drawer.asked.values():
                if one.state == "granted" and one.until is not None and one.until <= due:
                    one.state = "lapsed"
                    self.put_back(one)
        drawer.waiting = [wait for wait in drawer.waiting if wait[0] > at]

    def end(self, drawer: Drawer, lots: list[Lot]) -> None:
        """Time takes what is left of lots."""
        self.entry(drawer, "expire", -sum(lot.left for lot in lots))
        drawer.ended.append([(lot, lot.left) for lot in lots])
        for lot in lots:
            lot.gone, lot.left = lot.gone + lot.left, 0

    def tick(self, at: datetime) -> None:
        """Everybody is settled."""
        for key in sorted(self.drawers):
            if key not in self.alias:
                self.settle(self.drawers[key], at)
        for order, waits in self.early.items():
            self.early[order] = [wait for wait in waits if wait[0] > at]

    # Points.

    def credit(self, drawer: Drawer, kind: str, points: int, at: datetime, *, dated: bool = True) -> Lot:
        """Points come; they pay what is owed, and go at once if their time is over."""
        lot = Lot(points, points, at, end_of_day(at, 30) if dated else None)
        drawer.lots.append(lot)
        self.entry(drawer, kind, points)
        self.arrived(drawer, [lot])
        return lot

    def arrived(self, drawer: Drawer, lots: Iterable[Lot]) -> None:
        """What came is over, or pays a debt."""
        for lot in lots:
            if lot.ends is not None and lot.ends <= drawer.now:
                self.end(drawer, [lot])
            else:
                paid = min(drawer.debt, lot.left)
                drawer.debt, lot.left = drawer.debt - paid, lot.left - paid

    def take(self, drawer: Drawer, points: int, first: Lot | None = None) -> list[tuple[Lot, int]]:
        """Points go: out of one lot first, then as they are spent; the rest is owed."""
        burns = []
        for lot in [*([first] if first is not None else []), *drawer.open()]:
            part = min(points, lot.left)
            if part:
                lot.left, points = lot.left - part, points - part
                burns.append((lot, part))
        drawer.debt += points
        return burns

    # Facts. Each returns outcome and reason.

    def hear(
        self, key: str | None, kind: str, fact_id: str, at: datetime, data: dict[str, Any]
    ) -> tuple[str, str | None]:
        """Anything happens."""
        self.moves, self.gift = [], None
        if key is None:
            if fact_id in self.told_of_nobody:
                return "duplicate", None
            self.told_of_nobody.add(fact_id)
            return self.of_nobody(kind, at, data)
        if key in self.alias:
            if fact_id in self.seen_by_alias[key]:
                return "duplicate", None
            if kind == "merge":
                self.seen_by_alias[key].add(fact_id)
                return "decided", "already_alias"
            return self.hear_of(self.alias[key], kind, fact_id, at, data)
        return self.hear_of(key, kind, fact_id, at, data)

    def hear_of(self, key: str, kind: str, fact_id: str, at: datetime, data: dict[str, Any]) -> tuple[str, str | None]:
        """Something happens to a member, told of one of his keys."""
        while key in self.alias:
            if fact_id in self.seen_by_alias[key]:
                return "duplicate", None
            key = self.alias[key]
        known = self.drawers.get(key)
        if known is not None and fact_id in known.seen:
            return "duplicate", None
        drawer = self.drawer(key, at)
        drawer.seen.add(fact_id)
        answer = getattr(self, f"on_{kind}")(drawer, fact_id, at, data)
        return "decided", answer

    def of_nobody(self, kind: str, at: datetime, data: dict[str, Any]) -> tuple[str, str | None]:
        """A sale to nobody, or goods that come back without a card."""
        order, sale = data["order"], self.sales.get(data["order"])
        if sale is not None and sale.owner is not None:
            drawer = self.drawer(self.root(sale.owner), at)
            return "decided", "order_already_counted" if kind == "purchase" else self.returned(
                drawer, order, data["minor"]
            )
        waits = [wait for wait in self.early.get(order, []) if wait[0] > at]
        if kind == "purchase":
            if sale is not None:
                return "decided", "order_already_counted"
            self.sales[order] = Sale(data["minor"], at, data["codes"], [minor for _, minor in waits])
            return "decided", None
        if sale is None:
            self.early[order] = [*waits, (at + 30 * DAYS, data["minor"])]
            return "decided", "unknown_order"
        sale.back.append(data["minor"])
        return "decided", None

    def on_purchase(self, drawer: Drawer, fact_id: str, at: datetime, data: dict[str, Any]) -> str | None:
        """An order counts once."""
        if data["order"] in drawer.orders:
            return "order_already_counted"
        order = self.bought(drawer, fact_id, data["order"], data["minor"], at)
        self.use(drawer, data["codes"])
        for wait in [wait for wait in drawer.waiting if wait[1] == order.name]:
            drawer.waiting.remove(wait)
            self.returned(drawer, order.name, wait[2])
        return None

    @staticmethod
    def use(drawer: Drawer, codes: tuple[str, ...]) -> None:
        """What the member has of these codes is used up."""
        for one in drawer.asked.values():
            if one.code in codes and one.state == "granted":
                one.state = "fulfilled"

    def bought(self, drawer: Drawer, fact_id: str, name: str, minor: int, at: datetime) -> Order:
        """An order counts: a point for each euro; every third brings a coffee, twice; a large one a bag, once a month."""
        order = drawer.orders[name] = Order(name, minor, at)
        drawer.thirds[0] += 1
        if drawer.thirds[0] // 3 > drawer.thirds[1]:
            drawer.thirds[1] += 1
            order.third = True
            self.give(drawer, fact_id, order, "coffee", ("third", "ever"), 2)
        if minor >= 4000:
            self.give(drawer, fact_id, order, "bag", ("large", f"{at.astimezone(ZONE):%Y-%m}"), 1)
        if minor >= 100:
            order.lot = self.credit(drawer, "earn", minor // 100, at)
        return order

    def give(self, drawer: Drawer, fact_id: str, order: Order, reward: str, cap: tuple[str, str], most: int) -> None:
        """A rule gives a reward, as often as its cap says."""
        if drawer.caps.get(cap, 0) >= most:
            return
        one = Asked(f"{reward} of {fact_id}", reward, "granted", counted=cap)
        drawer.asked[one.name] = one
        order.gifts.append(one)
        drawer.caps[cap] = drawer.caps.get(cap, 0) + 1
        if not self.granted(one, order.at):
            drawer.caps[cap] -= 1
        self.gift = one

    def on_refund(self, drawer: Drawer, fact_id: str, at: datetime, data: dict[str, Any]) -> str | None:
        """Goods come back, or wait for their order."""
        if data["order"] not in drawer.orders:
            if at + 30 * DAYS > drawer.now:
                drawer.waiting.append((at + 30 * DAYS, data["order"], data["minor"]))
            return "unknown_order"
        return self.returned(drawer, data["order"], data["minor"])

    def returned(self, drawer: Drawer, name: str, minor: int) -> str | None:
        """Points go with the goods, pro rata; with the last of them what else they brought."""
        order = drawer.orders[name]
        before, order.back = order.back, min(order.minor, order.back + minor)
        lot = order.lot
        if lot is not None:
            wanted = half_up(Fraction(lot.points * order.back, order.minor)) - lot.taken
            points = min(wanted, max(0, lot.points - lot.gone - lot.taken))
            lot.taken += wanted
            if points:
                self.take(drawer, points, lot)
                self.entry(drawer, "clawback", -points)
        if before < order.back == order.minor:
            drawer.thirds[0] -= 1
            drawer.thirds[1] -= int(order.third)
            for one in order.gifts:
                if one.state == "granted":
                    one.state = "cancelled"
                    self.put_back(one)
                    assert one.counted is not None
                    drawer.caps[one.counted] -= 1
        return None

    def on_visit(self, drawer: Drawer, fact_id: str, at: datetime, data: dict[str, Any]) -> str | None:
        """Three points, twice a day; two more for who lives in the north; seven for three in a week."""
        local = at.astimezone(ZONE)
        day = ("come", f"{local:%Y-%m-%d}")
        if drawer.caps.get(day, 0) < 2:
            drawer.caps[day] = drawer.caps.get(day, 0) + 1
            self.credit(drawer, "earn", 3, at)
        if drawer.profile is not None and drawer.profile[1] == "north":
            self.credit(drawer, "earn", 2, at)
        week = drawer.weeks.setdefault(f"{local:%G-W%V}", [0, 0])
        week[0] += 1
        if week[0] >= 3 and not week[1]:
            week[1] = 1
            self.credit(drawer, "earn", 7, at)
        return None

    def on_profile(self, drawer: Drawer, fact_id: str, at: datetime, data: dict[str, Any]) -> str | None:
        """The newest counts."""
        if drawer.profile is not None and at < drawer.profile[0]:
            return "older_than_known"
        drawer.profile = (at, data["region"])
        return None

    def on_adjustment(self, drawer: Drawer, fact_id: str, at: datetime, data: dict[str, Any]) -> str | None:
        """Staff gives, takes, or gives back what time took."""
        if data["points"] is None:
            return self.reinstated(drawer, at, data["entry"])
        if data["points"] > 0:
            self.credit(drawer, "adjust", data["points"], at)
        else:
            self.take(drawer, -data["points"])
            self.entry(drawer, "adjust", data["points"])
        return None

    def reinstated(self, drawer: Drawer, at: datetime, number: int | None) -> str | None:
        """What time took and nobody gave back comes as one lot without an end."""
        took = [] if number is None else drawer.ended[number]
        if not took:
            return "nothing_to_reinstate"
        points = sum(part for _, part in took)
        for lot, part in took:
            lot.gone -= part
        drawer.ended[number or 0] = []
        self.credit(drawer, "reinstate", points, at, dated=False)
        return None

    # Spending.

    def on_redemption(self, drawer: Drawer, fact_id: str, at: datetime, data: dict[str, Any]) -> str | None:
        """A reward is wanted."""
        cost = REWARDS[data["reward"]][0]
        if sum(lot.left for lot in drawer.open()) < cost:
            return "not_enough_points"
        burns = self.take(drawer, cost)
        self.entry(drawer, "redeem", -cost)
        one = Asked(fact_id, data["reward"], "granted", burns)
        drawer.asked[fact_id] = one
        if not self.granted(one, at):
            self.restore(drawer, one)
        return None

    def granted(self, one: Asked, at: datetime) -> bool:
        """Grant a reward if there is one left; say until when."""
        _, days, stock = REWARDS[one.reward]
        month = f"{at.astimezone(ZONE):%Y-%m}"
        if stock is not None:
            if self.stock.get(month, 0) >= stock:
                one.state = "refused"
                return False
            self.stock[month] = self.stock.get(month, 0) + 1
            one.piece = month
        if one.reward == "spring":
            everybody = [other for drawer in self.drawers.values() for other in drawer.asked.values()]
            held = {other.code for other in everybody if other.state in ("granted", "fulfilled")}
            one.code = next((code for code in CODES if code not in held), None)
            if one.code is None:
                one.state = "refused"
                return False
        one.until = None if days is None else at + days * DAYS
        return True

    def put_back(self, one: Asked) -> None:
        """A piece goes back to where it was counted."""
        if one.piece is not None:
            self.stock[one.piece] -= 1

    def restore(self, drawer: Drawer, one: Asked) -> None:
        """The lots get back what they gave, less what is owed; what of it is over goes at once."""
        total = sum(points for _, points in one.burns)
        if not total:
            return
        paid = min(drawer.debt, total)
        drawer.debt -= paid
        keep, over = total - paid, []
        for lot, points in one.burns:
            part = min(points, keep)
            keep -= part
            lot.left += part
            if part and lot.ends is not None and lot.ends <= drawer.now:
                over.append(lot)
        self.entry(drawer, "restore", total)
        for lot in over:
            self.end(drawer, [lot])

    def on_redemption_cancelled(self, drawer: Drawer, fact_id: str, at: datetime, data: dict[str, Any]) -> str | None:
        """It is taken back."""
        one = drawer.asked.get(data["redemption"])
        if one is None:
            return "unknown_redemption"
        if one.state != "granted":
            return f"already_{one.state}"
        one.state = "cancelled"
        self.put_back(one)
        self.restore(drawer, one)
        return None

    def on_redemption_fulfilled(self, drawer: Drawer, fact_id: str, at: datetime, data: dict[str, Any]) -> str | None:
        """It is handed over."""
        one = drawer.asked.get(data["redemption"])
        if one is None:
            return "unknown_redemption"
        if one.state != "granted":
            return f"already_{one.state}"
        one.state = "fulfilled"
        return None

    # Who.

    def on_claim(self, drawer: Drawer, fact_id: str, at: datetime, data: dict[str, Any]) -> str | None:
        """A receipt is scanned."""
        name = data["order"]
        sale = self.sales.get(name)
        if name in drawer.orders:
            return "order_already_counted"
        if sale is None:
            return "unknown_order"
        if sale.owner is not None:
            return "already_claimed" if self.root(sale.owner) == drawer.key else "claimed_by_another"
        if at > sale.at + 30 * DAYS:
            return "too_late_to_claim"
        sale.owner = drawer.key
        self.bought(drawer, f"claim {name}", name, sale.minor, sale.at)
        self.use(drawer, sale.codes)
        for minor in sale.back:
            self.returned(drawer, name, minor)
        for wait in [wait for wait in drawer.waiting if wait[1] == name]:
            drawer.waiting.remove(wait)
            self.returned(drawer, name, wait[2])
        return None

    def on_merge(self, drawer: Drawer, fact_id: str, at: datetime, data: dict[str, Any]) -> str | None:
        """A key becomes somebody's: one drawer is emptied into another."""
        if data["into"] == drawer.key:
            return "own_alias"
        if self.root(data["into"]) == drawer.key:
            return "alias_loop"
        self.alias[drawer.key] = data["into"]
        self.seen_by_alias[drawer.key] = set(drawer.seen)
        into = self.drawer(self.root(data["into"]), at)
        lots, debt = drawer.open(), drawer.debt
        if lots:
            self.entry(drawer, "transfer", -sum(lot.left for lot in lots))
        for lot in lots:
            self.entry(into, "transfer", lot.left)
        if debt:
            self.entry(drawer, "transfer", debt)
            self.entry(into, "transfer", -debt)
        self.arrived(into, lots)
        into.lots += drawer.lots
        self.take(into, debt)
        self.mix(drawer, into)
        return None

    def mix(self, drawer: Drawer, into: Drawer) -> None:
        """Everything that is not points moves over too; what both know stays as the member knows it."""
        into.orders = {**drawer.orders, **into.orders}
        into.asked |= drawer.asked
        into.seen |= drawer.seen
        into.thirds = [sum(pair) for pair in zip(into.thirds, drawer.thirds, strict=True)]
        for cap, times in drawer.caps.items():
            into.caps[cap] = into.caps.get(cap, 0) + times
        for week, (visits, met) in drawer.weeks.items():
            known = into.weeks.setdefault(week, [0, 0])
            into.weeks[week] = [known[0] + visits, max(known[1], met)]
        if drawer.profile is not None and (into.profile is None or drawer.profile[0] > into.profile[0]):
            into.profile = drawer.profile
        into.waiting += drawer.waiting
        for wait in [wait for wait in into.waiting if wait[1] in into.orders]:
            into.waiting.remove(wait)
            self.returned(into, wait[1], wait[2])
        self.drawers[drawer.key] = Drawer(drawer.key, drawer.now)
