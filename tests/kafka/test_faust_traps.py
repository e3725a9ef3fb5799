"""What Faust 0.15.3 loses, and what it does not: docs/faust.md's table, each row run. An upgrade that moves a row fails here.

Every row has a topic of seven records, `0` to `6`, and runs twice: first with record 3 being trouble, then, restarted, clean.
A record is lost when neither run handled it. All rows run at once, each in a process of its own.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import faust
import orjson
import pytest
from faust.cli.worker import worker as worker_command
from faust.transport.consumer import Consumer
from faust.transport.drivers import aiokafka as driver
from faust.transport.producer import ProducerBuffer
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from intervaltree import IntervalTree  # type: ignore[import-untyped]
from mode.threads import MethodQueue

from engine.stream.clients import Cluster
from tests.kafka.faust_trap import OUTPUT_BYTES, TROUBLE, Trap
from tests.kafka.harness import create_topic, read_all, write

ROOT = Path(__file__).parents[2]
RECORDS = [str(number) for number in range(7)]
LAST = "end"
PATIENCE_S = 120.0
#: At a time.
CHILDREN = 4
#: For what never happens: as long as this is waited for it.
NEVER_S = 3.0
PLACE = TP("facts", 0)
#: The first test waits for all rows; each of their processes has PATIENCE_S.
pytestmark = pytest.mark.timeout(300)

ALL_IN = {"committed": len(RECORDS)}
EXITS = "exits"
GOES_ON = "goes on"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Attributes:
        agent, supervisor, trouble: the words of the documentation.
        trap: how it is run; places are filled in later.
        ends: EXITS, or GOES_ON until everything is committed, and is then killed.
        code: with which it exits.
        lost: what may be lost; more than one possibility is a race. A worker that hangs may lose nothing instead.
    """

    agent: str
    supervisor: str
    trouble: str
    trap: Trap
    ends: str
    lost: tuple[frozenset[str], ...]
    code: int = 1

    @property
    def may_hang(self) -> bool:
        """A crash stops the consumer's thread, and what is asked of it too late is never answered."""
        return self.supervisor == "crashing"

    @property
    def endings(self) -> dict[int, tuple[frozenset[str], ...]]:
        """What may be lost, by the code with which the first run ends; killed is who goes on, or hangs."""
        if self.ends == GOES_ON:
            return {-signal.SIGKILL: self.lost}
        return {self.code: self.lost} | ({-signal.SIGKILL: (*self.lost, NONE)} if self.may_hang else {})

    def line(self) -> str:
        """As a line of the documentation's table."""
        worker = f"exits with {self.code}" if self.ends == EXITS else "goes on"
        worker += ", seldom hangs" if self.may_hang else ""
        outcome = " or ".join(_lost_words(lost) for lost in self.lost) + (", a race" if len(self.lost) > 1 else "")
        return f"| {self.agent} | {self.supervisor} | {self.trouble} | {worker} | {outcome} |"


def _lost_words(lost: frozenset[str]) -> str:
    if not lost:
        return "**safe**: redelivered"
    return f"{'record' if len(lost) == 1 else 'records'} {', '.join(sorted(lost))} LOST"


def _trap(style: str, trouble: str, **more: Any) -> Trap:
    return Trap("", "", style, trouble, **more)


ONE = frozenset({"3"})
NONE: frozenset[str] = frozenset()
ROWS = {
    "async for": Row("`async for value in stream`", "default", "raises", _trap("async for", "raises"), GOES_ON, (ONE,)),
    "noack": Row(
        "`stream.noack()`, `event.ack()` last", "default", "raises", _trap("noack", "raises"), GOES_ON, (ONE,)
    ),
    "async for, crashing": Row(
        "`async for value in stream`",
        "crashing",
        "raises",
        _trap("async for", "raises", crashing=True),
        EXITS,
        (ONE, NONE),
    ),
    "take, crashing": Row(
        "`stream.take(3, ...)`",
        "crashing",
        "raises",
        _trap("take", "raises", crashing=True),
        EXITS,
        (frozenset({"3", "4", "5", "6"}),),
    ),
    "noack, crashing": Row(
        "`stream.noack()`, `event.ack()` last",
        "crashing",
        "raises",
        _trap("noack", "raises", crashing=True, lingering=True),
        EXITS,
        (NONE,),
    ),
    "noack_take, crashing": Row(
        "`stream.noack_take(3, ...)`, acks behind the batch",
        "crashing",
        "raises",
        _trap("noack_take", "raises", crashing=True, lingering=True),
        EXITS,
        (NONE,),
    ),
    "dies": Row(
        "`async for value in stream`",
        "any",
        "the process dies",
        _trap("async for", "dies"),
        EXITS,
        (NONE,),
        code=3,
    ),
    "concurrency": Row(
        "`concurrency=2`",
        "any",
        "is slow, then kill -9",
        _trap("async for", "hangs", concurrency=2),
        GOES_ON,
        (ONE,),
    ),
    "not JSON": Row(
        "`async for value in stream`, `value_serializer='json'`",
        "crashing",
        "is no JSON",
        _trap("async for", "nothing", crashing=True, serializer="json"),
        EXITS,
        (ONE,),
    ),
}
#: No rows of the table, but run beside them.
SENDING = _trap("send", "nothing")
PATIENT = _trap("patient take", "nothing")


