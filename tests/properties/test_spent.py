"""The moment `spent`, and the condition of the same name, in any history: late orders, several currencies, goods that come
back, receipts claimed, cards linked, held against orders that are added up one by one; packed after each fact or never."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.ledger.engine_facts import programme_fact
from engine.ledger.partition import Partition
from schemas import facts
from schemas.decisions import Decision, encode_decision
from schemas.times import to_us
from tests.properties.profiles import examples
from tests.unit.ledger import RECORDED, Stage, programme

pytestmark = pytest.mark.timeout(1800)
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
WITHIN = {"short": timedelta(days=2), "long": timedelta(days=20)}
AT_LEAST = {"short": 3_000, "long": 9_000}
CONDITION = (timedelta(days=5), 4_000)
PROGRAMME = programme(
    """
claim: {within: 30 days}
earn: [{id: rich, on: purchase, when: {spent: {at_least: 40.00 EUR, within: 5 days}}, award: {points: 1}}]
moments:
  - {id: short, on: {spent: {at_least: 30.00 EUR, within: 2 days}}, award: {points: 3}}
  - {id: long, on: {spent: {at_least: 90.00 EUR, within: 20 days}}, notice: {template: long}}
"""
)
KEYS = ("anna", "bert", "card")
#: What happens, hours from the newest to it (edges of the windows among them), a choice, minor units.
STEPS = st.tuples(
    st.sampled_from(("buy",) * 8 + ("sale", "claim", "refund", "link", "visit")),
    st.sampled_from((-20 * 24, -5 * 24, -48, 0, 1, 48, 5 * 24, 20 * 24)) | st.integers(-500, 100),
    st.integers(0, 11),
    st.sampled_from((1_000, 2_999, 3_000)) | st.integers(1, 5_000),
)
Step = tuple[str, int, int, int]


@dataclass(frozen=True)
class Bought:
    """An order that counted."""

    at: datetime
    currency: str
    minor: int


class Plain:
    """Whose orders are whose, and what they add up to."""

    def __init__(self) -> None:
        self.orders: dict[str, list[Bought]] = {key: [] for key in KEYS}
        self.sales: dict[str, Bought] = {}
        self.owner = {key: key for key in KEYS}

    def spent(self, key: str, since: datetime, until: datetime | None, currency: str | None) -> int:
        """One by one."""
        return sum(
            one.minor
            for one in self.orders[key]
            if since <= one.at and (until is None or one.at <= until) and currency in (None, one.currency)
        )

    def fires(self, key: str, new: Bought) -> set[str]:
        """The rules that a purchase brings; one in another currency than the programme's counts, and brings nothing."""
        if new.currency != "EUR":
            return set()
        found = set()
        for name, within in WITHIN.items():
            before = self.spent(key, new.at - within, new.at, new.currency)
            if before < AT_LEAST[name] <= before + new.minor:
                found.add(name)
        length, least = CONDITION
        if self.spent(key, new.at - length, None, None) >= least:
            found.add("rich")
        return found


