"""What holds for every history: books balance, ticks and repeats change nothing, replay is the same as live."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ledger.partition import Partition
from schemas import facts
from schemas.decisions import Decision, encode_decision, parse_decision
from schemas.envelope import Fact, encode_fact, parse_fact
from tests.properties.harness import decisions, flow, log, partition
from tests.properties.profiles import examples
from tests.properties.strategies import Story, programmes, shop_fact, stories, tick

pytestmark = pytest.mark.timeout(1800)
NO_REFERRALS = ("purchase", "visit", "review", "activity", "joined")
ALONE = ("purchase", "purchase", "refund", "visit", "review", "activity", "joined", "again")


def told(made: list[Decision], member: str | None = None) -> list[object]:
    """Return entries and tier changes, of one member or of all, without positions in the log."""
    moves = [e for d in made for e in d.entries if member in (None, e.member_id)]
    turns = [t for d in made for t in d.tiers if member in (None, t.member_id)]
    return [moves, turns]


@examples(2)
@given(stories())
def test_books_balance(story: Story) -> None:
    """Lots left are never below zero, and sum to the balance, which is the sum of entries."""
    entries = [e for d in decisions(flow(partition(story.plans), story.facts)) for e in d.entries]
    lots: dict[str, int] = {}
    owner: dict[str, str] = {}
    balance: dict[str, int] = defaultdict(int)
    for entry in entries:
        balance[entry.member_id] += entry.points
        if entry.kind == "earn":
            assert entry.points > 0
            lots[entry.entry_id], owner[entry.entry_id] = entry.points, entry.member_id
        for lot, points in entry.burns:
            assert points > 0
            assert owner[lot] == entry.member_id
            lots[lot] -= points
            assert lots[lot] >= 0
        assert sum(points for _, points in entry.burns) == max(0, -entry.points)
        assert sum(points for _, points in entry.lines) in (entry.points, 0)
    for member, points in balance.items():
        assert sum(left for lot, left in lots.items() if owner[lot] == member) == points


@examples(2)
@given(stories())
def test_one_decision_per_fact(story: Story) -> None:
    """Each fact has exactly one decision, in the order of offsets; entry ids are never used twice."""
    answers = flow(partition(story.plans), story.facts)
    assert len(answers) >= len(story.facts)
    for fact, offset, answer in answers:
        assert [d.last for d in answer.decisions] == [False] * (len(answer.decisions) - 1) + [True]
        assert {(d.source, d.fact_id, d.type, d.offset) for d in answer.decisions} == {
            (fact.source, fact.id, fact.type, offset)
        }
        assert (answer.reject is not None) == (answer.decisions[0].outcome in ("rejected", "quarantined"))
    offsets = [offset for _, offset, _ in answers]
    assert offsets == sorted(set(offsets))
    ids = [e.entry_id for d in decisions(answers) for e in d.entries]
    assert len(ids) == len(set(ids))


@examples(1)
@given(stories())
def test_same_facts_same_bytes(story: Story) -> None:
    """The same facts give byte-identical decisions, and deciding changes no fact."""
    before = [encode_fact(fact) for fact in story.facts]
    first = log(flow(partition(story.plans), story.facts))
    assert [encode_fact(fact) for fact in story.facts] == before
    assert log(flow(partition(story.plans), [parse_fact(value) for value in before])) == first


@examples(2)
@given(stories(), st.data())
def test_recovery_is_the_fold(story: Story, data: st.DataObject) -> None:
    """State folded from both logs goes on exactly like the state that made them, from any place."""
    live = partition(story.plans)
    answers = flow(live, story.facts)
    place = data.draw(st.integers(0, len(answers)), label="recovered at")
    recovered = partition(story.plans)
    for fact, _, answer in answers[:place]:
        for decision in answer.decisions:
            recovered.recall(parse_fact(encode_fact(fact)), parse_decision(encode_decision(decision)))
    rest = [fact for fact, _, _ in answers[place:]]
    again = [recovered.answer(fact, offset) for fact, (_, offset, _) in zip(rest, answers[place:], strict=True)]
    assert [a.decisions for a in again] == [a.decisions for _, _, a in answers[place:]]
    assert recovered.next_offset == live.next_offset
    assert recovered.next_due_us == live.next_due_us


def without_engine_facts(answers: list[tuple[Fact, int, object]]) -> list[Fact]:
    """Return the facts without ticks."""
    return [fact for fact, _, _ in answers if fact.type != facts.TICK]


@examples(2)
@given(stories(programmes(laddered=True), ticks=False, known_first=True), st.data())
def test_ticks_anywhere(story: Story, data: st.DataObject) -> None:
    """Ticks not later than the next fact change no entry and no tier, wherever they come."""
    horizon = tick(datetime(2035, 1, 1, tzinfo=UTC))
    ticked: list[Fact] = []
    for fact in story.facts:
        if fact.type not in facts.ENGINE_TYPES and data.draw(st.booleans(), label="tick"):
            back = data.draw(st.sampled_from((0, 1, 3600, 86400, 40 * 86400)), label="seconds before")
            ticked.append(tick(datetime.fromisoformat(fact.time) - timedelta(seconds=back)))
        ticked.append(fact)
    plain = decisions(flow(partition(story.plans), [*story.facts, horizon]))
    often = decisions(flow(partition(story.plans), [*ticked, horizon]))
    for member in ("ann", "bob", "cem"):
        assert told(often, member) == told(plain, member)


@examples(2)
@given(stories(), st.data())
def test_duplicates_change_nothing(story: Story, data: st.DataObject) -> None:
    """Facts delivered again, right away or at the end, are duplicates and move nothing."""
    clean = [f for index, f in enumerate(story.facts) if f.id not in {x.id for x in story.facts[:index]}]
    twice: list[Fact] = []
    for fact in clean:
        twice += [fact, fact] if data.draw(st.booleans(), label="again") else [fact]
    once, doubled = flow(partition(story.plans), clean), flow(partition(story.plans), twice)
    assert told(decisions(doubled)) == told(decisions(once))
    decided = {d.fact_id for d in decisions(once) if d.outcome == "decided" and d.type not in facts.ENGINE_TYPES}
    for fact_id in decided:
        outcomes = [d.outcome for d in decisions(doubled) if d.fact_id == fact_id]
        assert outcomes[0] == "decided"
        assert set(outcomes[1:]) <= {"duplicate"}


@examples(2)
@given(stories(programmes(NO_REFERRALS), ALONE, ticks=False, known_first=True), st.randoms(use_true_random=False))
def test_members_do_not_touch_each_other(story: Story, random: object) -> None:
    """However the facts of several members are interleaved, each gets the same entries and tiers."""
    known = [fact for fact in story.facts if fact.type == facts.PROGRAMME]
    by_key: dict[str | None, list[Fact]] = defaultdict(list)
    for fact in story.facts:
        if fact.type not in facts.ENGINE_TYPES:
            by_key[fact.key].append(fact)
    apart = [fact for mine in by_key.values() for fact in mine]
    mixed = decisions(flow(partition(story.plans), story.facts))
    parted = decisions(flow(partition(story.plans), known + apart))
    for member in by_key:
        assert told(parted, member) == told(mixed, member)


def balance_of(engine: Partition, order: list[Fact]) -> list[int]:
    """Return the balance after each fact."""
    total, after = 0, []
    for fact in order:
        total += sum(e.points for d in decisions(flow(engine, [fact])) for e in d.entries)
        after.append(total)
    return after


def whole_return(fact: Fact, fact_id: str, share: int, at: datetime) -> Fact:
    """Return a refund of one of ``share`` equal parts of every piece of an order."""
    bought = fact.data
    pieces = [
        {"line": n + 1, "sku": None, "quantity": part(line["quantity"], share), "amount_minor": None}
        for n, line in enumerate(bought["lines"])
    ]
    data = {
        "order_source": bought["order_source"], "order_id": bought["order_id"], "lines": pieces, "amount_minor": None,
        "total_minor": None, "currency": bought["currency"], "channel": None, "store": None,
    }  # fmt: skip
    return shop_fact(fact_id, "refund", fact.subject, at, data)


def part(quantity: str, share: int) -> str:
    """Return the first part of a quantity, rounded up to a thousandth, so that the parts reach the whole."""
    thousandths = -(-int(float(quantity) * 1000 + 0.5) // share)
    return f"{thousandths / 1000:g}"


BUYING = stories(programmes(("purchase",), 1), ("purchase",), ("ann",), most=3, ticks=False, known_first=True)


@examples(2)
@given(BUYING, st.integers(1, 3))
def test_everything_returned_leaves_nothing(story: Story, share: int) -> None:
    """Returning every piece of every order, at once or in parts, leaves exactly no points, and never less."""
    engine = partition(story.plans)
    balance = balance_of(engine, story.facts)[-1]
    bought = [fact for fact in story.facts if fact.type == facts.PURCHASE and fact.subject]
    newest = max(datetime.fromisoformat(fact.time) for fact in story.facts)
    returns = [whole_return(fact, f"r{fact.id}-{n}", share, newest) for fact in bought for n in range(share)]
    after = [balance + points for points in balance_of(engine, returns)]
    assert all(points >= 0 for points in after)
    assert not after or after[-1] == 0


@examples(1)
@given(stories())
def test_logs_read_back(story: Story) -> None:
    """What is written to a log reads back as what it was."""
    told = [parse_fact(encode_fact(fact)) for fact in story.facts]
    assert told == story.facts
    for fact, _, answer in flow(partition(story.plans), told):
        assert parse_fact(encode_fact(fact)) == fact
        for decision in answer.decisions:
            assert encode_decision(parse_decision(encode_decision(decision))) == encode_decision(decision)
