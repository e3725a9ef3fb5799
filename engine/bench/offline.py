"""What needs no Kafka: the replay of a file end to end, and the projector's loading of both logs into DuckDB."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from engine.bench import data
from engine.bench.figures import Run
from engine.bench.jobs import Job, Tell
from engine.replay import replay
from engine.stream.clients import Cluster
from projections.projector import BATCH_RECORDS
from projections.warehouse import Record, Warehouse
from schemas.decisions import encode_decision
from schemas.envelope import encode_fact
from schemas.times import MILLISECOND_US


def write_events(path: Path, shape: data.Shape, count: int) -> None:
    """Write a file of inbound events for `replayed`."""
    with path.open("wb") as file:
        file.writelines(raw + b"\n" for raw in data.events(shape, count))


def replayed(_cluster: Cluster, job: Job, _tell: Tell) -> Run:
    """`stammgast replay` of a file of events: read, normalise, decide, load; the loading process's start is in it."""
    with tempfile.TemporaryDirectory(prefix="stammgast-bench-") as folder:
        summary = replay(Path(job.file), data.programmes(), Path(folder, "bench.duckdb"))
    return Run(summary.facts, summary.seconds)


def projected(_cluster: Cluster, job: Job, _tell: Tell) -> Run:
    """Load facts and their decisions in batches as large as the live projector's, one transaction each.

    The rate is decisions per second with the facts that they answer loaded beside them, as live; `decisions_alone` is the rate
    without the facts.
    """
    facts, decisions = logs_of(data.SHAPES[job.shape], job.expected)
    half = BATCH_RECORDS // 2
    with tempfile.TemporaryDirectory(prefix="stammgast-bench-") as folder:
        both = [(facts[start : start + half], decisions[start : start + half]) for start in range(0, len(facts), half)]
        seconds = _applied(Path(folder, "both.duckdb"), both)
        alone = [((), decisions[start : start + BATCH_RECORDS]) for start in range(0, len(decisions), BATCH_RECORDS)]
        seconds_alone = _applied(Path(folder, "alone.duckdb"), alone)
    return Run(len(decisions), seconds, {"decisions_alone": len(decisions) / seconds_alone})


def logs_of(shape: data.Shape, count: int) -> tuple[list[Record], list[Record]]:
    """Records of `facts` and `points-log`, one decision per fact, in one partition."""
    ledger = data.fresh_ledger(data.programmes())
    timestamp_ms = data.RECORDED_US // MILLISECOND_US
    facts: list[Record] = []
    decisions: list[Record] = []
    for fact in data.facts(shape, count):
        offset = ledger.next_offset
        facts.append(Record(0, offset, timestamp_ms, encode_fact(fact)))
        for decision in ledger.answer(fact, offset).decisions:
            decisions.append(Record(0, len(decisions), timestamp_ms, encode_decision(decision)))
    return facts, decisions


def _applied(path: Path, batches: Sequence[tuple[Sequence[Record], Sequence[Record]]]) -> float:
    with Warehouse.open(path, log_id="bench") as warehouse:
        began = time.perf_counter()
        for facts, decisions in batches:
            warehouse.apply(facts, decisions)
        return time.perf_counter() - began
