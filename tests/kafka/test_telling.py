"""What running processes tell: metrics with the right values, readiness that proves progress, logs without members."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from engine import telemetry
from engine.compiled import core
from engine.ledger.member import Member
from engine.ledger.partition import Partition
from engine.stream.app import Worker, WorkerDied
from engine.stream.clients import Cluster
from engine.stream.keeper import Keeper
from engine.telemetry import Health, Hearing, Metrics, Progress, set_up_logging
from projections.projector import Projector
from projections.warehouse import Warehouse
from schemas.decisions import Decision
from schemas.envelope import Fact, parse_fact
from schemas.facts import PROGRAMME
from tests.kafka.deployment import Deployment, Event, Role, Samples, event, purchase, purchases, samples_of, until
from tests.kafka.harness import KafkaCluster, log_end
from tests.kafka.test_keeper import settings_of

pytestmark = pytest.mark.timeout(300)
#: In front of every member key and of all that came with a refused event.
MARK = "ZqGuest"
LIMIT_SECONDS = 5.0


def week() -> list[Event | bytes]:
    """Events of every kind, from members that can be found again in any text; the last three are refused."""
    anna, bert = f"{MARK}Anna", f"{MARK}Bert"
    lines = [{"line": 1, "quantity": "1"}]
    refund = {"order_id": "p0", "lines": lines, "currency": "EUR"}
    return [
        event("r1", "referral", bert, {"referrer": anna}),
        *(purchase(f"p{number}", (anna, bert)[number % 2]) for number in range(20)),
        purchase("p7", bert),
        purchase("anonymous", None),
        event("back", "refund", anna, refund),
        event("seen", "visit", anna, {"store": "Hafen"}),
        event("said", "review", bert, {"sku": "ESP", "rating": 5}),
        f"{MARK} is not JSON".encode(),
        purchase("mail", f"{MARK}@example.org"),
        purchase("p8", anna, "99.00"),
    ]


#: Different facts among them (a purchase comes twice, its number once more with another body), and refusals.
FACTS, REFUSED = len(week()) - 4, 3


def told(samples: Samples, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """One metric of ours as {values of these labels: value}; counters that never counted are left out."""
    wanted, never = f"stammgast_{name}", name.endswith("_total")
    found = {key: value for key, value in samples.items() if key[0] == wanted and (value or not never)}
    return {tuple(dict(key[1])[label] for label in labels): value for key, value in found.items()}


def total(samples: Samples, name: str) -> float:
    """The sum of a metric over all its labels."""
    return sum(value for key, value in samples.items() if key[0] == f"stammgast_{name}")


def expected_of(decisions: list[Decision]) -> dict[str, dict[tuple[str, ...], float]]:
    """What the metrics must say about these decisions."""
    outcomes, entries, points = Counter[tuple[str, ...]](), Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    for decision in decisions:
        outcomes[(decision.outcome,)] += 1
        for entry in decision.entries:
            entries[entry.kind, entry.rule_id] += 1
            points[entry.kind, entry.rule_id] += abs(entry.points)
    return {"decisions_total": dict(outcomes), "entries_total": dict(entries), "points_total": dict(points)}


def complaints(text: bytes) -> bytes:
    """What promtool has to say about an answer of /metrics."""
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    return checked.stdout + checked.stderr


async def all_answered(shop: Deployment) -> list[Decision]:
    """Wait until `week` is answered to its last event, which is refused by a keeper; returns the audited decisions."""

    async def refused() -> bool:
        return sum(len(part) for part in await shop.records("rejects")) == REFUSED

    await shop.decided(FACTS)
    await until("all refusals stand in rejects", refused)
    return await shop.audit()


async def settled(role: Role, metric: str, holds: Callable[[Samples], bool]) -> Samples:
    """Wait until a process is ready, has told its last and no lag is left anywhere; returns its metrics."""
    found: Samples = {}

    async def is_done() -> bool:
        found.update(role.samples())
        lags = told(found, metric, "topic", "partition")
        return bool(lags) and not any(lags.values()) and holds(found) and role.ask("/readyz")[0] == 200

    await until(f"{metric} is 0", is_done)
    return found


async def test_metrics_of_worker_and_projector_say_what_stands_in_the_logs(
    any_cluster: Cluster, prefix: str, tmp_path: Path
) -> None:
    """Given both processes at work, when all is loaded, then their metrics equal the logs and no line names a member."""
    with Deployment(any_cluster, prefix, partitions=2) as shop:
        worker = shop.start()
        await shop.ready(worker)
        projector = shop.project(tmp_path / "t.duckdb")
        await shop.publish(week())
        decisions = await all_answered(shop)
        facts = [[parse_fact(record.value) for record in records] for records in await shop.records("facts")]
        rejects = [
            dict(record.headers)["stammgast-reason"] for part in await shop.records("rejects") for record in part
        ]
        ends = {
            (topic, str(number)): records[-1].offset + 1.0 if records else 0.0
            for topic in ("facts", "points-log", "rejects")
            for number, records in enumerate(await shop.records(topic))
        }
        work = await settled(worker, "lag_records", lambda now: total(now, "decisions_total") == len(decisions))
        tables = await settled(
            projector,
            "projector_lag_records",
            lambda now: total(now, "projector_position") == sum(ends.values()),
        )
        alive = [role.ask("/healthz") for role in (worker, projector)]
        texts = [role.ask("/metrics")[1] for role in (worker, projector)]
        assert [worker.end(), projector.end()] == [0, 0]
        said = worker.said() + projector.said()

    kinds = Counter((fact.type,) for part in facts for fact in part if fact.type != PROGRAMME)
    derived = sum(len(decision.derived) for decision in decisions)
    kinds.subtract({("stammgast.referral_award.v1",): derived})  # written by a keeper, not by intake
    assert told(work, "facts_total", "type") == {kind: number for kind, number in kinds.items() if number}
    for name, numbers in expected_of(decisions).items():
        assert told(work, name, *{"decisions_total": ["outcome"]}.get(name, ["kind", "rule"])) == numbers
    assert told(work, "rejects_total", "reason") == Counter((reason.decode(),) for reason in rejects)
    assert len(rejects) == REFUSED
    assert set(told(work, "batch_seconds_count", "stage")) == {("intake",), ("rewards",)}
    assert all(seconds > 0 for seconds in told(work, "batch_seconds_sum", "stage").values())
    read = {topic for topic, _ in told(work, "lag_seconds", "topic", "partition")}
    assert {shop.topic("facts"), shop.topic("shop-events")} <= read
    assert set(told(work, "lag_seconds", "topic", "partition").values()) == {0.0}
    assert told(work, "oldest_undecided_fact_age_seconds") == {(): 0.0}

    assert told(tables, "projector_position", "topic", "partition") == ends
    assert set(told(tables, "projector_lag_seconds", "topic", "partition").values()) == {0.0}
    assert told(tables, "batch_seconds_count", "stage")["projector",] > 0
    assert alive == [(200, b"alive\n")] * 2
    assert MARK not in said
    assert all(MARK.encode() not in text for text in texts)
    if shutil.which("promtool"):
        assert [await asyncio.to_thread(complaints, text) for text in texts] == [b"", b""]


@asynccontextmanager
async def telling(shop: Deployment) -> AsyncIterator[tuple[Health, Metrics]]:
    """A worker in this event loop with what it tells; ready, and stopped in the end."""
    health, metrics = Health(), Metrics(with_process=False)
    worker = Worker(settings_of(shop), metrics, health)
    running = asyncio.create_task(worker.run())
    try:
        await until("the worker is ready", lambda: answers(health, ready=True))
        yield health, metrics
        worker.stop()
        await running
    finally:
        running.cancel()
        await asyncio.wait([running])


async def answers(health: Health, *, ready: bool) -> bool:
    """Is this what /readyz says?"""
    return health.ready()[0] is ready


def lag(metrics: Metrics, topic: str) -> tuple[float, float, float]:
    """(records, seconds, age of the oldest undecided fact) of partition 0 of a topic, now."""
    samples = samples_of(metrics.text())
    place = (topic, "0")
    return (
        told(samples, "lag_records", "topic", "partition")[place],
        told(samples, "lag_seconds", "topic", "partition")[place],
        told(samples, "oldest_undecided_fact_age_seconds")[()],
    )


async def none_waits(shop: Deployment) -> bool:
    """Has every fact in the logs its decision, and is there one?"""
    facts = sum(len(part) for part in await shop.records("facts"))
    return 0 < facts == len(await shop.decisions())


async def test_facts_that_nobody_decides_grow_old_and_make_the_worker_unready(
    any_cluster: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a keeper that hangs, when facts wait, then lag and age are theirs, /readyz turns false, and back when it goes on."""
    monkeypatch.setattr(telemetry, "READY_SECONDS", LIMIT_SECONDS)
    gate, genuine = asyncio.Event(), Keeper._append

    async def held(self: Keeper, turn: Any) -> None:
        await gate.wait()
        await genuine(self, turn)

    with Deployment(any_cluster, prefix, partitions=1) as shop:
        async with telling(shop) as (health, metrics):
            await until("the programme's facts are decided", lambda: none_waits(shop))
            monkeypatch.setattr(Keeper, "_append", held)
            await shop.publish(purchases(10))
            await until("the worker is not ready", lambda: answers(health, ready=False))
            _, probes = health.ready()
            (facts,) = await shop.records("facts")
            waiting, seconds, oldest = lag(metrics, shop.topic("facts"))
            inbound = lag(metrics, shop.topic("shop-events"))
            gate.set()
            await until("the worker is ready again", lambda: answers(health, ready=True))
            after = lag(metrics, shop.topic("facts"))
            await shop.audit()

    recorded = [record for record in facts if parse_fact(record.value).type != PROGRAMME]
    assert probes["progress"]["ready"] is False
    assert f"{shop.topic('facts')}/0" in str(probes["progress"]["detail"])
    assert probes["kafka"]["ready"] is True
    assert waiting == len(recorded) == 10
    assert LIMIT_SECONDS < seconds < LIMIT_SECONDS + 10
    assert seconds == pytest.approx(oldest, abs=0.2)
    assert inbound[:2] == (0.0, 0.0)
    assert after == (0.0, 0.0, 0.0)


