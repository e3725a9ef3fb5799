"""The rewards agent: a fetched batch of `facts` goes to the keeper of its partition, and nobody ever waits for a keeper.

`Keepers` follows the consumer group: what is assigned has a keeper, what is gone has none, what stayed goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from engine.stream.batches import read_after, records_of
from engine.stream.keeper import Keeper
from engine.stream.tools import Delivery, Tools

#: Seconds a keeper gets before a rebalance to finish its turn; well inside the session timeout.
REST_SECONDS = 5.0
#: A partition whose keeper was fenced, and which the group left here all the same, is opened again after this long. A
#: zombie learns within its session timeout (10 s) that it lost the partition; whoever is still owner then is the owner.
REOPEN_SECONDS = 15.0

log = structlog.get_logger(__name__)


class Keepers:
    """The keepers of one worker, by partition; a partition that is ours has one. Belongs to one event loop."""

    def __init__(self, tools: Tools, reopen_seconds: float = REOPEN_SECONDS) -> None:
        self._tools = tools
        self.reopen_seconds = reopen_seconds
        self.by_partition: dict[int, Keeper] = {}
        self._assigned: set[int] = set()
        self._chores: set[asyncio.Task[None]] = set()
        self._assignments = 0
        self._closing = False
        self._rebalancing = False
        self._change = asyncio.Event()

    def __iter__(self) -> Any:
        return iter(self.by_partition.values())

    def get(self, partition: int) -> Keeper | None:
        """The keeper of a partition, if there is one."""
        return self.by_partition.get(partition)

    @property
    def assigned(self) -> frozenset[int]:
        """The partitions this worker owns, as of the last assignment."""
        return frozenset(self._assigned)

    @property
    def joined(self) -> bool:
        """Was anything (or nothing) assigned yet?"""
        return self._assignments > 0

    def offer(self, delivery: Delivery) -> None:
        """Hand a delivery to its keeper. Without an open one it is dropped, and read again from the log's position."""
        keeper = self.by_partition.get(delivery.records[0].partition)
        if keeper is not None:
            keeper.offer(delivery)

    async def revoked(self) -> None:
        """A rebalance begins: every keeper finishes or aborts its turn and rests."""
        self._rebalancing = True
        await asyncio.gather(*(keeper.rest(REST_SECONDS) for keeper in self.by_partition.values()))

    def assign(self, partitions: Iterable[int]) -> None:
        """A rebalance ended: open what is new, go on with what stayed, close the others. Returns at once."""
        if self._closing:
            return
        self._assignments += 1
        self._rebalancing = False
        self._assigned = set(partitions)
        for partition in list(self.by_partition):
            if partition not in self._assigned:
                self._chore(self.by_partition.pop(partition).close())
                self._tools.watch.gone(partition)
        for partition in sorted(self._assigned):
            keeper = self.by_partition.get(partition)
            if keeper is None or keeper.state == "closed":
                self._open(partition)
            else:
                keeper.carry_on()

    def _open(self, partition: int) -> None:
        keeper = self.by_partition[partition] = Keeper(partition, self._tools)
        keeper.start()

    def fenced(self, partition: int) -> None:
        """Another worker opened this partition. If it stays ours nevertheless, take it back; see REOPEN_SECONDS."""
        keeper = self.by_partition.get(partition)
        if keeper is None or partition not in self._assigned:
            return
        # A keeper that went on after a rebalance and is fenced at its first write was overtaken before that rebalance,
        # which then gave the partition back: nothing to wait for.
        delay = self.reopen_seconds if keeper.proven else 0.0
        self._chore(self._reopen(partition, keeper, delay, self._assignments))

    async def _reopen(self, partition: int, fenced: Keeper, delay: float, assignments: int) -> None:
        await asyncio.sleep(delay)
        # A rebalance under way decides whose it is: a keeper opened meanwhile would fence the next owner, and its position,
        # once told, would be forgotten by the assignment that follows: the partition would stand still.
        if self._rebalancing:
            return
        if self._assignments == assignments and self.by_partition.get(partition) is fenced:
            log.warning("the fenced partition is still ours: opened again", partition=partition)
            self._open(partition)
            self._tools.flow.reopen(partition)

    async def position(self, partition: int) -> int:
        """Where the consumer must read on; waits until the partition has a keeper that takes deliveries.

        Faust may ask before it announced an assignment, and a keeper may be replaced while somebody waits for it.
        """
        while True:
            keeper = self.by_partition.get(partition)
            offset = keeper.position() if keeper is not None else None
            if offset is not None:
                return offset
            await self._change.wait()

    def changed(self) -> None:
        """Some keeper may take deliveries now: whoever waits for a position looks again."""
        change, self._change = self._change, asyncio.Event()
        change.set()

    async def close(self, *, finish: bool = True) -> None:
        """Finish turns, close every keeper. Bounded; `finish` leaves a checkpoint where that is quickly done."""
        self._closing = True
        await self.revoked()
        if finish:
            await asyncio.gather(*(keeper.leave() for keeper in self.by_partition.values()))
        await asyncio.gather(*(keeper.close() for keeper in self.by_partition.values()))
        for chore in self._chores:
            chore.cancel()
        self.by_partition.clear()
        self._assigned.clear()

    def _chore(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)


def rewards_agent(keepers: Keepers) -> Callable[[Any], Any]:
    """The agent's body for `app.agent(...)`: batches to keepers, without waiting for any of them."""

    async def rewards(stream: Any) -> None:
        async for event in stream.noack().events():
            keepers.offer(Delivery(records_of(event), event.ack, read_after(event)))

    return rewards
