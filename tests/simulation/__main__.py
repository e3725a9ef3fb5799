"""`python -m tests.simulation --schedules 10000 --seed 1`: run many histories and say what they showed."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter

from tests.simulation.history import Outcome, run
from tests.simulation.planted import SOUND


def main() -> int:
    """Exit 0: no violation. 1: some. Prints the seed and every option of a history that failed."""
    asked = _arguments()
    totals: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    deaths: Counter[str] = Counter()
    recoveries: Counter[str] = Counter()
    failed: list[int] = []
    began, cpu = time.perf_counter(), time.process_time()
    for number in range(asked.schedules):
        outcome = run(asked.seed + number, asked.facts, SOUND)
        totals.update(facts=outcome.facts, callbacks=outcome.callbacks, virtual_s=int(outcome.virtual_s))
        faults.update(outcome.faults)
        outcomes.update(outcome.outcomes)
        deaths.update(outcome.deaths)
        recoveries.update(outcome.recoveries)
        if outcome.violations:
            failed.append(outcome.options.seed)
            tell(outcome)
            if len(failed) >= asked.failures:
                break
        if sys.stdout.isatty() and number % 20 == 0:
            print(f"\r{number:,} schedules, {totals['facts']:,} facts, {len(failed)} failed", end="", flush=True)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    done = number + 1
    print(
        f"\nschedules {done:,} from seed {asked.seed}, facts decided {totals['facts']:,}, violations in {len(failed)} {failed}\n"
        f"faults {sum(faults.values()):,}: "
        + ", ".join(f"{name} {count:,}" for name, count in sorted(faults.items()))
        + "\n"
        f"outcomes {dict(outcomes)}\nkeepers opened {dict(recoveries)}; workers died of {dict(deaths)}\n"
        f"{totals['virtual_s'] / 3600:,.0f} hours of simulated time in {seconds:,.1f} s ({cpu:,.1f} s of CPU): "
        f"{done / cpu * 60:,.0f} schedules and {totals['facts'] / cpu:,.0f} facts a minute and second of CPU, "
        f"{totals['callbacks'] / done:,.0f} callbacks a schedule"
    )
    return 1 if failed else 0


def tell(outcome: Outcome) -> None:
    """A failed history, in full."""
    print(f"\nseed {outcome.options.seed} FAILED; options {json.dumps(outcome.options.told())}")
    print(f"faults {dict(outcome.faults)}; workers died of {dict(outcome.deaths)}")
    for violation in outcome.violations[:5]:
        print("  " + violation)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--facts", type=int, default=100, help="published per schedule, on average")
    parser.add_argument("--failures", type=int, default=5, help="stop after so many failed schedules")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
