"""What shortens a start may be lost, foreign or wrong: on a real Kafka the next worker decides on, exactly once."""

from __future__ import annotations

import asyncio
import gzip
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.admin import DeleteGroupsRequest

from engine.commands.dump import dump_facts
from engine.ledger.partition import Partition
from engine.replay import Replay
from engine.stream import recovery, turn
from engine.stream.app import Worker
from engine.stream.attempts import KILLER
from engine.stream.clients import Cluster, send_values
from engine.telemetry import Health, Metrics
from rules.book import load_directory
from schemas.decisions import parse_decision
from schemas.envelope import UNREADABLE_SOURCE, Fact, readable
from schemas.facts import PROGRAMME
from tests.kafka.deployment import Deployment, purchases, until
from tests.kafka.harness import group_offset, log_end, read_all, set_group_offset
from tests.kafka.test_keeper import settings_of, worker_inside

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
SHELF = "member-snapshots"
MEMBERS = 50


@asynccontextmanager
async def at_work(shop: Deployment, every: int = 40) -> AsyncIterator[tuple[Worker, Callable[[str], float]]]:
    """A worker that checkpoints often, and a look at how its partitions were recovered."""
    metrics: Metrics
    async with worker_inside(replace(settings_of(shop), checkpoint_decisions=every)) as worker:
        metrics = worker._metrics

        def recoveries(source: str) -> float:
            return metrics.registry.get_sample_value("stammgast_recovery_seconds_count", {"source": source}) or 0.0

        yield worker, recoveries


async def checkpoints(shop: Deployment) -> list[Any]:
    """The checkpoints that stand in the only partition, in order."""
    records = await read_all(shop.cluster, shop.topic(SHELF))
    return [orjson.loads(r.value) for r in records if r.key == b"checkpoint:0" and r.value is not None]


async def foreign(shop: Deployment) -> None:
    """A checkpoint of an engine to come."""
    newest = (await checkpoints(shop))[-1] | {"state_format": 99}
    async with shop.cluster.producer() as producer:
        await send_values(producer, shop.topic(SHELF), 0, [(b"checkpoint:0", orjson.dumps(newest), None, [])])


async def deleted(shop: Deployment) -> None:
    """The topic is gone."""
    async with shop.cluster.admin() as admin:
        await admin.delete_topics([shop.topic(SHELF)])

        async def gone() -> bool:
            return shop.topic(SHELF) not in {topic["topic"] for topic in await admin.describe_topics()}

        await until("the topic is gone", gone)


async def cut(shop: Deployment) -> None:
    """Its first records were deleted, which Kafka allows once the topic is not only compacted."""
    async with shop.cluster.admin() as admin:
        name, policy = shop.topic(SHELF), {"cleanup.policy": "compact,delete", "retention.ms": "-1"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, policy)])
        await admin.delete_records({TopicPartition(shop.topic(SHELF), 0): RecordsToDelete(before_offset=10)})


async def group_gone(shop: Deployment) -> None:
    """The consumer group was deleted, with all its offsets."""
    async with shop.cluster.admin() as admin:
        coordinator = await admin.find_coordinator(shop.group)
        answer = await admin._send_request_to_node(coordinator, DeleteGroupsRequest([shop.group]))
    assert [code for _, code in answer.results] == [0]
    assert await group_offset(shop.cluster, shop.group, shop.topic("facts")) is None


async def group_ahead(shop: Deployment) -> None:
    """The group's offset is beyond the end of the log."""
    end = await log_end(shop.cluster, shop.topic("facts"))
    await set_group_offset(shop.cluster, shop.group, shop.topic("facts"), end + 5_000)


MEDDLING: list[tuple[Callable[[Deployment], Awaitable[None]], str]] = [
    (group_gone, "snapshot"),
    (foreign, "start"),
    (group_ahead, "snapshot"),
    (deleted, "start"),
    (cut, "start"),
]


async def test_whatever_happens_to_snapshots_and_group_offsets(cluster: Cluster, prefix: str) -> None:
    """Given a deployment, when its group or its snapshots are deleted, cut or foreign, then each next start decides on."""
    with Deployment(cluster, prefix, partitions=1) as shop:
        async with at_work(shop) as (_, recoveries):
            await shop.publish(purchases(200, MEMBERS, "first"))
            await shop.decided(200)
            assert recoveries("start") == 1
        assert (await checkpoints(shop))[-1]["outline"]["members"] == MEMBERS

        decided = 200
        for meddle, source in MEDDLING:
            await meddle(shop)
            async with at_work(shop) as (_, recoveries):
                assert recoveries(source) == 1, f"after {meddle.__name__}"
                await shop.publish(purchases(30, MEMBERS, meddle.__name__))
                decided += 30
                await shop.decided(decided)
            await shop.audit()
        async with at_work(shop) as (_, recoveries):
            assert recoveries("snapshot") == 1, "the last fold from the start was written down again"
        decisions = await shop.audit()

    outcomes = Counter(decision.outcome for decision in decisions if decision.member_id)
    # Intake reads its topics again when its group is gone: what it writes twice is a duplicate.
    assert outcomes == {"decided": decided, "duplicate": 200}


