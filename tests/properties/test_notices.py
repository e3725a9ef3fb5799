"""Whatever happens: nobody is written to without consent to that channel, no limit is broken, no notice is made twice, and a
state that was folded from the log says the same.

The checks know nothing of the engine: consents are those of the newest profile that was told, notices are counted by hand in
every stretch of time of a limit's length.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from engine.ledger.engine_facts import programme_fact, tick_fact
from engine.ledger.partition import Partition
from schemas import facts
from schemas.decisions import encode_decision, parse_decision
from schemas.envelope import FORGET_SOURCE, TIMER_SOURCE, Fact, make_fact
from schemas.normalise import normalise
from schemas.notices import Notice
from schemas.times import DAY_US, to_text, to_us
from tests.simulation.profiles import PlainVault, opens
from tests.unit.ledger import RECORDED, programme

pytestmark = pytest.mark.timeout(1800)
BEGIN_US = to_us("2026-01-05T08:00:00Z")
HOUR_US = DAY_US // 24
CHANNELS = ("mail", "push", "post")
MEMBERS = ("ann", "bob")
#: (at most, within, channels): as the programme below says it.
LIMITS: tuple[tuple[int, int, frozenset[str]], ...] = (
    (3, 7 * DAY_US, frozenset(CHANNELS)),
    (1, DAY_US, frozenset({"push"})),
    (2, 10 * DAY_US, frozenset({"mail", "post"})),
)
BODY = """
points: {expire: {after: 20 days}}
earn: [{id: spend, on: purchase, award: {points: 1, per: 1.00 EUR}}]
tiers: {levels: [{id: guest}, {id: gold, from: 300.00 EUR}]}
moments:
  - {id: hello, on: visit, notice: {template: hello}}
  - {id: thanks, on: purchase, notice: {template: thanks, channels: [mail], at: "09:00", expires: 1 day}}
  - {id: gone, on: {silence: {times_usual_gap: 2, at_least: 2 days}}, award: {points: 3}, notice: {template: gone}}
  - {id: basket, on: {not_followed_by: {after: cart_abandoned, by: purchase, within: 5 hours}}, notice: {template: basket}}
  - {id: soon, on: {birthday: {days_before: 2}}, tier: {level: gold, for: 3 days}, notice: {template: soon, channels: [push]}}
  - {id: years, on: anniversary, notice: {template: years}}
  - {id: use, on: {points_expiring: {days_before: 5}}, notice: {template: use, at: "10:00"}}
  - {id: up, on: tier_changed, notice: {template: up}}
  - {id: big, on: {spent: {at_least: 60.00 EUR, within: 5 days}}, notice: {template: big}, hold_out: 20 %}
  - {id: in, on: {segment_entered: {segment: vip}}, notice: {template: in, expires: 2 days}}
quiet:
  - {at_most: 3, within: 7 days}
  - {at_most: 1, within: 1 day, channel: push}
  - {at_most: 2, within: 10 days, channel: [mail, post]}
