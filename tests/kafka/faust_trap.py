"""A small Faust worker to which one record is trouble: `python -m tests.kafka.faust_trap JSON ...`, see test_faust_traps.py.

It tells what happens as lines of JSON on standard output, each with the topic: `{"taken": offset}` when Faust has a record,
`{"seen": value}` when the agent has it, `{"committed": offset}` when the broker has taken the group's offset. Given several
traps it works on all of them in one process; that is for clean runs.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

import faust
import orjson
from faust.sensors.monitor import Monitor
from mode.supervisors import CrashingSupervisor, OneForOneSupervisor

#: As it is at the start: Faust puts a logger in the place of `sys.stdout`.
STDOUT = sys.stdout.fileno()
#: The record that is trouble, by its place in the log.
TROUBLE = 3
TAKEN = 3
#: A record of a `send` agent has so many bytes or more.
OUTPUT_BYTES = 2_000
#: For how long `take` may wait for a batch to fill up.
FOREVER_S = 3600.0
SESSION_S = 3.0


@dataclass(frozen=True, slots=True)
class Trap:
    """One run.

    Attributes:
        style: how the agent reads, a name in STYLES.
        trouble: what record 3 does: `raises`, `hangs`, `dies`; anything else is a clean run.
        crashing: under the CrashingSupervisor instead of Faust's default.
        lingering: with a handler of `on_before_shutdown` that takes a moment, as a real application has.
        output: the topic that a `send` agent writes to.
        serializer: of the values, Faust's name for it.
    """

    bootstrap: str
    topic: str
    style: str
    trouble: str = "nothing"
    crashing: bool = False
    concurrency: int = 1
    lingering: bool = False
    output: str = ""
    serializer: str = "raw"

    def argument(self) -> str:
        """As an argument of the command line."""
        return orjson.dumps(asdict(self)).decode()


def tell(topic: str, **what: object) -> None:
    """One line for the test."""
    os.write(STDOUT, orjson.dumps({"topic": topic} | what, option=orjson.OPT_APPEND_NEWLINE))


class Telling(Monitor):
    """Tells what Faust has taken, and every commit that the broker has answered."""

    def on_message_in(self, tp: Any, offset: int, message: Any) -> None:
        """A record is on its way to the agent."""
        super().on_message_in(tp, offset, message)
        tell(tp.topic, taken=offset)

    def on_tp_commit(self, tp_offsets: Any) -> None:
        """Called behind the broker's answer."""
        super().on_tp_commit(tp_offsets)
        for tp, offset in tp_offsets.items():
            tell(tp.topic, committed=offset)


async def meet(trap: Trap, value: Any) -> None:
    """What the agent's own code does with a record; values are the offsets, in digits."""
    text = value.decode() if isinstance(value, bytes) else str(value)
    tell(trap.topic, seen=text)
    if text != str(TROUBLE):
        return
    if trap.trouble == "raises":
        raise ValueError("record 3")
    if trap.trouble == "hangs":
        await asyncio.Event().wait()
    if trap.trouble == "dies":
        os._exit(3)


async def one_by_one(trap: Trap, stream: Any, _output: Any) -> None:
    """As Faust's documentation begins."""
    async for value in stream:
        await meet(trap, value)


async def own_ack(trap: Trap, stream: Any, _output: Any) -> None:
    """The event is acknowledged by the agent, last."""
    async for event in stream.noack().events():
        await meet(trap, event.value)
        event.ack()


async def taken(trap: Trap, stream: Any, _output: Any) -> None:
    """Three at a time."""
    async for values in stream.take(TAKEN, within=1.0):
        for value in values:
            await meet(trap, value)


async def taken_own_ack(trap: Trap, stream: Any, _output: Any) -> None:
    """Three at a time, acknowledged by the agent behind the batch."""
    async for events in stream.noack_take(TAKEN, within=1.0):
        for event in events:
            await meet(trap, event.value)
        for event in events:
            event.ack()


async def taken_with_patience(trap: Trap, stream: Any, _output: Any) -> None:
    """More at a time than there are, and all the time to wait for them."""
    async for values in stream.take(1_000, within=FOREVER_S):
        for value in values:
            await meet(trap, value)


async def sending(trap: Trap, stream: Any, output: Any) -> None:
    """As Faust's documentation sends: what the broker answers is not awaited. It is more than the topic takes."""
    async for value in stream:
        await output.send(value=value * OUTPUT_BYTES)
        await meet(trap, value)


STYLES: dict[str, Callable[[Trap, Any, Any], Awaitable[None]]] = {
    "async for": one_by_one,
    "noack": own_ack,
    "take": taken,
    "noack_take": taken_own_ack,
    "patient take": taken_with_patience,
    "send": sending,
}


def make_app(trap: Trap) -> Any:
    """Faust's defaults, but for a quick commit, a short session and topics that are there already."""
    app = faust.App(
        trap.topic,
        broker=f"kafka://{trap.bootstrap}",
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        topic_partitions=1,
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=0.2,
        broker_session_timeout=SESSION_S,
        broker_heartbeat_interval=SESSION_S / 4,
        agent_supervisor=CrashingSupervisor if trap.crashing else OneForOneSupervisor,
        Monitor=Telling,
    )
    source = app.topic(
        trap.topic, value_serializer=trap.serializer, value_type=bytes if trap.serializer == "raw" else None
    )
    output = app.topic(trap.output, value_serializer="raw", value_type=bytes) if trap.output else None

    async def agent(stream: Any) -> None:
        await STYLES[trap.style](trap, stream, output)

    app.agent(source, concurrency=trap.concurrency)(agent)
    if trap.lingering:

        async def linger(*_: Any, **__: Any) -> None:
            await asyncio.sleep(0.5)

        app.on_before_shutdown.connect(linger)
    return app


async def work_on_all(traps: list[Trap]) -> None:
    """Several clean workers in one process, until it is ended."""
    await asyncio.gather(*(make_app(trap).start() for trap in traps))
    await asyncio.Event().wait()


if __name__ == "__main__":
    given = [Trap(**orjson.loads(argument)) for argument in sys.argv[1:]]
    if len(given) > 1:
        asyncio.run(work_on_all(given))
    # Its spinner writes to the worker's standard output, where our lines are to be alone.
    faust.Worker(make_app(given[0]), loglevel="WARNING", stdout=sys.stderr).execute_from_commandline()
