"""`python -m tests.properties --steps 1000000 --seed 1`: the machine of `test_machine` for as long as is asked, or with
`--of notices` that of `test_notices`, `--of street` that of `test_street`."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import count
from typing import Any

import hypothesis.core
from hypothesis.stateful import run_state_machine_as_test

from tests.properties import test_machine, test_notices, test_street

#: Runs of the machine with one seed. Hypothesis remembers all of one search, so a long one is many short ones.
RUNS = 50


MACHINES: dict[str, tuple[Any, Any]] = {
    "shop": (test_machine, test_machine.Shop),
    "till": (test_machine, test_machine.Till),
    "notices": (test_notices, test_notices.Town),
    "street": (test_street, test_street.Corner),
}


def search(seed: int, of: str) -> tuple[int, int, str]:
    """Make some runs of a machine; return the seed, how many steps were taken, and the failure if there was one."""
    module, machine = MACHINES[of]
    before = module.TAKEN["steps"]
    hypothesis.core.global_force_seed = seed  # type: ignore[assignment]
    failure = ""
    try:
        run_state_machine_as_test(machine, settings=module.machine(RUNS, fixed=False))
    except Exception:  # noqa: BLE001 - whatever it is, it is the finding
        failure = traceback.format_exc()
    return seed, module.TAKEN["steps"] - before, failure


def searched(wanted: int, first_seed: int, jobs: int, of: str) -> Iterator[tuple[int, int, str]]:
    """Search with one seed after the other until so many steps were taken."""
    taken, seeds = 0, count(first_seed)
    with ProcessPoolExecutor(jobs) as pool:
        running: list[Future[tuple[int, int, str]]] = [pool.submit(search, next(seeds), of) for _ in range(2 * jobs)]
        while running:
            found = running.pop(0).result()
            taken += found[1]
            yield found
            if found[2]:
                pool.shutdown(cancel_futures=True)
                return
            if taken < wanted:
                running.append(pool.submit(search, next(seeds), of))


def main() -> int:
    """Search, tell how far it is on a terminal, print the finding or the sum."""
    parser = argparse.ArgumentParser(prog="python -m tests.properties", description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000, help="facts, ticks and versions; default 100,000")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(2**31), help="of the first search; default: random"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes; default: one per core")
    parser.add_argument("--of", choices=sorted(MACHINES), default="shop", help="which machine; default: shop")
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    began, steps, searches = time.monotonic(), 0, 0
    for seed, taken, failure in searched(chosen.steps, chosen.seed, chosen.jobs, chosen.of):
        steps, searches = steps + taken, searches + 1
        if failure:
            print(f"{failure}\nfound with --seed {seed} after {steps:,} steps", flush=True)
            return 1
        if sys.stderr.isatty():
            print(f"\r{steps:,} of {chosen.steps:,} steps", end="", file=sys.stderr, flush=True)
    seconds = time.monotonic() - began
    print(f"{steps:,} steps in {searches * RUNS:,} histories without a difference; {steps / seconds:,.0f} a second")
    return 0


if __name__ == "__main__":
    sys.exit(main())
