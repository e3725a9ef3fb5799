"""Small Faust workers on the batch transport, inside the test's own event loop."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import faust
from faust.types import TP

from engine.stream.batches import (
    BUDGET_BYTES,
    SESSION_S,
    StartOffset,
    app_settings,
    batch_topic,
    configure,
    read_after,
    records_of,
)
from engine.stream.clients import Cluster, capabilities

PATIENCE_S = 120.0
#: The embedded broker keeps whoever joins a group waiting for half of a session, and tests start many workers. Two workers
#: of one group need the longer one of production: on a busy machine one of them is thrown out while the other joins.
EMBEDDED_TEST_SESSION_S = 1.5

Handle = Callable[[Any], None]


class Collector:
    """An agent's handler that keeps what it is given, per partition, and acknowledges as told."""

    def __init__(self, *, acknowledge: bool = True) -> None:
        self.acknowledge = acknowledge
        self.values: dict[int, list[bytes]] = {}
        self.offsets: dict[int, list[int]] = {}
        self.batches: dict[int, list[tuple[int, int, int]]] = {}
        self.events: list[Any] = []
        self._changed = asyncio.Event()

    def __call__(self, event: Any) -> None:
        records = records_of(event)
        partition = records[0].partition
        self.values.setdefault(partition, []).extend(record.value for record in records)
        self.offsets.setdefault(partition, []).extend(record.offset for record in records)
        edges = (read_after(event), records[0].offset, records[-1].offset)
        self.batches.setdefault(partition, []).append(edges)
        if self.acknowledge:
            event.ack()
        else:
            self.events.append(event)
        self._changed.set()

    def count(self, partition: int = 0) -> int:
        """Records of a partition so far, repeated ones included."""
        return len(self.values.get(partition, ()))

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; looks after every batch."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def running(
    cluster: Cluster,
    group: str,
    topics: Iterable[str],
    handle: Handle,
    *,
    partitions: int = 1,
    start_offset: StartOffset | None = None,
    budget_bytes: int = BUDGET_BYTES,
    embedded_session_s: float = EMBEDDED_TEST_SESSION_S,
    **settings: Any,
) -> AsyncIterator[Any]:
    """A worker whose one agent hands every event to `handle`; yields the app, stops it in the end."""
    with tempfile.TemporaryDirectory(prefix="stammgast-worker-") as folder:
        session_s = SESSION_S if (await capabilities(cluster)).transactions else embedded_session_s
        defaults = app_settings(cluster, partitions, session_s=session_s)
        defaults |= {"broker_commit_interval": 0.2, "datadir": folder}
        app = faust.App(group, **(defaults | settings))
        configure(app, start_offset, budget_bytes=budget_bytes)

        async def batches(stream: Any) -> None:
            async for event in stream.noack().events():
                handle(event)

        app.agent(batch_topic(app, *topics), name=f"{group}-batches")(batches)
        app.finalize()
        await app.start()
        try:
            yield app
        finally:
            await stopped(app)


async def stopped(app: Any) -> None:
    """Stop an app. Errors: AssertionError where it does not stop; `asyncio.timeout` would not tell, mode swallows it."""
    stopping = asyncio.ensure_future(app.stop())
    done, _ = await asyncio.wait({stopping}, timeout=PATIENCE_S)
    if not done:
        stopping.cancel()
        raise AssertionError(f"{app} did not stop within {PATIENCE_S:.0f} s")
    stopping.result()


async def crashed(app: Any) -> BaseException:
    """Wait until an app ends by itself; returns why."""
    async with asyncio.timeout(PATIENCE_S):
        await app._crashed.wait()
    reason: BaseException = app._crash_reason
    return reason


async def eventually(holds: Callable[[], Any], wanted: Any) -> None:
    """Ask an awaitable question until the answer is the one that is wanted."""
    answer = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while (answer := await holds()) != wanted:  # noqa: ASYNC110 - the broker tells nobody
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"wanted {wanted!r}, last answer {answer!r}") from None


def place(topic: str, partition: int = 0) -> TP:
    """A partition as Faust names it."""
    return TP(topic, partition)
