"""Cards, merged accounts, claims, stock, codes, given rewards, reinstated points, profiles and challenges, all at once.

`tests.properties.street` says in the plainest words what should come of it; after every fact the two are compared: outcome and
reason, every movement of points, lots with their dates, debts, and what became of each reward. At the end the log alone must
lead to the same state.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from engine.ledger.engine_facts import programme_fact, tick_fact
from engine.ledger.lots import open_lots
from engine.ledger.member import CODE, GIVEN
from engine.ledger.packing import pack, unpack
from engine.ledger.partition import Partition
from schemas import facts
from schemas.decisions import Decision, encode_decision, parse_decision
from schemas.envelope import Fact, encode_fact, parse_fact
from schemas.normalise import normalise
from schemas.times import from_datetime, to_us
from tests.properties.street import ENDED, Street
from tests.simulation.profiles import PlainVault, opens
from tests.unit.ledger import RECORDED, programme

pytestmark = pytest.mark.timeout(1800)
BODY = """
claim: {within: 30 days}
points: {negative_balance: allow, expire: {after: 30 days}}
earn:
  - {id: spend, on: purchase, award: {points: 1, per: 1.00 EUR}}
  - {id: third, on: purchase, when: {every_nth: {n: 3}}, reward: coffee, cap: {times: 2}}
  - {id: large, on: purchase, when: {amount: {at_least: 40.00 EUR}}, reward: bag, cap: {times: 1, every: month}}
  - {id: come, on: visit, award: {points: 3}, cap: {times: 2, every: day}}
  - {id: north, on: visit, when: {profile: {region: north}}, award: {points: 2}}
challenges:
  - {id: week, on: visit, need: 3, window: {every: week}, then: {points: 7}}
rewards:
  - {id: coffee, cost: 6}
  - {id: cake, cost: 8, valid_for: 10 days}
  - {id: bag, cost: 10, valid_for: 15 days, stock: 2 per month}
  - {id: spring, cost: 5, valid_for: 20 days, voucher: {value: 5.00 EUR, codes: [SPRING-1, SPRING-2]}}
