"""A real Apache Kafka for tests, without Docker: jars from Maven Central, KRaft, as many nodes as asked for.

The jars are fetched once into `$XDG_CACHE_HOME/stammgast-tests` (or `~/.cache/...`). Every node is a child process that
is stopped by its id. `STAMMGAST_TEST_BOOTSTRAP=HOST:PORT` uses a Kafka that is already there instead.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import NewTopic
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from engine.broker import free_port
from engine.stream.clients import Cluster, KafkaTrouble, acknowledged, read_partition, send_values
from engine.stream.topics import until_visible

KAFKA_VERSION = "4.1.0"
START_TIMEOUT_S = 60.0
_STORE_PASSWORD = "changeit"
FETCH_TIMEOUT_S = 300.0

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>stammgast</groupId><artifactId>test-kafka</artifactId><version>1</version><dependencies><dependency>
<groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version>
</dependency></dependencies></project>
"""


class NoKafka(Exception):
    """A real Kafka cannot run on this machine; the message says why."""


def kafka_jars() -> Path:
    """The folder with Kafka's jars, fetched with Maven when it is not there yet.

    Errors: NoKafka without java or mvn, or when Maven cannot fetch.
    """
    missing = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if missing:
        raise NoKafka(f"real Kafka needs {' and '.join(missing)}, not found on the PATH")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stammgast-tests"
    jars = cache / f"kafka-{KAFKA_VERSION}"
    if not jars.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        _fetch(jars)
    return jars


def _fetch(jars: Path) -> None:
    """Fetch beside the target and rename, so that a broken download or a second test run leaves nothing half done."""
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix="fetch-") as folder:
        pom, target = Path(folder, "pom.xml"), Path(folder, "jars")
        pom.write_text(_POM, encoding="utf-8")
        command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={target}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False)
        if done.returncode or not target.is_dir():
            raise NoKafka(f"Maven could not fetch Kafka {KAFKA_VERSION}: {(done.stdout + done.stderr).strip()[-400:]}")
        try:
            target.rename(jars)
        except OSError:
            if not jars.is_dir():  # somebody else was quicker: fine
                raise


@dataclass(frozen=True, slots=True)
class Login:
    """A name and a password for an additional listener, SASL_SSL with PLAIN and SCRAM-SHA-512; a third wants a certificate.

    `others` may log in there too, with passwords of their own; with `rules` the broker lets nobody do anything but the one
    without a login (on the plain listener, where tests prepare things) and those to whom rules give it.
    """

    username: str
    password: str
    others: tuple[tuple[str, str], ...] = ()
    rules: bool = False


