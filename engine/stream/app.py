"""The composition root: one worker process, from broker check to clean stop.

A worker is a Faust app with two agents (intake, rewards) on the batch transport, a keeper per owned partition of `facts`,
a clock and telemetry. Whatever cannot be mended in the running process ends it: the group gives its partitions to others,
and a supervisor (or `stammgast up`) starts it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import faust
import structlog
from aiokafka.errors import KafkaError
from faust.types import TP

from engine.broker import MEMORY_ONLY
from engine.ledger.members import LIVE_MEMBERS
from engine.ledger.partition import Partition
from engine.stream import batches
from engine.stream.clients import Cluster, KafkaTrouble, capabilities, partition_for
from engine.stream.clock import Clock, ClockMode
from engine.stream.generations import living
from engine.stream.intake import Intake, Pump, intake_agent, rules_of
from engine.stream.programmes import load_published, publish_new
from engine.stream.recovery import KafkaLogs
from engine.stream.rewards import Keepers, rewards_agent
from engine.stream.snapshots import CHECKPOINT_DECISIONS
from engine.stream.spot_check import SpotCheck
from engine.stream.tools import Logs, Tools
from engine.stream.topics import FACTS, Inbound, Layout, default_inbound, ensure
from engine.stream.watch import Gauge, Watch
from engine.telemetry import Health, Metrics, raised_at
from engine.tuning import expect_a_large_calm_heap
from engine.vault.vault import NoVault, Vault
from rules.book import Book, Programme
from schemas.normalise import MAX_CLOCK_SKEW_US, MAX_EVENT_BYTES

#: How often lag is measured and /readyz learns whether work goes on.
MEASURE_SECONDS = 1.0
#: Of the time a stopping process has: for turns and consignments under way; the rest is for Kafka's good-byes.
FINISH_SHARE = 0.4
#: A dying process says good-bye to the group, so that others take over at once and not after the session timeout.
DYING_SECONDS = 8.0
#: Errors whose words hold nothing of a fact.
SPEAKABLE = (KafkaError, OSError, TimeoutError, batches.LogRewoundError)

log = structlog.get_logger(__name__)


class WorkerDied(KafkaTrouble):
    """The worker met something that only a new start can mend."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What one worker needs to know; the commands fill it from their options.

    Attributes:
        app: name of the deployment; consumer group and transactional ids begin with it (and with the topic prefix).
        programmes: versions to publish at start if they are new.
        datadir: Faust's working folder, one per worker; None makes a temporary one.
        checkpoint_decisions: how many decisions after the last one a checkpoint is begun.
        live_members: how many members of a partition are kept unpacked.
        vault: seals and opens profiles; without keys they are refused.
        shutdown_seconds: after a stop was asked for, the process is gone by then.
        instance_id: name in the consumer group that a restart keeps; None for a member like any other.
        session_seconds: whoever is silent for so long is out of the group; None: `batches.SESSION_S`.
    """

    cluster: Cluster
    app: str = "stammgast"
    layout: Layout = field(default_factory=Layout)
    inbound: Mapping[str, Inbound] = field(default_factory=default_inbound)
    programmes: Sequence[Programme] = ()
    clock: ClockMode = "wall"
    max_clock_skew_us: int = MAX_CLOCK_SKEW_US
    max_event_bytes: int = MAX_EVENT_BYTES
    checkpoint_decisions: int = CHECKPOINT_DECISIONS
    live_members: int = LIVE_MEMBERS
    vault: Vault = field(default_factory=NoVault)
    shutdown_seconds: float = 15.0
    datadir: Path | None = None
    instance_id: str | None = None
    session_seconds: float | None = None

    @property
    def group(self) -> str:
        """The consumer group. Two deployments on one Kafka differ in their prefix and must not fence each other."""
        return f"{self.layout.prefix}{self.app}"


class Flow:
    """The batch consumer, as keepers steer it: by number of the partition of `facts`."""

    def __init__(self, app: Any, topic: str) -> None:
        self._app = app
        self._topic = topic

    def _place(self, partition: int) -> Any:
        return TP(self._topic, partition)

    def pause(self, partition: int) -> None:
        """Take nothing more from it."""
        self._app.consumer.pause(self._place(partition))

    def resume(self, partition: int) -> None:
        """Let it flow again."""
        self._app.consumer.resume(self._place(partition))

    def reopen(self, partition: int) -> None:
        """Ask its keeper for the position, and read on from there, paused or not."""
        self._app.consumer.reopen(self._place(partition))
        self._app.consumer.resume(self._place(partition))


class Worker:
    """One worker. `run` prepares, works until it is told to stop, and stops; use it once, in one event loop."""

    def __init__(
        self, settings: WorkerSettings, metrics: Metrics, health: Health, *, owns_process: bool = False
    ) -> None:
        """Args: owns_process: when it cannot stop in time, end the whole process; in a test or a bench nobody wants that."""
        self._settings = settings
        self._owns_process = owns_process
        self._metrics = metrics
        self._health = health
        self._gauge = Gauge(metrics)
        self._watch = Watch(metrics)
        self._versions: dict[str, Programme] = {}
        self._stop = asyncio.Event()
        self._death: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transactional = True
        self._calm = False
        self._facts = settings.layout.name(FACTS)
        self._app: Any = None
        #: Set once the worker is built.
        self.keepers: Keepers
        self._pump: Pump
        self._producer: Any = None

    def stop(self) -> None:
        """Ask it to stop; returns at once."""
        self._stop.set()

    # ------------------------------------------------------------------------------------------------------ lifetime

    async def run(self) -> None:
        """Prepare, work, stop.

        Errors: KafkaTrouble where the start is refused; WorkerDied where the running process cannot go on.
        """
        with self._told_at_start():
            await self._prepare()
        with self._data_folder() as folder:
            with self._told_at_start():
                await self._build(folder)
            try:
                await self._work()
            except BaseException:
                await self._shut_down(DYING_SECONDS, finish=False)
                raise
            await self._shut_down(self._settings.shutdown_seconds, finish=True)

    @contextlib.contextmanager
    def _told_at_start(self) -> Iterator[None]:
        """A broker that goes away between two questions of a start ends it with a sentence, too."""
        try:
            yield
        except KafkaError as error:
            raise WorkerDied(
                f"Kafka at {self._settings.cluster.bootstrap} stopped answering while the worker started, nothing is lost, "
                f"start it again: {error or type(error).__name__}"
            ) from error

    async def _prepare(self) -> None:
        """Topics are there, versions are published and known; what this broker can do is known."""
        settings = self._settings
        expect_a_large_calm_heap()  # recovery fills it
        batches.check_environment()
        can = await capabilities(settings.cluster)
        self._transactional = can.transactions
        settings = self._settings = replace(settings, layout=await living(settings.cluster, settings.layout))
        logs = await ensure(settings.cluster, settings.layout)
        if settings.programmes:
            outcome = await publish_new(settings.cluster, settings.layout.prefix, settings.programmes)
            for version in outcome.written:
                log.info("programme published", programme=version.name, version=version.version, hash=version.hash)
        await self._reload_programmes()
        log.info("logs found", logs=logs, partitions=settings.layout.partitions, programmes=len(self._versions))
        if not self._versions:
            log.warning("no programme is published: purchases are counted and earn nothing until one is")
        if not can.transactions:
            log.warning(
                "this broker knows no transactions: decisions are written plainly, and only ONE worker may run",
                answer=can.reason,
                note=MEMORY_ONLY,
            )

    async def _reload_programmes(self) -> None:
        self._versions.update(await load_published(self._settings.cluster, self._settings.layout.prefix))

    @contextlib.contextmanager
    def _data_folder(self) -> Any:
        if self._settings.datadir is not None:
            yield self._settings.datadir
            return
        with tempfile.TemporaryDirectory(prefix="stammgast-worker-") as folder:
            yield Path(folder)

    async def _build(self, folder: Path) -> None:
        settings, layout = self._settings, self._settings.layout
        inbound = rules_of(settings.inbound, layout, settings.max_clock_skew_us, settings.max_event_bytes)
        partitions = layout.partitions * (1 + len(inbound))
        session_s = settings.session_seconds or batches.SESSION_S
        if not self._transactional:
            session_s = batches.EMBEDDED_SESSION_S
        told = batches.app_settings(settings.cluster, partitions, session_s=session_s, instance_id=settings.instance_id)
        app = self._app = faust.App(settings.group, datadir=folder, store="memory://", **told)
        batches.configure(app, self._start_offset)
        self._producer = settings.cluster.new_producer(idempotent=self._transactional)
        await settings.cluster.start(self._producer)
        self.keepers = Keepers(self._tools(Flow(app, self._facts)))
        self._pump = Pump(self._died, self._watch.sent)
        intake = Intake(self._producer, layout, inbound, vault=settings.vault)
        app.agent(batches.batch_topic(app, *inbound), name="intake", concurrency=1)(intake_agent(intake, self._pump))
        app.agent(batches.batch_topic(app, self._facts), name="rewards", concurrency=1)(rewards_agent(self.keepers))
        app.on_partitions_revoked.connect(self._revoked, weak=False)
        app.on_partitions_assigned.connect(self._assigned, weak=False)

    def _tools(self, flow: Flow) -> Tools:
        settings = self._settings
        partitions = settings.layout.partitions
        return Tools(
            app=settings.group,
            layout=settings.layout,
            new_producer=lambda name: settings.cluster.new_producer(transactional_id=name),
            logs=self._logs,
            # A key that was destroyed leaves nobody waiting for it: he is decided as somebody without a profile.
            new_ledger=lambda partition: Partition(
                partition, self._versions, settings.live_members, settings.vault.opens(gone=None)
            ),
            reload_programmes=self._reload_programmes,
            partition_of=lambda key: partition_for(key, partitions),
            flow=flow,
            watch=self._watch,
            died=self._died,
            fenced=self._fenced,
            changed=self._changed,
            transactional=self._transactional,
            checkpoint_decisions=settings.checkpoint_decisions,
        )

    def _logs(self, partition: int) -> Logs:
        return KafkaLogs(self._settings.cluster, self._settings.layout, partition)

    # ------------------------------------------------------------------------------------------- called by the consumer

    async def _start_offset(self, place: Any) -> int | None:
        return await self.keepers.position(place.partition) if place.topic == self._facts else None

    async def _revoked(self, _app: Any, revoked: Iterable[Any], **_: Any) -> None:
        await self.keepers.revoked()

    async def _assigned(self, _app: Any, assigned: Iterable[Any], **_: Any) -> None:
        self._gauge.keep(assigned)
        mine = [place.partition for place in assigned if place.topic == self._facts]
        log.info("assigned", partitions=sorted(mine))
        self.keepers.assign(mine)

    def _fenced(self, partition: int) -> None:
        self.keepers.fenced(partition)

    def _changed(self) -> None:
        self.keepers.changed()
        if not self._calm and all(keeper.state == "open" for keeper in self.keepers):
            self._calm = True
            expect_a_large_calm_heap()  # what was recovered stays

    def _died(self, error: BaseException) -> None:
        if not self._death.done():
            self._death.set_exception(error)

    # ---------------------------------------------------------------------------------------------------------- at work

    async def _work(self) -> None:
        """Until a stop is asked for. Errors: WorkerDied."""
        clock = Clock(
            self._settings.clock,
            self._facts,
            self._producer,
            lambda: list(self.keepers),
            lambda time_us: Book(self._versions.values()).at(time_us),
            self._pump.quiet,
        )
        self._health.add("keepers", self._keepers_ready)
        self._health.add("progress", self._gauge.progress.probe)
        self._health.add("kafka", self._gauge.hearing.probe)
        async with _tasks(self._start(), clock.run(), self._measure()) as running:
            ends = [asyncio.ensure_future(waiting) for waiting in (self._stop.wait(), self._app._crashed.wait())]
            try:
                done, _ = await asyncio.wait([*ends, self._death, *running], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for end in ends:
                    end.cancel()
            self._raise_if_dead(done)

    async def _start(self) -> None:
        await self._app.start()
        await asyncio.Event().wait()

    def _raise_if_dead(self, done: Iterable[Any]) -> None:
        """Turn whatever ended the work into one clear message, unless somebody asked for the end."""
        reason = self._app.crash_reason
        for end in done:
            if not end.cancelled() and end.exception() is not None:
                reason = end.exception()
        if reason is None and self._stop.is_set():
            return
        if isinstance(reason, KafkaTrouble):
            raise reason
        log.error("the worker cannot go on", error=type(reason).__name__, raised_at=raised_at(reason))
        # What Kafka and the system say helps; what else was raised may name a member, and stands in the log by its place.
        words = f": {reason}" if isinstance(reason, SPEAKABLE) else ", see its log"
        raise WorkerDied(
            f"the worker ends, nothing is lost, start it again: {type(reason).__name__}{words}"
        ) from reason

    def _keepers_ready(self) -> tuple[bool, str]:
        if not self.keepers.joined:
            return False, "not yet a member of the consumer group"
        opening = [keeper.partition for keeper in self.keepers if keeper.state != "open"]
        if opening:
            return False, f"partitions not open: {opening}"
        return True, f"{len(self.keepers.assigned)} partitions open"

    async def _measure(self) -> None:
        """Lag, whether it shrinks, and what the state of some members looks like, for ever."""
        spot_check = SpotCheck(self._metrics, lambda: self.keepers, wall=self._settings.clock == "wall")
        while True:
            consumer = self._app.consumer if self.keepers.joined else None
            self._gauge.read({} if consumer is None else consumer.standings(), self._facts)
            spot_check.look()
            await asyncio.sleep(MEASURE_SECONDS)

    # ------------------------------------------------------------------------------------------------------------- stop

    async def _shut_down(self, seconds: float, *, finish: bool) -> None:
        """Finish or abort what is under way, commit, leave the group; gone after `seconds`, come what may."""
        log.info("stopping", seconds=seconds)
        guard = threading.Timer(seconds, _give_up, [seconds])
        guard.daemon = True
        if self._owns_process:
            guard.start()
        with contextlib.suppress(Exception):
            self._app.consumer.stop_flow()
            self._app.flow_control.suspend()
        if finish:
            await self._bounded(self._pump.drain(seconds * FINISH_SHARE), seconds)
        await self._bounded(self.keepers.close(finish=finish), seconds)
        await self._bounded(self._app.stop(), seconds)
        await self._bounded(self._producer.stop(), seconds)
        guard.cancel()
        log.info("stopped")

    async def _bounded(self, work: Awaitable[object], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await work
        except Exception as error:  # noqa: BLE001  a good-bye that fails must not hide why we leave
            log.warning("while stopping", error=f"{type(error).__name__}: {error}")


def _give_up(seconds: float) -> None:
    """The event loop is stuck: what is not committed will be decided again by the next owner."""
    log.error("not stopped in time, ended hard", seconds=seconds)
    os._exit(1)


@contextlib.asynccontextmanager
async def _tasks(*works: Any) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run these beside the body; cancelled at its end."""
    running = [asyncio.create_task(work) for work in works]
    try:
        yield running
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=1)


async def serve(settings: WorkerSettings, metrics: Metrics, health: Health, metrics_url: str = "") -> None:
    """Run a worker until SIGTERM or SIGINT.

    Errors: as `Worker.run`.
    """
    log.info("worker starts", kafka=settings.cluster.bootstrap, group=settings.group, metrics=metrics_url)
    worker = Worker(settings, metrics, health, owns_process=True)
    on_signals(worker.stop)
    await worker.run()


def on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` in this event loop on SIGTERM and SIGINT."""
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop)
