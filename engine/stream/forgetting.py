"""Forgetting a person: a fact in his order says so, every worker that decides it drops the profile, then his keys are destroyed.

The order matters: what the log has before that fact is still decided with the profile, what comes after it without. The
decision also names the keys that are aliases of the same person; theirs are destroyed as well. Last, the inbound topics that
carry nothing but profiles are emptied as far as intake has read them: until then they hold profiles in clear.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from engine.stream.clients import Cluster, first_offset, log_ends, partition_for, read_partition, send_values, stand_at
from engine.stream.generations import inbound_prefix
from engine.stream.topics import FACTS, POINTS_LOG, partition_count
from schemas import facts
from schemas.decisions import Decision, parse_decision
from schemas.envelope import FORGET_SOURCE, encode_fact, make_fact, readable
from schemas.times import MILLISECOND_US, to_text

POLL_MS = 200
#: Id and subject of a fact.
Named = tuple[str, str]


class Keys(Protocol):
    """What is needed of the key store."""

    def destroy(self, member: str, now_us: int) -> bool:
        """Destroy a member's key; tells whether there was one."""
        ...

    def destroy_again(self, member: str, until_us: int) -> bool:
        """Destroy a key that was made before then."""
        ...


@dataclass(slots=True)
class Forgotten:
    """What was done.

    Attributes:
        member: who was asked for. person: the member whose alias he is, or himself.
        keys: all keys of that person in the logs: members and aliases whose profile keys are destroyed.
        destroyed: how many profile keys there were.
        decided: a worker has dropped what it held; without it only ``member`` is known.
        emptied: records that were deleted from inbound topics for profiles. mixed: topics that carry profiles and other
            events, and still hold both until their retention ends.
    """

    member: str
    person: str
    keys: list[str] = field(default_factory=list)
    destroyed: int = 0
    decided: bool = False
    emptied: int = 0
    mixed: list[str] = field(default_factory=list)


async def forget(
    cluster: Cluster, prefix: str, member: str, keys: Keys, *, now_us: int, wait_seconds: float
) -> Forgotten:
    """Write that a person is forgotten, wait until workers have answered, destroy his keys.

    The member's own key is destroyed in any case, also when no worker answers in time.

    Errors: KafkaTrouble, KafkaError (nothing is destroyed then); what the key store raises.
    """
    done = Forgotten(member, member)
    count = await partition_count(cluster, prefix + FACTS)
    ends = await log_ends(cluster, prefix + POINTS_LOG, count)
    name = await _append(cluster, prefix + FACTS, member, count, now_us)
    try:
        async with asyncio.timeout(wait_seconds):
            async with _answers(cluster, prefix, {number: end for number, (_, end) in ends.items()}) as answers:
                done.person, done.keys = await _follow(answers, name, member)
                done.decided = True
    except TimeoutError:
        done.keys = [member]
    done.destroyed = sum(keys.destroy(key, now_us) for key in done.keys)
    return done


async def _append(cluster: Cluster, topic: str, member: str, partitions: int, now_us: int) -> str:
    data: facts.ForgetForm = {}
    stamp_ms = now_us // MILLISECOND_US
    fact = make_fact(
        id=uuid.uuid4().hex,
        source=FORGET_SOURCE,
        type=facts.FORGET,
        subject=member,
        time_us=stamp_ms * MILLISECOND_US,
        recorded_at=to_text(stamp_ms * MILLISECOND_US),
        data=data,
    )
    key = member.encode()
    async with cluster.producer() as producer:
        await send_values(producer, topic, partition_for(key, partitions), [(key, encode_fact(fact), stamp_ms, ())])
    return fact.id


@asynccontextmanager
async def _answers(cluster: Cluster, prefix: str, starts: dict[int, int]) -> AsyncIterator[AsyncIterator[Decision]]:
    """Decisions of all partitions from these places on, as they come."""
    places = {TopicPartition(prefix + POINTS_LOG, number): start for number, start in starts.items()}
    async with cluster.consumer() as consumer:
        stand_at(consumer, places)

        async def come() -> AsyncGenerator[Decision]:
            while True:
                for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                    for record in records:
                        yield parse_decision(record.value)

        async with aclosing(come()) as answers:
            yield answers


async def _follow(answers: AsyncIterator[Decision], name: str, member: str) -> tuple[str, list[str]]:
    """Return who was forgotten in the end, and all keys that are his: each of them has answered."""
    told: dict[Named, list[Named]] = {}
    answered: set[Named] = set()
    person, wanted = member, {(name, member)}
    async for decision in answers:  # of several partitions: an alias may be heard before the member
        if decision.source != FORGET_SOURCE:
            continue
        here = (decision.fact_id, decision.member_id or "")
        said = [(one.id, one.subject) for one in decision.derived if one.subject is not None]
        told.setdefault(here, []).extend(said)
        if decision.last:
            answered.add(here)
        wanted = _reached(told, (name, member))
        if decision.outcome == "forwarded" and here in wanted:
            person = said[0][1]
        if wanted <= answered:
            break
    return person, sorted({key for _, key in wanted})


def _reached(told: Mapping[Named, Sequence[Named]], first: Named) -> set[Named]:
    """Return a fact with all that follow from it, as far as they are known."""
    found, open_ones = {first}, [first]
    while open_ones:
        for one in told.get(open_ones.pop(), ()):
            if one not in found:
                found.add(one)
                open_ones.append(one)
    return found


async def empty(cluster: Cluster, prefix: str, topics: Iterable[str], group: str) -> int:
    """Delete what intake has read from inbound topics; returns how many records. Errors: KafkaTrouble, KafkaError."""
    before = await inbound_prefix(cluster, prefix)
    async with cluster.admin() as admin:
        read = await admin.list_consumer_group_offsets(group)
        wanted = {before + topic for topic in topics}
        ends = {place: told.offset for place, told in read.items() if place.topic in wanted and told.offset > 0}
        begins = {place: await first_offset(cluster, place.topic, place.partition) for place in ends}
        ends = {place: end for place, end in ends.items() if end > begins[place]}
        if ends:
            await admin.delete_records({place: RecordsToDelete(end) for place, end in ends.items()})
    return sum(end - begins[place] for place, end in ends.items())


async def forget_again(cluster: Cluster, prefix: str, keys: Keys) -> Sequence[str]:
    """Destroy again the keys of everybody whom the log says to forget: a restored key store has them back.

    Returns the members whose key was there again.
    """
    topic, back = prefix + FACTS, []
    for partition in range(await partition_count(cluster, topic)):
        async for records in read_partition(cluster, topic, partition):
            for record in records:
                told = _told(record)
                if told is not None and keys.destroy_again(*told):
                    back.append(told[0])
    return back


_FORGETS = b"forget.v1"


def _told(record: Any) -> tuple[str, int] | None:
    fact = readable(record.value) if _FORGETS in (record.value or b"") else None
    if fact is None or fact.type not in facts.FORGETTING or fact.subject is None:
        return None
    return fact.subject, fact.time_us
