"""The read model: all partitions, kept a moment behind the logs; who asks for a member, or waits for a decision, asks here.

It belongs to one event loop. Whatever goes wrong with it, it is thrown away and read anew: it holds nothing that the logs do not.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from engine.gateway.following import Decided, Follower, Memory, Name, Recalling
from engine.ledger.member import RESERVED, Member
from engine.ledger.partition import Partition, UnknownProgramme
from engine.ledger.profiles import Opens, closed
from engine.ledger.redemptions import redemption_name
from engine.rejects.reading import refused_of
from engine.stream.clients import Cluster, KafkaTrouble, log_ends, partition_for, stand_at
from engine.stream.programmes import load_published
from engine.stream.recovery import KafkaLogs, recover
from engine.stream.topics import FACTS, POINTS_LOG, REJECTS, Layout
from rules.book import Programme
from schemas.facts import STOCK_ANSWERED

#: Facts folded in one go; then requests get the event loop, so that a burst of facts does not make a till wait.
BREATH_FACTS = 50
#: Records of one log that may wait for the other before its partition is paused.
WAITING_MOST = 5_000
#: How long the brokers may hold a fetch that brings nothing. It is also how old "nothing new" can be.
FETCH_WAIT_MS = 250
#: Aliases are followed so far; the core makes no circles.
ALIASES_MOST = 32
#: Refused records that are at hand, the newest ones of all sources.
REJECTS_MOST = 10_000
REJECTS_TAIL = 1_000
AGAIN_SECONDS = 2.0

log = structlog.get_logger(__name__)


class Found(NamedTuple):
    """A member, by whatever key was asked for: the keys on the way to him, the last one his own."""

    member: Member
    partition: Partition
    keys: tuple[str, ...]


class Freshness(NamedTuple):
    """How fresh an answer is: next offsets in both logs, decisions not yet folded, seconds since it was level with the log."""

    partition: int
    facts: int
    points_log: int
    behind: int
    age_seconds: float


class ReadModel:
    """Members out of the logs. `run` never ends by itself."""

    def __init__(
        self,
        cluster: Cluster,
        layout: Layout,
        live_members: int,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        opens: Opens = closed,
    ) -> None:
        self._cluster, self._layout, self._live = cluster, layout, live_members
        self._clock_ms, self._opens = clock_ms, opens
        self._versions: dict[str, Programme] = {}
        self._followers: list[Follower] = []
        self._level_ms: dict[int, int] = {}
        self._behind: dict[int, int] = {}
        self._waiting: dict[Name, list[asyncio.Future[Decided]]] = {}
        self._memory = Memory()
        self.rejects: deque[dict[str, Any]] = deque(maxlen=REJECTS_MOST)
        self.ready = False
        self._why = "reading the logs"

    # --------------------------------------------------------------------------------------------------------- asking

    def probe(self) -> tuple[bool, str]:
        """For /readyz."""
        oldest = max((one.age_seconds for one in self.freshness()), default=0.0)
        return self.ready, f"level with the logs {oldest:.1f} s ago" if self.ready else self._why

    def freshness(self) -> list[Freshness]:
        """How fresh every partition is."""
        return [self.freshness_of(follower.number) for follower in self._followers]

    def freshness_of(self, number: int) -> Freshness:
        """How fresh one partition is."""
        follower = self._followers[number]
        age = max(0, self._clock_ms() - self._level_ms.get(number, 0)) / 1000
        return Freshness(number, follower.next_fact, follower.next_record, self._behind.get(number, 0), round(age, 3))

    def place_of(self, key: str) -> Partition:
        """The partition of a key."""
        return self._followers[partition_for(key.encode(), len(self._followers))].ledger

    def find(self, key: str) -> Found | None:
        """The member of a key, through whatever aliases it has; None when nothing is known of it."""
        keys = [key]
        while len(keys) <= ALIASES_MOST:
            partition = self.place_of(keys[-1])
            member = partition.members.get(keys[-1])
            if member is None or member.anonymous:
                return None
            if member.alias_of is None:
                return Found(member, partition, tuple(keys))
            keys.append(member.alias_of)
        return None

    def remembered(self, name: Name) -> Decided | None:
        """What was decided on a redemption, while it is remembered."""
        return self._memory.get(name)

    def expect(self, name: Name) -> asyncio.Future[Decided]:
        """A future of the final decision on a fact; `forget` it when nobody waits any longer."""
        future: asyncio.Future[Decided] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, []).append(future)
        return future

    def forget(self, name: Name, future: asyncio.Future[Decided]) -> None:
        """Wait no longer."""
        futures = self._waiting.get(name, [])
        if future in futures:
            futures.remove(future)
        if not futures:
            self._waiting.pop(name, None)

    # ------------------------------------------------------------------------------------------------------ following

    async def run(self) -> None:
        """Read the logs, follow them, and begin anew after trouble, for ever."""
        while True:
            try:
                await self._begin()
                await self._follow()
            except (KafkaTrouble, KafkaError, TimeoutError, OSError) as error:
                self._why = f"{type(error).__name__}: {error}"
                log.warning("the read model starts again", why=self._why)
            except Exception as error:
                self._why = f"the fold failed ({type(error).__name__})"
                log.exception("the read model starts again", why=self._why)
            await asyncio.sleep(AGAIN_SECONDS)

    async def _begin(self) -> None:
        self._versions = await load_published(self._cluster, self._layout.prefix)
        memory = Memory()
        followers = [await self._recovered(number, memory) for number in range(self._layout.partitions)]
        self._followers, self._memory = followers, memory
        self.rejects.clear()
        log.info("members read", members=sum(len(one.ledger.members) for one in followers))

    async def _recovered(self, number: int, memory: Memory) -> Follower:
        """One partition from its checkpoint, or from the beginning."""

        made: list[Recalling] = []

        def ledger() -> Recalling:
            made.append(Recalling(Partition(number, self._versions, self._live, self._opens), memory))
            return made[-1]

        logs = KafkaLogs(self._cluster, self._layout, number)
        where = f"{self._layout.name(FACTS)}[{number}]"
        try:
            found = await recover(ledger, logs, where, number)
        except UnknownProgramme:
            self._versions |= await load_published(self._cluster, self._layout.prefix)
            found = await recover(ledger, logs, where, number)
        # Without transactions a decision in parts can stand there half written: its parts are read again.
        return Follower(number, made[-1].ledger, found.next_offset, found.log_end - found.parts_written)

    async def _follow(self) -> None:
        facts, decisions, rejects = map(self._layout.name, (FACTS, POINTS_LOG, REJECTS))
        tails = await log_ends(self._cluster, rejects, self._layout.partitions)
        async with self._cluster.consumer(auto_offset_reset="none", fetch_max_wait_ms=FETCH_WAIT_MS) as consumer:
            starts = {TopicPartition(facts, one.number): one.next_fact for one in self._followers}
            starts |= {TopicPartition(decisions, one.number): one.next_record for one in self._followers}
            for number, (begin, end) in tails.items():
                starts[TopicPartition(rejects, number)] = max(begin, end - REJECTS_TAIL)
            stand_at(consumer, starts)
            while True:
                fetched = await consumer.getmany(timeout_ms=FETCH_WAIT_MS, max_records=2_000)
                for place, records in fetched.items():
                    await self._take(place, records)
                await self._look_around(consumer, facts, decisions)

    async def _take(self, place: TopicPartition, records: list[Any]) -> None:
        if place.topic == self._layout.name(REJECTS):
            self.rejects.extend(refused_of(record, self._layout.prefix).brief() for record in records)
            return
        follower = self._followers[place.partition]
        for start in range(0, len(records), BREATH_FACTS):
            some = records[start : start + BREATH_FACTS]
            if place.topic == self._layout.name(FACTS):
                follower.feed_facts(some)
            else:
                follower.feed_decisions(some)
            try:
                self._heard(follower.fold())
            except UnknownProgramme:
                self._versions |= await load_published(self._cluster, self._layout.prefix)
                self._heard(follower.fold())
            await asyncio.sleep(0)

    def _heard(self, folded: Iterable[Decided]) -> None:
        for decided in folded:
            self._memory.note(decided)
            if self._waiting:
                self._tell(decided)

    def _tell(self, decided: Decided) -> None:
        """Answer whoever waits for this fact, unless its last word is still to come."""
        fact, decision = decided
        if fact.type == STOCK_ANSWERED:
            source, _, fact_id = fact.data["redemption"].partition("|")
            self._answer((source, fact_id), decided)
            return
        reserved = any(state.state == RESERVED for state in decision.states)
        if decision.outcome != "forwarded" and not reserved:
            self._answer((fact.source, fact.id), decided)

    def _answer(self, name: Name, decided: Decided) -> None:
        for future in self._waiting.pop(name, ()):
            if not future.done():
                future.set_result(decided)

    async def _look_around(self, consumer: Any, facts: str, decisions: str) -> None:
        """Note how fresh each partition is, and pause the log that runs ahead of the other."""
        for follower in self._followers:
            number = follower.number
            place = TopicPartition(decisions, number)
            end, asked_ms = consumer.last_stable_offset(place), consumer.last_poll_timestamp(place)
            if end is not None and end >= 0 and asked_ms:
                # The reader's own position has passed the markers of transactions, which are no records.
                self._behind[number] = max(0, end - await consumer.position(place)) + follower.waiting[1]
                if not self._behind[number]:
                    self._level_ms[number] = asked_ms
            for topic, waiting in zip((facts, decisions), follower.waiting, strict=True):
                log_place = TopicPartition(topic, number)
                (consumer.pause if waiting > WAITING_MOST else consumer.resume)(log_place)
        self.ready = self.ready or len(self._level_ms) == len(self._followers)


def spent_state(member: Member, name: Name) -> str | None:
    """The state of a member's redemption, None where he has none of that name."""
    spent = member.spent.get(redemption_name(*name))
    return None if spent is None else spent.state
