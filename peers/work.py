"""What every peer does with a fact: our core and codec, as the worker runs them, and the word back to `stammgast bench`.

A program here reads one job from standard input and writes one run to standard output, each a line of JSON. Kafka without
a login only.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import orjson

from engine.bench import data
from engine.bench.stopwatch import Stopwatch
from engine.ledger.partition import Partition
from engine.tuning import expect_a_large_calm_heap
from schemas.decisions import encode_decision
from schemas.envelope import Fact, parse_fact


class Work:
    """Ledgers by partition, what they have decided, and the time it took."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.bootstrap = os.environ["STAMMGAST_BOOTSTRAP"]
        self.facts = f"{job['prefix']}facts"
        self.watch = Stopwatch()
        self.decided = self.points = 0
        versions = {version.hash: version for version in data.programmes()}
        self.ledgers = {number: Partition(number, versions) for number in range(job["partitions"])}

    def answer(self, partition: int, offset: int, value: bytes) -> list[bytes]:
        """Decide one fact; values of the decisions."""
        return self.decide(partition, offset, parse_fact(value))

    def decide(self, partition: int, offset: int, fact: Fact) -> list[bytes]:
        """The same for a fact that is parsed already."""
        self.watch.start()
        values = []
        for decision in self.ledgers[partition].answer(fact, offset).decisions:
            values.append(encode_decision(decision))
            self.points += sum(entry.points for entry in decision.entries)
        self.decided += 1
        return values

    @property
    def done(self) -> bool:
        """Is everything decided?"""
        return self.decided >= self.job["expected"]


def _give_up() -> None:
    sys.stderr.write("out of time\n")
    sys.stderr.flush()
    os._exit(3)


def main(run: Callable[[Work], None]) -> None:
    """Work on the job of standard input; ends the process."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a framework prints must not mix with the result
    job = orjson.loads(sys.stdin.buffer.readline())
    guard = threading.Timer(job["limit_s"], _give_up)
    guard.daemon = True
    guard.start()
    expect_a_large_calm_heap()  # as the worker's own process does
    work = Work(job)
    run(work)
    told = asdict(work.watch.run(work.decided, points=work.points))
    out.write(orjson.dumps({"run": told}, option=orjson.OPT_APPEND_NEWLINE))
    os._exit(0)
