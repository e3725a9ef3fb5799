"""A log of older versions gives the decisions that it gave when it was new, byte for byte, and goes on with newer facts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest

from engine.ledger.partition import Partition
from rules.book import load_directory
from schemas import facts
from schemas.decisions import encode_decision
from schemas.envelope import encode_fact, parse_fact
from schemas.normalise import normalise
from schemas.times import to_us
from schemas.upcasting import UPCASTERS, current
from tests.golden.test_golden import HERE, NOW, fact_bytes

REPLAY = HERE / "replay"
LOGS = sorted(path.name.removesuffix(".facts.jsonl") for path in REPLAY.glob("*.facts.jsonl"))


def partition() -> Partition:
    """An empty one that has the programme of these logs at hand."""
    return Partition(0, {version.hash: version for version in load_directory(REPLAY)})


def decided(part: Partition, record: bytes) -> list[bytes]:
    """The decisions on one record of `facts`, as the log has them."""
    return [encode_decision(one) for one in part.answer(parse_fact(record), part.next_offset).decisions]


@pytest.mark.parametrize("name", LOGS)
def test_an_old_log_gives_the_decisions_it_gave(name: str) -> None:
    """Written by the engine before its types had newer versions: with duplicates, a reused id, an alias, a tick."""
    part = partition()
    records = (REPLAY / f"{name}.facts.jsonl").read_bytes().splitlines()
    fresh = [decision for record in records for decision in decided(part, record)]
    assert fresh == (REPLAY / f"{name}.decisions.jsonl").read_bytes().splitlines()


@pytest.mark.parametrize("name", LOGS)
def test_an_old_log_is_recalled_from_its_decisions(name: str) -> None:
    """A worker that starts anew folds it to the same states as one that decided it."""
    one, other = partition(), partition()
    records = (REPLAY / f"{name}.facts.jsonl").read_bytes().splitlines()
    for record in records:
        fact = parse_fact(record)
        for decision in one.answer(fact, one.next_offset).decisions:
            other.recall(fact, decision)
    for key in ("anna", "card-7"):
        assert one.snapshot(key) == other.snapshot(key)


def test_every_older_version_has_its_log() -> None:
    """A new upcaster needs a log of the version that it retires, written before it."""
    assert {f"stammgast.{name}" for name in LOGS} == set(UPCASTERS)


@pytest.mark.parametrize("kind", sorted(UPCASTERS))
def test_a_step_leads_to_the_newest_version(kind: str) -> None:
    """Its data has the fields of the newest form and no others; identity and hash stay; the golden fact stays as it was."""
    fact = parse_fact(fact_bytes(HERE / f"{kind}.json"))
    before = encode_fact(fact)
    newest = current(fact)
    assert newest.type not in UPCASTERS
    assert set(newest.data) == set(facts.FORMS[newest.type].__annotations__)
    assert facts.short_name(newest.type) == facts.short_name(kind)
    assert (newest.id, newest.source, newest.body_hash, newest.time_us) == (
        fact.id, fact.source, fact.body_hash, fact.time_us)  # fmt: skip
    assert encode_fact(fact) == before
    assert current(newest) is newest


def test_old_and_new_publishers_side_by_side() -> None:
    """Both versions count as the same thing: a visit is continued across them, and a copy of an old event is still a copy."""
    part = partition()
    programme = (REPLAY / "visit.v1.facts.jsonl").read_bytes().splitlines()[0]
    decided(part, programme)

    def told(version: int, event_id: str, time: str, data: Mapping[str, object]) -> tuple[str, str | None]:
        event = {
            "specversion": "1.0", "id": event_id, "source": "urn:door", "type": f"stammgast.visit.v{version}",
            "subject": "anna", "time": time, "data": data,
        }  # fmt: skip
        record = encode_fact(normalise(orjson.dumps(event), NOW, to_us(NOW)))
        (decision,) = decided(part, record)
        said = json.loads(decision)
        return said["outcome"], said["reason"]

    assert told(1, "a", "2026-03-01T10:00:00Z", {"store": "mitte", "dwell_seconds": 60}) == ("decided", None)
    later = {"store": "mitte", "left": "2026-03-01T10:20:00Z", "seen_by": "beacon"}
    assert told(2, "b", "2026-03-01T10:10:00Z", later) == ("decided", "same_visit")
    assert told(2, "c", "2026-03-01T18:00:00Z", {"store": "mitte"}) == ("decided", None)
    assert told(1, "a", "2026-03-01T10:00:00Z", {"store": "mitte", "dwell_seconds": 60}) == ("duplicate", None)
    # Whoever sends what he sent already in the new version has to give it a new id: it is another event.
    assert told(2, "a", "2026-03-01T10:00:00Z", {"store": "mitte"}) == ("rejected", "id_reused")


def test_the_logs_are_there() -> None:
    """Nobody took them away."""
    assert Path(REPLAY / "visit.v1.facts.jsonl").stat().st_size > 4_000
