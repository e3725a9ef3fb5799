"""What is done to the deployment. Each fault takes the world and its own dice, and returns when it has left off."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from aiokafka import TopicPartition
from aiokafka.protocol.admin import DeleteGroupsRequest

from engine.stream.clients import Cluster
from engine.stream.topics import FACTS, INBOUND, MEMBER_SNAPSHOTS
from tests.chaos.cluster import ChaosCluster, ChaosNode
from tests.chaos.crew import Crew, Post

#: Records of each inbound partition that intake reads again after its group was deleted: each must end as a duplicate.
REWIND = 200
AHEAD = 5_000
GROUP_S = 40.0
#: DuckDB's three headers.
HEAD_BYTES = 12_288


@dataclass
class World:
    """Everything a fault may touch.

    Attributes:
        inside: the brokers, past the proxy.
        session_s: after so long a silent worker is thrown out of its group.
    """

    kafka: ChaosCluster
    inside: Cluster
    crew: Crew
    workers: list[Post]
    projector: Post
    db: Path
    prefix: str
    group: str
    partitions: int
    session_s: float


Fault = Callable[[World, random.Random], Awaitable[None]]


def somebody(world: World, dice: random.Random) -> Post:
    """A worker."""
    return dice.choice(world.workers)


# ------------------------------------------------------------------------------------------------------------- workers


async def worker_killed(world: World, dice: random.Random) -> None:
    """SIGKILL; the supervisor starts another."""
    somebody(world, dice).kill()


async def every_worker_killed(world: World, dice: random.Random) -> None:
    """SIGKILL to all of them at once: the power went."""
    for post in world.workers:
        post.kill()


async def killed_at_start(world: World, dice: random.Random) -> None:
    """SIGKILL three times in a row, each while it starts, joins or recovers."""
    post = somebody(world, dice)
    for _ in range(3):
        post.kill()
        await asyncio.sleep(dice.uniform(1.0, 5.0))
    post.kill()


async def worker_zombie(world: World, dice: random.Random) -> None:
    """SIGSTOP beyond its session, so that others take over, then SIGCONT."""
    await frozen(somebody(world, dice), world.session_s + dice.uniform(1.0, 5.0))


async def worker_paused(world: World, dice: random.Random) -> None:
    """SIGSTOP for less than a session."""
    await frozen(somebody(world, dice), dice.uniform(0.2, 0.7) * world.session_s)


async def frozen(post: Post, seconds: float) -> None:
    """Freeze somebody for a while."""
    post.freeze()
    try:
        await asyncio.sleep(seconds)
    finally:
        post.thaw()


async def worker_restarted(world: World, dice: random.Random) -> None:
    """SIGTERM, and a start when it is gone: a deployment."""
    post = somebody(world, dice)
    await world.crew.stop(post)
    post.wanted = True


async def worker_left(world: World, dice: random.Random) -> None:
    """SIGTERM; its place stays empty for a while, the others share its partitions; then it joins again."""
    post = somebody(world, dice)
    await world.crew.stop(post)
    await asyncio.sleep(dice.uniform(2.0, 8.0))
    post.wanted = True


async def worker_flapping(world: World, dice: random.Random) -> None:
    """Leaves and joins three times as fast as it can: a rebalance in a rebalance."""
    post = somebody(world, dice)
    for _ in range(3):
        post.send(signal.SIGTERM, "stop")
        await asyncio.sleep(dice.uniform(1.0, 4.0))


# ------------------------------------------------------------------------------------------------------------- brokers


async def leader_of(world: World, dice: random.Random) -> ChaosNode:
    """The node that leads a partition of facts; any node when nobody can tell."""
    place = dice.randrange(world.partitions)
    try:
        async with asyncio.timeout(5), world.inside.admin() as admin:
            (topic,) = await admin.describe_topics([world.prefix + FACTS])
        leaders = {one["partition"]: one["leader"] for one in topic["partitions"]}
        return next(node for node in world.kafka.members if node.number == leaders[place])
    except Exception:  # noqa: BLE001  the brokers suffer from other faults at the same time
        return dice.choice(world.kafka.members)


async def leader_killed(world: World, dice: random.Random) -> None:
    """SIGKILL to the broker that leads a partition, and a start on the same data."""
    await _broker_away(world, await leader_of(world, dice), dice.uniform(0.5, 6.0), hard=True)


async def broker_restarted(world: World, dice: random.Random) -> None:
    """SIGTERM to a broker and a start: an upgrade."""
    await _broker_away(world, dice.choice(world.kafka.members), dice.uniform(0.5, 3.0), hard=False)


async def _broker_away(world: World, node: ChaosNode, seconds: float, *, hard: bool) -> None:
    if node.away:
        return
    node.away = True
    try:
        await asyncio.to_thread(node.stop, hard)
        await asyncio.sleep(seconds)
    finally:
        world.kafka.restart(node)
        node.away = False


async def broker_frozen(world: World, dice: random.Random) -> None:
    """SIGSTOP and SIGCONT to the broker that leads a partition."""
    node = await leader_of(world, dice)
    if node.away:
        return
    node.away = True
    node.freeze()
    try:
        await asyncio.sleep(dice.uniform(3.0, 14.0))
    finally:
        node.thaw()
        node.away = False


# ------------------------------------------------------------------------------------------------------------- network


async def network_slow(world: World, dice: random.Random) -> None:
    """Latency in both directions to every broker."""
    await _network(world, world.kafka.members, dice.uniform(4.0, 10.0), latency_ms=dice.randrange(30, 400))


async def network_stuck(world: World, dice: random.Random) -> None:
    """Nothing comes through to one broker and no connection ends: a firewall that drops."""
    await _network(world, [dice.choice(world.kafka.members)], dice.uniform(2.0, 12.0), stuck=True)


async def network_away(world: World, dice: random.Random) -> None:
    """Every connection to one broker is reset and no new one succeeds for a while."""
    await _network(world, [dice.choice(world.kafka.members)], dice.uniform(0.5, 6.0), refuse=True, reset=True)


async def connections_reset(world: World, dice: random.Random) -> None:
    """Every connection to every broker is reset, several times."""
    for _ in range(dice.randrange(1, 4)):
        for node in world.kafka.members:
            world.kafka.network(node, reset=True)
        await asyncio.sleep(dice.uniform(0.1, 1.5))


async def _network(world: World, nodes: list[ChaosNode], seconds: float, **wish: object) -> None:
    well: dict[str, object] = {"latency_ms": 0, "stuck": False, "refuse": False}
    for node in nodes:
        world.kafka.network(node, **wish)
    try:
        await asyncio.sleep(seconds)
    finally:
        for node in nodes:
            world.kafka.network(node, **{name: value for name, value in well.items() if name in wish})


# ----------------------------------------------------------------------------------------------------------- projector


async def projector_killed(world: World, dice: random.Random) -> None:
    """SIGKILL."""
    world.projector.kill()


async def projector_paused(world: World, dice: random.Random) -> None:
    """SIGSTOP and SIGCONT."""
    await frozen(world.projector, dice.uniform(2.0, 15.0))


async def tables_deleted(world: World, dice: random.Random) -> None:
    """SIGKILL to the projector; its file is gone when it starts again."""

    def delete() -> None:
        world.db.unlink(missing_ok=True)
        wal(world).unlink(missing_ok=True)

    await _while_projector_is_down(world, delete)


async def wal_deleted(world: World, dice: random.Random) -> None:
    """SIGKILL to the projector; what it had not yet put into the file itself is gone."""
    await _while_projector_is_down(world, lambda: wal(world).unlink(missing_ok=True))


async def wal_torn(world: World, dice: random.Random) -> None:
    """SIGKILL to the projector; the file's write-ahead log ends somewhere in the middle."""

    def tear() -> None:
        if wal(world).exists():
            os.truncate(wal(world), int(wal(world).stat().st_size * dice.random()))

    await _while_projector_is_down(world, tear)


