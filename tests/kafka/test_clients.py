"""Clients: security reaches every one of them, errors are messages, batches and keys are as Kafka has them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import NodeNotReadyError, ProducerFenced

from engine.broker import BrokerUnavailable, EmbeddedBroker, free_port
from engine.settings import KafkaSecurity, Secret, UsageError
from engine.stream import batches, topics
from engine.stream.clients import (
    RECORD_BYTES,
    Cluster,
    KafkaTrouble,
    LogEndsEarlier,
    RecordTooLarge,
    Unreachable,
    capabilities,
    partition_for,
    read_partition,
    send_values,
)
from tests.kafka.harness import (
    KafkaCluster,
    Login,
    create_topic,
    group_offset,
    make_client_certificate,
    read_all,
    write,
)
from tests.kafka.workers import Collector, eventually, running

LOGIN = Login("counter", "beans-and-milk")


def secured(ca: Path | None = None, **changes: Any) -> KafkaSecurity:
    settings: dict[str, Any] = {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN",
        "sasl_username": LOGIN.username,
        "sasl_password": Secret(LOGIN.password),
        "ssl_cafile": ca,
    }
    return KafkaSecurity(**settings | changes)


# ------------------------------------------------------------------------------------------------------------ security


@pytest.fixture(scope="module")
def guarded(kafka: str) -> Iterator[KafkaCluster]:
    """A Kafka that wants TLS and a login; only where a real Kafka runs at all."""
    with KafkaCluster(login=LOGIN) as cluster:
        yield cluster


def let_in(guarded: KafkaCluster, way: str) -> Cluster:
    """The guarded Kafka by one of its ways in."""
    node = guarded.nodes[0]
    if way != "certificate":
        return Cluster(guarded.secure_bootstrap, secured(node.certificate, sasl_mechanism=way))
    certificate, key = node.client_certificate
    security = KafkaSecurity(
        security_protocol="SSL", ssl_cafile=node.certificate, ssl_certfile=certificate, ssl_keyfile=key
    )
    return Cluster(guarded.certified_bootstrap, security)


@pytest.mark.kafka
@pytest.mark.parametrize("way", ["PLAIN", "SCRAM-SHA-512", "certificate"])
async def test_tls_and_login_reach_every_client(guarded: KafkaCluster, prefix: str, way: str) -> None:
    """Admin, plain, idempotent and transactional producers, consumers and Faust all work over TLS with each login."""
    cluster = let_in(guarded, way)
    layout = topics.Layout(prefix=prefix, partitions=1)
    collector, facts = Collector(), layout.name(topics.FACTS)

    assert (await capabilities(cluster)).transactions
    await topics.ensure(cluster, layout)
    await write(cluster, facts, 0, [b"a", b"b"], hole=1)
    async with running(cluster, f"{prefix}g", [facts], collector):
        await collector.until(lambda: collector.count() == 2)
        await eventually(lambda: group_offset(cluster, f"{prefix}g", facts), 3)

    assert [record.value for record in await read_all(cluster, facts)] == [b"a", b"b"]


@pytest.mark.kafka
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_wrong_password_is_said_so(guarded: KafkaCluster, mechanism: str) -> None:
    """A refused login is not taken for a broker that is away, and the password is in no message."""
    wrong = Secret("not-the-password")
    security = secured(guarded.nodes[0].certificate, sasl_password=wrong, sasl_mechanism=mechanism)

    with pytest.raises(Unreachable, match="refuses the login") as caught:
        async with Cluster(guarded.secure_bootstrap, security).admin():
            pass
    assert "not-the-password" not in str(caught.value)


@pytest.mark.kafka
@pytest.mark.parametrize("own", [False, True], ids=["none", "a stranger's"])
async def test_who_has_not_the_right_certificate_is_kept_out(guarded: KafkaCluster, tmp_path: Path, own: bool) -> None:
    """Where Kafka asks for a client's certificate, none and a stranger's end the start with a message."""
    files: dict[str, Any] = {}
    if own:
        files = {"ssl_certfile": tmp_path / "other.pem", "ssl_keyfile": tmp_path / "other.key"}
        make_client_certificate(*files.values())
    security = KafkaSecurity(security_protocol="SSL", ssl_cafile=guarded.nodes[0].certificate, **files)

    with pytest.raises(Unreachable):
        async with Cluster(guarded.certified_bootstrap, security).admin():
            pass


@pytest.mark.kafka
async def test_an_unknown_certificate_is_refused(guarded: KafkaCluster) -> None:
    """A certificate that descends from none of ours ends the start: no client talks on unverified."""
    with pytest.raises(Unreachable):
        async with Cluster(guarded.secure_bootstrap, secured()).admin():
            pass


def test_a_readable_password_is_refused_unless_accepted() -> None:
    """PLAIN over an unencrypted connection is refused; said explicitly it is passed on to clients and Faust alike."""
    readable: dict[str, Any] = {"security_protocol": "SASL_PLAINTEXT", "ssl_cafile": None}
    with pytest.raises(UsageError, match="--allow-plaintext-credentials"):
        secured(**readable)

    cluster = Cluster("localhost:9092", secured(**readable, allow_plaintext_credentials=True))

    assert cluster.security.client_options()["security_protocol"] == "SASL_PLAINTEXT"
    credentials = batches.faust_credentials(cluster)
    assert credentials.protocol.value == "SASL_PLAINTEXT"
    assert credentials.mechanism.value == "PLAIN"


def test_faust_gets_the_same_security_as_the_others() -> None:
    """What Faust hands to aiokafka says the same as what our own clients hand to it."""
    from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

    cluster = Cluster("localhost:9092", secured(sasl_mechanism="SCRAM-SHA-512"))
    ours = cluster.security.client_options()
    fausts = credentials_to_aiokafka_auth(batches.faust_credentials(cluster))

    same = ("security_protocol", "sasl_mechanism", "sasl_plain_username", "sasl_plain_password")
    assert {name: fausts[name] for name in same} == {name: ours[name] for name in same}
    assert fausts["ssl_context"].check_hostname
    assert batches.faust_credentials(Cluster("localhost:9092")) is None


def test_no_client_shows_the_password() -> None:
    """The cluster's repr, which may land in a log, holds no password."""
    assert LOGIN.password not in repr(Cluster("localhost:9092", secured()))


