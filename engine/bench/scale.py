"""One deployment, several workers: how much faster is the rewards hop with 2 and with 4, on this machine?

All workers have their partitions open before the first fact is written, so that nothing but deciding is measured: the clock runs
from the first fact written to the last decision committed. Writing the facts is part of it, the same for every number of workers.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.bench import data, logs
from engine.bench.children import Child, MeasurementFailed, child
from engine.bench.figures import Run
from engine.bench.jobs import Job, Tell
from engine.stream.app import Worker, WorkerSettings, on_signals
from engine.stream.clients import Cluster
from engine.stream.topics import Layout
from engine.telemetry import Health, Metrics, Tally

#: As many as there are partitions at most.
WORKERS = (1, 2, 4)
#: How often a worker says how far it is. Too often: it costs what is measured. Too seldom: the end is seen late.
TELL_S = 0.02
_STAT = Path("/proc/stat")


class _Counting(Metrics):
    """The worker's metrics, which also add up decisions."""

    def __init__(self) -> None:
        super().__init__()
        self.decided = 0

    def count_decisions(self, tally: Tally) -> None:
        """A turn is committed."""
        super().count_decisions(tally)
        self.decided += tally.outcomes.total()


async def work(cluster: Cluster, job: Job, tell: Tell) -> Run:
    """A worker as shipped, until SIGTERM; tells {"open": partitions, "decided": facts, "cpu_s": seconds} when that changes."""
    metrics = _Counting()
    settings = WorkerSettings(cluster, layout=Layout(job.prefix, job.partitions), clock="off")
    worker = Worker(settings, metrics, Health())
    on_signals(worker.stop)
    running = asyncio.ensure_future(worker.run())
    told: dict[str, int] = {}
    while not running.done():
        keepers = list(getattr(worker, "keepers", ()))
        count = len(keepers) if all(keeper.state == "open" for keeper in keepers) else 0
        now = {"open": count, "decided": metrics.decided}
        if now != told:
            tell(now | {"cpu_s": time.process_time()})
            told = now
        await asyncio.wait([running], timeout=TELL_S)
    running.result()
    return Run(metrics.decided)


class _Watch:
    """What the workers told last."""

    def __init__(self, children: list[Child]) -> None:
        self.told: list[dict[str, Any]] = [{"open": 0, "decided": 0, "cpu_s": 0.0} for _ in children]
        self._changed = asyncio.Event()
        self._listening = [asyncio.ensure_future(self._listen(number, one)) for number, one in enumerate(children)]

    async def _listen(self, number: int, one: Child) -> None:
        while True:
            self.told[number] = await one.hear()
            self._changed.set()

    def sum(self, name: str) -> float:
        """Over all workers."""
        return float(sum(told[name] for told in self.told))

    async def until(self, name: str, wanted: int, limit_s: float) -> None:
        """Wait until all workers together have so many. Errors: MeasurementFailed."""
        try:
            async with asyncio.timeout(limit_s):
                while self.sum(name) < wanted:
                    self._changed.clear()
                    changed = asyncio.ensure_future(self._changed.wait())
                    done, _ = await asyncio.wait([changed, *self._listening], return_when=asyncio.FIRST_COMPLETED)
                    for ended in done - {changed}:
                        ended.result()  # raises what ended it
        except TimeoutError:
            raise MeasurementFailed(
                f"scale: {self.sum(name):,.0f} of {wanted:,} {name} within {limit_s:.0f} s"
            ) from None

    def close(self) -> None:
        """Listen no longer."""
        for one in self._listening:
            one.cancel()


async def measure(cluster: Cluster, job: Job, workers: int, filling: logs.Filling) -> Run:
    """So many workers on a deployment of their own.

    Returns: figures `cpu_us` (of all workers, per fact), `busy` (share of all cores that did anything while the clock ran).

    Errors: MeasurementFailed.
    """
    async with logs.deployment(cluster) as layout, AsyncExitStack() as processes:
        place = replace(job, prefix=layout.prefix)
        children = [await processes.enter_async_context(child(place, cluster)) for _ in range(workers)]
        watch = _Watch(children)
        try:
            await watch.until("open", layout.partitions, job.limit_s)
            versions = await _decided_versions(watch, layout, job.limit_s)
            before, busy, began = watch.sum("cpu_s"), _busy(), time.perf_counter()
            expected = await logs.fill_facts(cluster, layout, filling)
            await watch.until("decided", expected, job.limit_s)
            seconds = time.perf_counter() - began
            facts = expected - versions
            figures = {"workers": float(workers), "cpu_us": (watch.sum("cpu_s") - before) / facts * 1e6}
            return Run(facts, seconds, figures | {"busy": _share(busy, _busy())})
        finally:
            watch.close()


async def _decided_versions(watch: _Watch, layout: Layout, limit_s: float) -> int:
    """The programme's own facts are decided before the clock starts; how many those are."""
    versions = layout.partitions * len(data.programmes())
    await watch.until("decided", versions, limit_s)
    return versions


def _busy() -> tuple[float, float]:
    """Ticks that all cores worked, and all their ticks; (0, 0) where the system does not tell. Source: proc(5)."""
    if not _STAT.exists():
        return 0.0, 0.0
    ticks = [float(word) for word in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _share(before: tuple[float, float], after: tuple[float, float]) -> float:
    total = after[1] - before[1]
    return (after[0] - before[0]) / total if total else 0.0