class KafkaNode:
    """One broker and controller of a cluster: start, stop, kill, freeze, by process id."""

    def __init__(
        self, number: int, folder: Path, heap: str, login: Login | None = None, more: Mapping[str, object] | None = None
    ) -> None:
        self.number = number
        self._more = more or {}
        self.folder = folder
        self.port = free_port()
        self.controller_port = free_port()
        self.secure_port = free_port()
        self.certified_port = free_port()
        self.login = login
        self._heap = heap
        self.process: subprocess.Popen[bytes] | None = None

    def prepare(self, voters: str, copies: int, cluster_uuid: str, jars: Path) -> None:
        """Write its settings and format its storage."""
        self.folder.mkdir(parents=True)
        settings = self._settings(voters, copies) | self._secure_settings() | dict(self._more)
        text = "\n".join(f"{name}={value}" for name, value in settings.items())
        (self.folder / "server.properties").write_text(text, encoding="utf-8")
        formatting = ["format", "-t", cluster_uuid, "-c", "server.properties"]
        if self.login is not None:
            for name, password in ((self.login.username, self.login.password), *self.login.others):
                formatting += ["--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]"]
        self._java(jars, "kafka.tools.StorageTool", *formatting).check()

    def _settings(self, voters: str, copies: int) -> dict[str, object]:
        here = f"PLAINTEXT://127.0.0.1:{self.port}"
        return {
            "process.roles": "broker,controller",
            "node.id": self.number,
            "controller.quorum.voters": voters,
            "listeners": f"{here},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": here,
            "controller.listener.names": "CONTROLLER",
            "log.dirs": self.folder / "logs",
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": 1 if copies == 1 else 2,
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            # A topic that somebody forgot to create is an error in our tests, not an invitation.
            "auto.create.topics.enable": "false",
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
        }

    @property
    def certificate(self) -> Path:
        """The certificate of the secure listener, which signs itself."""
        return self.folder / "kafka.pem"

    @property
    def client_certificate(self) -> tuple[Path, Path]:
        """Certificate and key of the one client that the third listener lets in."""
        return self.folder / "client.pem", self.folder / "client.key"

    def _secure_settings(self) -> dict[str, object]:
        if self.login is None:
            return {}
        self._make_certificate()
        known = ((self.login.username, self.login.password), *self.login.others)
        users = " ".join(f'user_{name}="{password}"' for name, password in known)
        authorizer = {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }
        module = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        plain, controller = f"PLAINTEXT://127.0.0.1:{self.port}", f"CONTROLLER://127.0.0.1:{self.controller_port}"
        secure = f"SECURE://127.0.0.1:{self.secure_port},CERTIFIED://127.0.0.1:{self.certified_port}"
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required"
        protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL,CERTIFIED:SSL"
        return {
            "listeners": f"{plain},{controller},{secure}",
            "advertised.listeners": f"{plain},{secure}",
            "listener.security.protocol.map": protocols,
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.name.secure.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.secure.scram-sha-512.sasl.jaas.config": f"{scram};",
            "listener.name.certified.ssl.client.auth": "required",
            "listener.name.certified.ssl.truststore.type": "PEM",
            "listener.name.certified.ssl.truststore.location": self.client_certificate[0],
            "listener.name.secure.plain.sasl.jaas.config": f"{module} {users};",
            "ssl.keystore.location": self.folder / "kafka.p12",
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.password": _STORE_PASSWORD,
        } | (authorizer if self.login.rules else {})

    def _make_certificate(self) -> None:
        store = ["-keystore", str(self.folder / "kafka.p12"), "-storepass", _STORE_PASSWORD, "-alias", "kafka"]
        make = ["keytool", "-genkeypair", *store, "-keyalg", "EC", "-dname", "CN=kafka", "-ext", "SAN=ip:127.0.0.1"]
        export = ["keytool", "-exportcert", "-rfc", *store, "-file", str(self.certificate)]
        for command in (make, export):
            subprocess.run(command, check=True, capture_output=True, timeout=START_TIMEOUT_S)
        make_client_certificate(*self.client_certificate)

    def start(self, jars: Path) -> None:
        """Start the process; it answers later (`KafkaCluster.wait`)."""
        self.process = self._java(jars, "kafka.Kafka", "server.properties").process

    def _java(self, jars: Path, *arguments: str) -> _Run:
        command = ["java", f"-Xmx{self._heap}", "-XX:+UseSerialGC", "-cp", f"{jars}/*", *arguments]
        with (self.folder / "kafka.log").open("ab") as log:
            return _Run(
                subprocess.Popen(
                    command,
                    cwd=self.folder,
                    stdout=log,
                    stderr=log,
                    preexec_fn=_die_with_parent,  # noqa: PLW1509 - called from the main thread only
                ),
                self.folder / "kafka.log",
            )

    def stop(self, hard: bool = False) -> None:
        """End it: in order, or like a power cut."""
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGKILL if hard else signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def freeze(self) -> None:
        """Stop it in its tracks (SIGSTOP)."""
        if self.process:
            self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        if self.process:
            self.process.send_signal(signal.SIGCONT)


