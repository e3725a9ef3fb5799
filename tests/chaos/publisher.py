"""Publishes the traffic through the proxy at a bounded rate, and keeps account of what the brokers acknowledged.

An event whose fate is not known is sent again with a new producer, as a shop would: it may then be there twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time
from collections import defaultdict
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

from engine.stream.clients import Cluster, partition_for
from tests.chaos.traffic import Outgoing

TURN_S = 0.05
#: What may be on its way without an answer; beyond it no new event happens.
UNDER_WAY_MOST = 4_000
SEND_S = 45.0
PRODUCERS = 2


def mark_of(one: Outgoing) -> str:
    """How the journal names an event: by its identity, or by its bytes if it has none."""
    return "\t".join(one.identity) if one.identity else f"#{blake2b(one.value, digest_size=16).hexdigest()}"


class Publisher:
    """Publishes until told to stop.

    Attributes:
        waiting: mark -> number of acknowledgement, of acknowledged events that the follower has not yet seen decided.
        acknowledged: how many acknowledgements there were.
        journal: a file with a line for every event that was acknowledged.
    """

    def __init__(
        self, cluster: Cluster, prefix: str, partitions: int, traffic: Iterator[Outgoing], rate: int, journal: Path
    ) -> None:
        self.waiting: dict[str, int] = {}
        self.seen: set[int] = set()
        self.acknowledged = 0
        self.published = 0
        self.resent = 0
        self.rate = rate
        self._cluster, self._prefix, self._partitions = cluster, prefix, partitions
        self._traffic = traffic
        self._journal = journal.open("w", encoding="utf-8")
        self._held: list[tuple[float, int, Outgoing]] = []
        self._queue: asyncio.Queue[Outgoing] = asyncio.Queue()
        self._under_way = 0
        self._stop = False

    @property
    def idle(self) -> bool:
        """Is everything published acknowledged?"""
        return not self._held and self._under_way == 0 and self._queue.empty()

    def stop(self) -> None:
        """Nothing new happens; what is on its way or held back still goes out."""
        self._stop = True

    def put(self, one: Outgoing) -> None:
        """Publish one more event, now."""
        self._queue.put_nowait(one)
        self._under_way += 1

    def settled(self, mark: str) -> None:
        """The follower saw the answer to an event."""
        self.seen.add(hash(mark))
        self.waiting.pop(mark, None)

    async def run(self) -> None:
        """Make events happen and send them, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._happen())
            for _ in range(PRODUCERS):
                group.create_task(self._send_for_ever())

    async def _happen(self) -> None:
        due, last, serial = 0.0, time.monotonic(), 0
        while True:
            await asyncio.sleep(TURN_S)
            now = time.monotonic()
            due, last = min(due + (now - last) * self.rate, self.rate), now
            while due >= 1 and not self._stop and self._under_way < UNDER_WAY_MOST:
                due, serial = due - 1, serial + 1
                heapq.heappush(self._held, (now + (one := next(self._traffic)).hold_s, serial, one))
            while self._held and (self._held[0][0] <= now or self._stop):
                self.put(heapq.heappop(self._held)[2])

    async def _send_for_ever(self) -> None:
        batch: list[Outgoing] = []
        while True:
            with contextlib.suppress(Exception):  # whatever it was, the events are sent again
                async with self._cluster.producer(idempotent=True, linger_ms=5) as producer:
                    while True:
                        batch = batch or await self._next()
                        await asyncio.wait_for(self._send(producer, batch), SEND_S)
                        batch = []
            self.resent += len(batch)
            await asyncio.sleep(0.5)

    async def _next(self) -> list[Outgoing]:
        batch = [await self._queue.get()]
        while not self._queue.empty() and len(batch) < 500:
            batch.append(self._queue.get_nowait())
        return batch

    async def _send(self, producer: Any, batch: list[Outgoing]) -> None:
        lanes: dict[tuple[str, int], list[Outgoing]] = defaultdict(list)
        for one in batch:
            lanes[one.topic, partition_for(one.key, self._partitions)].append(one)
        futures = []
        for (topic, partition), mine in lanes.items():
            records = producer.create_batch()
            for one in mine:
                records.append(key=one.key, value=one.value, timestamp=None)
            records.close()
            futures.append(await producer.send_batch(records, self._prefix + topic, partition=partition))
        await asyncio.gather(*futures)
        for one in batch:
            self._acknowledge(one)

    def _acknowledge(self, one: Outgoing) -> None:
        mark = mark_of(one)
        self.acknowledged += 1
        self.published += 1
        self._under_way -= 1
        self._journal.write(f"{mark}\n")
        if hash(mark) not in self.seen:
            self.waiting.setdefault(mark, self.acknowledged)

    def close(self) -> None:
        """The journal is whole."""
        self._journal.close()
