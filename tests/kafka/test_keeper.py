"""Keepers on a real Kafka, with the worker inside the test: poisoned facts, fencing, what a start refuses."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.ledger.partition import Partition
from engine.stream.app import Flow, Worker, WorkerSettings
from engine.stream.clients import Cluster, send_values
from engine.stream.tools import MissingProgramme
from engine.stream.topics import Layout, ensure
from engine.telemetry import Health, Metrics
from rules.book import load_directory
from schemas.envelope import Fact
from tests.kafka.deployment import PROGRAMMES, Deployment, purchase, purchases, until
from tests.kafka.harness import read_all

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
_START = "from engine.cli import main; main()"


def settings_of(shop: Deployment) -> WorkerSettings:
    """The same deployment, for a worker in this process."""
    return WorkerSettings(
        cluster=shop.cluster,
        layout=Layout(shop.prefix, shop.partitions),
        programmes=load_directory(shop.programme),
        clock="off",
    )


@asynccontextmanager
async def worker_inside(settings: WorkerSettings) -> AsyncIterator[Worker]:
    """A worker in this event loop, ready; stopped in the end."""
    health = Health()
    worker = Worker(settings, Metrics(with_process=False), health)
    running = asyncio.create_task(worker.run())

    async def ready() -> bool:
        if running.done():
            await running
        return health.ready()[0]

    try:
        await until("the worker is ready", ready)
        yield worker
        worker.stop()
        await running
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_a_poisoned_fact_is_quarantined_at_once(
    cluster: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a fact on which decide raises, when it comes among others, then it alone is quarantined, also after a restart."""
    genuine = Partition.answer

    def poisoned(self: Partition, fact: Fact, offset: int) -> Any:
        if fact.id == "p7":
            raise ZeroDivisionError("a rule nobody thought of")
        return genuine(self, fact, offset)

    monkeypatch.setattr(Partition, "answer", poisoned)
    with Deployment(cluster, prefix, partitions=1) as shop:
        settings = settings_of(shop)
        async with worker_inside(settings):
            await shop.publish(purchases(20))
            await shop.decided(20)
        monkeypatch.undo()
        async with worker_inside(settings):
            await shop.publish([purchase("after", "m007")])
            await shop.decided(21)
        decisions = [d for d in await shop.decisions() if d.member_id]
        (reject,) = await read_all(cluster, shop.topic("rejects"))

    assert [d.fact_id for d in decisions] == [f"p{n}" for n in range(20)] + ["after"]
    assert [d.fact_id for d in decisions if d.outcome == "quarantined"] == ["p7"]
    assert decisions[7].notes[0].text == "ZeroDivisionError: a rule nobody thought of"
    assert dict(reject.headers)["stammgast-reason"] == b"quarantined"
    assert dict(reject.headers)["stammgast-topic"] == shop.topic("facts").encode()


async def test_bytes_in_facts_that_are_no_fact_do_not_stop_it(cluster: Cluster, prefix: str) -> None:
    """Given garbage written straight to facts, when it is met, then it has its one decision and the log goes on."""
    with Deployment(cluster, prefix, partitions=1) as shop:
        settings = settings_of(shop)
        async with worker_inside(settings):
            await shop.publish([purchase("a", "m1")])
            await shop.decided(1)
            async with cluster.producer() as producer:
                await send_values(producer, shop.topic("facts"), 0, [(None, b"garbage", 1, []), (b"k", b"[]", 2, [])])
            await shop.publish([purchase("b", "m1")])
            await shop.decided(4)
        async with worker_inside(settings):
            await shop.publish([purchase("c", "m1")])
            await shop.decided(5)
        outcomes = [(d.fact_id, d.outcome) for d in await shop.decisions() if d.programme is None or d.member_id]

    offsets = [offset for offset, outcome in outcomes if outcome == "quarantined"]
    assert len(offsets) == 2
    assert [name for name, outcome in outcomes if outcome == "decided"] == ["a", "b", "c"]


