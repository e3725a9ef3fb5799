"""The two processes of the live road that latency is measured through: a worker, and a projector that notes what it shows."""

from __future__ import annotations

import asyncio
import tempfile
import time
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
        self.shown: list[tuple[float, pa.Table]] = []
        self.decisions = 0

    def apply(self, facts: Records = (), decisions: Records = (), rejects: Rejects = ()) -> None:
        """As Warehouse; what a commit showed is kept with the moment, to be read when nothing is timed any more."""
        super().apply(facts, decisions, rejects)
        if isinstance(decisions, pa.Table) and decisions.num_rows:
            self.shown.append((time.time(), decisions))
            self.decisions += decisions.num_rows

    def moments(self) -> dict[str, float]:
        """Fact id -> when its decision was visible, seconds since the epoch."""
        return {
            orjson.loads(value)["fact_id"]: moment
            for moment, table in self.shown
            for value in table.column("value").to_pylist()
        }


async def watch(cluster: Cluster, job: Job, tell: Tell) -> Run:
    """A projector as shipped, until it has shown the expected decisions; then it tells `shown`: fact id -> moment."""
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
