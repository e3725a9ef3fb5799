"""The logs of a deployment as verify reads them: plain iterators, a fetch at a time, nothing kept.

The work between two fetches is long and the reading short, so there is nothing to gain from doing both at once: an event
loop of our own runs only while records are awaited. Nothing here belongs to a consumer group or writes anything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, Self, TypeVar

from engine.settings import UsageError, sentence
from engine.stream.clients import Cluster, ends_of, log_ends, read_partition
from engine.stream.programmes import load_published
from engine.stream.topics import FACTS, POINTS_LOG, REJECTS, Layout, LogMissing, partition_count, require
from rules.book import Programme

#: Before the last look for what seems to be missing. Too short: the marks of a transaction that was just committed have
#: not reached every partition. Too long: a run that found something takes longer.
SETTLE_S = 2.0
FETCH_RECORDS = 5_000
T = TypeVar("T")


class KafkaLogs:
    """Satisfies `engine.verify.logs.Logs`; a context manager. Use it outside of an event loop.

    Attributes:
        log_id: of the logs. ends: partition -> (begin, end) of points-log as of the start.

    Errors (of everything here): UsageError when the logs are not there; KafkaTrouble, KafkaError.
    """

    def __init__(self, cluster: Cluster, prefix: str = "") -> None:
        self.prefix = prefix
        self.partitions = 0
        self.log_id = ""
        self.ends: dict[int, tuple[int, int]] = {}
        self._cluster = cluster
        self._runner = asyncio.Runner()
        self._rejects: dict[int, tuple[int, int]] = {}
        self._read_to: dict[int, int] = {}
        self._settled = False
        self._under_way: list[AsyncGenerator[list[Any], None]] = []

    def __enter__(self) -> Self:
        self._runner.__enter__()
        try:
            self.run(self._open())
        except BaseException:
            self._runner.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            while self._under_way:
                self.run(self._under_way.pop().aclose())
        finally:
            self._runner.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the loop of these logs."""
        return self._runner.run(work)

    async def _open(self) -> None:
        try:
            self.log_id = await require(self._cluster, Layout(prefix=self.prefix))
        except LogMissing as error:
            raise UsageError(sentence(error)) from error
        self.partitions = await partition_count(self._cluster, self.prefix + POINTS_LOG)
        await self._look()

    async def _look(self) -> None:
        self.ends = await log_ends(self._cluster, self.prefix + POINTS_LOG, self.partitions)
        try:
            count = await partition_count(self._cluster, self.prefix + REJECTS)
        except LogMissing:
            return
        self._rejects = await log_ends(self._cluster, self.prefix + REJECTS, count)

    def look(self) -> None:
        """Learn again where the logs end."""
        self.run(self._look())

    def programmes(self) -> dict[str, Programme]:
        """Every published version by hash. Errors: UnreadableVersion."""
        return self.run(load_published(self._cluster, self.prefix))

    def facts(self, partition: int) -> Iterator[Any]:
        """As `Logs`: to the end of the log as of the first fetch."""
        for record in self._records(FACTS, partition, 0):
            self._read_to[partition] = record.offset + 1
            yield record

    def decisions(self, partition: int) -> Iterator[Any]:
        """As `Logs`: to the end as of the start."""
        end = self.ends[partition][1]
        if end > 0:
            for record in self._records(POINTS_LOG, partition, 0):
                if record.offset >= end:
                    break
                yield record

    def rejects(self, partition: int) -> Iterator[Any]:
        """As `Logs`. Where it begins is asked anew: it forgets, and a long run may come to it hours after its start."""
        if partition in self._rejects:
            self._rejects |= self.run(ends_of(self._cluster, self.prefix + REJECTS, [partition]))
        begin, end = self._rejects.get(partition, (0, 0))
        return self._records(REJECTS, partition, begin) if end > begin else iter(())

    def rejects_begin(self, partition: int) -> int:
        """As `Logs`."""
        return self._rejects.get(partition, (0, 0))[0]

    def fact_at(self, partition: int, offset: int) -> Any | None:
        """As `Logs`."""
        return next(self._records(FACTS, partition, offset, 1), None)

    def later_facts(self, partition: int) -> Iterator[Any]:
        """As `Logs`."""
        self._settle()
        return self._records(FACTS, partition, self._read_to.get(partition, 0))

    def later_decisions(self, partition: int) -> Iterator[Any]:
        """As `Logs`."""
        self._settle()
        return self._records(POINTS_LOG, partition, self.ends[partition][1])

    def _settle(self) -> None:
        if not self._settled:
            self._settled = True
            time.sleep(SETTLE_S)

    def _records(self, topic: str, partition: int, start: int, at_once: int = FETCH_RECORDS) -> Iterator[Any]:
        fetches = read_partition(self._cluster, self.prefix + topic, partition, start, max_records=at_once)
        self._under_way.append(fetches)

        async def fetch() -> Any:
            return await anext(fetches, None)

        try:
            while (records := self.run(fetch())) is not None:
                yield from records
        finally:
            if fetches in self._under_way:
                self._under_way.remove(fetches)
                self.run(fetches.aclose())
