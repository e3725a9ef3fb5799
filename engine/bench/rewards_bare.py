"""Baseline: the same core and codec in a bare aiokafka loop, one transaction per fetched batch.

Fair, because it has all that the product has where it costs something: the same `parse_fact`, `Partition.answer` and
`encode_decision`; records of committed transactions only; the same fetch sizes; whole record batches (`create_batch`), acks=all
and an idempotent, transactional producer; one transaction over all partitions of a fetch, so fewer than the product makes. And it
has less: no group, no recovery, no fence per partition, no metrics, no rejects, no derived facts.
"""

from __future__ import annotations

import uuid
from typing import Any

from aiokafka import TopicPartition

from engine.bench import data
from engine.bench.figures import Run
from engine.bench.jobs import Job, Tell
from engine.bench.logs import send_turn
from engine.bench.stopwatch import Stopwatch
from engine.ledger.partition import Partition
from engine.stream.batches import FETCH_RECORDS
from engine.stream.clients import Cluster, Outgoing
from engine.stream.topics import FACTS
from schemas.decisions import encode_decision
from schemas.envelope import parse_fact


async def run(cluster: Cluster, job: Job, _tell: Tell) -> Run:
    """Decide everything that `facts` holds; from the first fetch to the last commit."""
    transactional_id = f"{job.prefix}bare-{uuid.uuid4().hex}" if job.transactions else None
    loop, watch = _Loop(job), Stopwatch()
    async with cluster.producer(transactional_id=transactional_id) as producer, cluster.consumer() as consumer:
        consumer.assign([TopicPartition(job.prefix + FACTS, number) for number in range(job.partitions)])
        while loop.decided < job.expected:
            fetched = await consumer.getmany(timeout_ms=200, max_records=FETCH_RECORDS)
            if fetched:
                watch.start()
                await loop.append(producer, loop.decide(fetched))
        watch.stop()
    return watch.run(loop.decided, points=loop.points)


class _Loop:
    """Ledgers by partition, and what they have decided."""

    def __init__(self, job: Job) -> None:
        self._job = job
        versions = {version.hash: version for version in data.programmes()}
        self._ledgers = {number: Partition(number, versions) for number in range(job.partitions)}
        self.decided = self.points = 0

    def decide(self, fetched: dict[Any, list[Any]]) -> dict[int, list[Outgoing]]:
        """The records to write, by partition."""
        turn: dict[int, list[Outgoing]] = {}
        for place, records in fetched.items():
            ledger, lane = self._ledgers[place.partition], turn.setdefault(place.partition, [])
            for record in records:
                for decision in ledger.answer(parse_fact(record.value), record.offset).decisions:
                    lane.append((record.key, encode_decision(decision), record.timestamp, ()))
                    self.points += sum(entry.points for entry in decision.entries)
            self.decided += len(records)
        return turn

    async def append(self, producer: Any, turn: dict[int, list[Outgoing]]) -> None:
        """Write a turn: in one transaction where the broker can."""
        if not self._job.transactions:
            await send_turn(producer, self._job.output, turn)
            return
        async with producer.transaction():
            await send_turn(producer, self._job.output, turn)
