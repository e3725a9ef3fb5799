"""The loading process of a replay: it takes batches of log records from a pipe and writes the DuckDB file.

It imports DuckDB and what fills its tables, and nothing of what decides: that would take it as long again to start.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa

from engine.compiled import KEPT
from engine.crossing import Inlet, Outlet, Run, run_of
from engine.lines import ReplayError
from engine.processes import end_with
from engine.settings import No, UsageError
from projections import blank, scoring
from projections.trouble import explained
from projections.warehouse import LOG_SCHEMA, Reject, Warehouse

# Records of both logs that are applied together. Too few: every statement costs a millisecond. Too many: they are still to be
# loaded when the last fact is decided.
APPLY_RECORDS = 20_000
# Pieces that may wait for the loader: enough to smooth its pauses, few enough to bound memory (some 2 MB each).
WAITING_PIECES = 40
# Records of both logs that one transaction takes. The file is made beside its place and thrown away if anything fails, so
# nothing asks for small ones; DuckDB writes so large a one straight into the file, without its log. Too many: memory.
COMMIT_RECORDS = 100_000
# Records of both logs after which the loader looks whether months ended. Whoever decides is still at work then, and has no core
# of its own to wait on; a look is over all purchases, so there are few. None would leave all months to the end.
MONTHS_RECORDS = COMMIT_RECORDS

#: Partitions, offsets and timestamps (ms) of records.
Places: TypeAlias = tuple["array[int]", "array[int]", "array[int]"]


@dataclass(slots=True)
class Columns:
    """Records of one log as columns, which cost a tenth of a tuple per record."""

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

    def extend(self, partition: int, first_offset: int, timestamp_ms: int, values: Sequence[bytes]) -> None:
        """Add records of one partition and one moment that follow each other without a hole."""
        count = len(values)
        self.partitions.extend([partition] * count)
        self.offsets.extend(range(first_offset, first_offset + count))
        self.timestamps.extend([timestamp_ms] * count)
        self.values += values

    def places(self) -> Places:
        """Return what stands beside the values."""
        return self.partitions, self.offsets, self.timestamps

    def table(self) -> pa.Table:
        """Return the records as DuckDB reads them."""
        return pa.Table.from_batches([_records(self.places(), run_of(self.values))], LOG_SCHEMA)


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
    theirs, ours = context.Pipe(duplex=False)
    end, their_end = context.Pipe(duplex=False)
    loader = context.Process(
        target=_load,
        args=(db, {"commit_records": COMMIT_RECORDS, **options}, theirs, their_end, os.getpid()),
        name="stammgast-load",
        daemon=True,
    )
    loader.start()
    # What the loader holds is held by nobody else, so that either side learns when the other one has gone.
    theirs.close()
    their_end.close()
    outlet = Outlet(ours)
    try:
        yield lambda batch: _hand_over(loader, outlet, end, batch)
        _hand_over(loader, outlet, end, None)
        _await_end(loader, end)
    finally:
        outlet.close()
        if loader.is_alive():
            loader.terminate()
        loader.join()
        end.close()


def _hand_over(loader: SpawnProcess, outlet: Outlet, end: Connection, batch: Batch | None) -> None:
    try:
        if batch is None:
            outlet.put(None)
        else:
            head = (batch.facts.places(), batch.decisions.places(), batch.rejects)
            outlet.put(head, run_of(batch.facts.values), run_of(batch.decisions.values))
    except BrokenPipeError:
        _await_end(loader, end)
        raise


def _await_end(loader: SpawnProcess, end: Connection) -> None:
    """Wait until the loader has ended. Errors: what it met, or ReplayError where it cannot say."""
    try:
        failure = end.recv()
    except EOFError:
        failure = None
    loader.join()
    if failure is not None:
        raise failure
    if loader.exitcode:
        raise ReplayError(f"the loading process died with exit code {loader.exitcode}")


class _Piece(NamedTuple):
    """Records that came in one message."""

    facts: pa.RecordBatch
    decisions: pa.RecordBatch
    rejects: Sequence[Reject]


def _load(db: Path, options: dict[str, object], batches: Connection, end: Connection, parent: int) -> None:
    end_with(parent)  # a replay that is killed leaves no loader waiting for its next batch
    try:
        coming = _coming(Inlet(batches))
        with _opened(db, options) as warehouse:
            if options.get("score_every_days"):
                scoring.load_models()
            with explained(db):
                _take_in(warehouse, coming)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent process raises it
        with suppress(BrokenPipeError):
            end.send(error)
        raise SystemExit(1) from None


def _take_in(warehouse: Warehouse, coming: Iterator[_Piece]) -> None:
    """Apply what comes until its end, keep the months that end on the way, score what is due."""
    unlooked = 0
    for pieces in _together(coming):
        # They stay where they lie: to copy them into one chunk took a fifth of the loading.
        facts = pa.Table.from_batches([piece.facts for piece in pieces])
        decisions = pa.Table.from_batches([piece.decisions for piece in pieces])
        warehouse.apply(facts, decisions, [reject for piece in pieces for reject in piece.rejects])
        unlooked += facts.num_rows + decisions.num_rows
        if unlooked >= MONTHS_RECORDS:
            _keep_months(warehouse)
            unlooked = 0
    warehouse.score_if_due()
    _keep_months(warehouse)


def _keep_months(warehouse: Warehouse) -> None:
    while warehouse.keep_month_if_due():
        pass


def _opened(db: Path, options: dict[str, object]) -> Warehouse:
    """A new file; where a blank one is kept, a copy of that, unless it is damaged."""
    whole: dict[str, Any] = {"log_id": f"replay-{time.time_ns():x}", **options}
    if blank.copy(KEPT, db):
        try:
            return Warehouse.open(db, **whole)
        except (No, UsageError):
            db.unlink()
            db.with_name(f"{db.name}.wal").unlink(missing_ok=True)
    return Warehouse.open(db, **whole)


def _together(pieces: Iterator[_Piece]) -> Iterator[list[_Piece]]:
    """Gather pieces until one transaction's worth of statements is worth their while."""
    gathered: list[_Piece] = []
    for piece in pieces:
        gathered.append(piece)
        if sum(one.facts.num_rows + one.decisions.num_rows for one in gathered) >= APPLY_RECORDS:
            yield gathered
            gathered = []
    if gathered:
        yield gathered


