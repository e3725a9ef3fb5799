"""How long a worker takes to open its partitions when another one has died: from its checkpoints, or from the logs alone."""

from __future__ import annotations

import asyncio
import os

from engine.bench.figures import Run
from engine.bench.jobs import Job, Tell
from engine.stream.app import Worker, WorkerSettings
from engine.stream.clients import Cluster
from engine.stream.topics import MEMBER_SNAPSHOTS, Layout
from engine.telemetry import Health, Metrics

#: Until the brokers have let go of a deleted topic.
DELETED_S = 30.0


class _Opened:
    """Stands in for the worker's histogram of recoveries: notices each, and when all partitions are open."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._source = ""
        self.seconds: list[float] = []
        self.from_snapshots = 0
        self.done = asyncio.Event()

    def labels(self, source: str) -> _Opened:
        """From where a partition was opened."""
        self._source = source
        return self

    def observe(self, seconds: float) -> None:
        """A partition is open."""
        self.seconds.append(seconds)
        self.from_snapshots += self._source == "snapshot"
        if len(self.seconds) == self._partitions:
            self.done.set()


async def run(cluster: Cluster, job: Job, _tell: Tell) -> Run:
    """Start a worker over logs that another one has written; until its last partition is open.

    Partitions are opened side by side, so the slowest one tells. `folded` is how many decisions were read from the log,
    `from_snapshots` how many partitions had a checkpoint that could be used.
    """
    metrics = Metrics()
    opened = metrics.recovery_seconds = _Opened(job.partitions)  # type: ignore[assignment]
    # A group of its own: nobody waits until the dead worker's session is over, which is no part of recovery.
    app = f"stammgast-{os.getpid()}"
    settings = WorkerSettings(cluster, app=app, layout=Layout(job.prefix, job.partitions), clock="off")
    worker = Worker(settings, metrics, Health())
    working = asyncio.ensure_future(worker.run())
    done = asyncio.ensure_future(opened.done.wait())
    await asyncio.wait([working, done], return_when=asyncio.FIRST_COMPLETED)
    if not opened.done.is_set():
        working.result()  # raises what ended the worker
    worker.stop()
    figures = {
        "folded": float(sum(_folded(metrics, source) for source in ("snapshot", "start"))),
        "from_snapshots": float(opened.from_snapshots),
    }
    return Run(job.expected, max(opened.seconds), figures)


def _folded(metrics: Metrics, source: str) -> float:
    name = "stammgast_recovered_decisions_total"
    return metrics.registry.get_sample_value(name, {"source": source}) or 0.0


async def forget_snapshots(cluster: Cluster, layout: Layout) -> None:
    """Delete `member-snapshots`, as an operator may; the next worker makes it anew. Errors: TimeoutError, KafkaTrouble."""
    name = layout.name(MEMBER_SNAPSHOTS)
    async with cluster.admin() as admin, asyncio.timeout(DELETED_S):
        await admin.delete_topics([name])
        while name in {topic["topic"] for topic in await admin.describe_topics()}:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)
