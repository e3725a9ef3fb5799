"""The product's batch consumer on simulated ground: what Faust and its consumer thread do around it is done here.

`BatchConsumer` itself runs: fetching, holding, seeking, commit arithmetic, revocation. Replaced are the thread that talks to
Kafka, and the Faust application around the consumer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, UnknownMemberIdError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from engine.stream import batches
from engine.stream.batches import BatchConsumer
from tests.simulation.group import HEARTBEAT_S, Group
from tests.simulation.logs import Broker, Place
from tests.simulation.network import Network

COMMIT_S = 1.0
POLL_S = 5.0


class Message:
    """Faust's message, as far as the batch consumer and its agents use it."""

    __slots__ = ("__weakref__", "acked", "after", "headers", "key", "offset", "partition", "topic", "tp", "value")

    def __init__(self, tp: TP, offset: int) -> None:
        self.tp, self.topic, self.partition, self.offset = tp, tp.topic, tp.partition, offset
        self.acked = False
        self.after = 0
        self.key: Any = None
        self.value: Any = None
        self.headers: Any = ()


class Thread:
    """The consumer thread: positions, fetches, the group's offsets."""

    def __init__(self, net: Network, broker: Broker, group: Group) -> None:
        self._net, self._broker, self._group = net, broker, group
        self.positions: dict[TP, int | None] = {}

    async def fetch(self, wanted: Any, timeout: float) -> tuple[dict[TP, Any], dict[TP, int]]:
        """Records and positions, as soon as there is something, at the latest after `timeout`."""
        limit = batches.FETCH_RECORDS  # looked up now: it is a knob
        asked: dict[TP, int] = {tp: at for tp in wanted if (at := self.positions.get(tp)) is not None}
        fate = self._net.fate("fetch")
        extra = {"well": 0.0, "slow": self._net.delay() * 50}.get(fate, 1.0)
        found = await self._net.ask(lambda: self._read(asked, limit), extra)
        if not any(records or after > asked[tp] for tp, (records, after) in found.items()):
            await self._news(asked, timeout)
            found = await self._net.ask(lambda: self._read(asked, limit))
        records: dict[TP, Any] = {}
        for tp, (batch, after) in found.items():
            # What was asked for before a seek or a rebalance is thrown away, as the fetcher does.
            if self.positions.get(tp) == asked[tp]:
                self.positions[tp] = after
                if batch:
                    records[tp] = batch
        answer = (records, {tp: at for tp in wanted if (at := self.positions.get(tp)) is not None})
        await asyncio.sleep(self._net.delay() / 10)  # from the thread into the main loop
        return answer

    def _read(self, asked: dict[TP, int], limit: int) -> dict[TP, tuple[list[Any], int]]:
        return {tp: self._broker.logs[tp[0], tp[1]].read(position, limit) for tp, position in asked.items()}

    async def _news(self, asked: dict[TP, int], timeout: float) -> None:
        future = self._net.loop.create_future()
        for tp in asked:
            self._broker.logs[tp[0], tp[1]].waiting.append(future)
        timer = self._net.loop.call_later(timeout, _release, future)
        await future
        timer.cancel()

    async def start_of_group(self, tp: TP) -> int:
        """The group's offset, else the beginning."""
        return await self._net.ask(lambda: self._group.offsets.get((tp.topic, tp.partition), 0))

    async def seek_to(self, tp: TP, offset: int) -> None:
        """Set a position. Errors: IllegalStateError when it is not assigned."""
        await asyncio.sleep(self._net.delay() / 10)
        if tp not in self.positions:
            raise IllegalStateError(f"{tp} is not assigned")
        self.positions[tp] = offset

    async def touch(self) -> None:
        """The group learns of us by heartbeats alone."""


