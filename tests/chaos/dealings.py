"""The other chaos shop: its members deal with each other (tests/simulation/business.py), whose legs lie in several partitions.

They say who they are, too, with consent to some channels: so its moments lead to notices.

Members come in generations, because merges and links leave fewer and fewer keys that are somebody's own.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from engine.stream.topics import PROFILE_EVENTS
from schemas.facts import PROFILE, REFUND, STAFF_TYPES
from tests.chaos.traffic import BEGIN, SPAN, Outgoing
from tests.simulation.business import Business, Happening
from tests.simulation.profiles import said

SOURCE = "urn:till"
#: Keys of a generation, cards not counted, and for how many events it stays.
KEYS, STAY = 120, 1_500
RECENT = 500
#: Share of events by which somebody says who he is.
PROFILES = 0.12


@dataclass(slots=True)
class Dealings:
    """An endless stream of events.

    Args:
        seed: the same seed, the same events in the same order.
        expected: about how many will be asked for; says how fast the shop's time goes on.
    """

    seed: int
    expected: int
    count: int = 0
    _recent: deque[Outgoing] = field(default_factory=lambda: deque(maxlen=RECENT))
    _rnd: random.Random = field(init=False)
    _shop: Business = field(init=False)
    _members: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Seed the dice, let the first members in."""
        self._rnd = random.Random(f"dealings {self.seed}")
        self._next_generation()

    def _next_generation(self) -> None:
        name = self.count // STAY
        self._members = [f"m{name}-{number}" for number in range(KEYS)]
        self._shop = Business(self._rnd, self._members, [f"card{name}-{number}" for number in range(KEYS // 6)])

    def __iter__(self) -> Iterator[Outgoing]:
        return self

    def __next__(self) -> Outgoing:
        self.count += 1
        if self.count % STAY == 0:
            self._next_generation()
        rnd = self._rnd
        if self._recent and rnd.random() < 0.05:
            one = rnd.choice(self._recent)
            return Outgoing(one.topic, one.key, one.value, one.identity, rnd.uniform(0.0, 8.0))
        out = self._happening()
        self._recent.append(out)
        return out

    def _happening(self) -> Outgoing:
        kind, subject, data = self._introduced() if self._rnd.random() < PROFILES else self._shop.happens(self.count)
        if kind == REFUND:
            data.setdefault("amount", "3.00")  # one that does not say how much is refused; here every event is good
        moment = BEGIN + SPAN * (self.count / max(1, self.expected)) + timedelta(milliseconds=self._rnd.randrange(1000))
        event = {
            "specversion": "1.0", "id": f"e{self.count}", "source": SOURCE, "type": kind, "subject": subject,
            "time": moment.isoformat(timespec="milliseconds"), "data": data,
        }  # fmt: skip
        topic = "staff-events" if kind in STAFF_TYPES else PROFILE_EVENTS if kind == PROFILE else "pos-events"
        hold_s = self._rnd.uniform(0.2, 6.0) if self._rnd.random() < 0.05 else 0.0
        key = (subject or f"e{self.count}").encode()
        return Outgoing(topic, key, json.dumps(event).encode(), (SOURCE, f"e{self.count}"), hold_s)

    def _introduced(self) -> Happening:
        return PROFILE, self._rnd.choice(self._members), said(self._rnd)