# -------------------------------------------------------------------------------------------------------- reachability


async def test_an_unreachable_broker_is_a_message_within_seconds() -> None:
    """Nobody listening is one KafkaTrouble with the address, for every kind of client, and no hanging."""
    nobody = Cluster(f"127.0.0.1:{free_port()}")

    for opening in (nobody.admin(), nobody.consumer(), nobody.producer()):
        started = time.monotonic()
        with pytest.raises(Unreachable, match=f"no Kafka answers at {nobody.bootstrap}"):
            async with opening:
                pass
        assert time.monotonic() - started < 15


async def test_a_broker_that_accepts_and_never_answers_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that is open and silent is given up after the connect timeout."""
    monkeypatch.setattr("engine.stream.clients.CONNECT_TIMEOUT_S", 0.5)

    async def listen(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    silent = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable):
            async with Cluster(f"127.0.0.1:{port}").admin():
                pass


@pytest.mark.kafka
async def test_a_real_broker_knows_transactions(cluster: Cluster) -> None:
    """Apache Kafka can do transactions."""
    assert (await capabilities(cluster)).transactions


async def test_the_embedded_broker_knows_no_transactions(embedded_cluster: Cluster) -> None:
    """The embedded broker cannot, and the answer says what it answered."""
    can = await capabilities(embedded_cluster)

    assert not can.transactions
    assert can.reason == "UnknownError"


@pytest.mark.parametrize("trouble", [NodeNotReadyError("node 1"), Unreachable("it hangs")])
async def test_a_broker_in_trouble_is_not_one_without_transactions(
    embedded_cluster: Cluster, trouble: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a broker that answers and then fails or hangs, when it is asked, then that is an error: never a plain writer."""
    right = Cluster.start

    async def start(self: Cluster, client: Any) -> None:
        if isinstance(client, AIOKafkaProducer):
            raise trouble
        await right(self, client)

    monkeypatch.setattr(Cluster, "start", start)
    with pytest.raises(type(trouble)):
        await capabilities(embedded_cluster)


# ----------------------------------------------------------------------------------------------------- writing, reading


def test_keys_go_where_java_clients_put_them() -> None:
    """murmur2 as in Kafka's own tests (org.apache.kafka.common.utils.UtilsTest), sign bit cleared."""
    known = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}

    for key, hashed in known.items():
        assert partition_for(key, 12) == (hashed & 0x7FFFFFFF) % 12


