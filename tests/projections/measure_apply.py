"""How many decisions and facts a second `Warehouse.apply` takes; a report, no test: `python -m tests.projections.measure_apply`.

Two-line purchases, 20 a member, one or two entries each, into a file, from Arrow tables in batches of the projector's size.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from projections.projector import BATCH_RECORDS
from projections.warehouse import LOG_SCHEMA, Record, Warehouse
from tests.projections import given

PURCHASES = 100_000
RUNS = 5
# Facts that offline replay hands over in one batch, with as many decisions.
REPLAY_RECORDS = 10_000
COMMIT_RECORDS = 100_000


def purchase(number: int) -> dict[str, Any]:
    """A note of one purchase with its decision."""
    order = f"o{number}"
    line = {"sku": "tea", "category": "goods", "quantity": "6", "unit_price": "2.55", "discount_minor": 0}
    entries = [
        {"entry_id": f"{number:030d}-{rule}", "points": 17, "rule_id": f"rule-{rule}", "order": f"urn:shop|{order}",
         "lines": [[1, 15], [2, 2]]}
        for rule in range(1 + number % 2)
    ]  # fmt: skip
    return {
        "type": "purchase",
        "id": order,
        "subject": f"member-{number // 20}",
        "time": "2026-03-01T10:00:00Z",
        "data": {
            "order_id": order,
            "lines": [{**line, "amount_minor": 1530}, {**line, "sku": "cup", "amount_minor": 1530}],
        },
        "decision": {"entries": entries},
    }


def as_table(records: Sequence[Record]) -> pa.Table:
    """Records as the projector hands them over."""
    columns = zip(zip(*records, strict=True), LOG_SCHEMA.types, strict=True)
    return pa.table([pa.array(column, kind) for column, kind in columns], schema=LOG_SCHEMA)


def measure(facts: pa.Table, decisions: pa.Table) -> tuple[float, float]:
    """(decisions a second, facts a second) of one run into a new file."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Warehouse.open(Path(folder) / "m.duckdb", log_id="measure") as warehouse,
    ):
        began = time.perf_counter()
        for start in range(0, decisions.num_rows, BATCH_RECORDS):
            warehouse.apply((), decisions.slice(start, BATCH_RECORDS))
        middle = time.perf_counter()
        for start in range(0, facts.num_rows, BATCH_RECORDS):
            warehouse.apply(facts.slice(start, BATCH_RECORDS))
        ended = time.perf_counter()
    return decisions.num_rows / (middle - began), facts.num_rows / (ended - middle)


def measure_whole(facts: pa.Table, decisions: pa.Table) -> tuple[float, float]:
    """(microseconds, microseconds of processor time) a fact with its decision costs in large transactions, close included."""
    with tempfile.TemporaryDirectory() as folder:
        began, cpu_began = time.perf_counter(), time.process_time()
        with Warehouse.open(Path(folder) / "m.duckdb", log_id="measure", commit_records=COMMIT_RECORDS) as warehouse:
            for start in range(0, facts.num_rows, REPLAY_RECORDS):
                warehouse.apply(facts.slice(start, REPLAY_RECORDS), decisions.slice(start, REPLAY_RECORDS))
        spent, cpu_spent = time.perf_counter() - began, time.process_time() - cpu_began
    return spent / facts.num_rows * 1e6, cpu_spent / facts.num_rows * 1e6


def main() -> None:
    """Print the medians."""
    facts, decisions = map(as_table, given.records(purchase(number) for number in range(PURCHASES)))
    runs = [measure(facts, decisions) for _ in range(RUNS)]
    decided, recorded = (statistics.median(column) for column in zip(*runs, strict=True))
    both = 1 / (1 / decided + 1 / recorded)
    print(f"{decided:,.0f} decisions/s, {recorded:,.0f} facts/s, {both:,.0f} facts with their decisions/s")
    wall_us, cpu_us = map(statistics.median, zip(*(measure_whole(facts, decisions) for _ in range(RUNS)), strict=True))
    print(
        f"in large transactions, as a replay may: {wall_us:.1f} us a fact with its decision, {cpu_us:.1f} us of processor time"
    )
    print(f"medians of {RUNS} runs of {PURCHASES:,} purchases, batches of {BATCH_RECORDS:,}")


if __name__ == "__main__":
    main()