async def tables_damaged(world: World, dice: random.Random) -> None:
    """SIGKILL to the projector; the head of its file is overwritten."""

    def overwrite() -> None:
        if world.db.exists():
            with world.db.open("r+b") as file:
                file.write(dice.randbytes(HEAD_BYTES))

    await _while_projector_is_down(world, overwrite)


def wal(world: World) -> Path:
    """DuckDB's log beside its file."""
    return world.db.with_name(world.db.name + ".wal")


async def _while_projector_is_down(world: World, do: Callable[[], None]) -> None:
    post = world.projector
    post.wanted = False
    post.kill()
    if post.process is not None:
        await asyncio.to_thread(post.process.wait, 10)
    do()
    post.wanted = True


# ---------------------------------------------------------------------------------------------------- groups and topics


async def group_forgotten(world: World, dice: random.Random) -> None:
    """The group's offsets are deleted while all workers are down; intake's come back, a little behind."""
    async with _Nobody(world):
        kept = await _offsets(world)
        async with world.inside.admin() as admin:
            node = await admin.find_coordinator(world.group)
            await admin._send_request(DeleteGroupsRequest([world.group]), node)
        await _set_offsets(world, {place: max(0, offset - REWIND) for place, offset in kept.items()})


async def group_ahead(world: World, dice: random.Random) -> None:
    """The group's offsets of facts are set far ahead while all workers are down: a restored backup."""
    async with _Nobody(world):
        places = [TopicPartition(world.prefix + FACTS, number) for number in range(world.partitions)]
        async with world.inside.consumer() as consumer:
            ends = await consumer.end_offsets(places)
        await _set_offsets(world, {place: end + AHEAD for place, end in ends.items()})


