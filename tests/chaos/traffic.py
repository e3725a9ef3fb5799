"""What happens in the chaos shop: events out of a seed, in the shapes of a real one and with its mistakes.

Purchases at tills, in the web shop and in the app, refunds (also twice, also before their purchase arrives), visits, reviews,
referrals, newsletters read, new members, sales to nobody; some events are sent again, some come late, some are broken.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

TOPICS = {"urn:till": "pos-events", "urn:web": "shop-events", "urn:app": "app-events"}
GOODS = {"ESP": ("coffee", "2.20"), "CAP": ("coffee", "3.40"), "BUN": ("bakery", "1.85"), "CAKE": ("bakery", "4.60"),
         "BEANS": ("retail", "12.90"), "CARD": ("gift_card", "25.00")}  # fmt: skip
STORES = ("north", "south", "station")
BEGIN = datetime(2026, 1, 10, 7, 0, tzinfo=UTC)
#: Over a whole run time goes on by so much: long enough for months, caps and the second programme version.
SPAN = timedelta(days=110)
#: Members that are about at a time, and for how many events the window of members stays before the next one comes. Each
#: member lives through some 25 facts: enough for a history, little enough for a model that goes through all of it.
ABOUT, STAY = 2_000, 25
ORDERS_KEPT = 3_000
KINDS = {"purchase": 56, "visit": 15, "refund": 9, "review": 5, "activity": 5, "joined": 3, "referral": 3, "nobody": 3,
         "again": 5, "broken": 1.5}  # fmt: skip
Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One event on its way: `identity` is (source, id) of a good one, None of one that intake must refuse."""

    topic: str
    key: bytes
    value: bytes
    identity: tuple[str, str] | None
    hold_s: float = 0.0


