"""Send one event and wait for what was decided on it: for whoever asks one thing and wants its answer, such as staff."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import orjson
from aiokafka import TopicPartition

from engine.stream.clients import Cluster, KafkaTrouble, log_ends, stand_at
from engine.stream.generations import inbound_prefix
from engine.stream.outbox import OUR_HEADERS
from engine.stream.topics import FACTS, POINTS_LOG, REJECTS, partition_count
from schemas.decisions import Decision, parse_decision
from schemas.envelope import Fact

FETCH_WAIT_MS = 200


class Undecided(KafkaTrouble):
    """The event is in the log, and nobody has decided it in time."""


class Refused(Exception):
    """Intake put the event into `rejects`."""

    def __init__(self, reason: str, field: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.field, self.message = reason, field, message


class Answered(NamedTuple):
    """The decisions on one fact, in order: of an alias first that it was forwarded, then the member's own."""

    decisions: tuple[Decision, ...]

    @property
    def last(self) -> Decision:
        """The one that counts."""
        return self.decisions[-1]


async def ask(cluster: Cluster, prefix: str, topic: str, fact: Fact, raw: bytes, seconds: float) -> Answered:
    """Publish an event and return what was decided on it.

    Args:
        prefix: of the deployment's topics.
        topic: inbound, without the prefix.
        fact: what the event says, for its key and its name.
        raw: the event as it is sent.
        seconds: the longest wait for the decision.

    Errors: Refused; Undecided; LogMissing, Unreachable and other KafkaTrouble; KafkaError.
    """
    inbound = await inbound_prefix(cluster, prefix) + topic
    await partition_count(cluster, inbound)
    async with _from_now_on(cluster, prefix) as consumer:
        async with cluster.producer() as producer:
            await producer.send_and_wait(inbound, raw, key=(fact.key or "").encode())
        try:
            async with asyncio.timeout(seconds):
                return await _decided(consumer, prefix, fact)
        except TimeoutError:
            raise Undecided(
                f"the event {fact.id} is in {inbound}, and nothing was decided on it within {seconds:g} s: does a worker "
                "run? It is decided once one does; sent again with the same --id it counts once"
            ) from None


@asynccontextmanager
async def _from_now_on(cluster: Cluster, prefix: str) -> AsyncIterator[Any]:
    """A reader of decisions and rejects that stands at their ends."""
    partitions = await partition_count(cluster, prefix + FACTS)
    starts: dict[TopicPartition, int] = {}
    for topic in (POINTS_LOG, REJECTS):
        ends: Mapping[int, tuple[int, int]] = await log_ends(cluster, prefix + topic, partitions)
        starts |= {TopicPartition(prefix + topic, number): end for number, (_, end) in ends.items()}
    async with cluster.consumer(auto_offset_reset="none", fetch_max_wait_ms=FETCH_WAIT_MS) as consumer:
        stand_at(consumer, starts)
        yield consumer


async def _decided(consumer: Any, prefix: str, fact: Fact) -> Answered:
    found: list[Decision] = []
    while True:
        for place, records in (await consumer.getmany(timeout_ms=FETCH_WAIT_MS)).items():
            for record in records:
                if place.topic == prefix + REJECTS:
                    _raise_if_ours(record, fact)
                    continue
                decision = parse_decision(record.value)
                if (decision.source, decision.fact_id) == (fact.source, fact.id) and decision.last:
                    found.append(decision)
        if any(one.outcome != "forwarded" for one in found):
            return Answered(tuple(sorted(found, key=lambda one: one.outcome != "forwarded")))


def _raise_if_ours(record: Any, fact: Fact) -> None:
    try:
        event = orjson.loads(record.value or b"")
        ours = (event["source"], event["id"]) == (fact.source, fact.id)
    except (ValueError, KeyError, TypeError):
        return
    said = {name.removeprefix(OUR_HEADERS): value.decode("utf-8", "replace") for name, value in record.headers}
    # What a keeper refuses comes from `facts` and has a decision as well, which says more.
    if ours and not said.get("topic", "").endswith(FACTS):
        raise Refused(said.get("reason", ""), said.get("field", ""), said.get("message", ""))
