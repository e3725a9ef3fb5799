"""The simulated Kafka clients: what the product uses of aiokafka, over the simulated network."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import (
    IllegalOperation,
    KafkaError,
    KafkaTimeoutError,
    OffsetOutOfRangeError,
    ProducerClosed,
    RequestTimedOutError,
)

from engine.stream.clients import Cluster
from tests.simulation.logs import Broker, ConcurrentTransactions, Place
from tests.simulation.network import Fate, Network
from tests.simulation.options import Options

#: aiokafka gives a request up after this long, and a batch with it.
GIVEN_UP_S = 30.0


class Batch:
    """A builder of one record batch."""

    def __init__(self, room: int, room_bytes: int) -> None:
        self._room, self._bytes = room, room_bytes
        self.contents: list[Any] = []
        self.applied = False
        #: Of its first record, once it is applied.
        self.offset = -1
        self.closed = False

    def append(self, *, timestamp: int | None, key: Any, value: Any, headers: Any = ()) -> object | None:
        """None when full, as aiokafka's builder; an empty one takes anything."""
        size = len(key or b"") + len(value or b"")
        if self.closed or (self.contents and (len(self.contents) >= self._room or size > self._bytes)):
            return None
        self._bytes -= size
        self.contents.append((key, value, timestamp or 0, headers))
        return self

    def record_count(self) -> int:
        """As aiokafka's builder."""
        return len(self.contents)

    def close(self) -> None:
        """No more records."""
        self.closed = True


class Producer:
    """aiokafka's producer: in order per partition, one request under way each, its transactions fenced by epoch."""

    def __init__(self, net: Network, broker: Broker, options: Options, name: str | None) -> None:
        self._net, self._broker, self._options = net, broker, options
        self.name = name
        self.epoch = -1
        self.closed = False
        self._home = copy_context()
        self._lanes: dict[Place, deque[tuple[Batch, asyncio.Future[Any]]]] = {}
        self._ending: asyncio.Task[None] | None = None

    # -- life

    async def start(self) -> None:
        """Fence those before, if transactional. Errors: KafkaError."""
        fate = self._net.fate("start")
        if fate in {"error_before", "error_after"}:
            await self._net.ask(lambda: None)
            raise KafkaError("cannot start")
        if self.name is None:
            await self._net.ask(lambda: None)
            return
        name = self.name
        self.epoch = await self._until_resolved(lambda: self._broker.begin_life(name), _slowness(fate, self._net))

    async def stop(self) -> None:
        """Free what is held. An open transaction stays open, as with aiokafka."""
        self.closed = True
        if self._ending is not None:
            self._ending.cancel()
        for lane in self._lanes.values():
            for _, future in lane:
                if not future.done():
                    future.cancel()
            lane.clear()
        await asyncio.sleep(0)

    async def _until_resolved(self, act: Callable[[], Any], extra_s: float = 0.0, answer_s: float = 0.0) -> Any:
        while True:
            try:
                return await self._net.ask(act, extra_s, answer_s)
            except ConcurrentTransactions:
                await asyncio.sleep(0.02 + 2 * self._net.delay())

    # -- records

    def create_batch(self) -> Batch:
        """An empty batch."""
        return Batch(self._options.batch_records, 900_000)

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[Any]:
        """Hand a batch over; the future is done when the brokers acknowledged it."""
        if self.closed:
            raise ProducerClosed
        place = (topic, partition)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        lane = self._lanes.setdefault(place, deque())
        lane.append((batch, future))
        if len(lane) == 1:
            self._try(place)
        return future

    def _try(self, place: Place, fate: Fate | None = None) -> None:
        """Send the first batch of a partition."""
        lane = self._lanes[place]
        if not lane or self.closed:
            return
        batch, future = lane[0]
        fate = fate or self._net.fate("produce")
        if future.done():
            self._next(place)
        elif fate in {"error_before", "stuck"}:
            after_s = GIVEN_UP_S if fate == "stuck" else self._net.delay()
            asyncio.get_running_loop().call_later(after_s, self._fail, place, future)
        else:
            self._net.later(self._net.way() + _slowness(fate, self._net), self._arrive, place, batch, future, fate)

    def _arrive(self, place: Place, batch: Batch, future: asyncio.Future[Any], fate: Fate) -> None:
        """At the broker, so in the world; the answer goes back into the producer's process."""
        error: Exception | None = None
        try:
            if not batch.applied:
                batch.offset = self._broker.logs[place].end
                self._apply(place, batch)
                batch.applied = True
        except KafkaError as refused:
            error = refused
        if fate == "error_after":
            error = RequestTimedOutError()
        self._net.loop.call_later(self._net.delay(), self._heard, place, batch, future, error, context=self._home)

    def _apply(self, place: Place, batch: Batch) -> None:
        if self.name is None:
            self._broker.write_plainly(place, batch.contents)
        else:
            self._broker.write(self.name, self.epoch, place, batch.contents)

    def _heard(self, place: Place, batch: Batch, future: asyncio.Future[Any], error: Exception | None) -> None:
        if isinstance(error, ConcurrentTransactions):
            asyncio.get_running_loop().call_later(0.02 + self._net.delay(), self._try, place, "well")
            return
        if not future.done():
            if error is None:
                future.set_result(batch)  # of what aiokafka answers, the product looks at the offset
            else:
                future.set_exception(error)
        self._next(place)

    def _fail(self, place: Place, future: asyncio.Future[Any]) -> None:
        if not future.done():
            future.set_exception(KafkaTimeoutError())
        self._next(place)

    def _next(self, place: Place) -> None:
        lane = self._lanes[place]
        if lane:
            lane.popleft()
        self._try(place)

    # -- transactions

    async def begin_transaction(self) -> None:
        """The broker learns of it with the first record."""
        if self.closed:
            raise ProducerClosed

    async def commit_transaction(self) -> None:
        """Commit; goes on trying in the background if the caller gives up, as aiokafka does."""
        await self._end(commit=True)

    async def abort_transaction(self) -> None:
        """Abort. Errors: IllegalOperation while a commit is under way."""
        await self._end(commit=False)

    async def _end(self, *, commit: bool) -> None:
        if self.name is None or self.closed:
            raise IllegalOperation("no transaction")
        if self._ending is not None and not self._ending.done():
            raise IllegalOperation("a transaction is being ended")
        self._ending = asyncio.ensure_future(self._end_with_retries(commit=commit))
        self._ending.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._ending)

    async def _end_with_retries(self, *, commit: bool) -> None:
        name, epoch = self.name or "", self.epoch
        fate = self._net.fate("end")
        act = lambda: self._broker.finish(name, epoch, commit=commit)  # noqa: E731
        if fate == "error_before":
            await asyncio.sleep(self._net.delay())
            raise KafkaError("the transaction could not be ended")
        if fate == "retried":  # the first answer is lost: the same request again
            await self._until_resolved(act)
        answer_s = GIVEN_UP_S + 5.0 if fate == "stuck" else 0.0
        await self._until_resolved(act, _slowness(fate, self._net), answer_s)
        if fate == "error_after":
            raise RequestTimedOutError


