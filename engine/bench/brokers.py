"""Which Kafka to measure on: the one that was named, else a real one started for the occasion, else the embedded broker."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from engine.broker import EmbeddedBroker, free_port
from engine.settings import KafkaSecurity
from engine.stream.clients import Cluster, KafkaTrouble, capabilities

#: Folder with Kafka's jars; without it the cache that the tests fetch them into is looked at.
JARS_VARIABLE = "STAMMGAST_KAFKA_JARS"
START_S = 60.0
STOP_S = 10.0
HEAP = "512m"
_CLUSTER_UUID = "stammgastbenchmarks000"  # 22 characters, as Kafka wants them


class NoRealKafka(Exception):
    """No real Kafka can be started here; the message says why."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker to measure on.

    Attributes:
        kind: `given`, `temporary` or `embedded`.
        says: one sentence for the report.
        transactions: does it know them?
    """

    cluster: Cluster
    kind: str
    says: str
    transactions: bool


@asynccontextmanager
async def broker(bootstrap: str | None, security: KafkaSecurity) -> AsyncIterator[Broker]:
    """The broker to measure on; what was started here is stopped when the block ends.

    Errors: Unreachable for one that was named and does not answer, BrokerUnavailable.
    """
    if bootstrap is not None:
        cluster = Cluster(bootstrap, security)
        can = await capabilities(cluster)
        yield Broker(cluster, "given", f"Kafka at {bootstrap}, as named", can.transactions)
        return
    try:
        jars = find_jars()
    except NoRealKafka as reason:
        async with EmbeddedBroker() as embedded:
            says = f"the embedded broker, because {reason}: no transactions here, so goals are not comparable"
            yield Broker(Cluster(embedded.bootstrap), "embedded", says, transactions=False)
        return
    with _Kafka(jars) as kafka:
        await kafka.answer()
        says = f"Apache Kafka {version_of(jars)}, one node, started for this run on this machine"
        yield Broker(Cluster(kafka.bootstrap), "temporary", says, transactions=True)


def find_jars() -> Path:
    """The folder with Kafka's jars. Errors: NoRealKafka."""
    if shutil.which("java") is None:
        raise NoRealKafka("there is no java on the PATH")
    named = os.environ.get(JARS_VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stammgast-tests"
    folders = [Path(named)] if named else sorted(cache.glob("kafka-*"), reverse=True)
    for folder in folders:
        if any(folder.glob("kafka_*.jar")):
            return folder
    where = (
        f"{JARS_VARIABLE}={named} holds none" if named else f"set {JARS_VARIABLE}, or run `make test` once with Maven"
    )
    raise NoRealKafka(f"Kafka's jars were not found ({where})")


def version_of(jars: Path) -> str:
    """Kafka's version, read from its jar's name."""
    names = [
        found[1] for path in jars.glob("kafka_*.jar") if (found := re.search(r"kafka_[\d.]+-([\d.]+)\.jar", path.name))
    ]
    return names[0] if names else "of unknown version"


class _Kafka:
    """One broker and controller in a temporary folder, a context manager; stopped by its id."""

    def __init__(self, jars: Path) -> None:
        self._jars = jars
        self._port, self._controller_port = free_port(), free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="stammgast-bench-kafka-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        try:
            settings = "\n".join(f"{name}={value}" for name, value in self._settings().items())
            Path(self._folder.name, "server.properties").write_text(settings, encoding="utf-8")
            format_it = ("kafka.tools.StorageTool", "format", "-t", _CLUSTER_UUID, "-c", "server.properties")
            if self._java(*format_it).wait(START_S):
                raise KafkaTrouble(f"Kafka's storage could not be formatted: {self._last_words()}")
            self._process = self._java("kafka.Kafka", "server.properties")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _settings(self) -> dict[str, object]:
        here = f"PLAINTEXT://127.0.0.1:{self._port}"
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"{here},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": here,
            "log.dirs": Path(self._folder.name, "logs"),
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4,
            "group.initial.rebalance.delay.ms": 0,
            "auto.create.topics.enable": "false",
        }

    def _java(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = ["java", f"-Xmx{HEAP}", "-XX:+UseSerialGC", "-cp", f"{self._jars}/*", *arguments]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self._folder.name,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no threads yet
            )

    @property
    def _log(self) -> Path:
        return Path(self._folder.name, "kafka.log")

    def _last_words(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace").strip()[-400:]

    async def answer(self) -> None:
        """Wait until it answers. Errors: KafkaTrouble."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise KafkaTrouble(f"the temporary Kafka ended at once: {self._last_words()}")
            with contextlib.suppress(KafkaTrouble):
                async with Cluster(self.bootstrap).admin():
                    return
            await asyncio.sleep(0.2)
        raise KafkaTrouble(f"the temporary Kafka did not answer within {START_S:.0f} s")

    def stop(self) -> None:
        """End it and remove its data; safe to call twice."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.kill()  # its data is thrown away
            process.wait(STOP_S)
        self._folder.cleanup()


def _die_with_parent() -> None:
    """A bench that is killed takes its Kafka along (Linux: PR_SET_PDEATHSIG is 1)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