@asynccontextmanager
async def projecting(cluster: Cluster, prefix: str, db: Path) -> AsyncIterator[Health]:
    """A projector in this event loop, and what it tells."""
    health, progress, hearing = Health(), Progress(LIMIT_SECONDS), Hearing(LIMIT_SECONDS)
    health.add("projector", progress.probe)
    health.add("kafka", hearing.probe)
    stop = asyncio.Event()
    with Warehouse.open(db) as warehouse:
        metrics = Metrics(with_process=False)
        projector = Projector(cluster, warehouse, prefix=prefix, metrics=metrics, progress=progress, hearing=hearing)
        running = asyncio.create_task(projector.run(stop))
        try:
            yield health
        finally:
            stop.set()
            await running


@pytest.mark.kafka
async def test_a_frozen_broker_makes_both_unready_and_idleness_does_not(
    own_kafka: KafkaCluster, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given an idle deployment, when longer than the limit passes, then it stays ready; not so when the broker is frozen."""
    monkeypatch.setattr(telemetry, "READY_SECONDS", LIMIT_SECONDS)
    cluster = Cluster(own_kafka.bootstrap)
    with Deployment(cluster, prefix, partitions=1) as shop:
        async with telling(shop) as (worker, _), projecting(cluster, prefix, tmp_path / "t.duckdb") as projector:
            await shop.publish(purchases(10))
            await shop.decided(10)
            await until("all is loaded", lambda: answers(projector, ready=True))
            idle_until = asyncio.get_running_loop().time() + 1.5 * LIMIT_SECONDS
            while asyncio.get_running_loop().time() < idle_until:
                assert worker.ready()[0], worker.ready()
                assert projector.ready()[0], projector.ready()
                await asyncio.sleep(0.1)

            own_kafka.nodes[0].freeze()
            try:
                await until("the worker is not ready", lambda: answers(worker, ready=False))
                await until("the projector is not ready", lambda: answers(projector, ready=False))
                why = json.dumps([worker.ready(), projector.ready()])
            finally:
                own_kafka.nodes[0].thaw()
            await until("the worker is ready again", lambda: answers(worker, ready=True))
            await until("the projector is ready again", lambda: answers(projector, ready=True))
            await shop.publish(purchases(10, name="q"))
            await shop.decided(20)
            await shop.audit()

    assert "last answer about" in why
    assert await log_end(cluster, shop.topic("facts")) >= 20


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What this process logs, as JSON lines; logging is left as it was found."""
    root, text = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    set_up_logging("json", "info", text)
    yield text
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


async def test_a_quarantined_fact_is_logged_by_its_id_alone(
    embedded_cluster: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch, logged: io.StringIO
) -> None:
    """Given an error whose words name a member, when its fact is quarantined, then the log names the fact only."""
    genuine = Partition.answer

    def poisoned(self: Partition, fact: Fact, offset: int) -> Any:
        if fact.id == "p7":
            raise KeyError(fact.subject)
        return genuine(self, fact, offset)

    monkeypatch.setattr(Partition, "answer", poisoned)
    with Deployment(embedded_cluster, prefix, partitions=1) as shop:
        async with telling(shop):
            await shop.publish(week())
            await shop.decided(FACTS)

    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    (quarantined, *_) = [line for line in lines if line["event"] == "fact quarantined"]
    assert (quarantined["fact_id"], quarantined["error"]) == ("p7", "KeyError")
    assert "in poisoned" in quarantined["raised_at"]
    assert MARK not in logged.getvalue()


async def has_ended(logged: io.StringIO) -> bool:
    """Did the worker in this process say its last?"""
    return '"stopped"' in logged.getvalue()


@pytest.mark.skipif(core() == "compiled", reason="what is compiled cannot be patched; the interpreted core shows it")
async def test_a_worker_that_dies_of_a_fact_names_the_fact_alone(
    embedded_cluster: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch, logged: io.StringIO
) -> None:
    """Given a decision that cannot be taken in, when the worker ends, then log and message name the fact, not the member."""
    genuine = Partition._fold

    def broken(self: Partition, member: Member, fact: Fact, decision: Decision, own: bool) -> None:
        if fact.id == "p7":
            raise KeyError(fact.subject)
        genuine(self, member, fact, decision, own)

    monkeypatch.setattr(Partition, "_fold", broken)

    async def live() -> None:
        with Deployment(embedded_cluster, prefix, partitions=1) as shop:
            async with telling(shop):
                await shop.publish(week())
                await until("the worker has ended", lambda: has_ended(logged))

    with pytest.raises(WorkerDied, match="FoldFailed, see its log") as died:
        await live()

    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert [line["fact_id"] for line in lines if line["event"] == "decision cannot be taken in"] == ["p7"]
    assert "the worker cannot go on" in [line["event"] for line in lines]
    assert MARK not in logged.getvalue() + str(died.value)
