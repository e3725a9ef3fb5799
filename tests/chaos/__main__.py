"""`python -m tests.chaos`, or `make chaos CHAOS_ARGS="..."`: see docs/chaos.md. Exit code 0 when everything is right, else 1."""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import threading
from pathlib import Path

from tests.chaos.faults import BY_NAME
from tests.chaos.run import Options, chaos
from tests.kafka.harness import NoKafka


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Chaos on a real Kafka, then an audit.")
    parser.add_argument("--minutes", type=float, default=3.0, help="of faults; starting and judging come on top")
    parser.add_argument("--seed", type=int, default=None, help="of events and faults; default: a new one, printed")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--rate", type=int, default=300, help="events a second")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds after which a disturbance is a finding")
    parser.add_argument("--session", type=float, default=None, help="seconds of the workers' session; default: 10")
    parser.add_argument("--checkpoint", type=int, default=500, help="decisions of a partition between two checkpoints")
    parser.add_argument("--plant", default="", help="a bug to plant (tests/chaos/planted): the run must then fail")
    parser.add_argument("--only", nargs="*", default=(), choices=sorted(BY_NAME), help="kinds of faults")
    parser.add_argument(
        "--shop", choices=("bar", "business"), default="bar", help="a coffee bar, or members who deal with each other"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there, too")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs and tables there in any case")
    return parser.parse_args()


def _enough() -> threading.Event:
    """Set by SIGTERM: the faults end now, and what was done is judged."""
    enough = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: enough.set())
    return enough


def main() -> int:
    """Run, tell, judge."""
    told = arguments()
    seed = told.seed if told.seed is not None else random.randrange(1_000_000)
    options = Options(
        seed, told.minutes, told.brokers, told.workers, told.partitions, told.rate, told.patience, told.session,
        told.plant, tuple(told.only), told.checkpoint, told.shop,
    )  # fmt: skip
    try:
        report = chaos(options, lambda line: print(line, flush=True), told.keep, _enough())
    except NoKafka as reason:
        print(f"no chaos without a real Kafka: {reason}", file=sys.stderr)
        return 2
    print()
    print("\n".join(report.lines()), flush=True)
    if told.json:
        told.json.write_text(json.dumps(report.as_json(), indent=1), encoding="utf-8")
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
