"""What needs no Kafka: the replay of a file end to end, and the projector's loading of both logs into DuckDB."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from engine.bench import data
from engine.bench.figures import Run
from engine.bench.jobs import Job, Tell
from engine.replay import replay
from engine.stream.clients import Cluster
from projections.ahead import apply_all
from projections.projector import BATCH_RECORDS
from projections.warehouse import LOG_SCHEMA, Warehouse
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


#: Facts of the short file beside which a whole one is held: fewer than the loader takes at once.
FEW_FACTS = 1_000


def beyond(whole: Run, few: Run) -> dict[str, float]:
    """What every replay costs and what each fact more does: ``few_s``, the seconds of a replay of few facts, nearly all of them
    for processes, tables and views, and ``steady``, facts per second of the whole one beyond those (0 if it was not longer)."""
    seconds = whole.seconds - few.seconds
    return {"few_s": few.seconds, "steady": (whole.records - few.records) / seconds if seconds > 0 else 0.0}


def projected(_cluster: Cluster, job: Job, _tell: Tell) -> Run:
    """Load decisions in batches as large as the live projector's, one transaction each, Arrow tables made on the way,
    each batch parsed beside the writing of the one before, as live.

    The rate is decisions per second of the points log alone; `with_facts` is the same with the facts that they answer loaded
    beside them, as live.
    """
    facts, decisions = logs_of(data.SHAPES[job.shape], job.expected)
    count = len(decisions.values)
    with tempfile.TemporaryDirectory(prefix="stammgast-bench-") as folder:
        alone = _applied(Path(folder, "alone.duckdb"), [(_NOTHING, one) for one in decisions.batches(BATCH_RECORDS)])
        pairs = zip(facts.batches(BATCH_RECORDS // 2), decisions.batches(BATCH_RECORDS // 2), strict=True)
        both = _applied(Path(folder, "both.duckdb"), list(pairs))
    return Run(count, alone, {"with_facts": count / both})


@dataclass(frozen=True, slots=True)
class Log:
    """Values of one partition of a log, without holes."""

    values: Sequence[bytes]
    start: int = 0

    def batches(self, size: int) -> list[Log]:
        """The same in pieces of `size` records at most."""
        return [Log(self.values[at : at + size], self.start + at) for at in range(0, len(self.values), size)]

    def table(self) -> pa.Table:
        """As the projector hands it to DuckDB."""
        count = len(self.values)
        columns = [
            [0] * count,
            list(range(self.start, self.start + count)),
            [data.RECORDED_US // MILLISECOND_US] * count,
            self.values,
        ]
        return pa.table(columns, schema=LOG_SCHEMA)


_NOTHING = Log(())


def logs_of(shape: data.Shape, count: int) -> tuple[Log, Log]:
    """`facts` and `points-log`, one decision per fact."""
    ledger = data.fresh_ledger(data.programmes())
    first = ledger.next_offset
    facts: list[bytes] = []
    decisions: list[bytes] = []
    for fact in data.facts(shape, count):
        facts.append(encode_fact(fact))
        decisions += [encode_decision(decision) for decision in ledger.answer(fact, ledger.next_offset).decisions]
    return Log(facts, first), Log(decisions)


def _applied(path: Path, batches: Sequence[tuple[Log, Log]]) -> float:
    with Warehouse.open(path, log_id="bench") as warehouse:
        began = time.perf_counter()
        apply_all(warehouse, ((facts.table(), decisions.table()) for facts, decisions in batches))
        return time.perf_counter() - began
