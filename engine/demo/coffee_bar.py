"""A generated week of a coffee bar: seeded, invented, and said to be so wherever it is shown.

Nobody in it is real. A hundred guests with habits of their own come from Monday 2026-03-02 to Sunday 2026-03-08:
office workers every morning, families at the weekend, passers-by once, one office that orders trays. Among it all lies
what real tills send too: returns, a delivery that arrives twice, an order paid in another currency, a record that
nobody can use.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from schemas.facts import ACTIVITY, JOINED, PURCHASE, REFERRAL, REFUND, REVIEW, VISIT, VISIT_V1
from schemas.times import to_us

SEED = 20260302
ZONE = ZoneInfo("Europe/Berlin")
MONDAY = date(2026, 3, 2)
DAYS = 7
CURRENCY = "EUR"
TILL = "urn:coffee-bar:till"
APP = "urn:coffee-bar:app"
STORES = ("altstadt", "hafen")
# This guest orders the same at the same time every day, so that a change of rules can be seen from one day to the next.
CREATURE_OF_HABIT = "guest-001"

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Article:
    """Something on the menu; ``cents`` is its price."""

    sku: str
    category: str
    cents: int


MENU = {
    article.sku: article
    for article in (
        Article("espresso", "coffee", 240),
        Article("cappuccino", "coffee", 380),
        Article("flat-white", "coffee", 420),
        Article("filter-coffee", "coffee", 310),
        Article("chai", "tea", 440),
        Article("green-tea", "tea", 350),
        Article("croissant", "bakery", 260),
        Article("cheesecake", "bakery", 490),
        Article("banana-bread", "bakery", 390),
        Article("breakfast-plate", "kitchen", 1290),
        Article("soup", "kitchen", 790),
        Article("beans-250g", "beans", 950),
        Article("beans-1kg", "beans", 3290),
        Article("office-tray", "kitchen", 8900),
        Article("gift-card-25", "gift_card", 2500),
        Article("cup-deposit", "deposit", 100),
    )
}
USUAL = (("cappuccino", 1), ("croissant", 1))


@dataclass(frozen=True, slots=True)
class Habit:
    """How a kind of guest behaves.

    Attributes:
        chances: probability of coming, per weekday from Monday.
        hours: [from, to) in which they come.
        orders: what they order, as alternatives of (sku, pieces).
        checks_in: probability that the app notices the visit before the order.
    """

    chances: tuple[float, ...]
    hours: tuple[int, int]
    orders: tuple[tuple[tuple[str, int], ...], ...]
    checks_in: float


WEEKDAYS = (0.9, 0.9, 0.9, 0.9, 0.8, 0.05, 0.05)
HABITS: dict[str, tuple[int, Habit]] = {
    # kind: (how many of them, habit)
    "office worker": (
        30,
        Habit(WEEKDAYS, (7, 10), (USUAL, (("flat-white", 1),), (("espresso", 2), ("banana-bread", 1))), 0.7),
    ),
    "lunch guest": (
        20,
        Habit(
            (0.5, 0.5, 0.6, 0.5, 0.6, 0.1, 0.0), (12, 15), ((("soup", 1), ("filter-coffee", 1)), (("soup", 1),)), 0.4
        ),
    ),
    "family": (
        16,
        Habit(
            (0.0, 0.05, 0.1, 0.05, 0.15, 0.8, 0.8),
            (9, 13),
            ((("breakfast-plate", 2), ("cappuccino", 2), ("chai", 1)), (("breakfast-plate", 3), ("green-tea", 2))),
            0.5,
        ),
    ),
    "student": (
        18,
        Habit(
            (0.4, 0.5, 0.4, 0.5, 0.3, 0.4, 0.5),
            (14, 18),
            ((("chai", 1), ("cheesecake", 1)), (("filter-coffee", 2),), (("espresso", 1), ("cup-deposit", 1))),
            0.8,
        ),
    ),
    "bean buyer": (
        8,
        Habit(
            (0.2, 0.1, 0.2, 0.2, 0.3, 0.5, 0.1),
            (10, 18),
            ((("beans-250g", 2), ("espresso", 1)), (("beans-1kg", 1),), (("gift-card-25", 1), ("beans-250g", 1))),
            0.3,
        ),
    ),
    "office that orders trays": (
        3,
        Habit((0.9, 0.3, 0.9, 0.3, 0.9, 0.0, 0.0), (10, 12), ((("office-tray", 1),), (("office-tray", 2),)), 0.0),
    ),
}
NEWCOMERS = 12
PASSERS_BY_PER_DAY = 9


def week(seed: int = SEED) -> list[Event]:
    """Return the events of the week in the order in which they are delivered: by time, then id; oddities in between.

    The same seed gives the same events. Times carry Berlin's offset.
    """
    events = sorted(_Week(random.Random(seed)).events(), key=_place)
    return _with_oddities(events)


def described(seed: int = SEED) -> str:
    """Return the sentence that must stand wherever these events are shown."""
    return f"generated data: a coffee bar's week that never happened, seed {seed}"


def guests() -> Iterator[tuple[str, Habit]]:
    """Yield (member, habit) of everybody who was a guest before the week began."""
    number = 1
    for count, habit in HABITS.values():
        for _ in range(count):
            yield f"guest-{number:03d}", habit
            number += 1


class _Week:
    """Draws the week; numbers orders and app events as they are drawn."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._orders = 0
        self._notices = 0

    def events(self) -> Iterator[Event]:
        """Yield all regular events, in no particular order."""
        for day in (MONDAY + timedelta(days=number) for number in range(DAYS)):
            for member, habit in guests():
                if member == CREATURE_OF_HABIT:
                    yield self._purchase(member, _moment(day, 13, 20), USUAL, "altstadt", "pos")
                elif self._chance.random() < habit.chances[day.weekday()]:
                    yield from self._visit(member, habit, day)
            for _ in range(PASSERS_BY_PER_DAY):
                order = self._chance.choice([USUAL, (("flat-white", 1),), (("cheesecake", 1), ("green-tea", 1))])
                yield self._purchase(None, self._some_time(day, 8, 18), order, self._chance.choice(STORES), "pos")
        yield from self._newcomers()
        yield from self._activities()

    def _visit(self, member: str, habit: Habit, day: date) -> Iterator[Event]:
        """A guest comes, perhaps noticed by the app (some twice), orders, perhaps rates or brings something back."""
        chance, store = self._chance, self._chance.choices(STORES, (3, 1))[0]
        arrived = self._some_time(day, *habit.hours)
        if chance.random() < habit.checks_in:
            left = (arrived + timedelta(seconds=chance.randrange(300, 5400))).isoformat()
            yield self._notice(VISIT, member, arrived, {"store": store, "left": left, "seen_by": "check_in"})
            if chance.random() < 0.1:
                # The beacon at the door was never updated: it still tells version 1.
                yield self._notice(VISIT_V1, member, arrived + timedelta(minutes=12), {"store": store})
        ordered = arrived + timedelta(minutes=chance.randrange(2, 9))
        lines = chance.choice(habit.orders)
        purchase = self._purchase(member, ordered, lines, store, "app" if chance.random() < 0.25 else "pos")
        yield purchase
        if chance.random() < 0.05:
            yield self._refund(member, purchase, ordered + timedelta(minutes=chance.randrange(20, 300)))
        if chance.random() < 0.12:
            yield self._review(member, ordered + timedelta(hours=2), lines[0][0], store)

    def _newcomers(self) -> Iterator[Event]:
        """New members: brought by a guest, they join and order, most of them for more than ten euros."""
        for number in range(1, NEWCOMERS + 1):
            member, referrer = f"new-{number:02d}", f"guest-{self._chance.randrange(1, 31):03d}"
            day = MONDAY + timedelta(days=self._chance.randrange(0, 6))
            joined = self._some_time(day, 8, 12)
            yield self._notice(JOINED, member, joined, {"via": self._chance.choice(["app", "counter", "poster"])})
            yield self._notice(REFERRAL, member, joined + timedelta(minutes=1), {"referrer": referrer})
            order = (("cheesecake", 2), ("cappuccino", 2)) if number % 4 else (("espresso", 1),)
            yield self._purchase(member, joined + timedelta(minutes=20), order, "altstadt", "pos")
            if number % 3 == 0:
                again = self._some_time(day + timedelta(days=1), 13, 17)
                yield self._purchase(member, again, (("beans-250g", 1),), "altstadt", "app")

    def _activities(self) -> Iterator[Event]:
        """Newsletters read, a survey answered, a complaint that was mended."""
        for number in self._chance.sample(range(1, 90), 40):
            day = MONDAY + timedelta(days=self._chance.randrange(DAYS))
            read = {"name": "newsletter_read", "attributes": {"issue": "2026-10"}}
            yield self._notice(ACTIVITY, f"guest-{number:03d}", self._some_time(day, 6, 22), read)
        for number in self._chance.sample(range(1, 90), 12):
            answer = {"survey": "spring", "kind": "nps", "score": self._chance.randrange(5, 11), "scale": 10}
            moment = self._some_time(MONDAY + timedelta(days=4), 10, 20)
            survey = {"name": "survey_answered", "attributes": answer}
            yield self._notice(ACTIVITY, f"guest-{number:03d}", moment, survey)
        for state, hour in (("opened", 9), ("resolved", 16)):
            complaint = {"name": "complaint", "attributes": {"case": "case-1", "state": state}}
            yield self._notice(ACTIVITY, "guest-040", _moment(MONDAY + timedelta(days=3), hour, 5), complaint)

    def _purchase(
        self, member: str | None, when: datetime, order: tuple[tuple[str, int], ...], store: str, channel: str
    ) -> Event:
        self._orders += 1
        lines = [
            {
                "sku": sku,
                "category": MENU[sku].category,
                "quantity": pieces,
                "unit_price": _euros(MENU[sku].cents),
            }
            for sku, pieces in order
        ]
        data = {
            "order_id": f"{when:%m%d}-{self._orders:04d}",
            "lines": lines,
            "total": _euros(sum(MENU[sku].cents * pieces for sku, pieces in order)),
            "currency": CURRENCY,
            "channel": channel,
            "store": store,
        }
        return _event(PURCHASE, TILL, f"sale-{self._orders:04d}", member, when, data)

    def _refund(self, member: str, purchase: Event, when: datetime) -> Event:
        """Bring back one piece of the first line, or have a euro taken off the bill."""
        bought = purchase["data"]
        data = {"order_id": bought["order_id"], "currency": CURRENCY, "channel": "pos", "store": bought["store"]}
        if self._chance.random() < 0.7:
            data["lines"] = [{"line": 1, "quantity": 1, "amount": bought["lines"][0]["unit_price"]}]
        else:
            data["amount"] = "1.00"
        return _event(REFUND, TILL, f"back-{purchase['id'][5:]}", member, when, data)

    def _review(self, member: str, when: datetime, sku: str, store: str) -> Event:
        rated = {"sku": sku} if self._chance.random() < 0.7 else {"place": store}
        verified = self._chance.random() < 0.8
        return self._notice(
            REVIEW, member, when, {**rated, "rating": self._chance.randrange(2, 6), "verified": verified}
        )

    def _notice(self, event_type: str, member: str, when: datetime, data: dict[str, Any]) -> Event:
        self._notices += 1
        return _event(event_type, APP, f"app-{self._notices:04d}", member, when, data)

    def _some_time(self, day: date, from_hour: int, to_hour: int) -> datetime:
        second = self._chance.randrange(from_hour * 3600, to_hour * 3600)
        return _moment(day, second // 3600, second // 60 % 60, second % 60)


def _with_oddities(events: list[Event]) -> list[Event]:
    """Put in what goes wrong at every till: a delivery that arrives twice, an order in francs, a broken record."""
    sales = [event for event in events if event["type"] == PURCHASE and event.get("subject")]
    twice = sales[len(sales) // 3]
    francs = sales[len(sales) // 2]
    broken = sales[len(sales) * 2 // 3]
    francs["data"]["currency"] = "CHF"
    # A till whose clock forgot its time zone: nobody can say when this was, so it must end among the rejects.
    naive = {**broken, "id": f"{broken['id']}-again", "time": broken["time"][:19]}
    delivered: list[Event] = []
    for event in events:
        delivered.append(event)
        if event is twice:
            delivered.append(event)
        if event is broken:
            delivered.append(naive)
    return delivered


def _event(
    event_type: str, source: str, event_id: str, member: str | None, when: datetime, data: dict[str, Any]
) -> Event:
    event: Event = {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": event_type,
        "time": when.isoformat(),
    }
    if member is not None:
        event["subject"] = member
    return {**event, "data": data}


def _place(event: Event) -> tuple[int, str]:
    return to_us(event["time"]), str(event["id"])


def _moment(day: date, hour: int, minute: int, second: int = 0) -> datetime:
    return datetime.combine(day, time(hour, minute, second), tzinfo=ZONE)


def _euros(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"
