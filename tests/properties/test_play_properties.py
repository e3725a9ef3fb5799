"""Challenges, badges and tickets in any history of visits, purchases, late facts and returns, held against a plain count."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ledger.member import Member
from engine.ledger.packing import pack, unpack
from engine.ledger.partition import Partition
from engine.ledger.play_outlook import badges_seen, tickets_seen
from schemas.decisions import encode_decision, parse_decision
from tests.properties.profiles import examples
from tests.unit.ledger import Stage, programme

pytestmark = pytest.mark.timeout(1800)
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
TEN_DAYS = timedelta(days=10)
NEED_MINOR = 2_000
PROGRAMME = programme(
    """
points: {negative_balance: allow}
challenges:
  - {id: weekly, on: visit, need: 2, window: {every: week}, then: {points: 7}}
  - {id: own, on: visit, need: 3, window: {within: 10 days}, then: {points: 5}}
  - {id: tea, on: purchase, when: {category: tea}, need: 20.00 EUR, window: {every: month}, then: {points: 11, badge: tea}}
badges: [{id: tea}]
raffles: [{id: draw, from: 2026-01-01, until: 2026-12-31}]
earn: [{id: ticket, on: purchase, when: {category: tea}, raffle: {name: draw}}]
"""
)
#: What happens, how many hours after the newest (or before it), a number for amounts and orders.
STEPS = st.tuples(
    st.sampled_from(("visit", "visit", "buy", "buy", "refund")),
    st.integers(-15 * 24, 9 * 24) | st.integers(-24, 48),
    st.sampled_from((1, 500, 1_000, 2_000)) | st.integers(1, 2_500),
)


@dataclass
class Window:
    """One of the member's own windows."""

    begins: datetime
    ends: datetime
    count: int = 0
    met: bool = False


@dataclass
class Plain:
    """What should come of a history, counted by nothing that the engine uses."""

    weeks: dict[str, int] = field(default_factory=dict)
    own: list[Window] = field(default_factory=list)
    bought: list[tuple[str, int, int]] = field(default_factory=list)  # month, paid for tea, of it returned
    months: dict[str, bool] = field(default_factory=dict)
    badge: str | None = None

    def visit(self, at: datetime) -> None:
        """Two in an ISO week; three within ten days of one's own."""
        week = at.astimezone(ZoneInfo("Europe/Berlin")).strftime("%G-W%V")
        self.weeks[week] = self.weeks.get(week, 0) + 1
        window = next((one for one in self.own if one.begins <= at < one.ends), None)
        if window is None:
            ends = min([at + TEN_DAYS, *[one.begins for one in self.own if one.begins > at]])
            window = Window(at, ends)
            self.own.append(window)
        window.count += 1
        window.met = window.met or window.count >= 3

    def buy(self, at: datetime, minor: int) -> None:
        """Twenty euros of tea in a month."""
        self.bought.append((at.astimezone(ZoneInfo("Europe/Berlin")).strftime("%Y-%m"), minor, 0))
        self._look(self.bought[-1][0])

    def refund(self, number: int, minor: int) -> None:
        """No more than was paid comes back."""
        month, paid, back = self.bought[number]
        self.bought[number] = (month, paid, min(paid, back + minor))
        self._look(month)

    def _look(self, month: str) -> None:
        before, self.months[month] = self.months.get(month, False), self.progress(month) >= NEED_MINOR
        if self.months[month] and not before and self.badge is None:
            self.badge = month
        elif before and not self.months[month] and self.badge == month:
            self.badge = None

    def progress(self, month: str) -> int:
        """What is left of a month's tea."""
        return sum(paid - back for where, paid, back in self.bought if where == month)

    @property
    def points(self) -> int:
        """All that is met."""
        weeks = sum(count >= 2 for count in self.weeks.values())
        return 7 * weeks + 5 * sum(one.met for one in self.own) + 11 * sum(self.months.values())

    @property
    def counters(self) -> dict[str, int]:
        """Progress by window."""
        said = {f"challenge weekly|{week}": count for week, count in self.weeks.items()}
        said |= {f"challenge tea|{month}": self.progress(month) for month in self.months}
        own = {f"challenge own|{one.begins:%Y-%m-%dT%H:%M:%S}.000000Z": one.count for one in self.own}
        return {key: count for key, count in (said | own).items() if count}


def euros(minor: int) -> str:
    """An amount as events have it."""
    return f"{minor // 100}.{minor % 100:02d}"


def play(steps: list[tuple[str, int, int]]) -> tuple[Stage, Plain]:
    """Tell the engine and the plain count the same history, and compare them after every fact."""
    stage, plain, now = Stage(PROGRAMME), Plain(), NOON
    for count, (kind, hours, number) in enumerate(steps):
        at = max(now + timedelta(hours=hours), datetime(2026, 1, 5, tzinfo=UTC)) + timedelta(seconds=count)
        now, time = max(now, at), at.isoformat()
        if kind == "visit":
            plain.visit(at)
            stage.say("stammgast.visit.v1", "anna", time, {"store": f"s{count}"})
        elif kind == "buy":
            plain.buy(at, number)
            tea = {"sku": "green", "category": "tea", "quantity": "1", "unit_price": euros(number)}
            mug = {"sku": "mug", "category": "goods", "quantity": "1", "unit_price": "30.00"}
            said: dict[str, Any] = {"order_id": f"o{len(plain.bought) - 1}", "lines": [tea, mug], "currency": "EUR"}
            said |= {"total": euros(number + 3_000), "channel": "pos"}
            stage.say("stammgast.purchase.v1", "anna", time, said)
        elif plain.bought:
            order = number % len(plain.bought)
            plain.refund(order, number)
            stage.refund(time, f"o{order}", lines=[{"line": 1, "amount": euros(number)}])
        else:
            continue
        compare(stage.partition.members["anna"], plain)
    return stage, plain


def compare(member: Member, plain: Plain) -> None:
    """Points, progress, badge and tickets are what was counted; the state goes through bytes."""
    assert member.balance == plain.points
    found = {key: count for key, (count, _) in member.counters.items() if key.startswith("challenge ")}
    assert found == plain.counters
    assert [one.badge for one in badges_seen(member, PROGRAMME)] == ["tea"] * (plain.badge is not None)
    valid = sum(back < paid for _, paid, back in plain.bought)
    assert sum(len(one.tickets) for one in tickets_seen(member, PROGRAMME)) == valid
    assert unpack("anna", pack(member)) == member


@examples(2)
@given(st.lists(STEPS, min_size=1, max_size=40))
def test_play_is_what_a_plain_count_says(steps: list[tuple[str, int, int]]) -> None:
    """In any order, late or returned; and the fold of the logs gives the same state."""
    stage, _ = play(steps)
    again = Partition(0, {PROGRAMME.hash: PROGRAMME})
    for fact, decision in stage.heard:
        again.recall(fact, parse_decision(encode_decision(decision)))
    for key in stage.partition.members:
        assert again.members.packed(key) == stage.partition.members.packed(key)