async def test_a_keeper_that_was_fenced_takes_its_partition_back(cluster: Cluster, prefix: str) -> None:
    """Given somebody who takes a partition's transactional id, when the group leaves it here, then it goes on exactly once."""
    with Deployment(cluster, prefix, partitions=1) as shop:
        async with worker_inside(settings_of(shop)) as worker:
            worker.keepers.reopen_seconds = 0.5
            await shop.publish(purchases(50, name="a"))
            await shop.decided(50)
            async with cluster.producer(transactional_id=f"{shop.group}-rewards-0"):
                await shop.publish(purchases(50, name="b"))
                await until("fenced", lambda: _closed(worker))
            await shop.decided(100)
            decisions = await shop.audit()

    assert len([d for d in decisions if d.member_id]) == 100


async def test_a_flood_is_paused_dropped_and_read_again(
    cluster: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a keeper whose queue holds one small batch, when a flood comes, then drops are read again and decided once."""
    monkeypatch.setattr("engine.stream.batches.FETCH_RECORDS", 20)
    monkeypatch.setattr("engine.stream.keeper.QUEUE_HIGH", 5)
    monkeypatch.setattr("engine.stream.keeper.QUEUE_MOST", 1)
    reopened: list[int] = []
    genuine = Flow.reopen

    def counted(self: Flow, partition: int) -> None:
        reopened.append(partition)
        genuine(self, partition)

    monkeypatch.setattr(Flow, "reopen", counted)
    with Deployment(cluster, prefix, partitions=1) as shop:
        async with worker_inside(settings_of(shop)):
            await shop.publish(purchases(300))
            await shop.decided(300)
            decisions = await shop.audit()

    assert reopened, "nothing was dropped, so this proved nothing"
    assert len([d for d in decisions if d.member_id]) == 300


async def _closed(worker: Worker) -> bool:
    return any(keeper.state == "closed" for keeper in worker.keepers)


async def test_a_worker_without_the_programmes_text_says_so_and_dies(cluster: Cluster, prefix: str) -> None:
    """Given a programme fact whose version nobody holds, when a worker meets it, then it ends with a message that helps."""
    from engine.ledger.engine_facts import programme_fact
    from schemas.envelope import encode_fact

    stranger = load_directory(PROGRAMMES / "gift-shop")[0]
    fact = encode_fact(programme_fact(stranger, "2026-01-01T00:00:00.000000Z"))
    shop = Deployment(cluster, prefix, partitions=1)
    settings = replace(settings_of(shop), programmes=())
    await ensure(cluster, settings.layout)
    async with cluster.producer() as producer:
        await send_values(producer, shop.topic("facts"), 0, [(None, fact, 1, [])])

    with pytest.raises(MissingProgramme, match=r"rules publish") as died:
        await Worker(settings, Metrics(with_process=False), Health()).run()

    assert stranger.hash in str(died.value)


def run_worker(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A worker that is expected to end by itself."""
    command = [sys.executable, "-c", _START, "worker", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_an_unreachable_broker_is_one_clear_message(kafka: str) -> None:
    """Given nobody at the address, when a worker starts, then it says which address, how to mend it, and exits with 2."""
    done = run_worker("--bootstrap", "127.0.0.1:1", "--clock", "off")

    assert done.returncode == 2
    assert "no Kafka answers at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_programme_folder_is_one_clear_message(kafka: str, tmp_path: Path) -> None:
    """Given a folder that is not there, when a worker starts, then it says so and exits with 2 before touching Kafka."""
    done = run_worker("--bootstrap", kafka, "--programme", str(tmp_path / "nowhere"))

    assert done.returncode == 2
    assert "there is no such folder" in done.stderr


async def test_another_partition_count_is_refused(cluster: Cluster, prefix: str) -> None:
    """Given topics with 2 partitions, when a worker asks for 3, then it refuses with exit code 2 and names the right number."""
    with Deployment(cluster, prefix, partitions=2) as shop:
        async with worker_inside(settings_of(shop)):
            pass
        done = await asyncio.to_thread(
            run_worker, "--bootstrap", cluster.bootstrap, "--topic-prefix", prefix, "--partitions", "3"
        )

    assert done.returncode == 2
    assert "--partitions 2" in done.stderr