# ------------------------------------------------------------------------------------------------------- how it is run


@dataclass(slots=True)
class Told:
    """What a child has told so far, by topic."""

    seen: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    taken: dict[str, int] = field(default_factory=dict)
    committed: dict[str, int] = field(default_factory=dict)

    def take(self, line: bytes) -> None:
        """One of its lines."""
        what = orjson.loads(line)
        topic = what["topic"]
        if "seen" in what:
            self.seen[topic].append(what["seen"])
        for kept, name in ((self.taken, "taken"), (self.committed, "committed")):
            if name in what:
                kept[topic] = what[name]


class Child:
    """A running Faust worker; it is killed when it takes longer than PATIENCE_S."""

    def __init__(self, process: subprocess.Popen[bytes], words: IO[bytes]) -> None:
        self.process = process
        self.told = Told()
        self._words = words

    def until(self, holds: Callable[[Told], bool]) -> None:
        """Listen until something holds. Errors: AssertionError with its last words when it ends before."""
        while not holds(self.told):
            assert self._listen(), f"it ended: {self.words()}"

    def end(self) -> int:
        """Listen until it has ended; its exit code."""
        while self._listen():
            pass
        return self.process.wait()

    def _listen(self) -> bool:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            self.told.take(line)
        return bool(line)

    def words(self) -> str:
        """What it said besides."""
        self._words.seek(0)
        return self._words.read().decode("utf-8", "replace")


