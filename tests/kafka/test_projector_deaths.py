"""Projectors that are killed, harmed and cut off on a real Kafka: the file ends as one that was built in one go."""

from __future__ import annotations

import asyncio
import os
import random
import time
from functools import partial
from pathlib import Path

import pytest

from engine import telemetry
from engine.stream.clients import Cluster
from engine.stream.topics import Layout, ensure
from projections import projector, upkeep
from projections.files import wal_of
from projections.warehouse import DECISIONS, FACTS
from tests.kafka.deployment import Deployment, purchases
from tests.kafka.harness import KafkaCluster, read_all
from tests.projections import given
from tests.projections.keeping import Projecting, asked, holds
from tests.projections.test_projector import VISITS, send
from tests.seeds import chosen_seed

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
PARTITIONS = 2
POSITIONS = "select topic, partition, position from log_positions order by all"


def small_batches() -> None:
    """Many transactions instead of one."""
    projector.BATCH_RECORDS = projector.FETCH_RECORDS = 100


def impatient() -> None:
    """Notices silence soon, and tries again soon."""
    telemetry.Hearing.__init__.__defaults__ = (2.0, time.time)
    upkeep.FIRST_WAIT_S, upkeep.LONGEST_WAIT_S = 0.1, 0.5


async def ends(cluster: Cluster, prefix: str) -> list[tuple[str, int, int]]:
    """(log, partition, offset of the last record)."""
    found = []
    for log in (FACTS, DECISIONS):
        for partition in range(PARTITIONS):
            records = await read_all(cluster, prefix + log, partition)
            found.append((log, partition, records[-1].offset))
    return found


def build(
    cluster: Cluster, prefix: str, db: Path, wanted: list[tuple[str, int, int]]
) -> dict[str, list[dict[str, object]]]:
    """Let a projector read to these ends, end it, and return what its file holds."""
    with Projecting(cluster.bootstrap, prefix, db) as running:
        running.until("it is served", lambda: b"written and served" in running.get("/readyz")[1])
        running.until("all is loaded", lambda: asked(db, POSITIONS) == wanted)
        assert running.end() == 0
    return holds(db)


async def test_killed_and_harmed_it_ends_as_one_that_was_never_disturbed(
    cluster: Cluster, prefix: str, tmp_path: Path
) -> None:
    """Given a worker's logs, with the marks of its transactions, when projectors die over them, then the rows are the same."""
    rng, db = random.Random(chosen_seed()), tmp_path / "fire.duckdb"
    with Deployment(cluster, prefix, partitions=PARTITIONS) as shop:
        worker = shop.start()
        await shop.ready(worker)
        await shop.publish(purchases(1_500))
        for number in range(5):
            with Projecting(cluster.bootstrap, prefix, db, small_batches) as running:
                running.until("it is at work", partial(running.said, "projector started"))
                await asyncio.sleep(rng.random())
                running.kill()
            if number == 2 and wal_of(db).exists():
                os.truncate(wal_of(db), rng.randrange(wal_of(db).stat().st_size))
            if number == 3:
                os.truncate(db, db.stat().st_size // 2)
        await shop.decided(1_500)
        assert worker.end() == 0
        await shop.audit()
        wanted = await ends(cluster, prefix)

    disturbed = await asyncio.to_thread(build, cluster, prefix, db, wanted)
    in_one_go = await asyncio.to_thread(build, cluster, prefix, tmp_path / "calm.duckdb", wanted)
    assert disturbed == in_one_go
    assert len(disturbed["purchases"]) == 1_500


def test_a_kafka_that_goes_away_and_returns(own_kafka: KafkaCluster, prefix: str, tmp_path: Path) -> None:
    """Given a killed broker, and a file that has to be built anew while it is away, then one line says so and all goes on."""
    cluster, db = Cluster(own_kafka.bootstrap), tmp_path / "away.duckdb"
    facts, decisions = given.records(VISITS)

    async def fill(start: int, end: int) -> None:
        await ensure(cluster, Layout(prefix, partitions=1))
        await send(cluster, prefix + FACTS, facts[start:end])
        await send(cluster, prefix + DECISIONS, decisions[start:end])

    asyncio.run(fill(0, 10))
    with Projecting(cluster.bootstrap, prefix, db, impatient) as running:
        running.until_read(10, 10)
        own_kafka.nodes[0].stop(hard=True)
        running.until("it is not ready", lambda: running.said("Kafka does not answer"))
        assert running.get("/readyz")[0] == 503
        db.unlink()
        running.until("it waits for Kafka", lambda: running.metric("projector_waiting", cause="kafka") == 1)
        assert asked(db, "select count(*) from facts") == [(10,)]

        own_kafka.restart(own_kafka.nodes[0])
        own_kafka.wait()
        asyncio.run(fill(10, len(facts)))
        running.until("it is served", lambda: b"written and served" in running.get("/readyz")[1])
        running.until_read(len(facts), len(decisions))
        assert running.get("/readyz")[0] == 200
        assert len(running.said("waiting; it goes on by itself", "kafka")) == 1
        assert len(running.said("going on", "kafka")) == 1
        assert running.end() == 0

    with given.warehouse(VISITS) as expected:
        assert holds(db)["points_entries"] == sorted(given.rows(expected, "from points_entries"), key=repr)
