"""The two processes of the live road that latency is measured through: a worker, and a projector that notes what it shows."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from engine.bench.figures import Run
from engine.bench.jobs import Job, Tell
from engine.stream.app import WorkerSettings, serve
from engine.stream.clients import Cluster
from engine.stream.topics import Layout
from engine.telemetry import METRICS, Health
from projections.parsing import Parsed
from projections.projector import Projector
from projections.warehouse import Records, Rejects, Warehouse


async def work(cluster: Cluster, job: Job, _tell: Tell) -> Run:
    """A worker as shipped, until SIGTERM."""
    settings = WorkerSettings(cluster, layout=Layout(job.prefix, job.partitions), clock="off")
    await serve(settings, METRICS, Health())
    return Run()


class _Noting(Warehouse):
    """A warehouse that notes when a transaction has made decisions visible."""

    def __init__(self, connection: Any, path: str) -> None:
        super().__init__(connection, path)
        self.shown: list[tuple[float, float, pa.Table]] = []
        self.decisions = 0

    def apply(
        self,
        facts: Records = (),
        decisions: Records = (),
        rejects: Rejects = (),
        *,
        parsed: Mapping[str, Parsed] | None = None,
    ) -> None:
        """As Warehouse; what a commit showed is kept with the moment, to be read when nothing is timed any more."""
        began = time.time()
        super().apply(facts, decisions, rejects, parsed=parsed)
        if isinstance(decisions, pa.Table) and decisions.num_rows:
            self.shown.append((began, time.time(), decisions))
            self.decisions += decisions.num_rows

    def moments(self) -> dict[str, tuple[float, float, float]]:
        """Fact id -> when intake took it, when the projector began to apply its decision, and when that was visible.

        Seconds since the epoch. A decision's record has the time stamp of its fact, which is intake's.
        """
        return {
            orjson.loads(value)["fact_id"]: (taken_ms / 1_000, began, shown)
            for began, shown, table in self.shown
            for taken_ms, value in zip(
                *(table.column(name).to_pylist() for name in ("timestamp_ms", "value")), strict=True
            )
        }


async def watch(cluster: Cluster, job: Job, tell: Tell) -> Run:
    """A projector as shipped, until it has shown the expected decisions; then it tells `shown`: fact id -> moments."""
    stop = asyncio.Event()
    with (
        tempfile.TemporaryDirectory(prefix="stammgast-bench-") as folder,
        _Noting.open(Path(folder, "bench.duckdb")) as warehouse,
    ):

        def applied(_projector: Projector) -> None:
            tell({"decisions": warehouse.decisions})
            if warehouse.decisions >= job.expected:
                stop.set()

        began = time.perf_counter()
        await Projector(cluster, warehouse, prefix=job.prefix, on_applied=applied).run(stop)
        tell({"shown": warehouse.moments()})
        return Run(warehouse.decisions, time.perf_counter() - began)