@contextmanager
def child(*traps: Trap) -> Iterator[Child]:
    """A process that works on these; killed when the block ends."""
    with (
        tempfile.TemporaryDirectory(prefix="stammgast-trap-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile(prefix="stammgast-trap-") as words,
        subprocess.Popen(
            [sys.executable, "-m", "tests.kafka.faust_trap", *(trap.argument() for trap in traps)],
            stdout=subprocess.PIPE,
            stderr=words,
            cwd=ROOT,
            env=os.environ | {"F_DATADIR": folder},
        ) as process,
    ):
        guard = threading.Timer(PATIENCE_S, process.kill)
        guard.start()
        try:
            yield Child(process, words)
        finally:
            guard.cancel()
            process.kill()


@dataclass(slots=True)
class Outcome:
    """What a row came to.

    Attributes:
        handled: the records that the first run came to the end of.
        again: the records that the second run saw.
        code: with which the first run exited; negative for a signal.
        words: what it logged.
        written: records of the topic it sent to.
    """

    trap: Trap
    handled: list[str]
    code: int
    words: str
    again: list[str] = field(default_factory=list)
    written: int = 0

    @property
    def lost(self) -> frozenset[str]:
        """What neither run handled."""
        return frozenset(RECORDS) - set(self.handled) - set(self.again)


async def _prepared(cluster: Cluster, trap: Trap, topic: str) -> Trap:
    await create_topic(cluster, topic)
    records = [record.encode() for record in RECORDS]
    if trap.serializer == "json":
        records[TROUBLE] = b"{"
    await write(cluster, topic, 0, records)
    if trap.style == "send":
        trap = replace(
            trap, output=await create_topic(cluster, f"{topic}-out", max_message_bytes=str(OUTPUT_BYTES // 2))
        )
    return replace(trap, bootstrap=cluster.bootstrap, topic=topic)


def _first_run(trap: Trap, ends: str) -> Outcome:
    with child(trap) as worker:
        if ends == GOES_ON:
            worker.until(lambda told: told.committed.get(trap.topic) == len(RECORDS))
            worker.process.kill()
        code = worker.end()
        trouble = set() if trap.trouble == "nothing" else {str(TROUBLE)}
        handled = [record for record in worker.told.seen[trap.topic] if record not in trouble]
        return Outcome(trap, handled, code, worker.words())


def _second_runs(cluster: Cluster, outcomes: list[Outcome]) -> None:
    """All of them restarted, clean, up to a record that was written in between."""
    topics = [outcome.trap.topic for outcome in outcomes]
    for topic in topics:
        asyncio.run(write(cluster, topic, 0, [LAST.encode()]))
    with child(*(Trap(cluster.bootstrap, topic, "async for") for topic in topics)) as workers:
        workers.until(lambda told: all(LAST in told.seen[topic] for topic in topics))
        for outcome in outcomes:
            outcome.again = [one for one in workers.told.seen[outcome.trap.topic] if one in RECORDS]


def _run(cluster: Cluster, prefix: str) -> dict[str, Outcome]:
    runs = {name: (row.trap, row.ends) for name, row in ROWS.items()} | {"send": (SENDING, GOES_ON)}
    with ThreadPoolExecutor(CHILDREN) as pool:
        started = {
            name: pool.submit(_first_run, asyncio.run(_prepared(cluster, trap, f"{prefix}{number}")), ends)
            for number, (name, (trap, ends)) in enumerate(runs.items())
        }
        outcomes = {name: ran.result() for name, ran in started.items()}
    _second_runs(cluster, list(outcomes.values()))
    outcomes["send"].written = len(asyncio.run(read_all(cluster, outcomes["send"].trap.output)))
    return outcomes


@pytest.fixture(scope="module")
def outcomes(kafka: str) -> dict[str, Outcome]:
    """Every row, run on a real Kafka, all of them for the first test that asks."""
    return _run(Cluster(kafka), f"trap-{uuid.uuid4().hex[:8]}-")


# ---------------------------------------------------------------------------------------------------------- the table


@pytest.mark.kafka
@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_the_table(outcomes: dict[str, Outcome], name: str) -> None:
    """What the row says is lost is lost, and nothing else."""
    # given
    row, outcome = ROWS[name], outcomes[name]

    # then
    assert outcome.code in row.endings, outcome
    assert outcome.lost in row.endings[outcome.code], outcome


def test_the_documentation_has_this_table() -> None:
    """docs/faust.md says what is run here, row for row."""
    # given
    text = (ROOT / "docs" / "faust.md").read_text(encoding="utf-8")

    # when
    told = [line for line in text.splitlines() if line.startswith("| `")]

    # then
    assert told == [row.line() for row in ROWS.values()]


@pytest.mark.kafka
def test_a_failed_send_is_a_line_in_the_log(outcomes: dict[str, Outcome]) -> None:
    """`await topic.send()` only enqueues: the broker refused every record, the source's offset was committed all the same."""
    # given
    outcome = outcomes["send"]

    # then
    assert outcome.handled == RECORDS
    assert (outcome.written, outcome.again) == (0, [])
    assert outcome.words.count("_on_published error") == len(RECORDS)


@pytest.mark.kafka
async def test_a_patient_take_holds_a_stop_back(cluster: Cluster, prefix: str) -> None:
    """Given a `take` that waits for more, when the worker gets SIGTERM, then it waits too: nothing bounds what is in flight."""
    # given
    trap = await _prepared(cluster, PATIENT, f"{prefix}patient")
    with child(trap) as worker:
        await asyncio.to_thread(worker.until, lambda told: told.taken.get(trap.topic) == len(RECORDS) - 1)

        # when
        worker.process.send_signal(signal.SIGTERM)

        # then
        with pytest.raises(subprocess.TimeoutExpired):
            await asyncio.to_thread(worker.process.wait, NEVER_S)
        assert not worker.told.seen


# ------------------------------------------------------------------------------------------------------ why it is so


def an_app() -> Any:
    """An app that is never started, as far as a stream needs one; it belongs to the event loop that runs."""
    app = faust.App("trap", broker="kafka://127.0.0.1:1", store="memory://", web_enabled=False)
    app.topics._acking_topics.add(PLACE.topic)
    app.flow_control.resume()
    return app


def event(app: Any, offset: int, generation: int = 0) -> Any:
    """A record on its way to an agent, of this assignment or, with another generation, of one that is over."""
    message = ConsumerMessage(
        *(PLACE.topic, PLACE.partition, offset, 0.0, 0, (), None, b"%d" % offset, None, 0, 1),
        tp=PLACE,
        generation_id=app.consumer_generation_id + generation,
    )
    message.refcount = 1
    return app.create_event(None, message.value, (), message)


def reading(iterator: str) -> tuple[Any, Any, Any]:
    """An app, a channel to put events into, and the values that a stream's iterator makes of them."""
    app = an_app()
    channel = app.channel()
    return app, channel, getattr(app.stream(channel), iterator)()


@pytest.mark.parametrize("iterator", ["_c_aiter", "_py_aiter"])
async def test_a_stream_acknowledges_when_its_generator_closes(iterator: str) -> None:
    """The cause of most rows: an exception closes the generator, and its `finally` acknowledges what was in hand.

    When that happens is up to the garbage collector and the worker's shutdown, which makes the race.
    """
    # given
    app, channel, values = reading(iterator)
    await channel.put(event(app, TROUBLE))
    await anext(values)
    assert app.consumer._acked[PLACE] == []

    # when
    await values.aclose()

    # then
    assert app.consumer._acked[PLACE] == [TROUBLE]


@pytest.mark.parametrize(("iterator", "acked"), [("_c_aiter", []), ("_py_aiter", [3])])
async def test_the_iterator_in_python_acknowledges_what_nobody_handled(iterator: str, acked: list[int]) -> None:
    """Records of an assignment that is over are skipped by both; the uncompiled one acknowledges them as well."""
    # given
    app, channel, values = reading(iterator)
    await channel.put(event(app, 3, generation=-1))
    await channel.put(event(app, 4))

    # when
    value = await anext(values)

    # then
    assert value == b"4"
    assert app.consumer._acked[PLACE] == acked


async def test_the_record_behind_a_gap_counts_as_acknowledged() -> None:
    """Faust names the next record as the gap's end, and the end is marked too: 12 is in flight here, and is committed."""
    # given
    consumer = SimpleNamespace(
        _committed_offset={PLACE: 10},
        _acked={PLACE: [10, 13]},
        _acked_index=defaultdict(set),
        _gap={PLACE: IntervalTree()},
    )

    # when
    await Consumer._add_gap(consumer, PLACE, 11, 12)

    # then
    assert Consumer._new_offset(consumer, PLACE) == 14
    assert "_add_gap(tp, r_offset + 1, offset)" in inspect.getsource(Consumer._drain_messages)


async def test_what_is_asked_of_a_stopped_thread_is_never_answered() -> None:
    """The cause of a hang: the consumer's thread empties its queue once when it stops, and nobody refuses what comes later."""
    # given
    queue, loop = MethodQueue(loop=asyncio.get_running_loop()), asyncio.get_running_loop()

    async def commit() -> bool:
        return True

    await queue.start()
    assert await (await queue.call(loop.create_future(), commit)) is True
    await queue.stop()

    # when
    promise = await queue.call(loop.create_future(), commit)

    # then
    await asyncio.wait([promise], timeout=NEVER_S)
    assert not promise.done()


@pytest.mark.parametrize("step", ["begin_transaction", "commit_transaction", "abort_transaction"])
async def test_errors_of_its_transactions_are_swallowed(step: str, caplog: pytest.LogCaptureFixture) -> None:
    """Faust's own exactly_once goes on after a begin, commit or abort that failed: one warning."""

    # given
    async def failing() -> None:
        raise ConnectionError("the broker is gone")

    producer = SimpleNamespace(
        _transaction_producers={"id": SimpleNamespace(**{step: failing})},
        _trn_locks={"id": asyncio.Lock()},
        _ensure_producer=lambda: None,
    )

    # when
    await getattr(driver.Producer, step)(producer, "id")

    # then
    assert "the broker is gone" in caplog.text


async def test_its_flush_gives_up() -> None:
    """What tables send is flushed before a commit only as far as a tenth of a second's standstill."""
    # given
    buffer = ProducerBuffer()
    buffer.app = an_app()
    buffer.pending.put_nowait(object())
    buffer._started.set()

    # when
    await asyncio.wait_for(buffer.flush(), PATIENCE_S)

    # then
    assert buffer.size == 1


async def test_its_defaults_are_not_ours() -> None:
    """A web server on every address, twenty minutes for a request, no idempotence, nothing between a stop and its end."""
    # given
    app = an_app()
    options = {option.name: option.default for option in worker_command.as_click_command().params}

    # then
    assert options["with_web"] is True
    assert (app.conf.web_bind, app.conf.web_port) == ("0.0.0.0", 6066)  # noqa: S104 - what we do not want
    assert app.conf.producer_request_timeout == 1_200
    assert app.conf.stream_wait_empty is True
    assert "enable_idempotence" not in driver.Producer(app.transport)._settings_default()
