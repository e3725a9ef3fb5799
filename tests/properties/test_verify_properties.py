"""Verify over invented histories: what the engine writes is proven, and no single change of a decision goes unseen."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.verify.audit import verify
from tests.properties.profiles import examples
from tests.properties.strategies import Story, stories
from tests.properties.writing import compiled
from tests.unit.written_logs import POINTS_LOG, WrittenLogs

pytestmark = pytest.mark.timeout(1800)


def written(story: Story, partitions: int) -> WrittenLogs:
    """The logs that keepers write for a story."""
    logs = WrittenLogs({compiled(plan).hash: compiled(plan) for plan in story.plans}, partitions)
    logs.tell(story.facts)
    return logs


@examples(0.3)
@given(stories(), st.integers(1, 3))
def test_every_history_is_proven(story: Story, partitions: int) -> None:
    """Given any history, then no promise is found broken (ids shared by members and circles are told as such)."""
    logs = written(story, partitions)

    report = verify(logs, logs.programmes)

    assert report.proven(), report.findings.first
    assert report.compared == report.facts
    assert report.undecided == 0


@examples(0.6)
@given(stories(), st.data())
def test_no_changed_byte_goes_unseen(story: Story, data: st.DataObject) -> None:
    """Given any history, when one byte of one decision is another one and the chain is written anew, then it is found."""
    logs = written(story, 1)
    values = logs.values(0)
    index = data.draw(st.integers(0, len(values) - 1), label="decision")
    at = data.draw(st.integers(0, len(values[index]) - 1), label="byte")
    byte = data.draw(st.integers(0, 255), label="becomes")
    assume(values[index][at] != byte)

    logs.change(0, index, values[index][:at] + bytes([byte]) + values[index][at + 1 :])

    assert not verify(logs, logs.programmes).proven()


@examples(0.6)
@given(stories(), st.data())
def test_no_changed_field_goes_unseen(story: Story, data: st.DataObject) -> None:
    """Given any history, when one field of one decision is gone or another one, in good JSON, then it is found."""
    logs = written(story, 1)
    values = logs.values(0)
    index = data.draw(st.integers(0, len(values) - 1), label="decision")
    raw = orjson.loads(values[index])
    name = data.draw(st.sampled_from(sorted(raw)), label="field")
    if data.draw(st.booleans(), label="gone"):
        del raw[name]
    else:
        raw[name] = data.draw(
            st.sampled_from(["quarantined", "rejected", 7, -1, None, True, [], {}, [[]]]), label="becomes"
        )
    changed = orjson.dumps(raw)
    assume(changed != values[index])

    logs.change(0, index, changed)

    assert not verify(logs, logs.programmes).proven()


@examples(0.3)
@given(stories(), st.data())
def test_no_lost_or_doubled_record_goes_unseen(story: Story, data: st.DataObject) -> None:
    """Given any history, when one decision but the last is gone, or any stands there twice, then it is found."""
    logs = written(story, 1)
    values = logs.values(0)
    index = data.draw(st.integers(0, len(values) - 1), label="decision")
    again = data.draw(st.integers(index, len(values)), label="once more before")
    lost = data.draw(st.booleans(), label="lost") and index < len(values) - 1
    key = logs.topics[POINTS_LOG][0][index].key

    if lost:
        logs.drop(POINTS_LOG, 0, index)
    else:
        log = logs.topics[POINTS_LOG][0]
        log.insert(again, log[index])
        logs.rewrite(0, [record.value or b"" for record in log])
    report = verify(logs, logs.programmes)

    assert not report.proven(), (key, lost)
