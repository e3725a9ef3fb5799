"""The rewards hop as shipped: a whole worker (batch transport, keepers with transactions, metrics) over a full `facts` log.

The worker's own metrics tell when the first facts reach a keeper and when decisions are committed, so nothing is measured
that a running worker would not do. Its intake agent finds nothing to do.
"""

from __future__ import annotations

import asyncio

from engine.bench.figures import Run
from engine.bench.jobs import Job, Tell
from engine.bench.stopwatch import Stopwatch
from engine.stream.app import Worker, WorkerSettings
from engine.stream.clients import Cluster
from engine.stream.topics import Layout
from engine.telemetry import Health, Metrics, Tally


class _Timed(Metrics):
    """The worker's metrics, which also notice the first fact and the last decision."""

    def __init__(self, expected: int, watch: Stopwatch) -> None:
        super().__init__()
        self._expected = expected
        self._watch = watch
        self.decided = 0
        self.points_moved = 0
        self.done = asyncio.Event()

    def set_oldest_undecided(self, partition: int, recorded_ms: int | None) -> None:
        """Facts wait in a keeper: with the first of them the clock starts."""
        if recorded_ms is not None:
            self._watch.start()
        super().set_oldest_undecided(partition, recorded_ms)

    def count_decisions(self, tally: Tally) -> None:
        """A turn is committed: with the last one the clock stops."""
        super().count_decisions(tally)
        self.decided += tally.outcomes.total()
        self.points_moved += tally.moved
        if self.decided >= self._expected:
            self._watch.stop()
            self.done.set()


async def run(cluster: Cluster, job: Job, _tell: Tell) -> Run:
    """Decide everything that `facts` holds; the run ends with the commit of the last expected decision."""
    watch = Stopwatch(sampled=job.sampled)
    metrics = _Timed(job.expected, watch)
    layout = Layout(job.prefix, job.partitions)
    settings = WorkerSettings(cluster, layout=layout, clock="off", checkpoint_decisions=job.checkpoint)
    worker = Worker(settings, metrics, Health())
    working = asyncio.ensure_future(worker.run())
    done = asyncio.ensure_future(metrics.done.wait())
    await asyncio.wait([working, done], return_when=asyncio.FIRST_COMPLETED)
    if not watch.stopped:
        working.result()  # raises what ended the worker
    worker.stop()
    snapshots = metrics.registry.get_sample_value("stammgast_snapshots_total") or 0.0
    return watch.run(metrics.decided, points=metrics.points_moved, snapshots=snapshots)
