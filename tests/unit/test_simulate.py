"""The load maker: the same seed gives the same bytes, events are good ones, and the truth is what a replay finds."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engine.cli import main
from engine.conform.examining import Examination
from engine.ledger.engine_facts import programme_fact
from engine.ledger.partition import Partition
from engine.simulate.chain import Chain, Plan
from rules.book import load_directory
from schemas.normalise import normalise
from schemas.times import DAY_US, to_text, to_us
from tests.unit.gateway_world import TILL

FROM_US = to_us("2026-01-01T00:00:00Z")
PLAN = Plan(members=120, stores=4, from_us=FROM_US, until_us=FROM_US + 90 * DAY_US, seed=7)


def test_the_same_seed_gives_the_same_events() -> None:
    """And another one others."""
    first = list(Chain(PLAN).events())
    assert first == list(Chain(PLAN).events())
    other = Plan(PLAN.members, PLAN.stores, PLAN.from_us, PLAN.until_us, seed=8)
    assert first != list(Chain(other).events())


def test_its_events_hold_and_their_oddities_are_counted() -> None:
    """No error; as many duplicates, repeated orders and anonymous sales as the truth says."""
    chain = Chain(PLAN)
    found = Examination(PLAN.until_us)
    for number, event in enumerate(chain.events()):
        found.take(json.dumps(event).encode(), f"e:{number}")
    found.finish()
    assert found.errors == []
    assert found.events == chain.counts["events"] > 500
    kinds: Counter[str] = Counter({name: one.count for name, one in found.findings.items()})
    assert kinds["duplicate"] <= chain.counts["delivered_twice"]
    assert kinds["order_repeated"] <= chain.counts["order_sent_twice"]
    assert chain.counts["anonymous"] >= kinds["no_subject"] > 0
    assert chain.counts["late"] > 0
    assert kinds["out_of_order"] > 0


def test_the_truth_is_what_the_engine_finds() -> None:
    """Folding the events gives each member the purchases that were drawn, and nobody buys after he stopped."""
    chain = Chain(PLAN)
    versions = {version.hash: version for version in load_directory(TILL)}
    ledger = Partition(0, versions)
    for version in versions.values():
        ledger.answer(programme_fact(version, to_text(FROM_US)), ledger.next_offset)
    last: dict[str, int] = {}
    for event in chain.events():
        fact = normalise(json.dumps(event).encode(), to_text(PLAN.until_us), PLAN.until_us)
        ledger.answer(fact, ledger.next_offset)
        if fact.type.endswith("purchase.v1") and fact.subject:
            last[fact.subject] = max(last.get(fact.subject, 0), fact.time_us)
    whole, *members = chain.truth()
    assert whole["counts"]["purchase"] > 0
    assert any(one["churned"] for one in members)
    exact = 0
    for one in members:
        member = ledger.members.get(one["member"])
        stopped = one["stopped_at"]
        assert stopped is None or last.get(one["member"], 0) <= to_us(stopped)
        # Claims are answered in the order's own partition, which is not played here; what is late may not have arrived.
        assert (0 if member is None else member.orders_counted) <= one["purchases"]
        exact += (0 if member is None else member.orders_counted) == one["purchases"]
    assert exact > len(members) / 2


def simulate(*words: object) -> Result:
    """The command."""
    return CliRunner().invoke(main, ["simulate", *map(str, words)])


def test_the_command_writes_events_and_truth(tmp_path: Path) -> None:
    """A file of events, a file of the truth; one place to write to, and no future."""
    out, truth = tmp_path / "e.jsonl.gz", tmp_path / "t.jsonl"
    made = simulate("--out", out, "--truth", truth, "--members", 50, "--days", 30, "--json")
    assert made.exit_code == 0, made.output
    said: dict[str, Any] = json.loads(made.output)
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    assert lines[0]["counts"] == said["counts"]
    assert len(lines) == 51
    again = CliRunner().invoke(main, ["conform", str(out)])
    assert again.exit_code == 0, again.output
    assert simulate("--members", 5).exit_code == 2
    late = simulate("--bootstrap", "127.0.0.1:1", "--from", "2990-01-01")
    assert (late.exit_code, "refuses the future" in late.output) == (2, True)


@pytest.mark.parametrize("currency", ["EUR", "GBP"])
def test_amounts_are_of_the_currency(currency: str) -> None:
    plan = Plan(10, 1, FROM_US, FROM_US + 30 * DAY_US, currency)
    assert {event["data"]["currency"] for event in Chain(plan).events() if "currency" in event["data"]} == {currency}