async def test_many_values_are_split_into_batches(any_cluster: Cluster, prefix: str) -> None:
    """What one batch cannot hold goes in several, in order, with key, timestamp and headers."""
    topic = await create_topic(any_cluster, f"{prefix}t", max_message_bytes="2097152")
    records = [(b"k%d" % n, b"%d " % n + b"x" * 1_000, 1_700_000_000_000 + n, [("h", b"1")]) for n in range(3_000)]
    records[1_500] = (b"big", b"b" * 1_500_000, 1_700_000_000_000, [])

    async with any_cluster.producer() as producer:
        assert await send_values(producer, topic, 0, records) == 3_000

    arrived = await read_all(any_cluster, topic)
    assert [(r.key, r.value, r.timestamp, list(r.headers)) for r in arrived] == records


async def test_a_record_no_topic_takes_is_refused_before_anything_is_sent(
    embedded_cluster: Cluster, prefix: str
) -> None:
    """Too large a record is an error of its own, and the records around it are not half written."""
    topic = await create_topic(embedded_cluster, f"{prefix}t")

    async with embedded_cluster.producer() as producer:
        with pytest.raises(RecordTooLarge, match="at most"):
            await send_values(producer, topic, 0, [(None, b"a", None, ()), (None, b"x" * (RECORD_BYTES + 1), None, ())])

    assert await read_all(embedded_cluster, topic) == []


@pytest.mark.kafka
async def test_a_second_transactional_producer_fences_the_first(cluster: Cluster, prefix: str) -> None:
    """Whoever starts a producer under the same transactional id ends the one before, and its open transaction."""
    topic = await create_topic(cluster, f"{prefix}t")

    async with cluster.producer(transactional_id=f"{prefix}x") as first:
        await first.begin_transaction()
        await send_values(first, topic, 0, [(None, b"zombie", None, ())])
        async with cluster.producer(transactional_id=f"{prefix}x") as second:
            await second.begin_transaction()
            await send_values(second, topic, 0, [(None, b"owner", None, ())])
            await second.commit_transaction()
        with pytest.raises(ProducerFenced):
            await first.commit_transaction()

    assert [record.value for record in await read_all(cluster, topic)] == [b"owner"]


async def test_reading_behind_the_end_is_a_lost_log(any_cluster: Cluster, prefix: str) -> None:
    """A log that ends before the position it is read from has lost records, and says so; a missing one is no empty one."""
    topic = await create_topic(any_cluster, f"{prefix}t")
    await write(any_cluster, topic, 0, [b"1", b"2"])

    with pytest.raises(LogEndsEarlier, match="records were lost"):
        _ = [records async for records in read_partition(any_cluster, topic, 0, 5)]
    with pytest.raises(KafkaTrouble, match="was the topic deleted"):
        _ = [records async for records in read_partition(any_cluster, f"{prefix}nothing", 0)]
    assert [records async for records in read_partition(any_cluster, topic, 0, 2)] == []


# ------------------------------------------------------------------------------------------------------- embedded broker


async def list_and_fail(broker: EmbeddedBroker, pids: list[int | None]) -> None:
    async with broker:
        pids.append(broker.pid)
        async with Cluster(broker.bootstrap).admin() as admin:
            await admin.list_topics()
        raise ZeroDivisionError


async def test_the_embedded_broker_leaves_nothing_behind() -> None:
    """It answers when the block begins and is gone when it ends, also after an error."""
    broker, pids = EmbeddedBroker(), list[int | None]()

    with pytest.raises(ZeroDivisionError):
        await list_and_fail(broker, pids)

    assert pids[0] is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    assert broker.pid is None


def test_a_broken_binary_is_one_clear_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A binary that is missing, or ends at once, is reported with what to do instead."""
    script = tmp_path / "broker"
    script.write_text("#!/bin/sh\necho wrong processor\nexit 3\n", encoding="utf-8")
    script.chmod(0o755)

    monkeypatch.setenv("CALF_TANSU_BIN", str(script))
    with pytest.raises(BrokerUnavailable, match=r"wrong processor.*--bootstrap"), EmbeddedBroker():
        pass
    monkeypatch.setenv("CALF_TANSU_BIN", str(tmp_path / "nothing"))
    with pytest.raises(BrokerUnavailable, match="no binary for this platform"), EmbeddedBroker():
        pass


def test_settings_differ_only_where_asked() -> None:
    """Two clusters with equal settings are equal: they can be keys and be compared in tests."""
    cluster = Cluster("localhost:9092")

    assert cluster == Cluster("localhost:9092")
    assert cluster != replace(cluster, client_id="other")
