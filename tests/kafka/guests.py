"""Guests of the coffee bar with profiles, and enough of a life that every moment of its programme comes to some of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from tests.kafka.deployment import PROGRAMMES, Event, event

#: What the programme waits for.
MOMENTS = frozenset({
    "birthday-soon", "a-year-with-us", "gone-quiet", "basket-left", "beans-about-to-end", "new-level", "thank-you", "sorry",
})  # fmt: skip
CHANNELS = ("email", "push")
KINDS = {"purchase": 60, "visit": 12, "cart": 8, "complaint": 3, "newsletter": 8, "refund": 6, "again": 3}
BEGIN = datetime(2024, 1, 8, 8, 0, tzinfo=UTC)
STEP = timedelta(minutes=35)


def coffee_bar(folder: Path) -> Path:
    """The coffee bar's version with all its moments, in force since 2024, because a deployment takes no facts of the future."""
    written, begins = PROGRAMMES / "coffee-bar" / "2028-01-01.yaml", "2024-01-01"
    place = folder / "programme"
    place.mkdir()
    text = written.read_text(encoding="utf-8").replace(written.stem, begins)
    (place / f"{begins}.yaml").write_text(text, encoding="utf-8")
    return place


@dataclass
class Guests:
    """The same seed, the same events in the same order."""

    seed: int
    keys: list[str] = field(default_factory=lambda: [f"g{number:02d}" for number in range(40)])
    at: datetime = BEGIN
    count: int = 0
    _orders: list[tuple[str, str]] = field(default_factory=list)
    _said: list[Event] = field(default_factory=list)
    _rnd: Random = field(init=False)

    def __post_init__(self) -> None:
        """Seed the dice."""
        self._rnd = Random(f"guests {self.seed}")

    def introduce(self) -> list[Event]:
        """Who they are: a birthday for most, consent to some channels."""
        return [event(f"who-{key}", "profile", key, self._profile(), self._time()) for key in self.keys]

    def return_at(self, moment: str) -> None:
        """Time goes on to a moment; some never come back."""
        self.at = datetime.fromisoformat(moment)
        self.keys = self.keys[10:]

    def come(self, count: int) -> list[Event]:
        """So many events, one after the other."""
        return [self._next() for _ in range(count)]

    def _profile(self) -> dict[str, Any]:
        rnd = self._rnd
        consents = {channel: rnd.random() < 0.8 for channel in CHANNELS}
        said: dict[str, Any] = {"consents": consents, "preferred_channel": rnd.choice(CHANNELS)}
        birthday = f"1990-{rnd.randint(1, 12):02d}-{rnd.randint(1, 28):02d}"
        return said | ({"birthday": birthday} if rnd.random() < 0.8 else {})

    def _time(self) -> str:
        return self.at.isoformat()

    def _next(self) -> Event:
        rnd = self._rnd
        (kind,) = rnd.choices(list(KINDS), list(KINDS.values()))
        if kind == "again" and self._said:
            return rnd.choice(self._said)
        self.count += 1
        self.at += STEP * rnd.random()
        made = self._event(kind, f"e{self.count}", rnd.choice(self.keys))
        self._said.append(made)
        return made

    def _event(self, kind: str, name: str, guest: str) -> Event:
        rnd = self._rnd
        match kind:
            case "visit":
                return event(name, "visit", guest, {"store": "harbour"}, self._time())
            case "cart":
                return self._activity(name, guest, "cart_abandoned", {"cart": name})
            case "complaint":
                return self._activity(name, guest, "complaint", {"case": name, "state": "resolved"})
            case "newsletter":
                return self._activity(name, guest, "newsletter_read", {})
            case "refund" if self._orders:
                buyer, order = rnd.choice(self._orders)
                back = {"order_id": order, "amount": "1.00", "currency": "EUR"}
                return event(name, "refund", buyer, back, self._time())
            case _:
                self._orders.append((guest, name))
                return self._purchase(name, guest)

    def _activity(self, name: str, guest: str, what: str, attributes: dict[str, str]) -> Event:
        return event(name, "activity", guest, {"name": what, "attributes": attributes}, self._time())

    def _purchase(self, name: str, guest: str) -> Event:
        sku, category, price = self._rnd.choice((
            ("ESP", "coffee", "2.20"), ("CAP", "coffee", "3.40"), ("CAKE", "bakery", "4.60"), ("BEANS", "beans", "24.90"),
        ))  # fmt: skip
        line = {"sku": sku, "category": category, "quantity": "1", "unit_price": price}
        data = {"order_id": name, "lines": [line], "total": price, "currency": "EUR", "channel": "pos"}
        return event(name, "purchase", guest, data, self._time())