"""
VERSION = programme(BODY)
TAKEN = Counter[str]()
OFTEN = st.sampled_from((True, True, True, False))


class Town(RuleBasedStateMachine):
    """Members who come, buy, look, say who they are and are forgotten, while time goes on."""

    @initialize()
    def open(self) -> None:
        """Begin."""
        self.engine = Partition(0, {VERSION.hash: VERSION}, 5, opens)
        self.now_us, self.count = BEGIN_US, 0
        self.consents: dict[str, frozenset[str]] = {}
        self.said_us: dict[str, int] = {}
        self.made: dict[str, list[tuple[int, str]]] = {}
        self.ids: set[str] = set()
        self.log: list[tuple[Fact, list[bytes]]] = []
        self._answer(programme_fact(VERSION, RECORDED))
        for member in MEMBERS:
            consents = dict.fromkeys(CHANNELS, True)
            self._say(facts.PROFILE, member, {"consents": consents, "birthday": "1990-01-20"})

    def _answer(self, fact: Fact) -> None:
        answer = self.engine.answer(fact, self.engine.next_offset)
        assert not answer.derived
        values = [encode_decision(decision) for decision in answer.decisions]
        self.log.append((fact, values))
        for notice in (one for value in values for one in parse_decision(value).notices):
            self._look(notice, fact)
        TAKEN["steps"] += 1

    def _look(self, notice: Notice, fact: Fact) -> None:
        TAKEN[notice.reason or notice.state] += 1
        assert notice.id not in self.ids, f"made twice: {notice}"
        self.ids.add(notice.id)
        if notice.state != "made":
            return
        assert notice.channel in self.consents.get(notice.member_id, frozenset()), f"no consent: {notice}"
        assert notice.not_before is not None
        assert notice.expires_at is None or notice.expires_at > notice.not_before, f"stale: {notice}"
        self._limits_hold(notice)
        if notice.source == TIMER_SOURCE:
            TAKEN["by time"] += 1
            assert to_us(notice.occurred_at) <= fact.time_us, f"before its time: {notice}"

    def _say(self, kind: str, member: str, data: dict[str, Any], late_us: int = 0) -> None:
        self.count += 1
        at_us = self.now_us - late_us
        event = {"specversion": "1.0", "id": f"e{self.count}", "source": "urn:shop", "type": kind, "subject": member}
        fact = normalise(orjson.dumps(event | {"time": to_text(at_us), "data": data}), RECORDED, to_us(RECORDED))
        self._answer(PlainVault().seal(fact) if kind == facts.PROFILE else fact)
        # What time brings before a profile is told stands in its decision, by what was said before it.
        if kind == facts.PROFILE and at_us >= self.said_us.get(member, at_us):
            self.said_us[member] = at_us
            self.consents[member] = frozenset(channel for channel, given in data["consents"].items() if given)

    who = st.sampled_from(MEMBERS)
    late = st.sampled_from((0, 0, 0, HOUR_US, 3 * DAY_US))

    @rule(hours=st.sampled_from((1, 6, 24, 72, 24 * 30)))
    def wait(self, hours: int) -> None:
        """Time goes on."""
        self.now_us += hours * HOUR_US

    @rule()
    def tick(self) -> None:
        """Everybody is settled."""
        self._answer(tick_fact(0, self.now_us, RECORDED))

    @rule(member=who, late_us=late, consents=st.fixed_dictionaries(dict.fromkeys(CHANNELS, OFTEN)),
          prefers=st.sampled_from(CHANNELS), day=st.integers(1, 28))  # fmt: skip
    def profile(self, member: str, late_us: int, consents: dict[str, bool], prefers: str, day: int) -> None:
        """Somebody says who he is."""
        data = {"consents": consents, "preferred_channel": prefers, "birthday": f"1990-0{1 + day % 4}-{day:02d}"}
        self._say(facts.PROFILE, member, data, late_us)

    @rule(member=who)
    def forget(self, member: str) -> None:
        """Somebody is forgotten."""
        self.count += 1
        told = {"id": f"e{self.count}", "source": FORGET_SOURCE, "type": facts.FORGET, "subject": member}
        self._answer(make_fact(**told, time_us=self.now_us, recorded_at=RECORDED, data={}))
        self.consents.pop(member, None)
        self.said_us.pop(member, None)

    @rule(member=who, late_us=late)
    def visit(self, member: str, late_us: int) -> None:
        """Somebody comes."""
        self._say(facts.VISIT, member, {"store": f"s{self.count}"}, late_us)

    @rule(member=who, late_us=late, price=st.sampled_from(("5.00", "40.00")))
    def purchase(self, member: str, late_us: int, price: str) -> None:
        """Somebody buys."""
        lines = [{"sku": "mug", "quantity": "1", "unit_price": price}]
        data = {"order_id": f"o{self.count}", "lines": lines, "total": price, "currency": "EUR", "channel": "pos"}
        self._say(facts.PURCHASE, member, data, late_us)

    @rule(member=who)
    def basket(self, member: str) -> None:
        """Somebody leaves a basket."""
        self._say(facts.ACTIVITY, member, {"name": "cart_abandoned", "attributes": {"cart": "c"}})

    @rule(member=who, entered=st.booleans())
    def segment(self, member: str, entered: bool) -> None:
        """Somebody enters a segment, or leaves it."""
        self._say(facts.SEGMENT, member, {"segment": "vip", "entered": entered})

    def _limits_hold(self, notice: Notice) -> None:
        """In no stretch of time of a limit's length are there more than it says, now that this one is there too."""
        told = self.made.setdefault(notice.member_id, [])
        told.append((to_us(notice.not_before or ""), notice.channel or ""))
        for most, within_us, channels in LIMITS:
            times = sorted([at_us for at_us, channel in told if channel in channels])
            for first, beyond in zip(times, times[most:], strict=False):
                assert beyond - first >= within_us, f"{notice}: more than {most} of {set(channels)}: {times}"

    def teardown(self) -> None:
        """The log alone, by somebody who packs everybody after each fact, leads to the same state and the same notices."""
        if not hasattr(self, "log"):
            return
        folded = Partition(0, {VERSION.hash: VERSION}, 2, opens)
        again = Partition(0, {VERSION.hash: VERSION}, 2, opens)
        for fact, values in self.log:
            for value in values:
                folded.recall(fact, parse_decision(value))
            assert [encode_decision(one) for one in again.answer(fact, again.next_offset).decisions] == values
        for key in self.engine.members:
            assert folded.snapshot(key) == self.engine.snapshot(key) == again.snapshot(key), key
        assert folded.next_due_us == self.engine.next_due_us
        ticked = [fact.time_us for fact, _ in self.log if fact.type == facts.TICK]
        assert all(before <= after for before, after in pairwise(ticked))


def machine(runs: int, *, fixed: bool) -> settings:
    """So many histories; ``fixed``: the same every time."""
    return settings(
        max_examples=runs, stateful_step_count=60, deadline=None, derandomize=fixed, database=None, print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )  # fmt: skip


def test_no_notice_without_consent_and_no_limit_broken() -> None:
    """The whole search is `python -m tests.properties --of notices --steps 1000000`."""
    TAKEN.clear()
    run_state_machine_as_test(Town, settings=machine(80, fixed=True))

    assert all(TAKEN[what] for what in ("made", "quiet", "no_consent", "held_out", "expired", "by time")), TAKEN
