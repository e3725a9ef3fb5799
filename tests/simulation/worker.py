"""One worker process of the simulation: the product's `Worker`, keepers and intake, with simulated clients around them."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from engine.ledger.partition import Answer, Partition
from engine.stream.app import Flow, Worker, WorkerSettings
from engine.stream.intake import Intake, Pump, intake_agent, rules_of
from engine.stream.rewards import Keepers, rewards_agent
from engine.stream.topics import SHOP_EVENTS, Inbound, Layout
from schemas.envelope import Fact
from schemas.facts import INBOUND_TYPES
from tests.simulation import profiles, stories
from tests.simulation.consumer import COMMIT_S, POLL_S, Channel, Membership, SimConsumer, Stream, Thread
from tests.simulation.logs import Place
from tests.simulation.loop import OWNER


class Killed(BaseException):
    """The process died in the middle of a decision: this takes its stack down."""


class Mortal(Partition):
    """A partition of which a fact can take the whole process with it, as a crash in C would."""

    def answer(self, fact: Fact, offset: int) -> Answer:
        """Decide, or die."""
        process = OWNER.get()
        if process is not None and fact.source == stories.STRANGE and fact.id.startswith(stories.DEADLY):
            process.kill()
            raise Killed
        return super().answer(fact, offset)


class Told:
    """In place of metrics and health: whatever is told, nobody listens."""

    def __getattr__(self, _: str) -> Any:
        return _nothing


def _nothing(*_: Any, **__: Any) -> None:
    return None


class SimWorker(Worker):
    """A worker from its first join to its end; `world` is everything around it (tests.simulation.history.History)."""

    def __init__(self, world: Any, name: str) -> None:
        options = world.options
        layout = Layout(partitions=options.partitions)
        # One topic carries everything here, what staff do as well.
        inbound = {SHOP_EVENTS: Inbound(SHOP_EVENTS, frozenset(INBOUND_TYPES))}
        settings = WorkerSettings(
            world.cluster, "sim", layout, inbound, clock="off", checkpoint_decisions=options.checkpoint
        )
        super().__init__(settings, metrics=Told(), health=Told())  # type: ignore[arg-type]
        self.world, self.name = world, name
        self._watch = Told()  # type: ignore[assignment]
        self._calm = True
        self._transactional = options.transactional
        self._versions = dict(world.shelf)
        self._inbound = inbound
        self._running: list[asyncio.Task[Any]] = []
        self.membership = Membership(world.net, world.group, self)
        self._mine: list[Place] = []

    async def live(self) -> None:
        """Build, work until stopped or dying, shut down. Errors: whatever it died of."""
        await self.set_up()
        self._running = [
            asyncio.ensure_future(part)
            for part in (self.membership.run(), self._drain(), self._commit_now_and_then(), self._rewards, self._intake)
        ]
        for task in self._running:
            task.add_done_callback(self.task_ended)
        stop = asyncio.ensure_future(self._stop.wait())
        ends: list[asyncio.Future[Any]] = [stop, self._death]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        died = self._death.done()
        await self._shut_down(8.0 if died else 15.0, finish=not died)
        for task in (*self._running, stop):
            task.cancel()
        if died:
            self._death.result()

    async def set_up(self) -> None:
        """Everything that `Worker._build` makes, on simulated ground."""
        world, cluster = self.world, self._settings.cluster
        self._thread = Thread(world.net, world.broker, world.group)
        self.consumer = SimConsumer(self, self._thread)
        self._app = SimpleNamespace(
            consumer=self.consumer, flow_control=SimpleNamespace(suspend=lambda: None), stop=self._leave
        )
        self._producer = cluster.new_producer(idempotent=self._transactional)
        await cluster.start(self._producer)
        room = 2 * len(world.places)
        self._channels = {"facts": Channel(room), SHOP_EVENTS: Channel(room)}
        self.keepers = world.variant.keepers(self._tools(Flow(self._app, self._facts)))
        self._pump = Pump(self._died, lambda *_: None)
        intake = Intake(
            self._producer,
            self._settings.layout,
            rules_of(self._inbound, self._settings.layout),
            world.now_us,
            vault=profiles.PlainVault(),
        )
        self._rewards = rewards_agent(self.keepers)(Stream(self._channels["facts"], self.consumer.ack))
        self._intake = intake_agent(intake, self._pump)(Stream(self._channels[SHOP_EVENTS], self.consumer.ack))

    def _changed(self) -> None:
        self.world.opened(self.keepers)
        super()._changed()

    def _tools(self, flow: Any) -> Any:
        tools = super()._tools(flow)
        return replace(tools, new_ledger=lambda partition: Mortal(partition, self._versions, opens=profiles.opens))

    async def _reload_programmes(self) -> None:
        self._versions.update(await self.world.net.ask(lambda: dict(self.world.shelf)))

    def _died(self, error: BaseException) -> None:
        self.world.note_death(self.name, error)
        super()._died(error)

    def task_ended(self, task: asyncio.Task[Any]) -> None:
        """Whatever runs beside and fails ends the worker, as with Faust's CrashingSupervisor."""
        if not task.cancelled() and task.exception() is not None and not self._death.done():
            self._died(task.exception())  # type: ignore[arg-type]

    async def start_offset(self, place: Any) -> int | None:
        """Asked by the consumer."""
        offset: int | None = await self.world.variant.start_offset(self, place)
        return offset

    # -- the consumer's loop

    async def _drain(self) -> None:
        while True:
            async for tp, message in self.consumer.getmany(POLL_S):
                await self._channels[tp.topic].put(message)
            await asyncio.sleep(0)

    async def _commit_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_S)
            await self.consumer.commit()

    async def commit_offsets(self, offsets: dict[Any, int]) -> None:
        """Tell the group."""
        await self.membership.commit({(tp.topic, tp.partition): offset for tp, offset in offsets.items()})

    # -- rebalances, as Faust's application goes through them

    async def revoke(self) -> None:
        """A rebalance begins."""
        await self.consumer.on_partitions_revoked({TP(*place) for place in self._mine})
        self._thread.positions.clear()

    async def flow_stops(self) -> None:
        """Called by the consumer in between."""
        self.consumer.stop_flow()
        for channel in self._channels.values():
            channel.suspend()
        await self._revoked(self._app, [TP(*place) for place in self._mine])

    async def assign(self, places: list[Place]) -> None:
        """A rebalance ended."""
        self._mine = places
        assigned = [TP(*place) for place in places]
        self._thread.positions.clear()
        self._thread.positions.update(dict.fromkeys(assigned))
        if self.world.options.seek_first:
            await self.consumer.perform_seek()
            await asyncio.sleep(0)
            await self._assigned(self._app, assigned)
        else:
            await self._assigned(self._app, assigned)
            await self.consumer.perform_seek()
        for channel in self._channels.values():
            channel.resume()
        self.consumer.resume_flow()

    async def _leave(self) -> None:
        self.consumer.over = True
        for task in self._running:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3.0):
                await self.consumer.commit()
        await self.membership.leave()


__all__ = ["Keepers", "SimWorker"]
