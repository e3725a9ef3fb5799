"""Intake as shipped: its agent and pump on the batch transport, in a Faust app of its own, so that no keeper takes its time."""

from __future__ import annotations

import asyncio
import tempfile
from typing import Any

import faust

from engine.bench.figures import Run
from engine.bench.jobs import Job, Tell
from engine.bench.stopwatch import Stopwatch
from engine.stream import batches
from engine.stream.clients import Cluster
from engine.stream.intake import Intake, Pump, Taken, intake_agent, rules_of
from engine.stream.topics import SHOP_EVENTS, Layout, default_inbound
from engine.telemetry import Metrics


class _Timed(Intake):
    """Intake that notes when it takes the first batch."""

    watch: Stopwatch

    async def take(self, records: Any) -> Taken:
        """As Intake."""
        self.watch.start()
        return await super().take(records)


class _Count:
    """What the brokers hold."""

    def __init__(self, expected: int, watch: Stopwatch) -> None:
        self._watch = watch
        self._expected = expected
        self._metrics = Metrics()
        self.sent = 0
        self.ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __call__(self, taken: Taken, seconds: float) -> None:
        """A consignment is acknowledged. Counted as the worker counts it."""
        self._metrics.count_facts(taken.facts)
        self._metrics.batch_seconds.labels("intake").observe(seconds)
        self.sent += taken.outbox.records
        if self.sent >= self._expected and not self.ending.done():
            self._watch.stop()
            self.ending.set_result(None)

    def died(self, error: BaseException) -> None:
        """Something went wrong for good."""
        if not self.ending.done():
            self.ending.set_exception(error)


async def run(cluster: Cluster, job: Job, _tell: Tell) -> Run:
    """Take everything that `shop-events` holds; from the first batch to the last acknowledgement."""
    layout = Layout(job.prefix, job.partitions)
    inbound = {SHOP_EVENTS: default_inbound()[SHOP_EVENTS]}
    watch = Stopwatch(sampled=job.sampled)
    count = _Count(job.expected, watch)
    with tempfile.TemporaryDirectory(prefix="stammgast-bench-") as folder:
        async with cluster.producer(idempotent=job.transactions) as producer:
            intake = _Timed(producer, layout, rules_of(inbound, layout))
            intake.watch = watch
            pump = Pump(count.died, count)
            settings = batches.app_settings(cluster, job.partitions, session_s=job.session_s) | {
                "datadir": folder,
                "store": "memory://",
            }
            app = faust.App(f"{job.prefix}intake", **settings)
            batches.configure(app)
            topic = batches.batch_topic(app, layout.name(SHOP_EVENTS))
            app.agent(topic, name="intake", concurrency=1)(intake_agent(intake, pump))
            starting = asyncio.ensure_future(app.start())
            await count.ending
            starting.cancel()
    return watch.run(count.sent)