async def snapshots_deleted(world: World, dice: random.Random) -> None:
    """The topic of snapshots is deleted while all workers are down."""
    name = world.prefix + MEMBER_SNAPSHOTS
    async with _Nobody(world), world.inside.admin() as admin:
        await admin.delete_topics([name])
        async with asyncio.timeout(GROUP_S):
            while name in await admin.list_topics():  # noqa: ASYNC110  the broker tells nobody
                await asyncio.sleep(0.2)


class _Nobody:
    """All workers stop in order; afterwards they start again."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def __aenter__(self) -> None:
        world = self._world
        try:
            await asyncio.gather(*(world.crew.stop(post) for post in world.workers))
            await self._empty()
        except BaseException:  # a broker is away at the same time: nobody may stay at home for it
            await self.__aexit__()
            raise

    async def _empty(self) -> None:
        """A worker that had to be killed is a member until its session ends."""
        async with asyncio.timeout(GROUP_S), self._world.inside.admin() as admin:
            while True:
                (answer,) = await admin.describe_consumer_groups([self._world.group])
                if answer.groups[0][2] in ("Empty", "Dead"):
                    return
                await asyncio.sleep(0.3)

    async def __aexit__(self, *_: object) -> None:
        for post in self._world.workers:
            post.wanted = True


async def _offsets(world: World) -> dict[TopicPartition, int]:
    """Where intake is."""
    names = {world.prefix + topic for topic in INBOUND}
    async with world.inside.admin() as admin:
        found = await admin.list_consumer_group_offsets(world.group)
    return {place: kept.offset for place, kept in found.items() if place.topic in names and kept.offset >= 0}


async def _set_offsets(world: World, offsets: dict[TopicPartition, int]) -> None:
    if not offsets:
        return
    async with world.inside.consumer(group_id=world.group) as consumer:
        consumer.assign(list(offsets))
        await consumer.commit(offsets)


#: Every kind of fault and how often it is chosen.
FAULTS: dict[Fault, float] = {
    worker_killed: 8,
    every_worker_killed: 3,
    killed_at_start: 3,
    worker_zombie: 7,
    worker_paused: 3,
    worker_restarted: 4,
    worker_left: 4,
    worker_flapping: 3,
    leader_killed: 6,
    broker_restarted: 2,
    broker_frozen: 5,
    network_slow: 3,
    network_stuck: 4,
    network_away: 4,
    connections_reset: 4,
    projector_killed: 5,
    projector_paused: 3,
    tables_deleted: 2,
    tables_damaged: 2,
    wal_deleted: 3,
    wal_torn: 2,
    group_forgotten: 2,
    group_ahead: 2,
    snapshots_deleted: 2,
}
BY_NAME = {fault.__name__: fault for fault in FAULTS}
