"""The projector: logs to tables, resumed from the file alone, on the embedded broker and on a real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.settings import UsageError
from engine.stream.clients import Cluster, KafkaTrouble, send_values
from engine.stream.topics import Layout, ensure
from engine.telemetry import Metrics
from projections.projector import Projector, logs_id
from projections.warehouse import DECISIONS, FACTS, REJECTS, Record, Warehouse
from tests.projections import given

VISITS = [
    {"type": "visit", "id": f"v{n}", "subject": "anna", "time": f"2026-03-{n + 1:02d}T10:00:00Z",
     "decision": {"entries": [{"entry_id": f"e{n}", "points": n + 1, "rule_id": "visit"}]}}
    for n in range(20)
]  # fmt: skip


async def send(
    cluster: Cluster, topic: str, records: Sequence[Record], headers: Iterable[tuple[str, bytes]] = ()
) -> None:
    """Put records into a log, in order."""
    async with cluster.producer() as producer:
        await send_values(producer, topic, 0, [(b"anna", r.value, r.timestamp_ms, list(headers)) for r in records])


@asynccontextmanager
async def projecting(
    cluster: Cluster, prefix: str, warehouse: Warehouse
) -> AsyncIterator[asyncio.Queue[dict[str, int]]]:
    """A running projector; the queue tells the positions in partition 0 after each batch."""
    stop, told = asyncio.Event(), asyncio.Queue[dict[str, int]]()

    def tell(_: Projector) -> None:
        told.put_nowait({topic: warehouse.positions(topic).get(0, -1) for topic in (FACTS, DECISIONS, REJECTS)})

    projector = Projector(cluster, warehouse, prefix=prefix, metrics=Metrics(), on_applied=tell)
    running = asyncio.create_task(projector.run(stop))
    try:
        yield told
    finally:
        stop.set()
        await asyncio.wait_for(running, 90)


async def until(told: asyncio.Queue[dict[str, int]], **wanted: int) -> None:
    """Wait until these positions are reached."""
    async with asyncio.timeout(90):
        while True:
            positions = await told.get()
            if all(positions[topic.replace("_", "-")] >= position for topic, position in wanted.items()):
                return


async def test_rows_and_positions_follow_the_logs(any_cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Facts, decisions and rejects become rows, and a second start goes on where the file stands."""
    facts, decisions = given.records(VISITS)
    await ensure(any_cluster, Layout(prefix, partitions=2))
    await send(any_cluster, prefix + FACTS, facts[:10])
    await send(any_cluster, prefix + DECISIONS, decisions[:10])
    with Warehouse.open(tmp_path / "a.duckdb") as warehouse:
        async with projecting(any_cluster, prefix, warehouse) as told:
            await until(told, facts=9, points_log=9)
    await send(any_cluster, prefix + FACTS, facts[10:])
    await send(any_cluster, prefix + DECISIONS, decisions[10:])
    headers = [("stammgast-reason", b"not_json"), ("stammgast-topic", b"shop-events"), ("stammgast-offset", b"4")]
    await send(any_cluster, prefix + REJECTS, [Record(0, 0, 1_772_000_000_000, b"{")], headers)
    with Warehouse.open(tmp_path / "a.duckdb") as warehouse:
        async with projecting(any_cluster, prefix, warehouse) as told:
            await until(told, facts=20, points_log=20, rejects=0)
        live = given.rows(warehouse, "from points_entries order by entry_id")
        rejects = given.rows(warehouse, "select reason, topic, position from rejects")
    with given.warehouse(VISITS) as offline:
        expected = given.rows(offline, "from points_entries order by entry_id")

    assert expected == live
    assert rejects == [{"reason": "not_json", "topic": "shop-events", "position": 4}]


async def test_a_file_of_other_logs_is_refused(embedded: str, prefix: str, tmp_path: Path) -> None:
    """A file that was built from other logs is not continued; the message names --fresh and the exit code is 2."""
    cluster = Cluster(embedded)
    await ensure(cluster, Layout(prefix, partitions=1))
    with (
        Warehouse.open(tmp_path / "a.duckdb", log_id="of another broker") as warehouse,
        pytest.raises(UsageError, match="--fresh") as refusal,
    ):
        await Projector(cluster, warehouse, prefix=prefix, metrics=Metrics()).run(asyncio.Event())

    assert refusal.value.exit_code == 2


async def test_a_log_that_lost_records_is_noticed(embedded: str, prefix: str, tmp_path: Path) -> None:
    """Where the file holds more than the log, the projector stops instead of mixing two histories."""
    cluster, (facts, _) = Cluster(embedded), given.records(VISITS)
    await ensure(cluster, Layout(prefix, partitions=1))
    await send(cluster, prefix + FACTS, facts[:3])
    identity = await logs_id(cluster, prefix, asyncio.Event())
    with Warehouse.open(tmp_path / "a.duckdb", log_id=identity) as warehouse:
        warehouse.apply(facts)
        with pytest.raises(KafkaTrouble, match="lost records"):
            async with asyncio.timeout(90):
                await Projector(cluster, warehouse, prefix=prefix, metrics=Metrics()).run(asyncio.Event())


async def test_missing_logs_are_waited_for_and_then_named(embedded: str, prefix: str) -> None:
    """A missing log is never taken for an empty one."""
    with pytest.raises(KafkaTrouble, match="no topic"):
        await logs_id(Cluster(embedded), prefix, asyncio.Event(), patience_s=0)


async def test_an_unanswered_fact_is_told_as_read(embedded: str, prefix: str, tmp_path: Path) -> None:
    """Position and lag are published per partition."""
    cluster, (facts, _) = Cluster(embedded), given.records(VISITS)
    metrics, stop, applied = Metrics(), asyncio.Event(), asyncio.Event()
    await ensure(cluster, Layout(prefix, partitions=1))
    await send(cluster, prefix + FACTS, facts)
    with Warehouse.open(tmp_path / "a.duckdb") as warehouse:
        projector = Projector(cluster, warehouse, prefix=prefix, metrics=metrics, on_applied=lambda _: applied.set())
        running: asyncio.Task[Any] = asyncio.create_task(projector.run(stop))
        async with asyncio.timeout(90):
            await applied.wait()
        stop.set()
        await running

    assert b'position{partition="0",topic="facts"} 21.0' in metrics.text()
    assert projector.lag_records == 0
