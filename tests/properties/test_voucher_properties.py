"""Codes of a list: in whatever order partitions come to it, nobody has a code that somebody else could use too."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ledger.engine_facts import programme_fact, tick_fact
from engine.ledger.packing import pack
from engine.ledger.partition import Partition
from rules.codes import plain_code
from schemas import facts
from schemas.decisions import encode_decision, parse_decision
from schemas.envelope import Fact, encode_fact, make_fact, parse_fact, stock_key
from schemas.times import to_us
from tests.properties.profiles import examples
from tests.unit.ledger import RECORDED, programme

pytestmark = pytest.mark.timeout(1800)
PARTITIONS = 3
NOON = datetime.fromisoformat("2026-06-01T12:00:00+00:00")
PROGRAMME = programme(
    """
earn:
  - {id: visit, on: visit, award: {points: 10}}
  - {id: word, on: review, reward: ten, cap: {times: 2}}
rewards:
  - {id: ten, cost: 5, valid_for: 2 days, voucher: {percent: 10 %, codes: [ROSE-1, ROSE-2, ROSE-3]}}
"""
)
STEPS = st.tuples(
    st.integers(0, 4), st.sampled_from(("ask", "ask", "word", "cancel", "use", "buy", "tick")), st.integers(0, 3)
)


class Shop:
    """Three partitions that hear of each other in any order."""

    def __init__(self, random: Any) -> None:
        self.random = random
        self.partitions = [Partition(number, {PROGRAMME.hash: PROGRAMME}) for number in range(PARTITIONS)]
        self.waiting: list[deque[Fact]] = [deque([programme_fact(PROGRAMME, RECORDED)]) for _ in self.partitions]
        self.logs: list[list[tuple[bytes, list[bytes]]]] = [[] for _ in self.partitions]
        self.count = 0

    def say(self, kind: str, member: str, at: datetime, data: Any) -> str:
        """Put a fact of a member into his queue."""
        self.count += 1
        fact_id, time_us = f"f{self.count}", to_us(at.isoformat())
        fact = make_fact(
            id=fact_id, source="urn:shop", type=kind, subject=member, time_us=time_us, recorded_at=RECORDED, data=data
        )
        self.waiting[home(member)].append(fact)
        return fact_id

    def tick(self, at: datetime) -> None:
        """Settle everybody to a moment."""
        for partition in self.partitions:
            self.waiting[partition.number].append(tick_fact(partition.number, to_us(at.isoformat()), RECORDED))

    def run(self, most: int) -> None:
        """Let partitions decide, whichever comes first, so many facts at most."""
        while most and (busy := [number for number, queue in enumerate(self.waiting) if queue]):
            most -= 1
            at = self.random.choice(busy)
            fact = self.waiting[at].popleft()
            answer = self.partitions[at].answer(fact, self.partitions[at].next_offset)
            self.logs[at].append((encode_fact(fact), [encode_decision(one) for one in answer.decisions]))
            for derived in answer.derived:
                self.waiting[home(derived.key)].append(parse_fact(encode_fact(derived)))

    def members(self) -> list[Any]:
        """Everybody's state."""
        return [partition.members[key] for partition in self.partitions for key in partition.members]


def home(key: str | None) -> int:
    """Return the partition of a key."""
    return crc32((key or "").encode()) % PARTITIONS


def data_of(what: str, told: list[str]) -> tuple[str, Any]:
    """Return the type and data of a step."""
    last = told[-1] if told else "f0"
    end = {"redemption": last, "redemption_source": "urn:shop"}
    wish = {"reward": "ten", "points": None, "store": None, "order_id": None, "order_source": None}
    review = {"sku": "mug", "place": None, "rating": 4, "verified": True, "link": None}
    code = {"redemption": "", "redemption_source": "", "code": "rose 2"}
    return {
        "ask": (facts.REDEMPTION, wish),
        "word": (facts.REVIEW, review),
        "cancel": (facts.REDEMPTION_CANCELLED, end),
        "use": (facts.REDEMPTION_FULFILLED, end),
        "buy": (facts.REDEMPTION_FULFILLED, code),
    }[what]


@examples(5)
@given(st.lists(STEPS, min_size=1, max_size=25), st.randoms(use_true_random=False))
def test_one_code_one_member(steps: list[tuple[int, str, int]], random: Any) -> None:
    """A code that can be used is one member's, a used one is nobody's again; the logs alone give the same states."""
    shop, told, now = Shop(random), {number: list[str]() for number in range(5)}, NOON
    for number in range(5):
        for _ in range(3):
            shop.say(facts.VISIT, f"m{number}", now, {"store": f"s{shop.count}", "dwell_seconds": None})
    for number, what, hours in steps:
        now += timedelta(hours=hours * 9)
        if what == "tick":
            shop.tick(now)
        else:
            kind, data = data_of(what, told[number])
            name = shop.say(kind, f"m{number}", now, data)
            told[number] += [name] if what == "ask" else []
        shop.run(random.randrange(4))
    shop.tick(now)
    shop.run(1 << 30)
    check(shop)


def check(shop: Shop) -> None:
    """Hold what must be when nothing is under way any more."""
    mine = [spent for member in shop.members() if not member.anonymous for spent in member.spent.values()]
    usable = [plain_code(spent.code) for spent in mine if spent.state == "granted"]
    used = [plain_code(spent.code) for spent in mine if spent.state == "fulfilled"]
    assert not [spent for spent in mine if spent.state == "reserved"]
    assert len(set(usable + used)) == len(usable + used)
    stock = next((member for member in shop.members() if member.key == stock_key("ten", "")), None)
    pieces = [] if stock is None else [piece for piece in stock.spent.values() if piece.state == "held"]
    assert sorted(usable + used) == sorted(plain_code(piece.code or "") for piece in pieces)
    for member in shop.members():
        if not member.anonymous:
            assert member.caps.get("word||ever", (0, 0))[1] <= 2
            assert member.balance == 30 - 5 * sum(
                1 for spent in member.spent.values() if not spent.given and spent.state not in ("cancelled", "refused")
            )
    for partition, log in zip(shop.partitions, shop.logs, strict=True):
        again = Partition(partition.number, {PROGRAMME.hash: PROGRAMME})
        for said, decided in log:
            for one in decided:
                again.recall(parse_fact(said), parse_decision(one))
        assert {key: pack(again.members[key]) for key in again.members} == {
            key: pack(partition.members[key]) for key in partition.members
        }