"""
VERSION = programme(BODY)
SHOP = "urn:shop"
BEGIN = datetime(2026, 1, 5, 8, tzinfo=UTC)
#: Behind this a fact might be too late to be told from a repetition: that is another machine's subject.
LAST = BEGIN + timedelta(days=390)
KEYS = ("ann", "bob", "card", "app")
STEPS_PER_RUN = 60
TAKEN = Counter[str]()
STAFF = {"operator": "op-1", "reason": "asked_for_it"}
TYPES = {
    "purchase": facts.PURCHASE,
    "refund": facts.REFUND,
    "visit": facts.VISIT,
    "profile": facts.PROFILE,
    "adjustment": facts.ADJUSTMENT,
    "redemption": facts.REDEMPTION,
    "redemption_cancelled": facts.REDEMPTION_CANCELLED,
    "redemption_fulfilled": facts.REDEMPTION_FULFILLED,
    "claim": facts.CLAIM,
}

#: What the fixed histories must have met, or they would show less than they say.
MUST_BE = (
    "claim decided", "claim claimed_by_another", "claim order_already_counted", "claim unknown_order",
    "merge decided", "merge own_alias", "transfer merge", "transfer link", "forwarded",
    "visit duplicate", "refund unknown_order", "redemption_cancelled decided", "redemption_fulfilled decided",
    "refused by its stock", "code", "given", "earn challenge:week", "earn north", "clawback spend", "expire expiry",
    "profile older_than_known",
)  # fmt: skip


class Corner(RuleBasedStateMachine):
    """Anything that may happen on the street."""

    @initialize()
    def opens(self) -> None:
        """Begin."""
        self.engine, self.street = Partition(0, {VERSION.hash: VERSION}, 3, opens), Street()
        self.now, self.count = BEGIN, 0
        self.log: list[tuple[Fact, Decision]] = []
        self.orders: list[tuple[str | None, str, int]] = []
        self.names: dict[str, str] = {}  # of redemptions: ours, and the engine's
        self.expired: dict[str, list[str]] = {}
        self.sent: list[tuple[str | None, str, str, datetime, dict[str, Any], Fact]] = []
        self._flow(programme_fact(VERSION, RECORDED))

    def _flow(self, fact: Fact) -> list[tuple[Fact, Decision]]:
        """Answer a fact and everything that follows from it."""
        heard, waiting = [], [fact]
        while waiting:
            one = waiting.pop(0)
            answer = self.engine.answer(one, self.engine.next_offset)
            heard += [(one, decision) for decision in answer.decisions]
            waiting += answer.derived
        self.log += heard
        TAKEN["steps"] += 1
        return heard

    def _say(self, key: str | None, kind: str, data: dict[str, Any], said: dict[str, Any], late: timedelta) -> None:
        """Tell both of something: ``said`` is how an event says what ``data`` says plainly."""
        self.count += 1
        fact_id = f"e{self.count}"
        # No two at one moment: of lots that are equal in everything, ids would say which goes first.
        at = max(BEGIN, self.now - late) + timedelta(seconds=self.count)
        full = facts.MERGE if said.get("into") else facts.LINK if said.get("member") else TYPES[kind]
        event = {"specversion": "1.0", "id": fact_id, "source": SHOP, "type": full, "subject": key}
        fact = normalise(orjson.dumps(event | {"time": at.isoformat(), "data": said}), RECORDED, to_us(RECORDED))
        fact = PlainVault().seal(fact) if kind == "profile" else fact
        self.sent.append((key, kind, fact_id, at, data, fact))
        self._hear(*self.sent[-1])

    def _hear(self, key: str | None, kind: str, fact_id: str, at: datetime, data: dict[str, Any], fact: Fact) -> None:
        expected = self.street.hear(key, kind, fact_id, at, data)
        heard = self._flow(fact)
        last = [d for f, d in heard if (f.source, f.id) == (fact.source, fact.id)][-1]
        answered = [d.reason for f, d in heard if f.type == facts.CLAIM_ANSWERED]
        found = (last.outcome, last.reason or (answered[0] if answered else None))
        assert found == expected, f"{kind} of {key}: {found}, expected {expected}"
        TAKEN[f"{kind} {expected[1] or expected[0]}"] += 1
        TAKEN["forwarded"] += any(decision.outcome == "forwarded" for _, decision in heard)
        self._compare(kind, heard)

    def _compare(self, kind: str, heard: list[tuple[Fact, Decision]]) -> None:
        entries = [entry for _, decision in heard for entry in decision.entries]
        moved = gathered(kind, [(entry.member_id, entry.kind, entry.points) for entry in entries])
        expected = gathered(kind, self.street.moves)
        assert moved == expected, f"{kind}: {moved}, expected {expected}"
        for entry in entries:
            TAKEN[f"{entry.kind} {entry.rule_id}"] += 1
            if entry.kind == "expire":
                self.expired.setdefault(entry.member_id, []).append(entry.entry_id)
        self._name_gifts(heard)
        for key, drawer in self.street.drawers.items():
            member = self.engine.members[key]
            root = self.street.alias.get(key)
            assert member.alias_of == root, f"{key} is {member.alias_of}, expected {root}"
            lots, plain = Counter[Any](), Counter[Any]()
            for lot in open_lots(member):
                lots[lot.earned_us, lot.expires_us] += lot.left
            for one in drawer.open():
                plain[from_datetime(one.earned), one.ends and from_datetime(one.ends)] += one.left
            assert lots == plain, f"lots of {key} after {kind}: {lots}, expected {plain}"
            assert (member.debt, member.balance) == (drawer.debt, sum(lots.values()) - drawer.debt), key
            states = {name: spent.state for name, spent in member.spent.items()}
            for asked in drawer.asked.values():
                if asked.state in ("granted", "fulfilled"):
                    state = states.get(self.names[asked.name])
                    assert state == asked.state, f"{asked.name} of {key} after {kind}: {state}, expected {asked.state}"
            assert unpack(key, pack(member)) == member

    def _name_gifts(self, heard: list[tuple[Fact, Decision]]) -> None:
        """Learn what the engine calls the rewards that it gave."""
        states = [state for _, decision in heard for state in decision.states]
        TAKEN["refused by its stock"] += sum(state.state == "refused" for state in states)
        TAKEN["code"] += sum(state.what == CODE for state in states)
        for state in [state for state in states if state.what == GIVEN]:
            TAKEN["given"] += 1
            reward = state.state.split("|")[0]
            asked = [one for drawer in self.street.drawers.values() for one in drawer.asked.values()]
            unnamed = [one for one in asked if one.reward == reward and one.name not in self.names]
            assert unnamed, f"{reward} was given, none was expected"
            self.names[unnamed[0].name] = state.id

    who = st.sampled_from(KEYS)
    late = st.sampled_from((*[timedelta(0)] * 5, timedelta(hours=1), timedelta(days=3), timedelta(days=40)))

    @rule(hours=st.sampled_from((1, 5, 24, 24, 72, 200, 400)))
    def wait(self, hours: int) -> None:
        """Time goes on."""
        self.now = min(LAST, self.now + timedelta(hours=hours))

    @rule()
    def tick(self) -> None:
        """Everybody is settled."""
        self.street.moves = []
        self.count += 1
        at = self.now + timedelta(seconds=self.count)
        self.street.tick(at)
        self._compare("tick", self._flow(tick_fact(0, from_datetime(at), RECORDED)))

    @rule(key=st.sampled_from((*KEYS, *KEYS, None, None)), minor=st.sampled_from((50, 700, 1250, 4000, 9900)), late=late,
          again=st.integers(0, 9), codes=st.sampled_from(((), (), ("SPRING-1",), ("SPRING-2", "SPRING-1"))))  # fmt: skip
    def buy(self, key: str | None, minor: int, late: timedelta, again: int, codes: tuple[str, ...]) -> None:
        """Somebody buys, with a card or without; rarely an order is told twice, or after what came back of it."""
        name = f"o{len(self.orders)}"
        if again < 2 and self.orders:
            _, name, minor = self.orders[-1 - again % len(self.orders)]
        self.orders.append((key, name, minor))
        codes = codes if minor >= 700 else ()
        self._say(key, "purchase", {"order": name, "minor": minor, "codes": codes}, purchase(name, minor, codes), late)

    @rule(key=st.sampled_from((*KEYS, None)), place=st.integers(0, 5), part=st.sampled_from((1, 3, 2)), late=late,
          own=st.integers(0, 4), ahead=st.integers(0, 12))  # fmt: skip
    def bring_back(self, key: str | None, place: int, part: int, late: timedelta, own: int, ahead: int) -> None:
        """Goods come back: with the card that bought them or with another, or before they were bought."""
        if not self.orders:
            return
        buyer, name, minor = self.orders[-1 - place % len(self.orders)]
        name, minor = (f"o{len(self.orders)}", 700) if ahead == 0 else (name, minor)
        key, minor = buyer if own else key, max(1, minor // part)
        said = {"order_id": name, "currency": "EUR", "amount": euros(minor)}
        self._say(key, "refund", {"order": name, "minor": minor}, said, late)

    @rule(key=who, late=late)
    def visit(self, key: str, late: timedelta) -> None:
        """Somebody comes."""
        self._say(key, "visit", {}, {"store": f"s{self.count}"}, late)

    @rule(key=who, region=st.sampled_from(("north", "south", None)), late=late)
    def profile(self, key: str, region: str | None, late: timedelta) -> None:
        """Somebody says where he lives."""
        self._say(key, "profile", {"region": region}, {"region": region} if region else {}, late)

    @rule(key=who, points=st.sampled_from((4, 12, 30, -3, -25)), late=late)
    def adjust(self, key: str, points: int, late: timedelta) -> None:
        """Staff gives or takes."""
        self._say(key, "adjustment", {"points": points}, STAFF | {"points": points}, late)

    @rule(key=who, number=st.integers(0, 3))
    def reinstate(self, key: str, number: int) -> None:
        """Staff gives back what time took."""
        key = next((other for other in self.expired if other not in self.street.alias), key)
        ended = self.expired.get(key, [])
        if not ended:
            return
        place = (len(ended) - 1 - number) % len(ended)
        data = {"points": None, "entry": place}
        self._say(key, "adjustment", data, STAFF | {"reinstate": ended[place]}, timedelta(0))

    @rule(key=who, reward=st.sampled_from(("coffee", "cake", "bag", "bag", "spring", "spring")), late=late)
    def redeem(self, key: str, reward: str, late: timedelta) -> None:
        """Somebody wants a reward."""
        self.names[f"e{self.count + 1}"] = f"{SHOP}|e{self.count + 1}"
        self._say(key, "redemption", {"reward": reward}, {"reward": reward}, late)

    @rule(
        key=who,
        place=st.integers(0, 3),
        own=st.integers(0, 5),
        how=st.sampled_from(("cancelled", "fulfilled")),
        late=late,
    )
    def end_redemption(self, key: str, place: int, own: int, how: str, late: timedelta) -> None:
        """A reward is handed over, or taken back: mostly one that the member has."""
        drawer = self.street.drawers.get(self.street.root(key))
        mine = [one.name for one in drawer.asked.values()] if drawer is not None and own else list(self.names)
        if not mine:
            return
        name = mine[-1 - place % len(mine)]
        source, _, fact_id = self.names[name].partition("|")
        said = {"redemption": fact_id, "redemption_source": source}
        self._say(key, f"redemption_{how}", {"redemption": name}, said, late)

    @rule(key=who, place=st.integers(0, 5), late=late)
    def claim(self, key: str, place: int, late: timedelta) -> None:
        """A receipt is scanned, mostly of a sale to nobody."""
        sold = [name for buyer, name, _ in self.orders if buyer is None] or ["o0"]
        name = sold[-1 - place % len(sold)]
        self._say(key, "claim", {"order": name}, {"order_id": name, "order_source": SHOP}, late)

    @rule(
        key=who, into=st.sampled_from((*KEYS, "new")), how=st.sampled_from(("member", "into")), rarely=st.integers(0, 3)
    )
    def merge(self, key: str, into: str, how: str, rarely: int) -> None:
        """A key becomes somebody's."""
        if rarely == 0:
            self._say(key, "merge", {"into": into}, STAFF | {how: into}, timedelta(0))

    @rule(place=st.integers(0, 20))
    def again(self, place: int) -> None:
        """Something is delivered twice."""
        if self.sent:
            self._hear(*self.sent[-1 - place % len(self.sent)])

    def teardown(self) -> None:
        """The log alone leads to the same state."""
        if not hasattr(self, "log"):
            return
        TAKEN["ended"] += sum(
            one.state in ENDED for drawer in self.street.drawers.values() for one in drawer.asked.values()
        )
        folded = Partition(0, {VERSION.hash: VERSION}, 2, opens)
        for fact, decision in self.log:
            folded.recall(parse_fact(encode_fact(fact)), parse_decision(encode_decision(decision)))
        for key in self.engine.members:
            assert folded.members.packed(key) == self.engine.members.packed(key), key


