"""`python -m tests.simulation --schedules 10000 --seed 1`: run many histories and say what they showed."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain, islice
from typing import Any

from tests.simulation.history import Outcome, run

#: Seeds that a process runs before it tells what it saw.
CHUNK = 25


class Totals:
    """What all histories showed together."""

    def __init__(self) -> None:
        self.schedules = self.facts = self.callbacks = 0
        self.virtual_s = self.cpu_s = 0.0
        self.faults: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.deaths: Counter[str] = Counter()
        self.recoveries: Counter[str] = Counter()
        self.failed: list[int] = []

    def take(self, outcome: Outcome) -> None:
        """Add one history."""
        self.schedules += 1
        self.facts += outcome.facts
        self.callbacks += outcome.callbacks
        self.virtual_s += outcome.virtual_s
        self.cpu_s += outcome.cpu_s
        self.faults.update(outcome.faults)
        self.outcomes.update(outcome.outcomes)
        self.deaths.update(outcome.deaths)
        self.recoveries.update(outcome.recoveries)
        if outcome.violations:
            self.failed.append(outcome.options.seed)
            tell(outcome)

    def report(self, seed: int, seconds: float) -> str:
        """For the end."""
        speed = f"{self.schedules / self.cpu_s * 60:,.0f} schedules a minute and {self.facts / self.cpu_s:,.0f} facts a second"
        return "\n".join(
            (
                (
                    f"{self.schedules:,} schedules from seed {seed}, {self.facts:,} facts decided, violations in "
                    f"{len(self.failed)} schedules {self.failed or ''}"
                ),
                f"{sum(self.faults.values()):,} faults: {_listed(self.faults)}",
                f"decisions: {_listed(self.outcomes)}",
                f"keepers opened from: {_listed(self.recoveries)}; workers died of: {_listed(self.deaths)}",
                (
                    f"{self.virtual_s / 3600:,.1f} hours of simulated time in {seconds:,.0f} s; on one core {speed} "
                    f"({self.cpu_s:,.0f} s of CPU), {self.callbacks / self.schedules:,.0f} callbacks a schedule"
                ),
            )
        )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


def main() -> int:
    """Exit 0: no violation. 1: some. Prints the seed and every option of a history that failed."""
    asked = _arguments()
    totals, began = Totals(), time.perf_counter()
    for outcome in _histories(asked):
        totals.take(outcome)
        if len(totals.failed) >= asked.failures:
            break
        if sys.stdout.isatty() and totals.schedules % CHUNK == 0:
            print(
                f"\r{totals.schedules:,} schedules, {totals.facts:,} facts, {len(totals.failed)} failed",
                end="",
                flush=True,
            )
    print("\n" + totals.report(asked.seed, time.perf_counter() - began))
    return 1 if totals.failed else 0


def _histories(asked: argparse.Namespace) -> Iterator[Outcome]:
    seeds = range(asked.seed, asked.seed + asked.schedules)
    if asked.jobs == 1:
        yield from (run(seed, asked.facts, **_fixed(asked)) for seed in seeds)
        return
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(asked.jobs) as pool:
        # A failure may end it all: not everything is handed out at once.
        waiting = iter(chunks)
        while some := list(islice(waiting, 4 * asked.jobs)):
            yield from chain.from_iterable(pool.map(partial(_run_some, facts=asked.facts, fixed=_fixed(asked)), some))


def _run_some(seeds: Sequence[int], facts: int, fixed: dict[str, Any]) -> list[Outcome]:
    return [run(seed, facts, **fixed) for seed in seeds]


def _fixed(asked: argparse.Namespace) -> dict[str, Any]:
    return {} if asked.shop == "both" else {"business": asked.shop == "business"}


def tell(outcome: Outcome) -> None:
    """A failed history, in full."""
    print(f"\nseed {outcome.options.seed} FAILED; options {json.dumps(outcome.options.told())}")
    print(f"faults {_listed(outcome.faults)}; workers died of {_listed(outcome.deaths)}")
    for violation in outcome.violations[:5]:
        print("  " + violation)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1, help="of the first one; the others follow")
    parser.add_argument("--facts", type=int, default=100, help="published per schedule, on average")
    parser.add_argument(
        "--shop",
        choices=("both", "bar", "business"),
        default="both",
        help="a coffee bar, or members who deal with each other",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the seeds")
    parser.add_argument("--failures", type=int, default=5, help="stop after so many failed schedules")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
