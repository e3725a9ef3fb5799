"""The table `tiers` tells of every member what the ledger's own outlook tells: two ways to one answer."""

from __future__ import annotations

from hypothesis import given as invented

from engine.ledger.outlook import outlook
from engine.ledger.partition import Partition
from projections.warehouse import Record, Warehouse
from schemas.decisions import encode_decision
from schemas.envelope import encode_fact
from schemas.times import DAY_US, to_datetime
from tests.projections.given import RECORDED_MS, rows
from tests.properties.harness import flow, partition
from tests.properties.profiles import examples
from tests.properties.strategies import Story, programmes, stories, tick
from tests.properties.test_model_agrees import CLIMBING

CLIMBS = stories(
    programmes(("purchase", "visit"), 2, True), CLIMBING, ("ann", "bob"), 16, known_first=True, ticks=False
)
COLUMNS = ("until", "projected", "progress", "next_tier", "to_next", "to_stay", "benefits")


def built(story: Story, engine: Partition) -> Warehouse:
    """A warehouse of the story's logs, settled to a day after its newest fact."""
    newest = max((fact.time_us for fact in story.facts), default=0)
    answers = flow(engine, [*story.facts, tick(to_datetime(newest + DAY_US))])
    facts = [Record(0, offset, RECORDED_MS, encode_fact(fact)) for fact, offset, _ in answers]
    decisions = [decision for _, _, answer in answers for decision in answer.decisions]
    opened = Warehouse.open(":memory:", log_id="test", threads=1)
    opened.apply(facts, [Record(0, at, RECORDED_MS, encode_decision(d)) for at, d in enumerate(decisions)], [])
    return opened


@examples(0.5)
@invented(CLIMBS)
def test_tables_tell_what_the_ledger_tells(story: Story) -> None:
    """Any history of tiers: progress, what is missing to stay and to rise, in every window."""
    engine = partition(story.plans)
    with built(story, engine) as warehouse:
        told = {row["member_id"]: row for row in rows(warehouse, "from tiers")}
        assert warehouse.broken_invariants() == []
    assert engine.newest_us is not None
    version = engine.book.at(engine.newest_us)
    assert version is not None
    for key in ("ann", "bob"):
        seen = outlook(engine.members[key], version, engine.newest_us) if key in engine.members else None
        assert (seen is None) == (key not in told)
        if seen is not None:
            until = None if seen.until_us is None else to_datetime(seen.until_us).isoformat().replace("+00:00", "Z")
            expected = (until, *seen[3:-1], list(seen.benefits))
            assert tuple(told[key][name] for name in COLUMNS) == expected