def _release(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Grounded(driver.Consumer):
    """In place of Faust's consumer below the batch consumer."""

    def __init__(self, worker: Any, thread: Thread) -> None:
        self._worker: Any = worker
        self._thread = thread
        self.transport = SimpleNamespace(start_offset=worker.start_offset)
        self.app = SimpleNamespace(
            monitor=SimpleNamespace(track_tp_end_offset=lambda *_: None),
            topics=SimpleNamespace(acks_enabled_for=lambda _: True),
        )
        self._acked: Any = defaultdict(list)
        self._acked_index: Any = defaultdict(set)
        self._read_offset: Any = {}
        self._committed_offset: Any = defaultdict(lambda: None)
        self._unacked_messages: Any = set()
        self.flow_active = True
        self._flows = asyncio.Event()
        self._flows.set()
        self.can_resume_flow = self._flows
        self.over = False

    @property
    def should_stop(self) -> bool:
        """Is the end near?"""
        return self.over

    def stop_flow(self) -> None:
        """Deliver nothing more."""
        self.flow_active = False
        self._flows.clear()

    def resume_flow(self) -> None:
        """Deliver again."""
        self.flow_active = True
        self._flows.set()

    async def wait(self, event: Any) -> None:
        """Until the flow resumes."""
        await event.wait()

    def add_future(self, coroutine: Any) -> Any:
        """Run it beside; an error ends the worker."""
        task = asyncio.ensure_future(coroutine)
        task.add_done_callback(self._worker.task_ended)
        return task

    def assignment(self) -> Any:
        """What is ours, in an order that does not depend on hashes."""
        return sorted(self._thread.positions)

    def _get_active_partitions(self) -> Any:
        return self._thread.positions

    def highwater(self, tp: TP) -> int:
        """Only watched."""
        return 0

    def _to_message(self, tp: TP, record: Any) -> Any:
        return Message(tp, record.offset)

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit what is acknowledged, as Faust does; a rebalance that was quicker is no error."""
        offsets = {tp: offset for tp in self._filter_tps_with_pending_acks(topics) if (offset := self._new_offset(tp))}
        news = {tp: offset for tp, offset in offsets.items() if self._committed_offset[tp] != offset}
        if not news:
            return False
        try:
            await self._worker.commit_offsets(news)
        except (CommitFailedError, KafkaError):
            return False
        self._committed_offset.update(news)
        return True

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Faust's part: the flow stops, queues are emptied, the application is told."""
        await self._worker.flow_stops()


class SimConsumer(BatchConsumer, Grounded):
    """The batch consumer, with fetches in a fixed order of partitions."""

    def _wanted(self) -> Any:
        return dict.fromkeys(sorted(super()._wanted()))


class Channel:
    """Between consumer and agent; what is on its way when the flow stops may be lost, and is read again."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._items: list[Any] = []
        self._changed = asyncio.Event()
        self._flows = True

    def suspend(self) -> None:
        """Empty it, let nothing in."""
        self._flows = False
        self._items.clear()
        self._changed.set()

    def resume(self) -> None:
        """Let it flow."""
        self._flows = True

    async def put(self, item: Any) -> None:
        """Wait for room."""
        while self._flows and len(self._items) >= self._room:
            self._changed.clear()
            await self._changed.wait()
        if self._flows:
            self._items.append(item)
            self._changed.set()

    async def get(self) -> Any:
        """Wait for an item."""
        while not self._items:
            self._changed.clear()
            await self._changed.wait()
        item = self._items.pop(0)
        self._changed.set()
        return item


class Stream:
    """Faust's stream, as the agents use it: `stream.noack().events()`."""

    def __init__(self, channel: Channel, ack: Callable[[Message], Any]) -> None:
        self._channel, self._ack = channel, ack

    def noack(self) -> Stream:
        """The agent acknowledges itself."""
        return self

    async def events(self) -> Any:
        """One event after the other."""
        while True:
            message = await self._channel.get()
            yield SimpleNamespace(message=message, ack=lambda message=message: self._ack(message))


class Membership:
    """The group client of one process: joins, beats, revokes and joins again."""

    def __init__(self, net: Network, group: Group, worker: Any) -> None:
        self._net, self._group, self._worker = net, group, worker
        self.name: str | None = None
        self.generation = -1

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._join()
            except KafkaError:
                self.name = None
                await asyncio.sleep(0.1)
                continue
            await self._beat()
            await self._worker.revoke()

    async def _join(self) -> None:
        name = self.name
        waiting = await self._net.ask(lambda: self._group.join(name))
        self.name, self.generation, places = await waiting
        await asyncio.sleep(self._net.delay())
        await self._worker.assign(places)

    async def _beat(self) -> None:
        """Until the group says that something changed."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            if self._net.fate("heartbeat") != "well":
                await asyncio.sleep(HEARTBEAT_S)
            try:
                await self._net.ask(self._heartbeat)
            except UnknownMemberIdError:
                self.name = None
                return
            except KafkaError:
                return

    def _heartbeat(self) -> None:
        self._group.heartbeat(self.name or "", self.generation)

    async def commit(self, offsets: dict[Place, int]) -> None:
        """Errors: CommitFailedError, KafkaError."""
        fate, name, generation = self._net.fate("commit"), self.name or "", self.generation
        if fate in {"error_before", "stuck"}:
            raise KafkaError("no commit")
        await self._net.ask(lambda: self._group.commit(name, generation, offsets), self._net.delay())
        if fate == "error_after":
            raise KafkaError("no answer to the commit")

    async def leave(self) -> None:
        """Say good-bye."""
        if self.name is not None:
            name = self.name
            with contextlib.suppress(KafkaError):
                await self._net.ask(lambda: self._group.leave(name))


Revoke = Callable[[], Awaitable[None]]