def make_client_certificate(certificate: Path, key: Path) -> None:
    """Write a key and a certificate that signs itself, both PEM, good for a day."""
    private = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stammgast")]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
    signed = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    certificate.write_bytes(signed.sign(private, hashes.SHA256()).public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


class _Run:
    """A started java process and where it writes."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    def check(self) -> None:
        """Wait for its end; NoKafka if that was not a good one."""
        if self.process.wait(START_TIMEOUT_S):
            raise NoKafka(f"Kafka's storage tool failed: {self._log.read_text(errors='replace')[-400:]}")


def _die_with_parent() -> None:
    """A test run that is killed takes its Kafka along (Linux: PR_SET_PDEATHSIG is 1)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class KafkaCluster:
    """A Kafka of `nodes` nodes in a temporary folder; a context manager.

    Errors: NoKafka with the reason.
    """

    def __init__(
        self,
        nodes: int = 1,
        heap: str = "512m",
        login: Login | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="stammgast-kafka-")
        root = Path(self._folder.name)
        self.nodes = [KafkaNode(number, root / f"node-{number}", heap, login, more) for number in range(1, nodes + 1)]
        self._jars: Path | None = None

    @property
    def bootstrap(self) -> str:
        """Every node's HOST:PORT."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    @property
    def secure_bootstrap(self) -> str:
        """The same for the listener that wants a login."""
        return ",".join(f"127.0.0.1:{node.secure_port}" for node in self.nodes)

    @property
    def certified_bootstrap(self) -> str:
        """The same for the listener that wants a certificate."""
        return ",".join(f"127.0.0.1:{node.certified_port}" for node in self.nodes)

    def start(self) -> Self:
        """Start all nodes and wait until they answer."""
        try:
            self._jars = kafka_jars()
            voters = ",".join(f"{node.number}@127.0.0.1:{node.controller_port}" for node in self.nodes)
            cluster_uuid = "stammgasttestcluster00"  # 22 characters, as Kafka wants them
            for node in self.nodes:
                node.prepare(voters, min(3, len(self.nodes)), cluster_uuid, self._jars)
                node.start(self._jars)
            self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def restart(self, node: KafkaNode) -> None:
        """Start a stopped node again, on its old data."""
        if self._jars is None:
            raise NoKafka("the cluster was never started")
        node.start(self._jars)

    def wait(self) -> None:
        """Until every node is a member of the cluster."""
        asyncio.run(_await_brokers(self.bootstrap, len(self.nodes), self._alive))

    def _alive(self) -> None:
        for node in self.nodes:
            if node.process is None or node.process.poll() is not None:
                log = (node.folder / "kafka.log").read_text(errors="replace")
                raise NoKafka(f"Kafka node {node.number} ended: {log[-400:]}")

    def stop(self) -> None:
        """Stop every node and remove its data; safe to call twice."""
        for node in self.nodes:
            node.thaw()
            node.stop(hard=True)  # its data is thrown away
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


async def _await_brokers(bootstrap: str, count: int, alive: object) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if callable(alive):
            alive()
        try:
            async with Cluster(bootstrap).admin() as admin:
                if len((await admin.describe_cluster())["brokers"]) >= count:
                    return
        except KafkaTrouble:
            pass
        await asyncio.sleep(0.2)
    raise NoKafka(f"Kafka at {bootstrap} did not come up within {START_TIMEOUT_S:.0f} s")


_shared: KafkaCluster | None = None


def shared_kafka() -> str:
    """The one real Kafka of this test run, started on first use and stopped when the run ends.

    Errors: NoKafka with the reason.
    """
    global _shared  # noqa: PLW0603 - one process for all test folders
    given = os.environ.get("STAMMGAST_TEST_BOOTSTRAP")
    if given:
        return given
    if _shared is None:
        cluster = KafkaCluster().start()
        atexit.register(stop_shared_kafka)
        _shared = cluster
    return _shared.bootstrap


def stop_shared_kafka() -> None:
    """Stop the shared Kafka, if it runs."""
    global _shared
    cluster, _shared = _shared, None
    if cluster is not None:
        cluster.stop()


# ------------------------------------------------------------------------------------------------- what tests write


async def create_topic(cluster: Cluster, name: str, partitions: int = 1, **settings: str) -> str:
    """A plain topic for a test; returns its name. Settings with underscores for dots."""
    configs = {key.replace("_", "."): value for key, value in settings.items()}
    async with cluster.admin() as admin:
        answer = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs)])
        await until_visible(admin, {name})
    assert all(code == 0 for _, code, _ in answer.topic_errors), answer
    return name


async def write(cluster: Cluster, topic: str, partition: int, values: Iterable[bytes], hole: int = 0) -> None:
    """Write values to one partition and leave a hole of `hole` offsets behind them (real Kafka only).

    A hole of one is the marker of a committed transaction; a larger one is an aborted transaction and its marker.
    """
    records = [(None, value, None, ()) for value in values]
    if hole == 1:
        await _transaction(cluster, topic, partition, records, commit=True)
        return
    async with cluster.producer() as producer:
        await send_values(producer, topic, partition, records)
    if hole:
        aborted = [(None, b"aborted", None, ())] * (hole - 1)
        await _transaction(cluster, topic, partition, aborted, commit=False)


async def _transaction(
    cluster: Cluster, topic: str, partition: int, records: Sequence[tuple[None, bytes, None, tuple[()]]], commit: bool
) -> None:
    async with cluster.producer(transactional_id=f"hole-{uuid.uuid4().hex}") as producer:
        await producer.begin_transaction()
        await send_values(producer, topic, partition, records)
        await (producer.commit_transaction() if commit else producer.abort_transaction())


async def abort_records(cluster: Cluster, topic: str, partition: int, count: int) -> None:
    """Write `count` records and abort them: `count` + 1 offsets that no reader of committed records sees."""
    await _transaction(cluster, topic, partition, [(None, b"aborted", None, ())] * count, commit=False)


async def read_all(cluster: Cluster, topic: str, partition: int = 0) -> list[ConsumerRecord]:
    """Every committed record of a partition."""
    return [record async for records in read_partition(cluster, topic, partition) for record in records]


async def log_end(cluster: Cluster, topic: str, partition: int = 0) -> int:
    """Where the log ends for readers of committed records, holes included (real Kafka only)."""
    tp = TopicPartition(topic, partition)
    async with cluster.consumer() as consumer:
        return int((await consumer.end_offsets([tp]))[tp])


async def group_offset(cluster: Cluster, group: str, topic: str, partition: int = 0) -> int | None:
    """What a consumer group has committed."""
    tp = TopicPartition(topic, partition)
    async with cluster.consumer(group_id=group) as consumer:
        consumer.assign([tp])
        committed: int | None = await consumer.committed(tp)
    return committed


async def set_group_offset(cluster: Cluster, group: str, topic: str, offset: int, partition: int = 0) -> None:
    """Put a group's offset where a restored backup or an operator would have put it."""
    tp = TopicPartition(topic, partition)
    async with cluster.consumer(group_id=group) as consumer:
        consumer.assign([tp])
        await consumer.commit({tp: offset})


__all__ = [
    "KafkaCluster",
    "KafkaNode",
    "Login",
    "NoKafka",
    "abort_records",
    "acknowledged",
    "create_topic",
    "group_offset",
    "kafka_jars",
    "log_end",
    "read_all",
    "set_group_offset",
    "shared_kafka",
    "stop_shared_kafka",
    "write",
]
