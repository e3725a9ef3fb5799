"""What one more day costs against the size of history: ``python -m tests.projections.measure_day FILE...``, a report, no test.

Applies 27,000 purchases with their decisions, and 100,000 decisions alone, to a copy of each file in batches of the projector's
size; half the buyers are members that `scale.sql` made. First comes an empty file.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from projections.projector import BATCH_RECORDS
from projections.warehouse import Warehouse
from tests.projections import given
from tests.projections.measure_apply import as_table, purchase

DAY, MANY = 27_000, 100_000
# The files' own rows stand in partitions 0 to 11.
PARTITIONS = 20, 21


def batches(count: int, partition: int) -> tuple[pa.Table, pa.Table]:
    """(facts, decisions) of so many purchases in a partition that has none yet."""
    notes = [purchase(partition * 1_000_000 + number) for number in range(count)]
    for number, note in enumerate(notes):
        if number % 2:
            note["subject"] = f"m{number * 7 % 100_000}"
    facts, decisions = given.records(notes, partition=partition)
    return as_table(facts), as_table(decisions)


def taken(what: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU) seconds of something."""
    began, used = time.perf_counter(), time.process_time()
    what()
    return time.perf_counter() - began, time.process_time() - used


def measure(file: Path | None, day: tuple[pa.Table, pa.Table], many: tuple[pa.Table, pa.Table], runs: int) -> None:
    """Print what a copy of a file, or an empty one, takes."""
    days, alone, opened = [], [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy.duckdb"
            if file is not None:
                shutil.copyfile(file, copy)
            began = time.process_time()
            with Warehouse.open(copy, log_id="scale", threads=2) as warehouse:
                opened.append(time.process_time() - began)

                def apply(facts: pa.Table, decisions: pa.Table, to: Warehouse = warehouse) -> None:
                    for start in range(0, decisions.num_rows, BATCH_RECORDS):
                        to.apply(facts.slice(start, BATCH_RECORDS), decisions.slice(start, BATCH_RECORDS))

                days.append(taken(lambda: apply(*day)))
                alone.append(taken(lambda: apply(many[0].slice(0, 0), many[1])))
    middle = runs // 2
    day_wall, day_cpu = (sorted(column)[middle] for column in zip(*days, strict=True))
    wall, cpu = (sorted(column)[middle] for column in zip(*alone, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    name, size = (file.name, file.stat().st_size) if file else ("empty", 0)
    print(
        f"{name:14} {size / 1e9:6.2f} GB: opened in {sorted(opened)[middle]:.2f} CPU s; "
        f"a day {day_wall:.2f} s, {day_cpu:.2f} CPU s; "
        f"{many[1].num_rows / wall:,.0f} decisions/s, {many[1].num_rows / cpu:,.0f} a CPU s; most memory so far {peak:,} MB",
        flush=True,
    )


def main() -> None:
    """Measure an empty file and those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    day, many = batches(DAY, PARTITIONS[0]), batches(MANY, PARTITIONS[1])
    for file in (None, *chosen.files):
        measure(file, day, many, chosen.runs)


if __name__ == "__main__":
    main()
