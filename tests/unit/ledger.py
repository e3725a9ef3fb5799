"""A small stage for ledger examples: a programme in YAML, facts in order, and what was decided."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from engine.ledger.engine_facts import programme_fact, tick_fact
from engine.ledger.partition import Answer, Partition
from rules.book import Programme, load_directory
from schemas import facts
from schemas.decisions import Decision
from schemas.envelope import Fact
from schemas.normalise import normalise
from schemas.times import to_us

RECORDED = "2036-01-01T00:00:00.000000Z"
HEADER = """
programme: example
version: {version}
valid: {{from: {start}}}
time_zone: Europe/Berlin
currency: EUR
"""


def programme(body: str, *, version: int = 1, start: str = "2026-01-01") -> Programme:
    """Compile a version whose header is given and whose body is ``body``."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "example.yaml"
        path.write_text(HEADER.format(version=version, start=start) + body, encoding="utf-8")
        return load_directory(folder)[0]


class Stage:
    """One partition under some programmes; remembers every decision."""

    def __init__(self, *programmes: Programme) -> None:
        self.partition = Partition(0, {version.hash: version for version in programmes})
        self.decisions: list[Decision] = []
        self.heard: list[tuple[Fact, Decision]] = []
        self.hold: list[Fact] | None = None  # takes what follows from facts, where a test lets it come later
        self._count = 0
        for version in programmes:
            self.answer(programme_fact(version, RECORDED))

    def answer(self, fact: Fact) -> Answer:
        """Hand the partition a fact, and every fact that follows from it."""
        answer = self.partition.answer(fact, self.partition.next_offset)
        self.decisions += answer.decisions
        self.heard += [(fact, decision) for decision in answer.decisions]
        if self.hold is not None:
            self.hold += answer.derived
            return answer
        for derived in answer.derived:
            self.answer(derived)
        return answer

    def say(
        self, event_type: str, subject: str | None, time: str, data: dict[str, Any], event_id: str | None = None
    ) -> Decision:
        """Publish an event and return the decision on it."""
        self._count += 1
        event = {
            "specversion": "1.0",
            "id": event_id or f"e{self._count}",
            "source": "urn:till:7",
            "type": event_type,
            "subject": subject,
            "time": time,
            "data": data,
        }
        fact = normalise(orjson.dumps(event), RECORDED, to_us(RECORDED))
        return self.answer(fact).decisions[0]

    def buy(
        self, time: str, *lines: tuple[str, str], order: str | None = None, member: str | None = "anna", **data: Any
    ) -> Decision:
        """Publish a purchase of (sku, price) lines; `category`, `store`, `total` and others by name."""
        category = data.pop("category", "goods")
        bought = [{"sku": sku, "category": category, "quantity": "1", "unit_price": price} for sku, price in lines]
        self._order = order or f"o{self._count + 1}"
        total = data.pop("total", None) or f"{sum(round(float(price) * 100) for _, price in lines) / 100:.2f}"
        whole = {"order_id": self._order, "lines": bought, "total": total, "currency": "EUR", "channel": "pos"} | data
        return self.say(facts.PURCHASE, member, time, whole)

    def refund(self, time: str, order: str, *, member: str = "anna", **data: Any) -> Decision:
        """Publish a refund of an order."""
        return self.say(facts.REFUND, member, time, {"order_id": order, "currency": "EUR"} | data)

    def staff(self, event_type: str, subject: str, time: str, **data: Any) -> Decision:
        """Publish an action of staff; operator and reason are given unless `data` says others."""
        return self.say(event_type, subject, time, {"operator": "op-3", "reason": "asked_for_it"} | data)

    def tick(self, time: str) -> list[Decision]:
        """Settle everybody."""
        return self.answer(tick_fact(0, to_us(time), RECORDED)).decisions

    def balance(self, member: str = "anna") -> int:
        """Return the member's points."""
        return self.partition.members[member].balance


def points(decision: Decision) -> list[tuple[str, int]]:
    """Return (rule id, points) of every entry."""
    return [(entry.rule_id, entry.points) for entry in decision.entries]
