"""The moment at which a new generation of topics takes over from the old one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from engine.stream.clients import Cluster, KafkaTrouble, log_ends, send_values
from engine.stream.generations import Generation, inbound_prefix, read_generation
from engine.stream.repartition import Repartition, RepartitionRefused
from engine.stream.topics import DEPLOYMENT, FACTS, POINTS_LOG, Layout, partition_count

#: States of a consumer group in which nobody is in it.
_NOBODY = {"Empty", "Dead"}


async def generations(cluster: Cluster, old: str, new: Layout) -> tuple[Layout, Layout]:
    """Layouts of the generation with prefix `old`, and of the new one, whose inbound topics are the old one's.

    Errors: RepartitionRefused where the old one is not the living one; LogMissing; other KafkaTrouble.
    """
    if old == new.prefix:
        raise RepartitionRefused(f"--to-prefix {new.prefix!r} is the prefix of these topics: choose another one")
    told = await read_generation(cluster, old)
    if told is not None and told.state != "ready":
        raise RepartitionRefused(
            f"the topics with prefix {old!r} are {told.state} ({told.other!r}): name the ones that live with --topic-prefix"
        )
    partitions = await partition_count(cluster, old + FACTS)
    stays = await inbound_prefix(cluster, old)
    return replace(new, prefix=old, partitions=partitions), replace(new, inbound_prefix=stays)


async def working(cluster: Cluster, group: str) -> int:
    """How many members a consumer group has now. Errors: KafkaTrouble, KafkaError."""
    async with cluster.admin() as admin:
        found = 0
        for response in await admin.describe_consumer_groups([group]):
            for _, _, state, _, _, members, *_ in response.groups:
                found += 0 if state in _NOBODY else max(1, len(members))
    return found


async def require_nobody(cluster: Cluster, old: Layout, app: str) -> None:
    """Errors: RepartitionRefused while workers of the old generation run."""
    members = await working(cluster, f"{old.prefix}{app}")
    if members:
        raise RepartitionRefused(
            f"{members} workers are at work on the old topics (consumer group {old.prefix}{app}): settle everybody with "
            "`stammgast tick --at NOW`, wait until that is decided, stop them all, and cut over then"
        )


async def hand_over(run: Repartition, app: str) -> Generation:
    """Let the new generation live: workers there go on in the inbound topics where the old ones stopped, and none starts on the
    old topics any more. Both is said in one transaction.

    To be called when everything was copied with nobody at work, and was found equal.

    Errors: RepartitionRefused when something was written to the old logs since; other KafkaTrouble, KafkaError.
    """
    await require_nobody(run.cluster, run.old, app)
    if await run.copy(ended=True):
        raise RepartitionRefused(
            "somebody wrote to the old topics meanwhile; what was written is copied: cut over again"
        )
    await _pass_on_offsets(run, app)
    count, name = run.new.partitions, run.new.name
    facts, decisions = [await log_ends(run.cluster, name(log), count) for log in (FACTS, POINTS_LOG)]
    ends = tuple((facts[number][1], decisions[number][1]) for number in range(count))
    ready = replace(run.told, state="ready", announced=(), ends=ends)
    moved = Generation("moved", run.new.prefix, run.new.inbound_prefix or "", count)
    producer = run.producer
    try:
        await producer.begin_transaction()
        await send_values(producer, name(DEPLOYMENT), 0, [ready.record()])
        await send_values(producer, run.old.name(DEPLOYMENT), 0, [moved.record()])
        await producer.commit_transaction()
    except KafkaError as error:
        raise KafkaTrouble(f"the cut-over was not said ({type(error).__name__}): run it again") from error
    return ready


async def _pass_on_offsets(run: Repartition, app: str) -> None:
    """The new group reads inbound topics on from where the old one stopped; what is read twice is a duplicate, as ever."""
    topics = {run.new.name(topic) for topic in run.new.inbound}
    async with run.cluster.admin() as admin:
        committed = await admin.list_consumer_group_offsets(f"{run.old.prefix}{app}")
    known: dict[TopicPartition, Any] = {
        TopicPartition(place.topic, place.partition): told.offset
        for place, told in committed.items()
        if place.topic in topics and told.offset >= 0
    }
    if known:
        async with run.cluster.consumer(group_id=f"{run.new.prefix}{app}") as consumer:
            consumer.assign(list(known))
            await consumer.commit(known)
