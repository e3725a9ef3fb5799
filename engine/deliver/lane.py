"""One channel: what waits, until when, how fast it may go, and what is tried again.

All moments are wall-clock seconds: a notice says in calendar time from when until when it may be said.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from engine.deliver.metrics import DeliverMetrics
from engine.deliver.sending import Answer, Channel, Sender
from schemas.notices import NoticeEvent
from schemas.times import to_us

#: How long a lane sleeps at most. Too short: it wakes for nothing. Too long: a clock that was set is noticed late.
NAP_S = 1.0

log = structlog.get_logger(__name__)
Outcome = str


@dataclass(slots=True, eq=False)
class Item:
    """A notice on its way.

    Attributes:
        place: what names the record to whoever read it; nothing of a lane's business.
        due_s: next attempt; first `not_before`.
        since_s: from when on it could be said: `not_before`, or when it was read.
        until_s: not after this.
        gone: its partition is somebody else's now, who reads it, too: it is not tried again here.
    """

    notice: NoticeEvent
    body: bytes
    place: tuple[str, int, int]
    due_s: float
    since_s: float
    until_s: float
    attempts: int = 0
    reason: str = ""
    gone: bool = False


def item_of(notice: NoticeEvent, body: bytes, place: tuple[str, int, int], now_s: float) -> Item:
    """A notice that was just read."""
    data = notice["data"]
    from_s = now_s if data["not_before"] is None else to_us(data["not_before"]) / 1e6
    until_s = float("inf") if data["expires_at"] is None else to_us(data["expires_at"]) / 1e6
    return Item(notice, body, place, from_s, max(from_s, now_s), until_s)


#: Told what became of a notice; returns when that is written down.
Finished = Callable[[Item, Outcome, str], Awaitable[None]]


class Lane:
    """Sends the notices of one channel. `finished` is awaited for every notice, exactly once per time it was put in."""

    def __init__(
        self,
        name: str,
        channel: Channel,
        sender: Sender,
        finished: Finished,
        metrics: DeliverMetrics,
        *,
        now_s: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._channel, self._sender, self._finished = channel, sender, finished
        self._metrics, self._now_s, self._chance = metrics, now_s, chance
        self._waiting: list[tuple[float, int, Item]] = []
        self._order = itertools.count()
        self._under_way: dict[Item, asyncio.Task[None]] = {}
        self._free_s = self._quiet_until_s = 0.0
        self._news = asyncio.Event()

    @property
    def held(self) -> int:
        """How many notices are in it."""
        return len(self._waiting) + len(self._under_way)

    def put(self, item: Item) -> None:
        """Take a notice in."""
        heapq.heappush(self._waiting, (item.due_s, next(self._order), item))
        self._news.set()

    def drop(self, belongs: Callable[[Item], bool]) -> list[asyncio.Task[None]]:
        """Forget what waits of a partition that is somebody else's now; returns what of it is under way."""
        self._waiting = [entry for entry in self._waiting if not belongs(entry[2])]
        heapq.heapify(self._waiting)
        tasks = []
        for item, task in self._under_way.items():
            if belongs(item):
                item.gone = True
                tasks.append(task)
        return tasks

    def tell(self) -> None:
        """Say what waits, and for how long the oldest of it."""
        now_s = self._now_s()
        since = [entry[2].since_s for entry in self._waiting] + [item.since_s for item in self._under_way]
        self._metrics.held.labels(self.name).set(self.held)
        self._metrics.overdue.labels(self.name).set(max((now_s - one for one in since), default=0.0))

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop` is set; what is under way then goes on."""
        while not stop.is_set():
            pause_s = self._pause_s()
            if pause_s <= 0:
                self._begin(heapq.heappop(self._waiting)[2])
                await asyncio.sleep(0)
                continue
            self._news.clear()
            try:
                async with asyncio.timeout(min(pause_s, NAP_S)):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _pause_s(self) -> float:
        """How long nothing can begin: no place, nothing due, the rate, or the other side asked for quiet."""
        if not self._waiting or len(self._under_way) >= self._channel.concurrency:
            return NAP_S
        due_s, _, first = self._waiting[0]
        now_s = self._now_s()
        if now_s >= first.until_s:
            return 0.0  # it only has to be told
        return max(due_s, self._free_s, self._quiet_until_s) - now_s

    def _begin(self, item: Item) -> None:
        now_s = self._now_s()
        if self._channel.rate_per_second is not None and now_s < item.until_s:
            self._free_s = max(self._free_s, now_s) + 1 / self._channel.rate_per_second
        task = asyncio.create_task(self._one(item))
        self._under_way[item] = task
        task.add_done_callback(lambda _: self._ended(item))

    def _ended(self, item: Item) -> None:
        self._under_way.pop(item, None)
        self._news.set()

    async def _one(self, item: Item) -> None:
        if self._now_s() >= item.until_s:
            await self._end(item, "expired", item.reason)
            return
        with self._metrics.seconds.labels(self.name).time():
            answer = await self.attempt(item)
        self._metrics.attempts.labels(self.name, answer.kind).inc()
        item.attempts += 1
        item.reason = answer.reason
        match answer.kind:
            case "sent" | "bounced":
                await self._end(item, answer.kind, answer.reason)
            case "never":
                await self._end(item, "failed", answer.reason)
            case "later" if item.attempts >= self._channel.attempts:
                await self._end(item, "failed", answer.reason)
            case "later":
                self._again(item, answer)

    async def attempt(self, item: Item) -> Answer:
        """Try once; an error of a sender is one that passes, and its text is kept out of the log: it may hold an address."""
        try:
            return await self._sender.send(item.notice, item.body)
        except Exception as error:  # noqa: BLE001 - a sender may be anybody's
            log.warning("a sender failed", channel=self.name, notice=item.notice["id"], error=type(error).__name__)
            return Answer("later", "sender_failed")

    def _again(self, item: Item, answer: Answer) -> None:
        if item.gone:
            return
        now_s = self._now_s()
        if answer.after_seconds is not None:
            self._quiet_until_s = max(self._quiet_until_s, now_s + answer.after_seconds)
        wait_s = backoff_s(self._channel, item.attempts, self._chance())
        item.due_s = min(now_s + max(wait_s, answer.after_seconds or 0.0), item.until_s)
        log.info(
            "a notice waits for its next attempt",
            channel=self.name,
            notice=item.notice["id"],
            attempts=item.attempts,
            reason=answer.reason,
            seconds=round(item.due_s - now_s, 1),
        )
        self.put(item)

    async def _end(self, item: Item, outcome: Outcome, reason: str) -> None:
        await self._finished(item, outcome, reason)

    async def drain(self, seconds: float) -> int:
        """Wait for what is under way; returns how many were cut off."""
        tasks = list(self._under_way.values())
        if not tasks:
            return 0
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        return len(late)


def backoff_s(channel: Channel, attempts: int, chance: float) -> float:
    """Seconds until the next attempt: doubled each time, up to the longest, of which a random half is taken off.

    Source: Brooker, Exponential Backoff and Jitter (AWS Architecture Blog, 2015), "equal jitter".
    """
    whole = min(channel.first_retry_seconds * 2.0 ** min(attempts - 1, 60), channel.longest_retry_seconds)
    return whole / 2 + whole / 2 * chance
