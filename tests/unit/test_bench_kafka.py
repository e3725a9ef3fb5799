"""The bench on brokers, at sizes that prove the harness and measure nothing: every contender decides the same facts."""

from __future__ import annotations

import pytest
from rich.console import Console

from engine.bench import brokers, logs, scale
from engine.bench.children import MeasurementFailed
from engine.bench.report import show
from engine.bench.suite import Sizes, run
from engine.broker import EmbeddedBroker, free_port
from engine.compiled import core
from engine.settings import KafkaSecurity
from engine.stream.clients import Cluster, Unreachable
from tests.kafka.harness import NoKafka, shared_kafka

TINY = Sizes(facts=400, runs=1, rate=100, seconds=1.0, limit_s=60.0)
pytestmark = pytest.mark.timeout(300)


async def topics_of(cluster: Cluster) -> set[str]:
    """Names of topics that a bench has left behind."""
    async with cluster.admin() as admin:
        return {topic["topic"] for topic in await admin.describe_topics() if topic["topic"].startswith(logs.PREFIX)}


async def measured_on(bootstrap: str, transactions: bool) -> None:
    """All that needs Kafka, on this one: complete, and nothing is left behind."""
    # given
    said: list[str] = []

    # when
    report = await run(bootstrap, KafkaSecurity(), TINY, ["rewards", "intake", "latency"], said.append)

    # then
    assert report.conditions["broker"] == {
        "kind": "given",
        "says": f"Kafka at {bootstrap}, as named",
        "transactions": transactions,
    }
    again = {"rewards product, interpreted"} if core() == "compiled" else set()
    assert set(report.runs) == again | {
        *("rewards product", "rewards bare", "rewards idiomatic", "intake product", "intake bare", "latency"),
    }
    assert all(len(runs) == 1 and runs[0].rate > 0 for runs in report.runs.values())
    product, bare = report.runs["rewards product"][0], report.runs["rewards bare"][0]
    assert product.records == bare.records == TINY.facts + 4 * 2
    assert product.figures["points"] == bare.figures["points"] > 0
    assert report.runs["intake product"][0].records == report.runs["intake bare"][0].records == TINY.facts
    assert report.runs["latency"][0].records == 100
    assert 0 < report.figure("latency", "p50_ms") <= report.figure("latency", "p99_ms")
    assert sum(report.conditions["profile"].values()) == pytest.approx(1, abs=0.01)
    assert "latency, run 1 of 1" in said
    assert await topics_of(Cluster(bootstrap)) == set()


async def test_everything_is_measured_on_the_embedded_broker() -> None:
    """Without transactions every contender still decides every fact, with the same points."""
    with EmbeddedBroker() as broker:
        await measured_on(broker.bootstrap, transactions=False)


@pytest.fixture
def kafka() -> str:
    """HOST:PORT of a real Kafka; its jars are in the cache then."""
    try:
        return shared_kafka()
    except NoKafka as reason:
        pytest.skip(str(reason))


@pytest.mark.kafka
async def test_everything_is_measured_on_a_real_kafka(kafka: str) -> None:
    """With a transaction per batch, product and baseline alike."""
    await measured_on(kafka, transactions=True)


@pytest.mark.kafka
async def test_several_workers_are_measured_together(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One and two workers decide the same facts, all of them, and the report has their ratio; nothing is left behind."""
    # given
    monkeypatch.setattr(scale, "WORKERS", (1, 2))
    sizes = Sizes(facts=2_000, runs=1, limit_s=120.0)

    # when
    report = await run(kafka, KafkaSecurity(), sizes, ["scale"], lambda _line: None)

    # then
    one, two = report.runs["scale 1"][0], report.runs["scale 2"][0]
    assert (one.records, one.figures["workers"]) == (2_000, 1.0)
    assert (two.records, two.figures["workers"]) == (2_000, 2.0)
    assert min(one.seconds, two.seconds, one.figures["cpu_us"], two.figures["cpu_us"]) > 0
    console = Console(record=True, width=110)
    show(report, console)
    assert "speed-up" in console.export_text()
    assert await topics_of(Cluster(kafka)) == set()


async def test_several_workers_need_a_real_kafka() -> None:
    """On the embedded broker one worker may run: said, and nothing is measured."""
    with EmbeddedBroker() as broker, pytest.raises(MeasurementFailed, match="needs a real Kafka"):
        await run(broker.bootstrap, KafkaSecurity(), Sizes(facts=100, runs=1), ["scale"], lambda _line: None)


@pytest.mark.kafka
async def test_cost_and_recovery_are_measured(kafka: str) -> None:
    """With and without chain and snapshots the same points; a worker opens from checkpoints, and from the logs alone."""
    # given
    sizes = Sizes(facts=8_000, runs=1, limit_s=60.0)

    # when
    report = await run(kafka, KafkaSecurity(), sizes, ["cost", "recovery"], lambda _line: None)

    # then
    none, chain, snapshots = [report.runs[f"cost {name}"][0] for name in ("none", "chain", "all")]
    assert none.records == chain.records == snapshots.records == sizes.facts + 4 * 2
    assert none.figures["points"] == chain.figures["points"] == snapshots.figures["points"] > 0
    assert none.figures["snapshots"] == chain.figures["snapshots"] == 0 < snapshots.figures["snapshots"]
    recovered, anew = report.runs["recovery"][0], report.runs["recovery from the start"][0]
    assert recovered.figures["from_snapshots"] > anew.figures["from_snapshots"] == 0
    assert recovered.figures["folded"] < anew.figures["folded"] == anew.records
    assert await topics_of(Cluster(kafka)) == set()


async def test_without_a_real_kafka_the_embedded_broker_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report says that there were no transactions, and why."""
    # given
    monkeypatch.setenv(brokers.JARS_VARIABLE, "nowhere")

    # when
    async with brokers.broker(None, KafkaSecurity()) as found:
        # then
        assert (found.kind, found.transactions) == ("embedded", False)
        assert "no transactions" in found.says


@pytest.mark.kafka
async def test_a_real_kafka_is_started_and_stopped(kafka: str) -> None:
    """From jars that are there; afterwards nobody answers at its address."""
    # when
    async with brokers.broker(None, KafkaSecurity()) as found:
        # then
        assert (found.kind, found.transactions) == ("temporary", True)
        assert found.cluster.bootstrap != kafka
        assert "Apache Kafka" in found.says
    with pytest.raises(Unreachable):
        async with found.cluster.admin():
            pass


async def test_a_kafka_that_was_named_must_answer() -> None:
    """No other takes its place."""
    # when
    with pytest.raises(Unreachable):
        await run(f"127.0.0.1:{free_port()}", KafkaSecurity(), TINY, ["intake"], lambda _line: None)


async def test_the_gateway_is_measured_beside_a_bare_handler() -> None:
    """Every event is answered 202 by both, every member is known, and nothing is left behind."""
    # when
    with EmbeddedBroker() as broker:
        report = await run(broker.bootstrap, KafkaSecurity(), TINY, ["gateway"], lambda _line: None)
        left = await topics_of(Cluster(broker.bootstrap))

    # then
    assert {name: runs[0].records for name, runs in report.runs.items()} == dict.fromkeys(
        ("gateway product", "gateway members", "gateway bare"), 100
    )
    assert 0 < report.figure("gateway members", "p50_ms") <= report.figure("gateway members", "p99_ms")
    assert len(report.goals()) == 2
    assert left == set()