@dataclass(slots=True)
class Traffic:
    """An endless stream of events.

    Args:
        seed: the same seed, the same events in the same order.
        expected: about how many will be asked for; says how fast the shop's time goes on.
    """

    seed: int
    expected: int
    count: int = 0
    _orders: deque[Event] = field(default_factory=lambda: deque(maxlen=ORDERS_KEPT))
    _recent: deque[Outgoing] = field(default_factory=lambda: deque(maxlen=ORDERS_KEPT))
    _rnd: random.Random = field(init=False)

    def __post_init__(self) -> None:
        """Seed the dice."""
        self._rnd = random.Random(f"traffic {self.seed}")

    def __iter__(self) -> Iterator[Outgoing]:
        return self

    def __next__(self) -> Outgoing:
        rnd = self._rnd
        self.count += 1
        (kind,) = rnd.choices(list(KINDS), list(KINDS.values()))
        if kind == "broken":
            return self._broken()
        if kind == "again" and self._recent:
            return self._again()
        made = self._purchase() if kind == "again" else getattr(self, f"_{kind}")()
        out = self._out(made)
        self._recent.append(out)
        return out

    def _when(self) -> str:
        share = self.count / max(1, self.expected)
        moment = BEGIN + SPAN * share + timedelta(milliseconds=self._rnd.randrange(1000))
        (late,) = self._rnd.choices((0, 1, 30, 100), (960, 30, 8, 2))
        return (moment - timedelta(days=late)).isoformat(timespec="milliseconds")

    def _member(self) -> str:
        if self._rnd.random() < 0.003:
            return f"keen-{self._rnd.randrange(10)}"
        return f"m{self.count // STAY + self._rnd.randrange(ABOUT):07d}"

    def _event(self, kind: str, source: str, subject: str | None, data: Event) -> Event:
        return {
            "specversion": "1.0",
            "id": f"{self.count:x}-{self._rnd.getrandbits(32):08x}",
            "source": source,
            "type": f"stammgast.{kind}.v1",
            "subject": subject,
            "time": self._when(),
            "data": data,
        }

    def _out(self, event: Event, hold_s: float | None = None) -> Outgoing:
        """Most go out at once, some wait and are overtaken by events of the same member from another source."""
        if hold_s is None:
            hold_s = self._rnd.uniform(0.2, 6.0) if self._rnd.random() < 0.05 else 0.0
        key = (event["subject"] or event["id"]).encode()
        identity = (event["source"], event["id"])
        return Outgoing(TOPICS[event["source"]], key, json.dumps(event).encode(), identity, hold_s)

    def _again(self) -> Outgoing:
        """The same event once more, sooner or later."""
        one = self._rnd.choice(self._recent)
        return Outgoing(one.topic, one.key, one.value, one.identity, self._rnd.uniform(0.0, 8.0))

    def _broken(self) -> Outgoing:
        """Something intake must refuse; its bytes are unlike any other's."""
        event = self._purchase()
        self._orders.pop()
        match self._rnd.randrange(4):
            case 0:
                event["data"]["total"] = "12.345"
            case 1:
                event["time"] = "2026-02-02T10:00:00"
            case 2:
                event["type"] = "stammgast.tick.v1"
            case _:
                event["data"] = "cut off"
        value = json.dumps(event).encode()
        if self._rnd.random() < 0.25:
            value = value[: len(value) // 2]
        return Outgoing(TOPICS[event["source"]], b"broken", value, None)

    # What happens, each as (type, source, subject, data).

    def _purchase(self) -> Event:
        return self._bought(self._member())

    def _nobody(self) -> Event:
        return self._bought(None)

    def _bought(self, subject: str | None) -> Event:
        rnd = self._rnd
        source = rnd.choice(list(TOPICS))
        lines, total = [], 0
        for sku in rnd.sample(list(GOODS), rnd.choice((1, 1, 2, 3))):
            category, price = GOODS[sku]
            quantity = rnd.choice((1, 1, 1, 2, 3))
            total += quantity * int(price.replace(".", ""))
            lines.append({"sku": sku, "category": category, "quantity": str(quantity), "unit_price": price})
        data = {
            "order_id": f"o{self.count}",
            "lines": lines,
            "total": f"{total // 100}.{total % 100:02d}",
            "currency": "CHF" if rnd.random() < 0.005 else "EUR",
            "channel": {"urn:till": "pos", "urn:web": "web", "urn:app": "app"}[source],
            "store": rnd.choice(STORES) if source == "urn:till" else None,
        }
        event = self._event("purchase", source, subject, {k: v for k, v in data.items() if v is not None})
        if subject is not None:
            self._orders.append(event)
        return event

    def _refund(self) -> Event:
        """Of an order that was bought a while ago, or of one that may still be on its way; now and then of none."""
        rnd = self._rnd
        if not self._orders or rnd.random() < 0.02:
            data: Event = {"order_id": f"lost{self.count}", "amount": "5.00", "currency": "EUR"}
            return self._event("refund", "urn:till", self._member(), data)
        bought = self._orders[-1] if rnd.random() < 0.05 else rnd.choice(self._orders)
        data = {"order_id": bought["data"]["order_id"], "currency": bought["data"]["currency"]}
        if bought["source"] != "urn:till":
            data["order_source"] = bought["source"]
        number = rnd.randrange(len(bought["data"]["lines"]))
        quantity = bought["data"]["lines"][number]["quantity"]
        if rnd.random() < 0.6:
            data["lines"] = [{"line": number + 1, "quantity": rnd.choice((quantity, "1"))}]
        else:
            data["amount"] = bought["data"]["total"] if rnd.random() < 0.5 else "1.00"
        return self._event("refund", "urn:till", bought["subject"], data)

    def _visit(self) -> Event:
        return self._event("visit", "urn:app", self._member(), {"store": self._rnd.choice(STORES)})

    def _review(self) -> Event:
        rnd = self._rnd
        data = {"sku": rnd.choice(list(GOODS)), "rating": rnd.randrange(1, 6), "verified": rnd.random() < 0.8}
        return self._event("review", "urn:web", self._member(), data)

    def _activity(self) -> Event:
        return self._event("activity", "urn:web", self._member(), {"name": "newsletter_read"})

    def _joined(self) -> Event:
        return self._event("joined", "urn:app", self._newest(), {"via": self._rnd.choice(("app", "web"))})

    def _referral(self) -> Event:
        return self._event("referral", "urn:app", self._newest(), {"referrer": self._member()})

    def _newest(self) -> str:
        """Somebody who came just now."""
        return f"m{self.count // STAY + ABOUT - self._rnd.randrange(40):07d}"


def probe(number: int, partition: int, subject: str) -> Outgoing:
    """A visit to the probe's own store by a member of a partition: when it is decided, everything before it is."""
    event = {
        "specversion": "1.0", "id": f"probe-{number}-{partition}", "source": "urn:app", "type": "stammgast.visit.v1",
        "subject": subject, "time": BEGIN.isoformat(timespec="milliseconds"), "data": {"store": "probe"},
    }  # fmt: skip
    return Outgoing("app-events", subject.encode(), json.dumps(event).encode(), ("urn:app", event["id"]))  # type: ignore[arg-type]
