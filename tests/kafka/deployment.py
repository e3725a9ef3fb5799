"""A whole deployment for tests: real worker processes on a real Kafka, events in, both logs audited.

The audit computes every decision anew from the `facts` log with the pure ledger and compares bytes, so a lost, doubled,
reordered or differently decided fact cannot hide.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiokafka import ConsumerRecord
from prometheus_client.parser import text_string_to_metric_families

from engine.broker import free_port
from engine.ledger.partition import Partition
from engine.ledger.profiles import Opens, closed
from engine.stream.chain import GENESIS, link, link_of
from engine.stream.clients import Cluster, partition_for, read_partition, send_values
from engine.stream.programmes import load_published
from schemas.decisions import Decision, encode_decision, parse_decision
from schemas.envelope import Fact, encode_fact, parse_fact
from schemas.facts import PROGRAMME, TICK
from tests.kafka.harness import read_all

PROGRAMMES = Path(__file__).parents[2] / "rules" / "programmes"
PATIENCE_S = 120.0
POLL_S = 0.1
NO_MEMBER = (PROGRAMME, TICK)
#: How long a worker may be silent here. Every death waits for it, and every rebalance for a part of it: the 10 s of
#: production would be spent waiting. Too small: a worker that is merely busy on a loaded machine is thrown out.
SESSION_S = 5.0
EMBEDDED_SESSION_S = 2.0
_SHORT_SESSIONS = f"batches.SESSION_S = {SESSION_S}; batches.EMBEDDED_SESSION_S = {EMBEDDED_SESSION_S}"
_START = f"from engine.cli import main; from engine.stream import batches; {_SHORT_SESSIONS}"

Event = dict[str, Any]
#: Values of metrics by name and labels.
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def event(event_id: str, kind: str, subject: str | None, data: Event, when: str = "2026-02-02T10:00:00+01:00") -> Event:
    """A CloudEvent of ours."""
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "urn:test",
        "type": f"stammgast.{kind}.v1",
        "subject": subject,
        "time": when,
        "data": data,
    }


def purchase(event_id: str, subject: str | None, price: str = "12.00", **more: str) -> Event:
    """One line, EUR, at the till."""
    line = {"sku": "ESP", "category": "coffee", "quantity": "1", "unit_price": price}
    data = {"order_id": event_id, "lines": [line], "total": price, "currency": "EUR", "channel": "pos"}
    return event(event_id, "purchase", subject, data, **more)


def purchases(count: int, members: int = 50, name: str = "p") -> list[Event]:
    """So many purchases, members in turn."""
    return [purchase(f"{name}{number}", f"m{number % members:03d}") for number in range(count)]


async def until(what: str, holds: Callable[[], Awaitable[object]], patience_s: float = PATIENCE_S) -> None:
    """Look again and again until something that can be observed holds; fails with `what` when it never does."""
    deadline = time.monotonic() + patience_s
    while not await holds():
        assert time.monotonic() < deadline, f"not within {patience_s:.0f} s: {what}"
        await asyncio.sleep(POLL_S)


def samples_of(text: bytes) -> Samples:
    """What stands in an answer of /metrics."""
    families = text_string_to_metric_families(text.decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


class Role:
    """One process of ours that tells about itself: `stammgast worker` or `stammgast projector`."""

    def __init__(
        self, verb: str, arguments: Sequence[str], folder: Path, patch: str = "", port: int | None = None
    ) -> None:
        self.port = port or free_port()
        self.log = folder / f"{verb}-{self.port}.log"
        self._url = f"http://127.0.0.1:{self.port}"
        with self.log.open("wb") as said:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    f"{_START}\n{patch}\nmain()",
                    verb,
                    *arguments,
                    "--metrics-port",
                    str(self.port),
                ],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def said(self) -> str:
        """Its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def ask(self, path: str) -> tuple[int, bytes]:
        """(status, body) of a path of its telemetry; status 0 while nobody answers."""
        assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.said()}"
        try:
            with urllib.request.urlopen(f"{self._url}{path}", timeout=2) as answer:  # noqa: S310  our own child
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def samples(self) -> Samples:
        """Its metrics as they are now."""
        return samples_of(self.ask("/metrics")[1])

    def open_partitions(self) -> int:
        """How many partitions a worker owns, all opened; -1 while it is not ready or does not answer."""
        status, body = self.ask("/readyz")
        keepers = json.loads(body)["probes"].get("keepers") if status else None
        return int(keepers["detail"].split()[0]) if keepers and keepers["ready"] else -1

    def kill(self) -> None:
        """SIGKILL: no good-bye."""
        self.process.kill()
        self.process.wait(10)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self, seconds: float = 16.0) -> int:
        """SIGTERM and wait; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def close(self) -> None:
        """Whatever happened, it is gone afterwards."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(10)


