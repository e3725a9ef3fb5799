"""A process that works off a backlog on the batch transport and prints its figures as JSON, for tests of memory.

`python -m tests.kafka.backlog BOOTSTRAP GROUP TOPIC PARTITIONS RECORDS BUDGET_BYTES swift|stalled|bare`

`swift` acknowledges at once; `stalled` acknowledges nothing until no more batches come, then everything; `bare` is
aiokafka's own loop, without Faust, for comparison.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from engine.stream.batches import records_of
from engine.stream.clients import Cluster
from tests.kafka.workers import running

QUIET_S = 1.5


def peak_rss_mib() -> float:
    """The most memory this program ever occupied. (getrusage would count the test run that it was forked from.)"""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (peak_kib,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(peak_kib) / 1024


class Work:
    """Counts records; acknowledges at once or later."""

    def __init__(self, stalled: bool) -> None:
        self.stalled = stalled
        self.count = 0
        self.waiting: list[Any] = []
        self.started = 0.0
        self.changed = asyncio.Event()

    def __call__(self, event: Any) -> None:
        self.started = self.started or time.monotonic()
        self.count += len(records_of(event))
        if self.stalled:
            self.waiting.append(event)
        else:
            event.ack()
        self.changed.set()


async def transport(arguments: list[str], stalled: bool) -> dict[str, float]:
    """Work the backlog off with Faust."""
    bootstrap, group, topic, partitions, records, budget = arguments
    work, most_waiting = Work(stalled), 0
    async with running(
        Cluster(bootstrap), group, [topic], work, partitions=int(partitions), budget_bytes=int(budget)
    ) as app:
        while work.count < int(records):
            work.changed.clear()
            try:
                async with asyncio.timeout(QUIET_S if work.stalled and work.count else None):
                    await work.changed.wait()
            except TimeoutError:
                most_waiting = max(most_waiting, work.count)
                work.stalled = False
                while work.waiting:
                    work.waiting.pop(0).ack()
        seconds = time.monotonic() - work.started
        await app.consumer.commit()
    return {"records": work.count, "seconds": seconds, "stalled_at": most_waiting}


async def bare(arguments: list[str]) -> dict[str, float]:
    """Read it with aiokafka alone."""
    bootstrap, group, topic, _, records, _ = arguments
    async with Cluster(bootstrap).consumer(topic, group_id=group) as consumer:
        count, started = 0, 0.0
        while count < int(records):
            for batch in (await consumer.getmany(timeout_ms=1_000, max_records=5_000)).values():
                started = started or time.monotonic()
                count += len(batch)
        seconds = time.monotonic() - started
    return {"records": count, "seconds": seconds, "stalled_at": 0}


def main() -> None:
    """Print the figures."""
    *arguments, mode = sys.argv[1:]
    figures = asyncio.run(bare(arguments) if mode == "bare" else transport(arguments, stalled=mode == "stalled"))
    print(json.dumps(figures | {"peak_rss_mib": round(peak_rss_mib(), 1)}))


if __name__ == "__main__":
    main()
