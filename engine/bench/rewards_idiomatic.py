"""Baseline: the same core and codec in idiomatic Faust, an event at a time.

Fair, because it is what Faust's documentation shows (`async for`, then `await topic.send`), with acks=all, raw serializers, the
same fetch sizes, no table and no changelog, and because it has less to do: no transactions, no idempotent producer (Faust offers
none without its own exactly-once), no order between its decisions and its commits. It stops before the end of the log, while
members have fewer facts behind them: in its favour.
"""

from __future__ import annotations

import asyncio
import tempfile
from typing import Any

import faust

from engine.bench import data
from engine.bench.figures import Run
from engine.bench.jobs import Job, Tell
from engine.bench.stopwatch import Stopwatch
from engine.ledger.partition import Partition
from engine.stream.batches import FETCH_RECORDS, faust_credentials
from engine.stream.clients import FETCH_BYTES, REQUEST_TIMEOUT_MS, Cluster
from engine.stream.topics import FACTS
from schemas.decisions import encode_decision
from schemas.envelope import parse_fact


class _State:
    """Ledgers by partition, and what was done."""

    def __init__(self, job: Job) -> None:
        versions = {version.hash: version for version in data.programmes()}
        self.ledgers = {number: Partition(number, versions) for number in range(job.partitions)}
        self.decided = self.points = 0
        self.watch = Stopwatch()
        self.done = asyncio.Event()


async def run(cluster: Cluster, job: Job, _tell: Tell) -> Run:
    """Decide `expected` facts; from the first event to the acknowledgement of the last decision."""
    state = _State(job)
    with tempfile.TemporaryDirectory(prefix="stammgast-bench-") as folder:
        app = _app(cluster, job, folder)
        _add_agent(app, job, state)
        starting = asyncio.ensure_future(app.start())
        done = asyncio.ensure_future(state.done.wait())
        crashed = asyncio.ensure_future(app._crashed.wait())
        await asyncio.wait([done, crashed], return_when=asyncio.FIRST_COMPLETED)
        if not state.done.is_set():
            starting.cancel()
            raise app.crash_reason or RuntimeError("Faust ended without a reason")
    return state.watch.run(state.decided, points=state.points)


def _app(cluster: Cluster, job: Job, folder: str) -> Any:
    return faust.App(
        f"{job.prefix}idiomatic",
        broker=[f"kafka://{server}" for server in cluster.bootstrap.split(",")],
        broker_credentials=faust_credentials(cluster),
        datadir=folder,
        store="memory://",
        web_enabled=False,
        topic_partitions=job.partitions,
        topic_disable_leader=True,
        topic_allow_declare=False,
        broker_max_poll_records=FETCH_RECORDS,
        consumer_max_fetch_size=FETCH_BYTES,
        consumer_auto_offset_reset="earliest",
        producer_acks=-1,
        broker_session_timeout=job.session_s,
        broker_heartbeat_interval=job.session_s / 4,
        broker_request_timeout=REQUEST_TIMEOUT_MS / 1000,
    )


def _add_agent(app: Any, job: Job, state: _State) -> None:
    raw: dict[str, Any] = {"value_serializer": "raw", "key_serializer": "raw", "value_type": bytes, "key_type": bytes}
    log = app.topic(job.output, **raw)

    async def rewards(stream: Any) -> None:
        async for event in stream.events():
            state.watch.start()
            message = event.message
            ledger = state.ledgers[message.partition]
            for decision in ledger.answer(parse_fact(event.value), message.offset).decisions:
                await log.send(key=event.key, value=encode_decision(decision), partition=message.partition)
                state.points += sum(entry.points for entry in decision.entries)
            state.decided += 1
            if state.decided == job.expected:
                await app.producer.flush()
                state.watch.stop()
                state.done.set()
                return

    app.agent(app.topic(job.prefix + FACTS, **raw), name="rewards")(rewards)
