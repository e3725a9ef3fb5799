"""Snapshots only shorten the fold: whatever was snapshotted when, the state goes on as if nothing had been."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from engine.ledger.packing import pack, unpack
from engine.ledger.partition import Answer, Partition
from schemas.decisions import encode_decision, parse_decision
from schemas.envelope import Fact, encode_fact, parse_fact
from tests.properties.harness import flow, log, partition
from tests.properties.profiles import examples
from tests.properties.strategies import Story, stories

Answers = Sequence[tuple[Fact, int, Answer]]
FEW = 2


def states(engine: Partition) -> dict[str, bytes]:
    """Every member's packed state."""
    return {key: engine.snapshot(key)[1] for key in engine.members}


def recall(engine: Partition, answers: Answers) -> None:
    """Fold decisions as recovery reads them out of the logs; what tells a member's change comes joined."""
    for fact, _, answer in answers:
        for decision in answer.decisions:
            engine.recall(parse_fact(encode_fact(fact)), parse_decision(encode_decision(decision)))


def answer_again(engine: Partition, answers: Answers) -> Answers:
    """Hand the same facts to another engine, at the same offsets."""
    return [(fact, offset, engine.answer(fact, offset)) for fact, offset, _ in answers]


@dataclass
class Saved:
    """What a keeper wrote down: an outline once, and of each member the newest snapshot."""

    outline: str = "{}"
    members: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    def checkpoint(self, engine: Partition) -> None:
        """Everybody who changed, and the outline of this moment."""
        self.take(engine, engine.changed())
        self.outline = json.dumps(engine.outline())

    def take(self, engine: Partition, keys: Sequence[str]) -> None:
        """Only members, ahead of the next checkpoint."""
        self.members |= {key: engine.snapshot(key) for key in keys}

    def restored(self, story: Story, live_members: int) -> Partition:
        """Another worker's partition, from what was written down."""
        engine = partition(story.plans, live_members)
        engine.restore_outline(json.loads(self.outline))
        for key, (offset, packed) in self.members.items():
            engine.restore(key, offset, packed)
        return engine


@examples(1)
@given(stories(), st.data())
def test_a_restored_partition_goes_on_as_if_it_had_never_stopped(story: Story, data: st.DataObject) -> None:
    """Given snapshots of any moments from a checkpoint on, when decisions from before it on are recalled, then all is as live."""
    live = partition(story.plans)
    answers = flow(live, story.facts)
    checkpoint, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(answers))] * 2), label="checkpoint, stop"))
    overlap = data.draw(st.integers(0, checkpoint), label="recalled from")
    keeper, saved = partition(story.plans, FEW), Saved()
    saved.checkpoint(keeper)
    for place, (fact, offset, _) in enumerate(answers[:stop], 1):
        keeper.answer(fact, offset)
        if place == checkpoint:
            saved.checkpoint(keeper)
        elif place > checkpoint and data.draw(st.booleans(), label="snapshots ahead"):
            saved.take(keeper, keeper.changed()[:1])

    restored = saved.restored(story, data.draw(st.sampled_from((FEW, 5_000)), label="live members"))
    recall(restored, answers[overlap:stop])
    again = answer_again(restored, answers[stop:])

    assert log(again) == log(answers[stop:])
    assert states(restored) == states(live)
    assert restored.outline() == live.outline()
    assert restored.next_due_us == live.next_due_us


@examples(1)
@given(stories())
def test_few_live_members_decide_as_many_do(story: Story) -> None:
    """Given room for two objects only, when members come and go, then every answer and state is the same."""
    roomy, narrow = partition(story.plans), partition(story.plans, FEW)
    answers = flow(roomy, story.facts)

    assert log(answer_again(narrow, answers)) == log(answers)
    assert narrow.members.live <= FEW
    assert states(narrow) == states(roomy)
    assert list(narrow.members) == list(roomy.members)


@examples(1)
@given(stories())
def test_a_packed_member_unpacks_to_himself(story: Story) -> None:
    """Given any state, when it is packed, unpacked and packed again, then the bytes are the same."""
    engine = partition(story.plans)
    flow(engine, story.facts)

    for key, packed in states(engine).items():
        assert pack(unpack(key, packed)) == packed
        assert unpack(key, packed) == engine.members[key]


@examples(1)
@given(stories(), st.data())
def test_who_changed_is_told_once(story: Story, data: st.DataObject) -> None:
    """Given snapshots of only those who changed, when they are put together, then they are the state of everybody."""
    engine, kept = partition(story.plans), dict[str, bytes]()
    for fact in story.facts:
        flow(engine, [fact])
        if data.draw(st.booleans(), label="a snapshot"):
            kept |= {key: engine.snapshot(key)[1] for key in engine.changed()}
    kept |= {key: engine.snapshot(key)[1] for key in engine.changed()}

    assert kept == states(engine)
    assert engine.changed() == []
