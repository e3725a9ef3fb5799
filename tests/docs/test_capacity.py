"""The capacity page's arithmetic is done again from the constants it names, and the sizes among them are measured again.

`python -m tests.docs.test_capacity` prints the table for the page.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from engine.bench import data
from engine.ledger.engine_facts import programme_fact
from engine.ledger.partition import Partition
from schemas.decisions import encode_decision
from schemas.envelope import encode_fact

PAGE = Path(__file__).parents[2] / "docs" / "capacity.md"
MEMBERS = (100_000, 1_000_000, 10_000_000, 100_000_000)
YEAR_S, HOURS, GB = 365 * 86_400, 8_760, 1e9
SAMPLE = 2_000


def constants() -> dict[str, float]:
    """Name -> value, out of the page's two tables."""
    rows = re.findall(r"^\| `(\w+)` \| ([\d.,]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: float(value.replace(",", "")) for name, value in rows}


def row(members: int, given: dict[str, float]) -> str:
    """One line of the capacity table, as the formulas under it say."""
    facts = members * given["facts_per_member_year"]
    mean = facts / YEAR_S
    peak = mean * given["peak_factor"]
    cores = max(2, math.ceil(peak * given["worker_us"] / 1e6 / given["busy_share"]))
    partitions = 12 * max(1, math.ceil(members / given["members_per_partition"] / 12))
    memory = members * given["member_bytes"] * given["memory_headroom"] / GB
    logs = given["fact_bytes"] + given["decision_bytes"] + 2 * given["record_overhead"]
    inbound = (given["event_bytes"] + given["record_overhead"]) * given["inbound_days"] / 365
    kafka = given["copies"] * (facts * (logs + inbound) + members * given["state_bytes"]) / GB
    tables = facts * given["table_bytes"] / GB
    yearly = (cores + 1) * HOURS * given["core_hour"] + memory * 12 * given["memory_month"]
    yearly += (kafka + tables) * 12 * given["disk_month"]
    each = yearly / (facts / 1e6)
    numbers = [f"{members:,}", f"{facts / 1e6:,.1f}", f"{mean:,.1f}", f"{peak:,.0f}", f"{cores}", f"{partitions}"]
    return f"| {' | '.join([*numbers, f'{memory:,.1f}', f'{kafka:,.0f}', f'{tables:,.0f}', f'{each:,.2f}'])} |"


@pytest.mark.parametrize("members", MEMBERS)
def test_every_line_follows_from_the_constants(members: int) -> None:
    """Whoever changes a constant changes the table."""
    assert row(members, constants()) in PAGE.read_text(encoding="utf-8"), row(members, constants())


def test_sizes_are_those_that_the_engine_writes() -> None:
    """Bytes of an event, of its fact, of its decision, and of a member after 20 of them, within 3 %."""
    given = constants()
    ledger, decided = Partition(0, {version.hash: version for version in data.programmes()}), 0
    for offset, version in enumerate(data.programmes()):
        ledger.answer(programme_fact(version, "2026-01-01T00:00:00.000000Z"), offset)
    facts = list(data.facts(data.TWO_LINES, SAMPLE))
    for offset, fact in enumerate(facts, len(data.programmes())):
        decided += sum(len(encode_decision(one)) for one in ledger.answer(fact, offset).decisions)
    states = [len(ledger.snapshot(key)[1]) for key in ledger.members]
    found = {
        "event_bytes": sum(map(len, data.events(data.TWO_LINES, SAMPLE))) / SAMPLE,
        "fact_bytes": sum(len(encode_fact(fact)) for fact in facts) / SAMPLE,
        "decision_bytes": decided / SAMPLE,
        "state_bytes": sum(states) / len(states),
    }
    assert found == pytest.approx({name: given[name] for name in found}, rel=0.03)


if __name__ == "__main__":
    for count in MEMBERS:
        print(row(count, constants()))
