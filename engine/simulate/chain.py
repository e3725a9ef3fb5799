"""What the chain's tills and app send, in the order in which it arrives: rhythms of year, week and day, and the oddities of real
tills, each of which is counted, so that whoever reads the events knows what must come out.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from engine.simulate.people import BOT_VIEWS_A_DAY, WEEK_US, Person, people
from schemas import facts
from schemas.money import half_up
from schemas.times import DAY_US, SECOND_US, to_text

HOUR_US = 3_600 * SECOND_US
TILL, APP = "urn:simulated:till", "urn:simulated:app"
#: From Monday.
WEEKDAY = (0.8, 0.85, 0.9, 1.0, 1.25, 1.5, 0.7)
#: Hours of UTC in which the shops are open, and how busy each is.
HOURS = {7: 1.2, 8: 1.4, 9: 1.0, 10: 0.8, 11: 1.0, 12: 1.5, 13: 1.2, 14: 0.8, 15: 0.9, 16: 1.1, 17: 1.3, 18: 0.8}
#: By how much the year swells towards December.
SEASON = 0.35
#: Shares of purchases.
REFUNDED, WITHOUT_CARD, CLAIMED, TWICE_DELIVERED, TWICE_RUNG_UP, CHECKED_IN = 0.04, 0.08, 0.4, 0.005, 0.01, 0.2
#: Once in so many days a store is cut off for some hours, and sends what it had afterwards.
OFFLINE_EVERY_DAYS, OFFLINE_HOURS = 20.0, (1.0, 12.0)
ARTICLES = 300
PRICES_MINOR = (180, 2_400)
LINES = (1, 1, 1, 2, 2, 3, 5)

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated: so many members and stores, from one moment until another; the same seed gives the same bytes."""

    members: int
    stores: int
    from_us: int
    until_us: int
    currency: str = "EUR"
    seed: int = 1


