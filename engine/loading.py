"""The loading process of a replay: it takes batches of log records from a queue and writes the DuckDB file.

It imports DuckDB and what fills its tables, and nothing of what decides: that would take it as long again to start.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty, Full

import pyarrow as pa

from engine.lines import ReplayError
from engine.processes import end_with
from projections.trouble import explained
from projections.warehouse import LOG_SCHEMA, Reject, Warehouse

# Batches that may wait for the loader: enough to smooth its pauses, few enough to bound memory (some 20 MB each).
QUEUE_BATCHES = 4
# Records of both logs that one transaction takes. The file is made beside its place and thrown away if anything fails, so
# nothing asks for small ones; DuckDB writes so large a one straight into the file, without its log. Too many: memory.
COMMIT_RECORDS = 200_000
_ALIVE_CHECK_SECONDS = 1.0


@dataclass(slots=True)
class Columns:
    """Records of one log as columns, which cross a process border ten times cheaper than a tuple per record."""

    partitions: array[int] = field(default_factory=lambda: array("i"))
    offsets: array[int] = field(default_factory=lambda: array("q"))
    timestamps: array[int] = field(default_factory=lambda: array("q"))
    values: list[bytes] = field(default_factory=list)

    def append(self, partition: int, offset: int, timestamp_ms: int, value: bytes) -> None:
        """Add a record."""
        self.partitions.append(partition)
        self.offsets.append(offset)
        self.timestamps.append(timestamp_ms)
        self.values.append(value)

    def table(self) -> pa.Table:
        """Return the records as DuckDB reads them."""
        columns = (self.partitions, self.offsets, self.timestamps, self.values)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, LOG_SCHEMA, strict=True)]
        return pa.table(arrays, schema=LOG_SCHEMA)


@dataclass(slots=True)
class Batch:
    """Records on their way into DuckDB."""

    facts: Columns = field(default_factory=Columns)
    decisions: Columns = field(default_factory=Columns)
    rejects: list[Reject] = field(default_factory=list)


@contextmanager
def loading(db: Path, options: Mapping[str, object]) -> Iterator[Callable[[Batch], None]]:
    """Run the loader beside this process; yield the function that hands it a batch.

    Args:
        db: the file to make.
        options: of `Warehouse.open`.

    Raises:
        ReplayError: the loader died.
        projections' errors about the DuckDB file (UsageError, No).
    """
    # spawn, not fork: DuckDB and Arrow have threads, which a fork would leave half alive.
    context = multiprocessing.get_context("spawn")
    batches: Queue[Batch | None] = context.Queue(QUEUE_BATCHES)
    failures: Queue[BaseException] = context.Queue()
    loader = context.Process(
        target=_load,
        args=(db, {"commit_records": COMMIT_RECORDS, **options}, batches, failures, os.getpid()),
        name="stammgast-load",
        daemon=True,
    )
    loader.start()
    try:
        yield lambda batch: _hand_over(loader, batches, failures, batch)
        _hand_over(loader, batches, failures, None)
        loader.join()
        _raise_failure(loader, failures)
    finally:
        # What a dead loader did not take must not hold this process when it ends.
        batches.cancel_join_thread()
        if loader.is_alive():
            loader.terminate()
            loader.join()


def _hand_over(
    loader: SpawnProcess, batches: Queue[Batch | None], failures: Queue[BaseException], batch: Batch | None
) -> None:
    while True:
        try:
            return batches.put(batch, timeout=_ALIVE_CHECK_SECONDS)
        except Full:
            if not loader.is_alive():
                _raise_failure(loader, failures)


def _raise_failure(loader: SpawnProcess, failures: Queue[BaseException]) -> None:
    try:
        raise failures.get(timeout=_ALIVE_CHECK_SECONDS if loader.exitcode else 0.0)
    except Empty:
        if loader.exitcode:
            raise ReplayError(f"the loading process died with exit code {loader.exitcode}") from None


def _load(
    db: Path,
    options: dict[str, object],
    batches: Queue[Batch | None],
    failures: Queue[BaseException],
    parent: int,
) -> None:
    end_with(parent)  # a replay that is killed leaves no loader waiting for its next batch
    try:
        with Warehouse.open(db, log_id=f"replay-{time.time_ns():x}", **options) as warehouse:  # type: ignore[arg-type]
            while (batch := batches.get()) is not None:
                with explained(db):
                    warehouse.apply(batch.facts.table(), batch.decisions.table(), batch.rejects)
            with explained(db):
                warehouse.score_if_due()
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent process raises it
        failures.put(error)
        failures.close()
        failures.join_thread()
        batches.cancel_join_thread()
        raise SystemExit(1) from None