def gathered(kind: str, moves: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """Movements in an order to be compared. What comes back of what an alias had spent is one with what moved over, where
    something had; else it is a lot of its own, kind `transfer`: how much comes back is all that plain words say."""
    if kind == "merge":
        return sorted(moves)
    back = Counter[str]()
    for member, what, points in moves:
        back[member] += points if what in ("restore", "transfer") else 0
    others = [move for move in moves if move[1] not in ("restore", "transfer")]
    return sorted([*others, *[(member, "restore", points) for member, points in back.items() if points]])


def euros(minor: int) -> str:
    """An amount as events have it."""
    return f"{minor // 100}.{minor % 100:02d}"


def purchase(name: str, minor: int, codes: tuple[str, ...]) -> dict[str, Any]:
    """An order of one line, as an event says it."""
    lines = [{"sku": "mug", "quantity": "1", "unit_price": euros(minor)}]
    said: dict[str, Any] = {
        "order_id": name,
        "lines": lines,
        "total": euros(minor),
        "currency": "EUR",
        "channel": "pos",
    }
    return said | ({"payment": {"voucher": "5.00", "vouchers": list(codes)}} if codes else {})


def machine(runs: int, *, fixed: bool) -> settings:
    """So many histories; ``fixed``: the same every time."""
    return settings(
        max_examples=runs, stateful_step_count=STEPS_PER_RUN, deadline=None, derandomize=fixed, database=None,
        print_blob=True, suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def test_the_street_is_as_plain_words_say() -> None:
    """The whole search is `python -m tests.properties --of street --steps 1000000`."""
    TAKEN.clear()
    run_state_machine_as_test(Corner, settings=machine(300, fixed=True))

    assert all(TAKEN[what] for what in MUST_BE), {what: TAKEN[what] for what in MUST_BE}