@dataclass(slots=True)
class Chain:
    """A run of a plan. `events` yields what arrives; `truth` says afterwards what was drawn."""

    plan: Plan
    counts: Counter[str] = field(default_factory=Counter)
    everybody: list[Person] = field(default_factory=list)
    _chance: random.Random = field(init=False)
    _queue: list[tuple[int, int, Event]] = field(default_factory=list)
    _numbers: Counter[str] = field(default_factory=Counter)
    _offline: list[list[tuple[int, int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        plan = self.plan
        self._chance = random.Random(plan.seed)
        self.everybody = people(self._chance, plan.members, plan.stores, plan.from_us, plan.until_us)
        self._offline = [self._cuts() for _ in range(plan.stores)]

    def events(self) -> Iterator[Event]:
        """Yield every event in the order of arrival."""
        visits = [(self._next(one, one.begins_us), number) for number, one in enumerate(self.everybody)]
        heapq.heapify(visits)
        while visits:
            time_us, number = heapq.heappop(visits)
            person = self.everybody[number]
            if time_us >= min(self.plan.until_us, person.ends_us):
                continue
            yield from self._arrived(time_us)
            if person.kind == "bot":
                self._send(
                    time_us,
                    time_us,
                    APP,
                    facts.ACTIVITY,
                    person.key,
                    {"name": "product_viewed", "attributes": {"sku": self._sku()}},
                )
            else:
                self._buy(person, time_us)
            heapq.heappush(visits, (self._next(person, time_us), number))
        yield from self._arrived(None)

    def truth(self) -> Iterator[dict[str, Any]]:
        """Yield what was drawn: first the whole, then each member; moments in UTC, money in minor units."""
        plan = self.plan
        yield {
            "what": "chain", "seed": plan.seed, "members": plan.members, "stores": plan.stores, "currency": plan.currency,
            "from": to_text(plan.from_us), "until": to_text(plan.until_us), "counts": dict(sorted(self.counts.items())),
        }  # fmt: skip
        for one in self.everybody:
            churned = one.ends_us < plan.until_us
            yield {
                "what": "member", "member": one.key, "kind": one.kind, "weekly": round(one.weekly, 4), "home": _store(one.home),
                "comes_from": to_text(one.begins_us), "churned": churned, "stopped_at": to_text(one.ends_us) if churned else None,
                "purchases": one.purchases, "spent_minor": one.spent_minor, "refunds": one.refunds,
                "refunded_minor": one.refunded_minor, "last_purchase_at": None if one.last_us is None else to_text(one.last_us),
            }  # fmt: skip

    # -------------------------------------------------------------------------------------------------------- rhythms

    def _next(self, person: Person, time_us: int) -> int:
        """When he comes next: a Poisson process that is thinned by season, weekday and hour (Lewis and Shedler, 1979)."""
        if person.kind == "bot":
            return time_us + max(1, round(self._chance.expovariate(BOT_VIEWS_A_DAY) * DAY_US))
        most = (1 + SEASON) * max(WEEKDAY) * max(HOURS.values()) * 24 / len(HOURS)
        end_us = min(self.plan.until_us, person.ends_us)
        while time_us < end_us:
            time_us += max(1, round(self._chance.expovariate(max(person.weekly, 1e-6) * most) * WEEK_US))
            if self._chance.random() * most < _busy(time_us) * 24 / len(HOURS):
                return time_us
        return end_us

    def _cuts(self) -> list[tuple[int, int]]:
        """When a store is cut off from the network, from and until."""
        cuts: list[tuple[int, int]] = []
        time_us = self.plan.from_us
        while True:
            time_us += round(self._chance.expovariate(1 / OFFLINE_EVERY_DAYS) * DAY_US)
            if time_us >= self.plan.until_us:
                return cuts
            back_us = time_us + round(self._chance.uniform(*OFFLINE_HOURS) * HOUR_US)
            cuts.append((time_us, back_us))
            time_us = back_us

    def _arrives(self, store: int, time_us: int) -> int:
        for cut_us, back_us in self._offline[store]:
            if cut_us <= time_us < back_us:
                self.counts["late"] += 1
                return back_us
        return time_us

    # ---------------------------------------------------------------------------------------------------------- tills

    def _buy(self, person: Person, time_us: int) -> None:
        chance = self._chance
        store = person.home if chance.random() < 0.8 else chance.randrange(self.plan.stores)
        if chance.random() < CHECKED_IN:
            self._send(time_us - 120 * SECOND_US, time_us, APP, facts.VISIT, person.key, {"store": _store(store)})
        data, amounts = self._receipt(store)
        total = sum(amounts)
        arrival_us = self._arrives(store, time_us)
        card = chance.random() >= WITHOUT_CARD
        event = self._send(time_us, arrival_us, TILL, facts.PURCHASE, person.key if card else None, data)
        if not card:
            self.counts["anonymous"] += 1
            if chance.random() >= CLAIMED:
                return
            self.counts["claimed"] += 1
            later_us = time_us + round(chance.uniform(0.1, 48) * HOUR_US)
            claim = {"order_id": data["order_id"], "order_source": TILL}
            self._send(later_us, later_us, APP, facts.CLAIM, person.key, claim)
        person.purchases += 1
        person.spent_minor += total
        person.last_us = time_us
        if chance.random() < TWICE_DELIVERED:
            self.counts["delivered_twice"] += 1
            self._push(arrival_us + 60 * SECOND_US, event)
        if card and chance.random() < TWICE_RUNG_UP:
            self.counts["order_sent_twice"] += 1
            self._send(time_us, arrival_us + 90 * SECOND_US, TILL, facts.PURCHASE, person.key, data)
        if card and chance.random() < REFUNDED:
            self._refund(person, data, amounts, store, time_us)

    def _receipt(self, store: int) -> tuple[Event, list[int]]:
        lines, amounts = [], []
        for _ in range(self._chance.choice(LINES)):
            price, pieces = self._chance.randint(*PRICES_MINOR), self._chance.choice((1, 1, 1, 2, 3))
            amounts.append(price * pieces)
            category = self._chance.choice(("coffee", "bakery", "kitchen", "gifts"))
            lines.append({"sku": self._sku(), "category": category, "quantity": pieces, "unit_price": _money(price)})
        order_id = f"{_store(store)}-{self._number(f'order-{store}')}"
        return {
            "order_id": order_id, "lines": lines, "total": _money(sum(amounts)), "currency": self.plan.currency,
            "channel": "pos", "store": _store(store),
        }, amounts  # fmt: skip

    def _refund(self, person: Person, order: Event, amounts: list[int], store: int, time_us: int) -> None:
        """A line comes back, or half of the money for it."""
        line = self._chance.randrange(len(amounts))
        pieces = order["lines"][line]["quantity"]
        whole = self._chance.random() < 0.7
        amount = amounts[line] if whole else half_up(amounts[line], 2)
        returned = {"line": line + 1, "amount": _money(amount)} | ({"quantity": pieces} if whole else {})
        data = {
            "order_id": order["order_id"],
            "lines": [returned],
            "currency": self.plan.currency,
            "store": _store(store),
        }
        back_us = time_us + round(self._chance.uniform(1, 20) * DAY_US)
        if back_us < self.plan.until_us:
            self._send(back_us, self._arrives(store, back_us), TILL, facts.REFUND, person.key, data)
            person.refunds += 1
            person.refunded_minor += amount

    def _sku(self) -> str:
        # A few articles make most of the sales.
        return f"a{min(int(self._chance.paretovariate(0.9)), ARTICLES):04d}"

    def _number(self, name: str) -> int:
        self._numbers[name] += 1
        return self._numbers[name]

    # -------------------------------------------------------------------------------------------------------- arrival

    def _send(self, time_us: int, arrival_us: int, source: str, kind: str, subject: str | None, data: Event) -> Event:
        event: Event = {
            "specversion": "1.0", "id": f"{facts.short_name(kind)}-{self._number(kind)}", "source": source, "type": kind,
            "time": to_text(time_us),
        }  # fmt: skip
        if subject is not None:
            event["subject"] = subject
        event["data"] = data
        if arrival_us < self.plan.until_us:
            self._push(arrival_us, event)
        return event

    def _push(self, arrival_us: int, event: Event) -> None:
        heapq.heappush(self._queue, (arrival_us, self._number("arrival"), event))

    def _arrived(self, until_us: int | None) -> Iterator[Event]:
        while self._queue and (until_us is None or self._queue[0][0] <= until_us):
            event = heapq.heappop(self._queue)[2]
            self.counts["events"] += 1
            self.counts[facts.short_name(event["type"])] += 1
            yield event


def _busy(time_us: int) -> float:
    moment = datetime.fromtimestamp(time_us / SECOND_US, UTC)
    season = 1 + SEASON * math.cos(2 * math.pi * (moment.timetuple().tm_yday - 350) / 365.25)
    return season * WEEKDAY[moment.weekday()] * HOURS.get(moment.hour, 0.0)


def _store(number: int) -> str:
    return f"store-{number:03d}"


def _money(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02d}"
