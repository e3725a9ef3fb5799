"""The topics of a measurement: made under a prefix of their own, filled before anything is timed, removed afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError

from engine.bench import data
from engine.bench.jobs import PARTITIONS
from engine.stream.clients import Cluster, KafkaTrouble, Outgoing, acknowledged, partition_for, send_values
from engine.stream.programmes import publish_new
from engine.stream.topics import FACTS, SHOP_EVENTS, Layout, Topic, ensure
from schemas.envelope import encode_fact
from schemas.times import MILLISECOND_US

#: Records that are handed over together while a topic is filled.
FILL_CHUNK = 5_000
#: Every measurement's topics begin with it, and with digits that nobody used before.
PREFIX = "stammgast-bench-"

Filling = Mapping[int, list[Outgoing]]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Records by partition, made once and written into the fresh topics of every round."""

    facts: Filling
    events: Filling


def inputs(shape: data.Shape, count: int) -> Inputs:
    """The purchases of `count` facts, as inbound events and as facts, on the partitions of their members."""
    events: dict[int, list[Outgoing]] = {}
    facts: dict[int, list[Outgoing]] = {}
    recorded_ms = data.RECORDED_US // MILLISECOND_US
    for raw, fact in zip(data.events(shape, count), data.facts(shape, count), strict=True):
        key = (fact.key or "").encode()
        partition = partition_for(key, PARTITIONS)
        events.setdefault(partition, []).append((key, raw, None, ()))
        facts.setdefault(partition, []).append((key, encode_fact(fact), recorded_ms, ()))
    return Inputs(facts, events)


@asynccontextmanager
async def deployment(cluster: Cluster, outputs: Iterable[str] = ()) -> AsyncIterator[Layout]:
    """The topics of a deployment with the gift shop's programme published, and one more per name in `outputs`.

    Removed when the block ends, as far as the broker allows it.
    """
    layout = Layout(f"{PREFIX}{uuid.uuid4().hex[:8]}-", PARTITIONS)
    try:
        await ensure(cluster, layout)
        await publish_new(cluster, layout.prefix, data.programmes())
        await _create(cluster, layout, outputs)
        yield layout
    finally:
        with contextlib.suppress(KafkaError, KafkaTrouble, OSError, TimeoutError):
            await _remove(cluster, layout.prefix)


async def _create(cluster: Cluster, layout: Layout, outputs: Iterable[str]) -> None:
    """Topics for baselines, with the settings of the logs that they stand in for."""
    new = []
    for name in outputs:
        topic = Topic(name, "what a baseline writes", "as its input", -1)
        new.append(NewTopic(layout.name(name), PARTITIONS, 1, topic_configs=topic.settings()))
    if new:
        async with cluster.admin() as admin:
            await admin.create_topics(new)


async def _remove(cluster: Cluster, prefix: str) -> None:
    async with asyncio.timeout(30), cluster.admin() as admin:
        names = [topic["topic"] for topic in await admin.describe_topics()]
        # Contenders' own topics (a changelog) have the prefix somewhere in their names.
        await admin.delete_topics([name for name in names if prefix in name])


async def fill_facts(cluster: Cluster, layout: Layout, filling: Filling) -> int:
    """Write facts behind the programme's; returns how many records `facts` has then, one decision each to come."""
    written = await _fill(cluster, layout.name(FACTS), filling)
    return written + PARTITIONS * len(data.programmes())


async def fill_events(cluster: Cluster, layout: Layout, filling: Filling) -> int:
    """Write inbound events; returns how many."""
    return await _fill(cluster, layout.name(SHOP_EVENTS), filling)


async def _fill(cluster: Cluster, topic: str, filling: Filling) -> int:
    async with cluster.producer() as producer:
        counts = await asyncio.gather(*(_lane(producer, topic, number, filling[number]) for number in filling))
    return sum(counts)


async def _lane(producer: Any, topic: str, partition: int, records: list[Outgoing]) -> int:
    for start in range(0, len(records), FILL_CHUNK):
        await send_values(producer, topic, partition, records[start : start + FILL_CHUNK])
    return len(records)


async def send_turn(producer: Any, topic: str, turn: Mapping[int, list[Outgoing]]) -> None:
    """What a baseline sends: whole record batches, all partitions at once, acknowledged by all copies."""
    sending = [asyncio.ensure_future(send_values(producer, topic, number, turn[number])) for number in turn]
    await acknowledged(sending)
