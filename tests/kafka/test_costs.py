"""Costs on a real Kafka: a bookkeeper's list becomes facts, once, and the tables count with them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.cli import main
from engine.stream.clients import Cluster
from projections.reading import ask_file
from tests.kafka.deployment import Deployment, purchase, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

PROGRAMME = Path(__file__).parent / "programmes" / "money"
LIST = """day,kind,foreseen,amount
2026-02-03,printing,yes,12.00
2026-02-05,goodwill,no,5.50
2026-02-06,printing,yes,-2.00
"""
DECIDED = "from decisions where type = 'stammgast.cost.v1'"
MONEY = {
    "select spent_on::varchar, kind, foreseen, amount_minor from cost_days order by all": [
        ("2026-02-03", "printing", True, 1200),
        ("2026-02-05", "goodwill", False, 550),
        ("2026-02-06", "printing", True, -200),
    ],
    "select foreseen_minor, unforeseen_minor, cost_minor, given_minor from programme_costs_as_of(date '2026-02-28')": [
        (1000, 550, 1550, 160)
    ],
    "select basis, sales_minor, kept, margin_minor, cost_minor, round(roi, 6) from roi_as_of(date '2026-02-28')": [
        ("gross", 16_000, 0.5, 8_000, 1_550, round((8_000 - 1_550) / 1_550, 6))
    ],
    # 160 of the way from 100 to 200 euros, 58 of 89 days
    "select goal_id, value, round(share_of_way, 6), round(share_of_time, 6), state from goal_progress_as_of(date '2026-02-28')": [
        ("more", 16_000, 0.6, round(58 / 89, 6), "behind")
    ],
    "select sum(owed_minor) from liability_in_money": [(160,)],
}


async def test_a_list_of_costs_becomes_facts_once_and_the_tables_count_with_them(
    cluster: Cluster, prefix: str, tmp_path: Path
) -> None:
    """Given sales under a programme with a margin and a goal, when a list of costs is imported and published twice, and once by
    mistake to the shops' topic, then each line is one fact, and cost, return and goal are those of the list."""
    db, events = tmp_path / "t.duckdb", tmp_path / "costs.jsonl"
    (tmp_path / "costs.csv").write_text(LIST, encoding="utf-8")
    await run("import", tmp_path / "costs.csv", "--preset", "costs", "--currency", "EUR", "--out", events)
    told = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    sales = [purchase("p1", "anna", "100.00"), purchase("p2", "ben", "60.00")]
    where = ["--bootstrap", cluster.bootstrap, "--topic-prefix", prefix]
    with Deployment(cluster, prefix, partitions=2, programme=PROGRAMME) as shop:
        worker = shop.start()
        await shop.ready(worker)
        projector = shop.project(db)
        await shop.publish(sales)
        for topic in ("shop-events", "staff-events", "staff-events"):
            await run("publish", events, "--topic", topic, *where)
        await shop.everything_decided([*sales, *told, *told])
        await until("the tables hold every cost", lambda: asyncio.to_thread(_holds, db, DECIDED, 2 * len(told)))
        await until("what came the wrong way is refused", lambda: asyncio.to_thread(_holds, db, "from rejects", 3))
        await until("the tables hold the sales", lambda: asyncio.to_thread(_holds, db, "from purchases", 2))
        await shop.audit()
        projector.end()
        worker.end()

    assert rows(
        db, "select outcome, count(*) from decisions where type = 'stammgast.cost.v1' group by all order by all"
    ) == [
        ("decided", 3),
        ("duplicate", 3),
    ]
    assert rows(db, "select distinct reason from rejects") == [("not_allowed",)]
    for question, answer in MONEY.items():
        assert rows(db, question) == answer, question


async def run(*arguments: object) -> None:
    """Run the command; it must say yes."""
    done = await asyncio.to_thread(CliRunner().invoke, main, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output


def rows(db: Path, question: str) -> list[tuple[object, ...]]:
    """The rows of an answer."""
    return [tuple(row) for row in ask_file(db, question).all_rows()]


def _holds(db: Path, question: str, count: int) -> bool:
    if not db.with_name(f"{db.name}.endpoint").exists():
        return False
    return len(rows(db, question)) == count
