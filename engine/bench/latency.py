"""From "Kafka has the purchase" to "DuckDB shows its points": the whole live road at a steady rate.

A publisher sends single events at even intervals and notes when the broker acknowledged each; a worker and a projector run as
shipped, in processes of their own; the projector notes when the transaction with an event's decision was committed. All three
read the same clock of this machine.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from engine.bench import data
from engine.bench.children import Child, MeasurementFailed, child
from engine.bench.figures import Run
from engine.bench.jobs import PARTITIONS, Job
from engine.bench.logs import deployment
from engine.stream.clients import Cluster
from engine.stream.topics import SHOP_EVENTS

#: Sent before anything is timed, so that all parts have started and worked.
WARM_UP = 500

#: Seconds since the epoch: taken by intake, in the projector's hand, visible.
Moments = Sequence[float]


async def measure(cluster: Cluster, *, transactions: bool, rate: int, seconds: float) -> Run:
    """One run: `rate` purchases a second for `seconds`; figures are milliseconds.

    Errors: MeasurementFailed.
    """
    count = WARM_UP + round(rate * seconds)
    events = [(identity(raw), raw) for raw in data.events(data.TWO_LINES, count)]
    expected = count + PARTITIONS * len(data.programmes())
    async with deployment(cluster) as layout:
        job = Job(
            "worker", prefix=layout.prefix, expected=expected, transactions=transactions, limit_s=60 + 3 * seconds
        )
        watcher = Job("watcher", prefix=layout.prefix, expected=expected, limit_s=job.limit_s)
        async with child(job, cluster), child(watcher, cluster) as watching:
            async with cluster.producer(idempotent=transactions) as producer:
                topic = layout.name(SHOP_EVENTS)
                await publish(producer, topic, events[:WARM_UP], rate=10 * rate)
                await _until(watching, expected - count + WARM_UP)
                began = time.perf_counter()
                acknowledged = await publish(producer, topic, events[WARM_UP:], rate=rate)
                took = time.perf_counter() - began
            shown = await _shown(watching)
    return Run(len(acknowledged), took, percentiles(acknowledged, shown))


def identity(raw: bytes) -> tuple[str, bytes]:
    """(id, Kafka key) of an inbound event."""
    event = orjson.loads(raw)
    return event["id"], event["subject"].encode()


async def publish(
    producer: Any, topic: str, events: Sequence[tuple[tuple[str, bytes], bytes]], rate: float
) -> dict[str, float]:
    """Send events one by one at an even rate; returns id -> moment of its acknowledgement, seconds since the epoch.

    Errors: KafkaError of an event that was not taken.
    """
    acknowledged: dict[str, float] = {}
    waiting, began = [], time.perf_counter()
    for number, ((name, key), raw) in enumerate(events):
        early = began + number / rate - time.perf_counter()
        if early > 0:
            await asyncio.sleep(early)
        future = await producer.send(topic, raw, key=key)
        future.add_done_callback(lambda _done, name=name: acknowledged.setdefault(name, time.time()))
        waiting.append(future)
    await asyncio.gather(*waiting)
    return acknowledged


async def _until(watching: Child, decisions: int) -> None:
    while (await watching.hear()).get("decisions", 0) < decisions:
        pass


async def _shown(watching: Child) -> dict[str, Moments]:
    while "shown" not in (told := await watching.hear()):
        if "run" in told:
            raise MeasurementFailed("the watcher ended without what it saw")
    shown: dict[str, Moments] = told["shown"]
    return shown


def percentiles(acknowledged: Mapping[str, float], shown: Mapping[str, Moments]) -> dict[str, float]:
    """Milliseconds from acknowledged to shown: p50, p99, the slowest; and the medians of the legs on the way.

    `until_taken` ends when intake takes the event, `until_applied` when the projector has the decision in hand (write to
    `facts`, decide, commit, fetch and gather lie in it), `until_shown` with DuckDB's commit.

    Errors: MeasurementFailed when one is missing.
    """
    missing = [name for name in acknowledged if name not in shown]
    if missing:
        raise MeasurementFailed(f"{len(missing)} purchases never showed in DuckDB, the first is {missing[0]}")
    roads = [(moment, *shown[name]) for name, moment in acknowledged.items()]
    waits = sorted((road[-1] - road[0]) * 1_000 for road in roads)
    legs = {
        name: statistics.median((road[leg + 1] - road[leg]) * 1_000 for road in roads)
        for leg, name in enumerate(("until_taken_ms", "until_applied_ms", "until_shown_ms"))
    }
    return {"p50_ms": _at(waits, 0.50), "p99_ms": _at(waits, 0.99), "max_ms": waits[-1]} | legs


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
