"""What holds for every history in which points wait, end, are owed and are spent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ledger.lots import available, open_lots
from engine.ledger.packing import pack, unpack
from engine.verify.books import Books
from schemas import facts
from schemas.decisions import encode_decision, parse_decision
from schemas.envelope import encode_fact, parse_fact
from tests.properties.harness import decisions, flow, partition
from tests.properties.profiles import examples
from tests.properties.spending import spending_stories
from tests.properties.strategies import Story, tick
from tests.properties.test_invariants import told

pytestmark = pytest.mark.timeout(1800)


@examples(2)
@given(spending_stories())
def test_nothing_is_spent_twice(story: Story) -> None:
    """Lots hold the balance and the debt; what can be spent is never below zero, and the log's books say the same."""
    engine, books = partition(story.plans), Books()
    answers = flow(engine, story.facts)
    problems = [
        problem for decision in decisions(answers) for problem in books.take(orjson.loads(encode_decision(decision)))
    ]
    assert problems == []
    for key in engine.members:
        member, account = engine.members[key], books.accounts.get(key)
        left = sum(lot.left for lot in open_lots(member))
        assert left == member.balance + member.debt == sum(member.lots.values())
        assert member.debt >= 0
        assert min([*member.lots.values(), available(member, member.now_us(0))], default=0) >= 0
        if account is not None:
            assert (account.points, account.left) == (member.balance, left)
        again = unpack(key, pack(member))
        assert again == member


@examples(2)
@given(spending_stories(), st.data())
def test_recovery_is_the_fold(story: Story, data: st.DataObject) -> None:
    """State folded from both logs goes on exactly like the state that made them, from any place."""
    live = partition(story.plans)
    answers = flow(live, story.facts)
    place = data.draw(st.integers(0, len(answers)), label="recovered at")
    recovered = partition(story.plans, live_members=2)
    for fact, _, answer in answers[:place]:
        for decision in answer.decisions:
            recovered.recall(parse_fact(encode_fact(fact)), parse_decision(encode_decision(decision)))
    again = [recovered.answer(fact, offset) for fact, offset, _ in answers[place:]]
    assert [a.decisions for a in again] == [a.decisions for _, _, a in answers[place:]]
    assert recovered.next_due_us == live.next_due_us
    for key in live.members:
        assert recovered.members.packed(key) == live.members.packed(key)


@examples(2)
@given(spending_stories(), st.data())
def test_ticks_anywhere(story: Story, data: st.DataObject) -> None:
    """Ticks not later than the next fact change no entry and no tier, wherever they come."""
    horizon = tick(datetime(2045, 1, 1, tzinfo=UTC))
    told_facts = [fact for fact in story.facts if fact.type != facts.TICK]
    ticked = []
    for fact in told_facts:
        if fact.type not in facts.ENGINE_TYPES and data.draw(st.booleans(), label="tick"):
            back = data.draw(st.sampled_from((0, 1, 3600, 86400, 40 * 86400)), label="seconds before")
            ticked.append(tick(datetime.fromisoformat(fact.time) - timedelta(seconds=back)))
        ticked.append(fact)
    plain = decisions(flow(partition(story.plans), [*told_facts, horizon]))
    often = decisions(flow(partition(story.plans), [*ticked, horizon]))
    for member in ("ann", "bob"):
        assert told(often, member) == told(plain, member)
        states = [[s for d in made for s in d.states if s.member_id == member] for made in (often, plain)]
        assert states[0] == states[1]