async def test_workers_join_and_leave_while_checkpoints_are_written(cluster: Cluster, prefix: str) -> None:
    """Given small checkpoints, when workers join, leave and are killed, then who stayed kept its producer and all is exact."""
    more = ("--checkpoint-decisions", "50")
    with Deployment(cluster, prefix, partitions=4) as shop:
        first = shop.start(*more)
        await shop.ready(first)
        opened = first.said().count("keeper open")
        await shop.publish(purchases(1_500, name="a"))
        second = shop.start(*more)
        await shop.ready(first, second)
        await shop.publish(purchases(1_500, name="b"))
        second.kill()
        third = shop.start(*more)
        await shop.ready(first, third)
        await shop.publish(purchases(1_500, name="c"))
        assert third.end() == 0
        await shop.publish(purchases(500, name="d"))
        await shop.ready(first)
        await shop.decided(5_000)
        decisions = await shop.audit()
        said = first.said()
        assert first.end() == 0

    assert len([decision for decision in decisions if decision.member_id]) == 5_000
    assert opened == 4
    # Two partitions came back twice; those that stayed were never opened again.
    assert said.count("keeper open") <= 4 + 2 + 2 + 2
    assert "source=snapshot" in said or '"source": "snapshot"' in said


class Deadly(BaseException):
    """In place of a crash in C: no handler of ours sees it."""


async def test_a_fact_that_nobody_can_read_is_given_up(
    cluster: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a fact that ends its worker while it is parsed, when workers start again and again, then it alone is quarantined
    under the name of its place, and the next start does not read it."""
    genuine = readable

    def deadly(value: bytes | None) -> Fact | None:
        if b'"p70"' in (value or b""):
            raise Deadly
        return genuine(value)

    with Deployment(cluster, prefix, partitions=1) as shop:
        async with at_work(shop):
            pass
        await shop.append_facts(purchases(100))
        monkeypatch.setattr(turn, "readable", deadly)
        monkeypatch.setattr(recovery, "readable", deadly)
        lives = 0
        while len([d for d in await shop.decisions() if d.type != PROGRAMME]) < 100:
            lives += 1
            assert lives < 12
            await _one_life(shop)
        async with at_work(shop):
            await shop.publish(purchases(1, name="after"))
            await shop.decided(101)
        found = [d for d in await shop.decisions() if d.type != PROGRAMME]
        (reject,) = await read_all(cluster, shop.topic("rejects"))

    assert [(d.source, d.reason) for d in found if d.outcome != "decided"] == [(UNREADABLE_SOURCE, KILLER)]
    assert b'"p70"' in reject.value


async def test_a_fact_that_ends_every_worker_is_given_up(
    cluster: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Given a fact that ends its worker, when workers start again and again, then it alone is quarantined; a replay agrees."""
    genuine = Partition.answer

    def deadly(self: Partition, fact: Fact, offset: int) -> Any:
        if fact.id == "p70":
            raise Deadly
        return genuine(self, fact, offset)

    with Deployment(cluster, prefix, partitions=1) as shop:
        async with at_work(shop):
            pass
        await shop.append_facts(purchases(100))
        monkeypatch.setattr(Partition, "answer", deadly)
        lives = 0
        while len([d for d in await shop.decisions() if d.member_id]) < 100:
            lives += 1
            assert lives < 12
            await _one_life(shop)
        monkeypatch.undo()
        async with at_work(shop):
            await shop.publish(purchases(1, name="after"))
            await shop.decided(101)
        found = [d for d in await shop.decisions() if d.member_id]
        (reject,) = await read_all(cluster, shop.topic("rejects"))
        live = [record.value for record in await read_all(cluster, shop.topic("points-log"))]
        out = tmp_path / "facts.jsonl.gz"
        with gzip.open(out, "wb") as file:
            await dump_facts(cluster, prefix, file)  # type: ignore[arg-type]

    assert [(d.fact_id, d.reason) for d in found if d.outcome != "decided"] == [("p70", KILLER)]
    assert dict(reject.headers)["stammgast-reason"] == b"quarantined"
    with gzip.open(out) as lines:
        batches = list(Replay(load_directory(shop.programme)).dump(iter(lines), out.name))
    replayed = [value for batch in batches for value in batch.decisions.values]
    assert [parse_decision(value) for value in replayed] == [parse_decision(value) for value in live]
    assert replayed == live


async def _one_life(shop: Deployment) -> None:
    """A worker until its keeper is dead or everything is decided; it may die before anybody could call it ready."""
    worker = Worker(settings_of(shop), Metrics(with_process=False), Health())
    running = asyncio.create_task(worker.run())
    try:

        async def over() -> bool:
            (keeper,) = list(getattr(worker, "keepers", ())) or (None,)
            if running.done() or keeper is None or keeper._task is None:
                return running.done()
            return bool(keeper._task.done() or (keeper.state == "open" and keeper.next_offset >= 101))

        await until("dead or done", over)
        (keeper,) = worker.keepers
        assert keeper._task is not None
        if keeper._task.done():
            assert isinstance(keeper._task.exception(), Deadly)
        else:
            await asyncio.wait_for(keeper.idle(), 90)
        worker.stop()
        await running
    finally:
        running.cancel()
        await asyncio.wait([running])
