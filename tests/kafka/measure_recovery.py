"""`python -m tests.kafka.measure_recovery [FACTS MEMBERS]`: how long a partition takes to open, with a checkpoint and without.

On a real Kafka of its own, one partition. A worker decides all facts and is stopped; its checkpoint is then as old as it may
be when a worker dies, or fresh. Prints seconds of wall and of CPU per start; the aim is under 30 s for the defaults.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid

from engine.ledger.partition import Partition
from engine.stream import keeper
from engine.stream.app import Worker
from engine.stream.clients import Cluster, Outgoing, send_values
from engine.stream.programmes import load_published, publish_new
from engine.stream.recovery import KafkaLogs, recover
from engine.stream.topics import ensure
from engine.telemetry import Health, Metrics
from schemas.envelope import encode_fact
from tests.kafka.deployment import Deployment, normal_form, purchase
from tests.kafka.harness import KafkaCluster, log_end
from tests.kafka.test_keeper import settings_of

CHUNK = 20_000
#: Facts that come after the last checkpoint is begun: as many as its interval, the most that a start has to fold, nearly.
TAIL = 99_000


async def fill(shop: Deployment, first: int, count: int, members: int) -> None:
    """Append facts straight to the log, members in turn."""
    async with shop.cluster.producer() as producer:
        for start in range(first, first + count, CHUNK):
            records: list[Outgoing] = [
                (f"m{n % members}".encode(), encode_fact(normal_form(purchase(f"p{n}", f"m{n % members}"))), 1, [])
                for n in range(start, min(start + CHUNK, first + count))
            ]
            await send_values(producer, shop.topic("facts"), 0, records)


async def decide_all(shop: Deployment, *, checkpoint: bool) -> None:
    """A worker decides what is there; without `checkpoint` it writes none."""
    worker = Worker(settings_of(shop), Metrics(with_process=False), Health())
    running = asyncio.create_task(worker.run())
    while not (
        hasattr(worker, "keepers") and all(one.state == "open" for one in worker.keepers) and worker.keepers.joined
    ):
        await asyncio.wait([running], timeout=0.2)
    (one,) = worker.keepers
    if not checkpoint:
        vars(keeper)["LEAVE_MOST"] = -1
        one._snapshots.since = -(1 << 40)
    end = await log_end(shop.cluster, shop.topic("facts"))
    while one.next_offset < end and not running.done():
        await asyncio.wait([running], timeout=0.2)
    await one.idle()
    worker.stop()
    await running


async def opened(shop: Deployment, what: str, *, snapshots: bool = True) -> None:
    """Recover once and say how long it took."""
    versions = await load_published(shop.cluster, shop.prefix)
    logs = KafkaLogs(shop.cluster, settings_of(shop).layout, 0)
    wall, cpu = time.perf_counter(), time.process_time()
    found = await recover(lambda: Partition(0, versions), logs, "facts[0]", snapshots=snapshots)
    print(
        f"{what}: {time.perf_counter() - wall:.1f} s, {time.process_time() - cpu:.1f} s of CPU; "
        f"{found.members:,} members from snapshots, {found.facts:,} decisions folded, from {found.source}"
    )


async def measure(cluster: Cluster, facts: int, members: int) -> None:
    """All three starts."""
    with Deployment(cluster, f"r{uuid.uuid4().hex[:8]}-", partitions=1) as shop:
        await ensure(shop.cluster, settings_of(shop).layout)
        await publish_new(shop.cluster, shop.prefix, settings_of(shop).programmes)
        tail = min(TAIL, facts // 10)
        await fill(shop, 0, facts - tail, members)
        await decide_all(shop, checkpoint=True)
        await opened(shop, "after a stop in order")
        await fill(shop, facts - tail, tail, members)
        await decide_all(shop, checkpoint=False)
        await opened(shop, f"with {tail:,} decisions after the checkpoint")
        await opened(shop, "from the start of the logs", snapshots=False)


if __name__ == "__main__":
    chosen = [int(argument) for argument in sys.argv[1:]] or [1_000_000, 100_000]
    with KafkaCluster() as kafka:
        asyncio.run(measure(Cluster(kafka.bootstrap), *chosen))
