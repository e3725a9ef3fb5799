"""Baseline: the same normalise and codec in a bare aiokafka loop.

Fair, because it has all that intake has where it costs something: the same `normalise` and `encode_fact` under the same policy,
the partition of a key remembered as intake does, the same fetch sizes, committed records only, whole record batches, acks=all and
an idempotent producer where the broker can. It has less: no group, no commits, no metrics, no rejects.
"""

from __future__ import annotations

import functools
import time

from aiokafka import TopicPartition

from engine.bench.figures import Run
from engine.bench.jobs import Job, Tell
from engine.bench.logs import send_turn
from engine.bench.stopwatch import Stopwatch
from engine.stream.batches import FETCH_RECORDS
from engine.stream.clients import Cluster, Outgoing, partition_for
from engine.stream.topics import SHOP_EVENTS, default_inbound
from schemas.envelope import encode_fact
from schemas.normalise import normalise
from schemas.times import MILLISECOND_US, to_text


async def run(cluster: Cluster, job: Job, _tell: Tell) -> Run:
    """Take everything that `shop-events` holds; from the first fetch to the last acknowledgement."""
    policy = default_inbound()[SHOP_EVENTS].policy()

    @functools.lru_cache(maxsize=200_000)
    def place_of(key: str) -> tuple[bytes, int]:
        raw = key.encode()
        return raw, partition_for(raw, job.partitions)

    taken, watch = 0, Stopwatch()
    async with cluster.producer(idempotent=job.transactions) as producer, cluster.consumer() as consumer:
        consumer.assign([TopicPartition(job.prefix + SHOP_EVENTS, number) for number in range(job.partitions)])
        while taken < job.expected:
            fetched = await consumer.getmany(timeout_ms=200, max_records=FETCH_RECORDS)
            if not fetched:
                continue
            watch.start()
            recorded_ms = time.time_ns() // 1_000_000
            recorded_us = recorded_ms * MILLISECOND_US
            recorded_at, turn = to_text(recorded_us), dict[int, list[Outgoing]]()
            for records in fetched.values():
                for record in records:
                    fact = normalise(record.value, recorded_at, recorded_us, policy)
                    key, partition = place_of(fact.key or "")
                    turn.setdefault(partition, []).append((key, encode_fact(fact), recorded_ms, ()))
                taken += len(records)
            await send_turn(producer, job.output, turn)
        watch.stop()
    return watch.run(taken)