def _slowness(fate: Fate, net: Network) -> float:
    if fate == "slow":
        return net.delay() * 100
    if fate == "retried":
        return 0.1 + net.delay() * 10
    return 0.0


class Reader:
    """aiokafka's consumer, as `read_partition` uses it: one assigned partition, from a position to the end."""

    def __init__(self, net: Network, broker: Broker) -> None:
        self._net, self._broker = net, broker
        self._position = 0
        self._place: Place = ("", 0)
        self._stable: int | None = None
        self._end: int | None = None

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""

    def assign(self, places: list[TopicPartition]) -> None:
        """Read this one."""
        self._place = (places[0].topic, places[0].partition)

    def seek(self, _: TopicPartition, offset: int) -> None:
        """Read on from there."""
        self._position = offset

    async def position(self, _: TopicPartition) -> int:
        """The next offset to read."""
        return self._position

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        """The last stable offset of each. Errors: KafkaError."""
        if self._net.fate("read") in {"error_before", "error_after"}:
            raise KafkaError("cannot list offsets")
        return await self._net.ask(lambda: {place: self._broker.logs[tuple(place)].stable for place in places})

    async def beginning_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        """The first offset of each that was not deleted."""
        return await self._net.ask(lambda: {place: self._broker.logs[tuple(place)].begin for place in places})

    def highwater(self, _: TopicPartition) -> int | None:
        """The end as of the last fetch."""
        return self._end

    def last_stable_offset(self, _: TopicPartition) -> int | None:
        """As of the last fetch."""
        return self._stable

    async def getmany(self, *_: TopicPartition, timeout_ms: int = 0, max_records: int | None = None) -> Any:
        """Fetch once. Errors: KafkaError."""
        log = self._broker.logs[self._place]
        fate = self._net.fate("read")
        if fate in {"error_before", "error_after"}:
            raise KafkaError("cannot read")
        if not log.begin <= self._position <= log.end:
            raise OffsetOutOfRangeError({})
        limit = max_records or 500

        def act() -> Any:
            return (*log.read(self._position, limit), log.stable, log.end)

        waits_s = GIVEN_UP_S + 5 if fate == "stuck" else _slowness(fate, self._net)
        records, self._position, self._stable, self._end = await self._net.ask(act, waits_s)
        return {TopicPartition(*self._place): records} if records else {}


class Admin:
    """aiokafka's admin client, as `read_partition` uses it."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""

    async def describe_topics(self) -> list[dict[str, Any]]:
        """Every topic with its partitions."""
        return [{"topic": topic, "partitions": [None] * count} for topic, count in self._broker.counts.items()]


class SimCluster(Cluster):
    """Where the product gets its clients from."""

    def __init__(self, net: Network, broker: Broker, options: Options) -> None:
        object.__setattr__(self, "sim", (net, broker, options))
        super().__init__("simulated:9092")

    async def _why_not(self) -> str:
        return "the simulated Kafka does not answer"

    def new_producer(self, *, transactional_id: str | None = None, idempotent: bool = False, **more: Any) -> Any:
        """A simulated producer."""
        net, broker, options = self.sim  # type: ignore[attr-defined]
        return Producer(net, broker, options, transactional_id)

    def new_consumer(self, *topics: str, group_id: str | None = None, **more: Any) -> Any:
        """A simulated reader."""
        net, broker, _ = self.sim  # type: ignore[attr-defined]
        return Reader(net, broker)

    def new_admin(self) -> Any:
        """A simulated admin client."""
        return Admin(self.sim[1])  # type: ignore[attr-defined]
