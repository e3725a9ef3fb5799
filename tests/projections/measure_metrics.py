"""How long each metric takes: ``python -m tests.projections.measure_metrics --members 100000 --facts 2000000``.

Prints, for each as-of question, wall and CPU seconds of the slowest of the runs but one in twenty (p95). On a busy machine the
CPU seconds are the ones to compare.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

from projections import sql
from projections.warehouse import Warehouse

SEED = 0.20260302
CALLS = {
    "churn_as_of": "from churn_as_of(date '2025-06-30', 90)",
    "churn_by_as_of": "from churn_by_as_of(date '2025-06-30', 90)",
    "churn_reasons_as_of": "from churn_reasons_as_of(date '2025-06-30', 90)",
    "rfm_as_of": "from rfm_as_of(date '2025-06-30')",
    "balances_as_of": "from balances_as_of(timestamptz '2025-06-30 22:00:00+00')",
    "liability_as_of": "from liability_as_of(timestamptz '2025-06-30 22:00:00+00')",
    "cohorts_as_of": "from cohorts_as_of(date '2025-06-30')",
}


def fill(warehouse: Warehouse, members: int, facts: int) -> None:
    """Put the shop into the tables."""
    text = Path(__file__).with_name("scale.sql").read_text(encoding="utf-8")
    text = text.replace(":members", str(members)).replace(":facts", str(facts))
    warehouse.connection.execute("select setseed($1)", [SEED])
    for part in text.split("-- statement: ")[1:]:
        warehouse.connection.execute(part.partition("\n")[2])


def questions() -> dict[str, str]:
    """Every as-of macro and how it is asked here."""
    asked = dict(CALLS)
    for name in sql.METRICS:
        whole = sql.whole(f"metrics/{name}")
        if f"{name}_as_of(" in whole:
            asked.setdefault(f"{name}_as_of", f"from {name}_as_of(date '2025-06-30')")
        else:
            asked[name] = f"from {name}"
    return asked


def p95(seconds: list[float]) -> float:
    """The smallest that at least 95 of 100 do not exceed."""
    return sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]


def main() -> None:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=100_000)
    parser.add_argument("--facts", type=int, default=2_000_000)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    with Warehouse.open(":memory:", log_id="scale", threads=2) as warehouse:
        fill(warehouse, chosen.members, chosen.facts)
        print(f"{chosen.members:,} members, {chosen.facts:,} facts, seed {SEED}, p95 of {chosen.runs} runs")
        print(f"{'question':28} {'wall s':>8} {'CPU s':>8} {'rows':>10}")
        for name, question in questions().items():
            wall, cpu, rows = [], [], 0
            for _ in range(chosen.runs):
                began, used = time.perf_counter(), time.process_time()
                rows = len(warehouse.connection.execute(question).to_arrow_table())
                wall.append(time.perf_counter() - began)
                cpu.append(time.process_time() - used)
            print(f"{name:28} {p95(wall):8.2f} {p95(cpu):8.2f} {rows:10,}", flush=True)


if __name__ == "__main__":
    main()
