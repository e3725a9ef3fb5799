"""Follows the answers as they appear, and measures how long each fault disturbed the service.

A fault is over when every event acknowledged before it, and a probe sent after it to each partition, is answered in the
log, and the tables show those answers.
"""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from http.client import HTTPException
from typing import Any

import orjson
from aiokafka import TopicPartition

from engine.stream.clients import Cluster
from tests.chaos.publisher import Publisher
from tests.kafka.deployment import Samples, samples_of

LOOK_MS = 100
ASK_S = 0.3
Positions = dict[tuple[str, int], float]


@dataclass(eq=False)
class Disturbance:
    """One fault, or several at once, on its way to recovery; times on the monotonic clock.

    Attributes:
        mark: the newest acknowledgement when it (or the last of several) began.
        probes: marks of the probes sent after it.
    """

    kind: str
    began: float
    mark: int
    probes: frozenset[str]
    decided: float | None = None
    shown: float | None = None
    ends: dict[int, int] = field(default_factory=dict)


class Follower:
    """Reads `points-log` and `rejects` past the proxy; tells the publisher what is answered."""

    def __init__(
        self, cluster: Cluster, prefix: str, partitions: int, publisher: Publisher, projector_port: Callable[[], int]
    ) -> None:
        self.disturbances: list[Disturbance] = []
        self.ends: dict[str, dict[int, int]] = {"points-log": {}, "rejects": {}}
        self.decisions = 0
        self.positions: Positions = {}
        self.lag = -1.0
        self._open: list[Disturbance] = []
        self._cluster, self._prefix, self._partitions = cluster, prefix, partitions
        self._publisher, self._projector_port = publisher, projector_port

    def disturbed(self, kind: str, probes: frozenset[str]) -> Disturbance:
        """A fault happens now."""
        one = Disturbance(kind, time.monotonic(), self._publisher.acknowledged, probes)
        self.disturbances.append(one)
        self._open.append(one)
        return one

    async def run(self) -> None:
        """Follow for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read())
            group.create_task(self._ask())

    async def _read(self) -> None:
        """Read on and on; a reader that lost its broker is replaced."""
        places = [TopicPartition(self._prefix + t, p) for t in self.ends for p in range(self._partitions)]
        while True:
            try:
                async with self._cluster.consumer(fetch_max_wait_ms=LOOK_MS) as consumer:
                    consumer.assign(places)
                    for place in places:
                        consumer.seek(place, self.ends[self._short(place)].get(place.partition, 0))
                    while True:
                        for place, records in (await consumer.getmany(timeout_ms=LOOK_MS)).items():
                            self._take(self._short(place), place.partition, records)
                        self._look()
            except Exception:  # noqa: BLE001  a broker died while it answered: there are many ways to learn it
                await asyncio.sleep(0.5)

    def _short(self, place: TopicPartition) -> str:
        return str(place.topic).removeprefix(self._prefix)

    def _take(self, topic: str, partition: int, records: list[Any]) -> None:
        self.ends[topic][partition] = records[-1].offset + 1
        for record in records:
            if topic == "points-log":
                decision = orjson.loads(record.value)
                self.decisions += 1
                self._publisher.settled(f"{decision['source']}\t{decision['fact_id']}")
            else:
                self._publisher.settled(f"#{blake2b(record.value, digest_size=16).hexdigest()}")

    def _look(self) -> None:
        """What is over by now?"""
        waiting, now = self._publisher.waiting, time.monotonic()
        oldest = next(iter(waiting.values()), None)
        for one in list(self._open):
            if one.decided is None:
                waits = (oldest is not None and oldest <= one.mark) or any(
                    probe in waiting or hash(probe) not in self._publisher.seen for probe in one.probes
                )
                if not waits:
                    one.decided, one.ends = now, dict(self.ends["points-log"])
            elif all(self.positions.get(("points-log", p), -1) >= end for p, end in one.ends.items()):
                one.shown = now
                self._open.remove(one)

    async def _ask(self) -> None:
        """Where the projector is, from its own telemetry."""
        while True:
            samples = await asyncio.to_thread(_get, self._projector_port())
            if samples:
                found = [(name, dict(labels), value) for (name, labels), value in samples.items()]
                self.positions = {
                    (labels["topic"], int(labels["partition"])): value
                    for name, labels, value in found
                    if name == "stammgast_projector_position"
                }
                lags = [value for name, _, value in found if name == "stammgast_projector_lag_records"]
                self.lag = sum(lags) if lags else -1.0
            else:
                self.positions, self.lag = {}, -1.0
            await asyncio.sleep(ASK_S)


def _get(port: int) -> Samples:
    """What the projector tells; nothing while nobody answers, or when it dies in the middle of an answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=1) as answer:
            return samples_of(answer.read())
    except (OSError, HTTPException, ValueError):
        return {}
