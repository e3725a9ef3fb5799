"""What members do with each other: points given, receipts claimed, cards linked, accounts merged, rewards of which there are few.

Every one of these has its legs in several partitions; `tests.simulation.conservation` holds what must be true of all of them.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from rules.book import Programme, load_directory
from schemas import facts

FOLDER = Path(__file__).parent / "programmes" / "business"
STAFF = {"operator": "kim", "reason": "asked"}
#: (type, subject, data) of an event.
Happening = tuple[str, str | None, dict[str, Any]]
KINDS = {
    "purchase": 30, "sale": 6, "claim": 7, "transfer": 14, "redemption": 12, "cancelled": 5, "fulfilled": 2, "refund": 8,
    "link": 2, "merge": 2, "adjustment": 3, "override": 1, "visit": 4, "referral": 3, "joined": 1, "left": 1,
}  # fmt: skip


@cache
def programmes() -> tuple[Programme, ...]:
    """Both versions."""
    return tuple(load_directory(FOLDER))


class Business:
    """A shop whose members deal with each other."""

    def __init__(self, rng: Random, members: list[str], cards: list[str] | None = None) -> None:
        self._rng = rng
        self._cards = cards or [f"card{number}" for number in range(4)]
        self._keys = [*members, *self._cards]
        self._orders: list[tuple[str, str]] = []
        self._sales: deque[str] = deque(["o-unknown"], maxlen=6)
        self._wishes: deque[tuple[str, str]] = deque(maxlen=8)

    def happens(self, count: int) -> Happening:
        """The next event; `count` names it."""
        (kind,) = self._rng.choices(list(KINDS), list(KINDS.values()))
        happening: Happening = getattr(self, f"_{kind}")(count)
        return happening

    def _key(self) -> str:
        return self._rng.choice(self._keys)

    def _bought(self, count: int, buyer: str | None) -> Happening:
        price = self._rng.choice(("3.00", "12.00", "48.00", "90.00"))
        line = {"sku": "s1", "quantity": "1", "unit_price": price}
        channel = self._rng.choice(("pos", "pos", "web"))
        data = {"order_id": f"o{count}", "lines": [line], "total": price, "currency": "EUR", "channel": channel}
        return facts.PURCHASE, buyer, data

    def _purchase(self, count: int) -> Happening:
        buyer = self._key()
        self._orders.append((buyer, f"o{count}"))
        return self._bought(count, buyer)

    def _sale(self, count: int) -> Happening:
        self._sales.append(f"o{count}")
        return self._bought(count, None)

    def _claim(self, _: int) -> Happening:
        return facts.CLAIM, self._key(), {"order_id": self._rng.choice(self._sales)}

    def _transfer(self, _: int) -> Happening:
        to = self._key() if self._rng.random() < 0.93 else "nobody"
        return facts.TRANSFER, self._key(), {"to": to, "points": self._rng.choice((1, 5, 10, 30))}

    def _redemption(self, count: int) -> Happening:
        member = self._key()
        self._wishes.append((member, f"e{count}"))
        return facts.REDEMPTION, member, {"reward": self._rng.choice(("beans", "beans", "mug"))}

    def _cancelled(self, count: int) -> Happening:
        return self._ended(facts.REDEMPTION_CANCELLED, count)

    def _fulfilled(self, count: int) -> Happening:
        return self._ended(facts.REDEMPTION_FULFILLED, count)

    def _ended(self, kind: str, count: int) -> Happening:
        member, wish = self._rng.choice(self._wishes) if self._wishes else (self._key(), f"e{count}")
        return kind, member, {"redemption": wish}

    def _refund(self, _: int) -> Happening:
        buyer, order = self._rng.choice(self._orders[-12:]) if self._orders else (self._key(), "o-unknown")
        if self._rng.random() < 0.1:
            buyer, order = self._key(), self._rng.choice(self._sales)
        return facts.REFUND, buyer, {"order_id": order, "currency": "EUR"} | self._rng.choice(({}, {"amount": "1.00"}))

    def _link(self, _: int) -> Happening:
        card = self._rng.choice(self._cards)
        return facts.LINK, card, {"member": self._key(), **STAFF}

    def _merge(self, _: int) -> Happening:
        return facts.MERGE, self._key(), {"into": self._key(), **STAFF}

    def _adjustment(self, _: int) -> Happening:
        return facts.ADJUSTMENT, self._key(), {"points": self._rng.choice((-20, -1, 5, 40)), **STAFF}

    def _override(self, _: int) -> Happening:
        return facts.TIER_OVERRIDE, self._key(), {"tier": "regular", "until": "2026-12-31", **STAFF}

    def _visit(self, _: int) -> Happening:
        return facts.VISIT, self._key(), {"store": "s"}

    def _referral(self, _: int) -> Happening:
        return facts.REFERRAL, self._key(), {"referrer": self._key()}

    def _joined(self, _: int) -> Happening:
        return facts.JOINED, self._key(), {"via": "app"}

    def _left(self, _: int) -> Happening:
        return facts.LEFT, self._key(), {}
