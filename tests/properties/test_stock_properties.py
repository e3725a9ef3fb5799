"""What exists once is sold once, in whatever order partitions come to it."""

from __future__ import annotations

from collections import deque
from datetime import date, datetime, timedelta
from zlib import crc32
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ledger.packing import pack, unpack
from engine.ledger.partition import Partition
from schemas.decisions import encode_decision, parse_decision
from schemas.envelope import Fact, encode_fact, parse_fact, stock_key
from tests.properties.plans import Earn, Plan, Points, Prize
from tests.properties.profiles import examples
from tests.properties.strategies import SHOP, programme_fact, shop_fact
from tests.properties.writing import compiled

pytestmark = pytest.mark.timeout(1800)
PARTITIONS = 3
PLAN = Plan(
    1,
    date(2020, 1, 1),
    ZoneInfo("Europe/Berlin"),
    rules=(Earn("visit", "visit", Points(10)),),
    prizes=(Prize("bag", 10, stock="3"),),
)
NOON = datetime.fromisoformat("2021-06-01T12:00:00+00:00")


def home(key: str | None) -> int:
    """Return the partition of a key."""
    return crc32((key or "").encode()) % PARTITIONS


def asked(member: str, number: int) -> Fact:
    """Return the wish for a bag."""
    data = {"reward": "bag", "points": None, "store": None, "order_id": None, "order_source": None}
    return shop_fact(f"r{number}", "redemption", member, NOON + timedelta(minutes=number), data)


def taken_back(member: str, number: int) -> Fact:
    """Return the end of that wish."""
    data = {"redemption": f"r{number}", "redemption_source": SHOP}
    return shop_fact(f"c{number}", "redemption_cancelled", member, NOON + timedelta(hours=1, minutes=number), data)


@examples(3)
@given(
    st.lists(st.integers(0, 7), min_size=1, max_size=20), st.sets(st.integers(0, 19)), st.randoms(use_true_random=False)
)
def test_never_oversold(wishes: list[int], cancelled: set[int], random: object) -> None:
    """Pieces held by the stock are the rewards granted, at most as many as there are; everybody else has his points."""
    partitions = [Partition(number, {compiled(PLAN).hash: compiled(PLAN)}) for number in range(PARTITIONS)]
    waiting: list[deque[Fact]] = [deque([programme_fact(PLAN)]) for _ in partitions]
    for number, wish in enumerate(wishes):
        member = f"m{wish}"
        visit = {"store": f"s{number}", "dwell_seconds": None}
        told = [shop_fact(f"v{number}", "visit", member, NOON - timedelta(days=1), visit), asked(member, number)]
        told += [taken_back(member, number)] if number in cancelled else []
        waiting[home(member)].extend(told)
    logs: list[list[tuple[bytes, bytes]]] = [[] for _ in partitions]
    while any(waiting):
        at = random.choice([number for number, queue in enumerate(waiting) if queue])  # type: ignore[attr-defined]
        fact = waiting[at].popleft()
        answer = partitions[at].answer(fact, partitions[at].next_offset)
        logs[at].append((encode_fact(fact), encode_decision(answer.decisions[0])))
        for derived in answer.derived:
            waiting[home(derived.key)].append(parse_fact(encode_fact(derived)))
    check(partitions, wishes)
    for partition, log in zip(partitions, logs, strict=True):
        again = Partition(partition.number, {compiled(PLAN).hash: compiled(PLAN)})
        for said, decided in log:
            again.recall(parse_fact(said), parse_decision(decided))
        assert {key: pack(again.members[key]) for key in again.members} == {
            key: pack(partition.members[key]) for key in partition.members
        }


def check(partitions: list[Partition], wishes: list[int]) -> None:
    """Compare what members hold with what the stock says."""
    key = stock_key("bag", "")
    stock = partitions[home(key)].members[key]
    held = {name for name, piece in stock.spent.items() if piece.state == "held"}
    members = [partitions[home(f"m{wish}")].members[f"m{wish}"] for wish in sorted(set(wishes))]
    granted = {name for member in members for name, spent in member.spent.items() if spent.state == "granted"}
    assert held == granted
    assert len(held) <= 3
    assert stock.caps.get("stock|ever", (0, 0))[1] == len(held)
    assert not [name for member in members for name, spent in member.spent.items() if spent.state == "reserved"]
    for member in members:
        mine = sum(1 for spent in member.spent.values() if spent.state == "granted")
        assert member.balance == 10 * wishes.count(int(member.key[1:])) - 10 * mine
    assert unpack(key, pack(stock)) == stock