@dataclass
class Deployment:
    """Topics with a prefix of their own, and its workers (they run the Python of `patch` first); a context manager, ends them.

    `opens` reads the profiles that its audit meets.
    """

    cluster: Cluster
    prefix: str
    partitions: int = 3
    programme: Path = PROGRAMMES / "coffee-bar"
    patch: str = ""
    opens: Opens = closed
    workers: list[Role] = field(default_factory=list)
    _known: dict[int, list[Decision]] = field(default_factory=dict, repr=False)
    _read_to: dict[int, int] = field(default_factory=dict, repr=False)

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="stammgast-workers-")
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.close()
        self._folder.cleanup()

    def topic(self, name: str) -> str:
        """A topic's name on the broker."""
        return self.prefix + name

    @property
    def group(self) -> str:
        """The consumer group of its workers."""
        return self.prefix + "stammgast"

    def arguments(self, *more: str) -> list[str]:
        """What every worker is told."""
        return [
            *("--bootstrap", self.cluster.bootstrap, "--topic-prefix", self.prefix, "--clock", "off"),
            *("--programme", str(self.programme), "--partitions", str(self.partitions), *more),
        ]

    def start(self, *more: str) -> Role:
        """Start a worker; returns at once."""
        return self.begin("worker", self.arguments(*more))

    def project(self, db: Path) -> Role:
        """Start a projector; returns at once."""
        where = ("--bootstrap", self.cluster.bootstrap, "--topic-prefix", self.prefix)
        return self.begin("projector", [*where, "--db", str(db)])

    def begin(self, verb: str, arguments: Sequence[str], patch: str | None = None, port: int | None = None) -> Role:
        """Start a process of ours; returns at once."""
        role = Role(verb, arguments, Path(self._folder.name), self.patch if patch is None else patch, port)
        self.workers.append(role)
        return role

    async def ready(self, *workers: Role) -> None:
        """Wait until these workers own all partitions between them, all open."""

        async def all_open() -> bool:
            counts = [worker.open_partitions() for worker in workers]
            return min(counts) >= 0 and sum(counts) == self.partitions

        await until("all partitions open", all_open)

    async def publish(self, events: Iterable[Event | bytes], topic: str = "shop-events") -> None:
        """Write inbound events, in order, all to one partition."""
        values = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in events]
        async with self.cluster.producer() as producer:
            records = [(b"till-7", value, None, [("trace", b"t1")]) for value in values]
            await send_values(producer, self.topic(topic), 0, records)

    async def append_facts(self, events: Iterable[Event], *, aborted: bool = False) -> None:
        """Write facts past intake, in a transaction that is committed or aborted: either leaves holes."""
        by_partition: dict[int, list[Any]] = {}
        for one in events:
            fact = normal_form(one)
            key = (fact.key or "").encode()
            place = partition_for(key, self.partitions)
            by_partition.setdefault(place, []).append((key, encode_fact(fact), 1_770_000_000_000, []))
        async with self.cluster.producer(transactional_id=f"{self.prefix}test-{os.urandom(4).hex()}") as producer:
            await producer.begin_transaction()
            for partition, records in by_partition.items():
                await send_values(producer, self.topic("facts"), partition, records)
            await (producer.abort_transaction() if aborted else producer.commit_transaction())

    async def records(self, topic: str) -> list[list[ConsumerRecord]]:
        """Every committed record of a topic, per partition."""
        return [await read_all(self.cluster, self.topic(topic), number) for number in range(self.partitions)]

    async def decisions(self) -> list[Decision]:
        """Every decision, partition by partition; reads on from where the last call ended."""
        for number in range(self.partitions):
            known = self._known.setdefault(number, [])
            start = self._read_to.get(number, 0)
            async for records in read_partition(self.cluster, self.topic("points-log"), number, start):
                known += [parse_decision(record.value) for record in records]
                self._read_to[number] = records[-1].offset + 1
        return [decision for number in range(self.partitions) for decision in self._known[number]]

    async def decided(self, facts: int) -> None:
        """Wait until so many different member facts (programme facts and ticks not counted) have their decision."""

        async def enough() -> bool:
            return len({(d.source, d.fact_id) for d in await self.decisions() if d.type not in NO_MEMBER}) >= facts

        await until(f"{facts} facts decided", enough)

    async def everything_decided(self, events: Iterable[Event]) -> None:
        """Wait until every event is decided, as often as it stands there, and every fact that follows: that one is written with
        its cause's decision."""
        wanted = Counter((one["source"], one["id"]) for one in events)

        async def done() -> bool:
            facts = sum(map(len, await self.records("facts")))
            decisions = await self.decisions()
            return len(decisions) == facts and Counter((one.source, one.fact_id) for one in decisions) >= wanted

        await until("all is decided, and what follows", done)

    async def audit(self) -> list[Decision]:
        """Compare the log of decisions with one computed anew from the facts: same bytes, order, keys and stamps.

        Facts that arrive while this looks (an intake that repeats itself after a death) are left for the next audit.
        """
        versions = await load_published(self.cluster, self.prefix)
        facts = await self.records("facts")
        found: list[Decision] = []
        for number, mine in enumerate(facts):
            log = await self._log_up_to(number, mine[-1].offset if mine else -1)
            expected = list(recomputed(Partition(number, versions, opens=self.opens), mine))
            actual = [(record.key, record.timestamp, record.value) for record in log]
            assert [value for *_, value in actual] == [value for *_, value in expected]
            assert actual == expected
            _assert_chained(log)
            found += [parse_decision(value) for *_, value in actual]
        return found

    async def _log_up_to(self, number: int, offset: int) -> list[ConsumerRecord]:
        """The decisions of one partition up to the fact at `offset`, once that is decided."""
        log: list[tuple[int, ConsumerRecord]] = []

        async def covered() -> bool:
            records = await read_all(self.cluster, self.topic("points-log"), number)
            log[:] = [(parse_decision(record.value).offset, record) for record in records]
            return offset < 0 or (bool(log) and log[-1][0] >= offset)

        await until(f"the fact at {number}/{offset} decided", covered)
        return [record for answered, record in log if answered <= offset]


def recomputed(ledger: Partition, facts: Sequence[ConsumerRecord]) -> Iterable[tuple[bytes | None, int, bytes]]:
    """(key, stamp, value) of every record that the points log must hold for these facts."""
    for record in facts:
        for decision in ledger.answer(parse_fact(record.value), record.offset).decisions:
            yield record.key, record.timestamp, encode_decision(decision)


def _assert_chained(log: Sequence[ConsumerRecord]) -> None:
    """Every record carries the link that follows from the one before."""
    previous = GENESIS
    for record in log:
        previous = link(previous, record.value)
        assert link_of(record.headers) == previous, f"the chain breaks at {record.partition}/{record.offset}"


def normal_form(one: Event) -> Fact:
    """An event as intake would write it."""
    from schemas.normalise import normalise
    from schemas.times import to_us

    recorded_at = "2026-02-02T09:20:00.000000Z"
    return normalise(json.dumps(one).encode(), recorded_at, to_us(recorded_at))
