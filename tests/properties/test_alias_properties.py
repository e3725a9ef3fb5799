"""What holds of aliases and transfers for every history: a card is its member, nothing is lost and nothing invented."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ledger.packing import pack
from engine.ledger.partition import Partition
from schemas import facts
from schemas.decisions import encode_decision, parse_decision
from schemas.envelope import Fact, encode_fact, make_fact, parse_fact
from schemas.times import from_datetime
from tests.properties.harness import decisions, flow, partition
from tests.properties.profiles import examples
from tests.properties.strategies import RECORDED_AT, SHOP, Story, programme_fact, stories, tick

pytestmark = pytest.mark.timeout(1800)
TWO = ("ann", "bob")
FIRST, LAST = datetime(2015, 1, 1, tzinfo=UTC), datetime(2021, 6, 1, tzinfo=UTC)


def staff(kind: str, subject: str, to: str, at: datetime) -> Fact:
    """A link or a merge."""
    data = {"operator": "op", "reason": "asked", "member" if kind == facts.LINK else "into": to}
    return make_fact(
        id=f"{kind}-{subject}",
        source=SHOP,
        type=kind,
        subject=subject,
        time_us=from_datetime(at),
        recorded_at=RECORDED_AT,
        data=data,
    )


def for_member(fact: Fact, member: str) -> Fact:
    """The same fact, told of another."""
    return make_fact(
        id=fact.id, source=fact.source, type=fact.type, subject=member, time_us=fact.time_us, recorded_at=fact.recorded_at,
        data=fact.data,
    )  # fmt: skip


def answers_of(engine: Partition, story: list[Fact], member: str) -> list[object]:
    """What was decided for a member: outcome, reason, what moved, of facts that shops and the engine told of him."""
    return [
        (d.type, d.fact_id, d.outcome, d.reason, d.entries, d.tiers, d.progress, d.counts, d.counters, d.returned)
        for d in decisions(flow(engine, story))
        if d.member_id == member and d.type not in (facts.LINK, facts.TAKEOVER)
    ]


@examples(1)
@given(stories(members=TWO, known_first=True, ticks=False))
def test_a_card_is_its_member(story: Story) -> None:
    """What comes for a card that was linked in the beginning is decided exactly as if it came for the member."""
    known = [fact for fact in story.facts if fact.type == facts.PROGRAMME]
    rest = [fact for fact in story.facts if fact.type != facts.PROGRAMME]
    linked = [*known, staff(facts.LINK, "bob", "ann", FIRST), *rest]
    # The takeover opens the member's account: without a card, the same fact does.
    opened = [made for made, _, _ in flow(partition(story.plans), linked) if made.type == facts.TAKEOVER]
    direct = [for_member(fact, "ann") if fact.subject == "bob" else fact for fact in rest]
    plain = answers_of(partition(story.plans), [*known, *opened, *direct], "ann")
    assert answers_of(partition(story.plans), linked, "ann") == plain


@examples(2)
@given(stories(members=TWO))
def test_a_merge_loses_and_invents_nothing(story: Story) -> None:
    """The points of both are the member's, every lot keeps its dates; state folded from the logs is the same, byte for byte."""
    engine = partition(story.plans)
    told = flow(engine, [*story.facts, tick(LAST)])
    before = {key: engine.members[key] for key in TWO if key in engine.members}
    balance = sum(member.balance for member in before.values())
    lots = sorted(
        (lot.left, lot.earned_us, lot.expires_us, lot.waits_for)
        for member in before.values()
        for lot in {**{lot.id: lot for lot in member.order_lots()}, **member.lots_apart}.values()
        if lot.left
    )
    told += flow(engine, [staff(facts.MERGE, "bob", "ann", LAST)])
    ann, bob = engine.members["ann"], engine.members["bob"]
    assert (ann.balance, bob.balance) == (balance, 0)
    if all(not member.debt for member in before.values()):
        after = {**{lot.id: lot for lot in ann.order_lots()}, **ann.lots_apart}.values()
        assert sorted((lot.left, lot.earned_us, lot.expires_us, lot.waits_for) for lot in after if lot.left) == lots
    assert sum(ann.lots.values()) - ann.debt == ann.balance
    assert not any(bob.lots.values())
    again = partition(story.plans)
    for fact, _, answer in told:
        for decision in answer.decisions:
            again.recall(parse_fact(encode_fact(fact)), parse_decision(encode_decision(decision)))
    for key in TWO:
        assert pack(again.members[key]) == pack(engine.members[key])


@examples(1)
@given(stories(members=TWO), st.booleans())
def test_after_a_merge_everything_is_found_again(story: Story, directly: bool) -> None:
    """What was delivered before the merge moves nothing when it comes again, for the alias or for the member."""
    engine = partition(story.plans)
    flow(engine, [*story.facts, staff(facts.MERGE, "bob", "ann", LAST)])
    balance = engine.members["ann"].balance
    for fact in story.facts:
        if fact.subject == "bob" and fact.type == facts.PURCHASE:
            flow(engine, [for_member(fact, "ann") if directly else replace(fact)])
    late = [d for d in decisions(flow(engine, [])) if d.entries]
    assert not late
    assert engine.members["ann"].balance == balance


def gift(number: int, sender: str, to: str, points: int, at: datetime) -> Fact:
    """A transfer."""
    return make_fact(
        id=f"gift{number}",
        source=SHOP,
        type=facts.TRANSFER,
        subject=sender,
        time_us=from_datetime(at),
        recorded_at=RECORDED_AT,
        data={"to": to, "points": points},
    )


GIFTS = st.lists(
    st.tuples(st.integers(0, 14), st.permutations((*TWO, "nobody")), st.sampled_from((1, 10, 60))), max_size=6
)


@examples(2)
@given(stories(members=TWO), GIFTS)
def test_transfers_move_points_and_make_none(story: Story, gifts: list[tuple[int, list[str], int]]) -> None:
    """Whatever is given among facts, in the end nothing is reserved, and what one lost another has."""
    plans = [replace(plan, gifts=True) for plan in story.plans]
    told = [fact for fact in story.facts if fact.type != facts.PROGRAMME]
    at = datetime(2016, 1, 1, tzinfo=UTC)
    for number, (place, (first, second, _), points) in enumerate(gifts):
        sender, to = (second, first) if first == "nobody" else (first, second)  # who gives has an account
        at = max([at, *(datetime.fromisoformat(fact.time) for fact in told[:place])])
        told.insert(place, gift(number, sender, to, points, at))
    engine = partition(plans)
    made = decisions(flow(engine, [*map(programme_fact, plans), *told]))
    between = [e for d in made for e in d.entries if e.kind in ("transfer", "restore")]
    assert sum(entry.points for entry in between) == 0
    for key in engine.members:
        member = engine.members[key]
        assert not member.spent
        assert sum(member.lots.values()) - member.debt == member.balance
        assert min(member.lots.values(), default=0) >= 0
    assert "nobody" not in engine.members or engine.members["nobody"].balance == 0