class Shop:
    """One history, told to one engine that keeps everybody as an object and to one that packs all the time."""

    def __init__(self) -> None:
        self.stage = Stage(PROGRAMME)
        self.packing = Partition(0, {PROGRAMME.hash: PROGRAMME}, 2)
        self.packing.answer(programme_fact(PROGRAMME, RECORDED), 0)
        self.plain, self.now, self.count = Plain(), NOON, 0

    def say(self, kind: str, key: str | None, at: datetime, data: dict[str, Any]) -> Decision:
        """Tell both; they must say the same, byte for byte."""
        heard = len(self.stage.heard)
        decision = self.stage.say(kind, key, at.isoformat(), data)
        for fact, said in self.stage.heard[heard:]:
            (other,) = self.packing.answer(fact, self.packing.next_offset).decisions
            assert encode_decision(other) == encode_decision(said)
        return decision

    def step(self, kind: str, hours: int, choice: int, minor: int) -> None:
        """One thing happens."""
        self.count += 1
        at = max(self.now + timedelta(hours=hours), datetime(2026, 1, 5, tzinfo=UTC))
        self.now = max(self.now, at)
        key = self.plain.owner[KEYS[choice % len(KEYS)]]
        match kind:
            case "buy" | "sale":
                self._buy(key if kind == "buy" else None, Bought(at, "CHF" if choice % 6 == 5 else "EUR", minor))
            case "claim" if self.plain.sales:
                order = sorted(self.plain.sales)[choice % len(self.plain.sales)]
                self._claim(key, order, at)
            case "refund" if self.count > 1:
                data = {"order_id": f"o{1 + choice % self.count}", "amount": "0.01", "currency": "EUR"}
                self.say(facts.REFUND, key, at, data)
            case "link" if self.plain.owner["card"] == "card":
                self.say(facts.LINK, "card", at, {"member": "anna", "operator": "kim", "reason": "lost_card"})
                self.plain.owner["card"] = "anna"
                self.plain.orders["anna"] += self.plain.orders["card"]
                self.plain.orders["card"] = []
            case _:
                self.say(facts.VISIT, key, at, {"store": f"s{self.count}"})

    def _buy(self, key: str | None, new: Bought) -> None:
        price = f"{new.minor // 100}.{new.minor % 100:02d}"
        total = f"{new.minor / 100 + 1:.2f}" if self.count % 4 == 0 else price
        line = {"sku": "mug", "quantity": "1", "unit_price": price}
        data = {
            "order_id": f"o{self.count}",
            "lines": [line],
            "total": total,
            "currency": new.currency,
            "channel": "pos",
        }
        new = Bought(new.at, new.currency, new.minor + 100 * (self.count % 4 == 0))
        decision = self.say(facts.PURCHASE, key, new.at, data)
        if key is None:
            self.plain.sales[f"o{self.count}"] = new
            return
        fired = {entry.rule_id for entry in decision.entries} | {notice.rule_id for notice in decision.notices}
        assert fired == self.plain.fires(key, new), (key, new, self.plain.orders[key])
        self.plain.orders[key].append(new)

    def _claim(self, key: str, order: str, at: datetime) -> None:
        self.say(facts.CLAIM, key, at, {"order_id": order, "order_source": "urn:till:7"})
        member = self.stage.partition.members[key]
        if member.has_order(f"urn:till:7|{order}"):
            self.plain.orders[key].append(self.plain.sales.pop(order))

    def compare(self) -> None:
        """Nothing of it is state."""
        for key in self.stage.partition.members:
            assert self.packing.members.packed(key) == self.stage.partition.members.packed(key)


@examples(2)
@example([("buy", 0, 0, 3_000), ("buy", 48, 0, 3_000)])  # the edge of the window belongs to it
@example([("buy", 0, 0, 3_000), ("buy", 49, 0, 3_000)])
@example([("buy", 0, 0, 4_000), ("buy", 5 * 24, 0, 10)])
@example([("buy", 0, 0, 1_000), ("buy", 0, 2, 1_500), ("link", 0, 0, 1), ("buy", 0, 0, 1_000)])
@example([("sale", 0, 0, 1_500), ("buy", 0, 0, 1_000), ("claim", 0, 0, 1), ("buy", 0, 0, 1_000)])
@given(st.lists(STEPS, min_size=1, max_size=60))
def test_spent_is_what_the_orders_add_up_to(steps: list[Step]) -> None:
    """Rules fire where plain addition says so, and whoever packs members all the time decides the same bytes."""
    shop = Shop()
    for step in steps:
        shop.step(*step)
    shop.compare()


def test_a_long_history_is_forgotten_and_found_again() -> None:
    """Given hundreds of orders in order of time, then some that are late, when sums are asked, then they are right."""
    shop = Shop()
    for number in range(400):
        shop.step("buy", 7 + number % 5, 0 if number % 50 else 5, 500 + 37 * (number % 11))
    history = shop.stage.partition.members["anna"].history
    assert len(history.spending(to_us(shop.now.isoformat()))) < 200, "more is kept than the longest stretch needs"
    for number in range(40):
        shop.step("buy", -72 * (number % 40), 0, 3_000)
    shop.compare()