def _coming(inlet: Inlet) -> Iterator[_Piece]:
    """Return what comes by the pipe until its end. A thread reads it, from now on and ahead of what is loaded.

    Raises:
        EOFError: whoever decides has gone; as all that was met, when the piece is asked for.
    """
    read: Queue[_Piece | BaseException | None] = Queue(WAITING_PIECES)
    threading.Thread(target=_read_ahead, args=(inlet, read), name="replay-reader", daemon=True).start()
    return _until_end(read)


def _until_end(read: Queue[_Piece | BaseException | None]) -> Iterator[_Piece]:
    while (piece := read.get()) is not None:
        if isinstance(piece, BaseException):
            raise piece
        yield piece


def _read_ahead(inlet: Inlet, read: Queue[_Piece | BaseException | None]) -> None:
    try:
        while True:
            head, runs = inlet.get()
            if head is None:
                return read.put(None)
            facts, decisions, rejects = head
            read.put(_Piece(_records(facts, runs[0]), _records(decisions, runs[1]), rejects))
    except BaseException as error:  # noqa: BLE001 - whatever it is, whoever waits for pieces raises it
        read.put(error)


def _records(places: Places, run: Run) -> pa.RecordBatch:
    """Records as Arrow has them, without a copy of what they say."""
    count = len(run.ends) - 1
    columns = [
        pa.Array.from_buffers(kind, count, [None, pa.py_buffer(column)])
        for kind, column in zip(LOG_SCHEMA.types, places, strict=False)
    ]
    values = pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(run.ends), pa.py_buffer(run.data)])
    return pa.RecordBatch.from_arrays([*columns, values], schema=LOG_SCHEMA)
