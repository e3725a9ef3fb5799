"""The DuckDB file: open it, create it, tell whose logs it holds, and apply log records to it.

One process may hold the file and one thread of it writes. Rows and the log positions they came from go into one transaction,
so that the file is always exactly some prefix of each log. The file is a cache: drop it, rebuild it, get the same rows.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple, Self, TypeAlias

import duckdb
import pyarrow as pa
from pyarrow import compute

from engine.settings import UsageError
from projections import scoring, sql
from projections.files import set_aside
from projections.months import Months
from projections.parsing import Parsed, in_chunks
from projections.trouble import FileTrouble, Kind, OtherLogs, OtherVersion, explained

FACTS, DECISIONS, REJECTS = "facts", "points-log", "rejects"
MEMORY_LIMIT = "2GB"
# The newest format that every DuckDB we allow reads: its string compression is faster to write than the default one's.
STORAGE_VERSION = "v1.5.0"
# A larger write-ahead log means fewer rewrites of half-filled row groups (a third of the load time at the default 16 MB)
# and, after a crash, a second or two to read it back.
CHECKPOINT_THRESHOLD = "128MB"
LOG_SCHEMA = pa.schema(
    [("partition", pa.int32()), ("offset", pa.int64()), ("timestamp_ms", pa.int64()), ("value", pa.binary())]
)
REJECT_SCHEMA = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp_ms", pa.int64()),
        *((name, pa.string()) for name in ("reason", "field", "message", "topic")),
        ("source_partition", pa.int32()),
        ("source_position", pa.int64()),
        ("received_at", pa.string()),
    ]
)


class Record(NamedTuple):
    """One record of ``facts`` or ``points-log``: its place, its timestamp (ms since epoch) and its bytes."""

    partition: int
    offset: int
    timestamp_ms: int
    value: bytes


class Reject(NamedTuple):
    """One record of ``rejects`` as analysts see it: why and whence, never the refused bytes, which can hold anything."""

    partition: int
    offset: int
    timestamp_ms: int
    reason: str
    field: str | None = None
    message: str | None = None
    topic: str | None = None
    source_partition: int | None = None
    source_position: int | None = None
    received_at: str | None = None


_NO_VALUES: Mapping[str, Sequence[object]] = {}
# The scripts that take in each log, and the name under which they read its records.
SCRIPTS = {
    FACTS: ("staging/facts", "incoming_facts"),
    DECISIONS: ("staging/decisions", "incoming_decisions"),
    REJECTS: ("staging/rejects", "incoming_rejects"),
}
Records: TypeAlias = Sequence[Record] | pa.Table
Rejects: TypeAlias = Sequence[Reject] | pa.Table


class _Span(NamedTuple):
    """The offsets of one partition in a batch."""

    partition: int
    first: int
    last: int


class OutOfOrder(Exception):
    """A batch holds the same offset twice: whoever reads the log is broken, and nothing was applied."""


def reject_of(partition: int, offset: int, timestamp_ms: int, headers: Iterable[tuple[str, bytes]]) -> Reject:
    """Return what a record of ``rejects`` says about itself in its ``stammgast-*`` headers."""
    said = {name: value.decode("utf-8", "replace") for name, value in headers if name.startswith("stammgast-")}

    def number(name: str) -> int | None:
        text = said.get(name, "")
        return int(text) if text.lstrip("-").isdigit() else None

    return Reject(
        partition,
        offset,
        timestamp_ms,
        said.get("stammgast-reason", "unknown"),
        said.get("stammgast-field"),
        said.get("stammgast-message"),
        said.get("stammgast-topic"),
        number("stammgast-partition"),
        number("stammgast-offset"),
        said.get("stammgast-received-at"),
    )


class Warehouse:
    """A DuckDB file and the one connection that writes it. Not thread-safe: one thread owns it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: str) -> None:
        self.connection = connection
        self.path = path
        self._commit_records = 0
        self._uncommitted_records = 0
        self._in_transaction = False
        self._positions: dict[tuple[str, int], int] = {}
        self._file = _identity(path)
        self._score_every_days, self._horizon_days = 0, 90
        self._scored_on: date | None = None
        self._months = Months(connection)
        #: Are there tables that `_run` parsed, in this connection?
        self._parsed_here = False

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        log_id: str | None = None,
        memory_limit: str = MEMORY_LIMIT,
        threads: int | None = None,
        fresh: bool = False,
        commit_records: int = 0,
        churn_horizon_days: int = 90,
        churn_threshold: float = 0.5,
        score_every_days: int = 0,
    ) -> Self:
        """Open the file to write it, create it where there is none, and bring its views up to date.

        Args:
            path: the DuckDB file, or ``:memory:``.
            log_id: names the logs the rows come from; a file of other logs is refused. None: not known yet, see `bind`.
            memory_limit: DuckDB's own limit, such as ``2GB``.
            threads: of DuckDB, for writing and for whoever is served; None: see `threads_for_writing`.
            fresh: set an existing file aside (`set_aside`) and begin an empty one.
            commit_records: a transaction takes batches until it holds so many records, and `close` commits the last one:
                a twentieth cheaper than one each (0), for a file that is built whole or thrown away. Too many cost memory.
            churn_horizon_days, churn_threshold: settings that stand in every row of churn_flags.
            score_every_days: how far the days lie apart that `score_if_due` scores; 0: never.

        Raises:
            UsageError: the file holds other logs, another version's tables or somebody else's; exit 2.
            No: the file is locked, read-only, no DuckDB file, or the disk is full; exit 1.
        """
        if fresh:
            set_aside(path)
        connection = _connect(path, memory_limit, threads)
        warehouse = cls(connection, str(path))
        try:
            with explained(path):
                warehouse._prepare()
                warehouse._keep_settings(churn_horizon_days, churn_threshold)
            if log_id is not None:
                warehouse.bind(log_id)
            warehouse._commit_records = commit_records
            warehouse._score_every_days, warehouse._horizon_days = score_every_days, churn_horizon_days
        except BaseException:
            connection.close()
            raise
        return warehouse

    def bind(self, log_id: str) -> None:
        """Tie the file to the logs of this id; an empty file takes it, a file of other logs is refused.

        Raises:
            UsageError: the file was built from other logs.
            FileTrouble: the file cannot be read or written.
        """
        with explained(self.path):
            known = self._one("session", "log_id")
            if known is None:
                self.connection.execute(sql.statements("staging/session")["bind"], [log_id])
                return
        if known != log_id:
            raise OtherLogs(other_logs(self.path, str(known), log_id))

    @property
    def log_id(self) -> str | None:
        """The id of the logs the rows come from; None as long as nothing was bound."""
        known = self._one("session", "log_id")
        return None if known is None else str(known)

    def require_in_place(self) -> None:
        """Make sure that the path still leads to the file that is open.

        Raises:
            FileTrouble: somebody deleted the file or put another one there; what is written now nobody will find.
        """
        if self._file != _identity(self.path):
            gone = "was deleted" if not Path(self.path).exists() else "was replaced by another"
            raise FileTrouble(f"{self.path} {gone} while it was being written.", Kind.GONE)

    def alive(self) -> bool:
        """Does DuckDB still answer? After a fatal error it does not, until the file is opened again."""
        try:
            self._one("session", "log_id")
        except duckdb.Error:
            return False
        return True

    def abandon(self) -> None:
        """Let the file go after trouble: nothing more is committed."""
        with contextlib.suppress(duckdb.Error):
            self.connection.close()

    def positions(self, topic: str) -> dict[int, int]:
        """Return partition -> offset of the last record applied; partitions without a record are missing."""
        return {partition: offset for (name, partition), offset in self._positions.items() if name == topic}

    def all_positions(self) -> dict[tuple[str, int], int]:
        """Return (topic, partition) -> offset of the last record applied."""
        return dict(self._positions)

    def apply(
        self,
        facts: Records = (),
        decisions: Records = (),
        rejects: Rejects = (),
        *,
        parsed: Mapping[str, Parsed] | None = None,
    ) -> None:
        """Apply records of the three logs in one transaction: all rows and positions, or none.

        Records at or below the stored position are left out, so a second delivery changes nothing.

        Args:
            facts, decisions: records in offset order per partition, or tables of `LOG_SCHEMA`.
            rejects: records of the rejects topic, or a table of `REJECT_SCHEMA`.
            parsed: by topic, what `projections.ahead` made of the same tables; a log that is missing here is parsed here.

        Raises:
            OutOfOrder: an offset stands twice in the batch.
            duckdb.Error: nothing was applied, and what was not yet committed (`commit_records`) is taken back.
        """
        batches = {
            FACTS: _table(facts, LOG_SCHEMA),
            DECISIONS: _table(decisions, LOG_SCHEMA),
            REJECTS: _table(rejects, REJECT_SCHEMA),
        }
        ends: list[tuple[str, int, int]] = []
        filled = []
        for topic, table in batches.items():
            spans = _spans(topic, table)
            fresh = self._fresh(topic, table, spans)
            if fresh.num_rows:
                # What was parsed holds all of the table: after a second delivery only the rest of it is wanted.
                filled.append((topic, fresh, parsed.get(topic) if parsed and fresh is table else None))
                known = self.positions(topic)
                ends += [(topic, one.partition, one.last) for one in spans if one.last > known.get(one.partition, -1)]
        if not ends:
            return
        with self._transaction():
            for topic, table, ready in filled:
                script, name = SCRIPTS[topic]
                if ready is None:
                    self._run(script, {name: in_chunks(table)})
                else:
                    self._run(script, ready.tables, present=ready.present)
            positions = self._positions | {(topic, partition): offset for topic, partition, offset in ends}
            columns = (
                [topic for topic, _ in positions],
                [partition for _, partition in positions],
                list(positions.values()),
            )
            self._run("staging/positions", {}, {"remember": columns})
            self._uncommitted_records += sum(table.num_rows for _, table, _ in filled)
        self._positions = positions

    def score_if_due(self) -> bool:
        """Fit the models and score every member, if a day to be scored is over (`projections.scoring`); did it?

        Raises:
            duckdb.Error: nothing was changed.
        """
        wanted = scoring.due(self.connection, self._score_every_days) if self._score_every_days else None
        if wanted is None or wanted[0] == self._scored_on:
            return False
        day, known_at = wanted
        with self._transaction():
            found = scoring.score(self.connection, day, known_at, self._horizon_days)
        self._scored_on = day  # who cannot be told yet is not asked again on the same day
        return found

    def keep_month_if_due(self) -> bool:
        """Keep what members had bought at the end of the first month that ended and is not kept; was there one?

        Raises:
            duckdb.Error: nothing was changed.
        """
        with self._transaction():
            self._months.follow_terms()
            month_end = self._months.due()
            if month_end is not None:
                self._months.keep(month_end)
        return month_end is not None

    def _fresh(self, topic: str, table: pa.Table, spans: Sequence[_Span]) -> pa.Table:
        """The records behind the stored positions: all of them but for a second delivery."""
        known = self.positions(topic)
        for span in spans:
            if span.first <= (position := known.get(span.partition, -1)):
                elsewhere = compute.not_equal(table["partition"], span.partition)
                table = table.filter(compute.or_(elsewhere, compute.greater(table["offset"], position)))
        return table

    def broken_invariants(self) -> list[tuple[str, str, int]]:
        """Return (mart, invariant, rows that break it) for every invariant stated beside a mart that does not hold."""
        broken = []
        for name in sql.names("marts"):
            for invariant in sql.mart(name).get("invariants", ()):
                rows = self.connection.execute(invariant["sql"]).fetchall()
                if rows:
                    broken.append((name, str(invariant["says"]), len(rows)))
        return broken

    def close(self) -> None:
        """Write everything into the file and let it go.

        Raises:
            No: what was not yet committed could not be written, and nothing of it was.
        """
        try:
            if self._in_transaction:
                with explained(self.path):
                    # The file is whole with this commit: its rows need not go by the write-ahead log.
                    self.connection.execute(sql.statements("staging/session")["straight_to_the_file"])
                    self.connection.commit()
        finally:
            self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self.close()
        else:
            self.connection.close()  # takes an open transaction back

    def _run(
        self,
        script: str,
        inputs: Mapping[str, pa.Table],
        values: Mapping[str, Sequence[object]] = _NO_VALUES,
        present: frozenset[str] | None = None,
    ) -> None:
        """Run a script's statements.

        Args:
            inputs: tables it reads by name.
            values: the parameters of some statements.
            present: what is there, where `inputs` are already the parsed tables; None: parse and look.
        """
        done = {} if present is None else sql.parsing(script)
        found = present or frozenset()
        if done and self._parsed_here:
            self.connection.execute(sql.statements("staging/session")["forget_parsed"])
            self._parsed_here = False
        for name, table in inputs.items():
            self.connection.register(name, table)
        try:
            for statement, text in sql.statements(script).items():
                wanted = sql.conditions(script).get(statement)
                if statement in done or (wanted is not None and wanted not in found):
                    continue  # a statement that finds nothing costs a millisecond all the same
                self._parsed_here = self._parsed_here or statement == sql.PARSE
                result = self.connection.execute(text, values.get(statement))
                if statement == sql.PRESENT:
                    found = frozenset(thing for (thing,) in result.fetchall())
        finally:
            for name in inputs:
                self.connection.unregister(name)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        if not self._in_transaction:
            self.connection.begin()
            self._in_transaction = True
        try:
            yield
            if self._uncommitted_records >= self._commit_records:
                self.connection.commit()
                self._in_transaction, self._uncommitted_records = False, 0
        except BaseException:
            self._in_transaction, self._uncommitted_records, self._parsed_here = False, 0, True
            # A fatal error invalidates the database: there is nothing left to roll back, and the first error is the one to tell.
            with contextlib.suppress(duckdb.Error):
                self.connection.rollback()
                self._read_positions()
            raise

    def _one(self, script: str, statement: str) -> object:
        row = self.connection.execute(sql.statements(f"staging/{script}")[statement]).fetchone()
        return None if row is None else row[0]

    def _prepare(self) -> None:
        """Create what is missing; refuse tables of another version; renew views whose SQL changed."""
        tables_hash, views_hash = sql.hash_of("staging/tables"), sql.views_hash()
        if not self._one("session", "exists"):
            if self._one("session", "foreign"):
                raise UsageError(f"{self.path} holds somebody else's tables: name another file with --db.")
            with self._transaction():
                for statement in sql.statements("staging/tables").values():
                    self.connection.execute(statement)
                self.connection.execute(sql.statements("staging/session")["identify"], [tables_hash, ""])
        if self._one("session", "tables_hash") != tables_hash:
            raise OtherVersion(
                f"{self.path} was built by another version of stammgast: its tables differ. "
                "Say --fresh to set it aside and build it anew from the logs."
            )
        if self._one("session", "views_hash") != views_hash:
            self._renew_views(views_hash)
        self._read_positions()

    def _read_positions(self) -> None:
        rows = self.connection.execute(sql.statements("staging/session")["positions"]).fetchall()
        self._positions = {(topic, partition): position for topic, partition, position in rows}

    def _renew_views(self, views_hash: str) -> None:
        with self._transaction():
            for statement in sql.views():
                self.connection.execute(statement)
            session = sql.statements("staging/session")
            self.connection.execute(session["forget_versions"])
            self.connection.executemany(session["keep_version"], list(sql.versions().items()))
            self.connection.execute(session["renew_views"], [views_hash])

    def _keep_settings(self, horizon_days: int, threshold: float) -> None:
        row = self.connection.execute(sql.statements("staging/session")["settings"]).fetchone()
        if row != (horizon_days, threshold):
            with self._transaction():
                self.connection.execute(sql.statements("staging/session")["forget_settings"])
                self.connection.execute(sql.statements("staging/session")["keep_settings"], [horizon_days, threshold])


def _connect(path: str | Path, memory_limit: str, threads: int | None) -> duckdb.DuckDBPyConnection:
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory_limit,
        "threads": threads or threads_for_writing(),
        "checkpoint_threshold": CHECKPOINT_THRESHOLD,
        "storage_compatibility_version": STORAGE_VERSION,
    }
    with explained(path):
        connection = duckdb.connect(str(path), config=config)
        for name in ("utc", "writes"):
            connection.execute(sql.statements("staging/session")[name])
    return connection


def other_logs(path: str | Path, known: str, log_id: str) -> str:
    """What to tell whoever named a file that was built from other logs."""
    return (
        f"{path} was built from other logs (id {known}, these are {log_id}): their rows would be mixed. "
        "Name another file with --db, or say --fresh to set this one aside and build it anew."
    )


def log_id_of(path: str | Path) -> str | None:
    """The id of the logs that a file of ours was built from, whatever its version; None: none, or it cannot be read."""
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            row = connection.execute(sql.statements("staging/session")["log_id"]).fetchone()
    except duckdb.Error:
        return None
    return None if row is None else row[0]


def _identity(path: str | Path) -> tuple[int, int] | None:
    """Which file the path leads to; None: none, or none on a disk."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def threads_for_writing() -> int:
    """Half of the cores. A batch fits into one row group, which one thread fills; idle ones wait by spinning (on 2 cores a
    third more CPU), and questions of many rows want several."""
    return max(1, (os.cpu_count() or 1) // 2)


def _table(records: Sequence[Record] | Sequence[Reject] | pa.Table, schema: pa.Schema) -> pa.Table:
    if isinstance(records, pa.Table):
        return records
    if not records:
        return schema.empty_table()
    columns = zip(*records, strict=True)
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)], schema=schema)


def _spans(topic: str, table: pa.Table) -> list[_Span]:
    """Return the span of each partition in a batch; an offset that stands there twice is a broken reader."""
    grouped = (
        table.select(["partition", "offset"])
        .group_by("partition")
        .aggregate([("offset", "min"), ("offset", "max"), ("offset", "count_distinct"), ("offset", "count")])
    )
    spans = []
    for row in grouped.to_pylist():
        if row["offset_count_distinct"] != row["offset_count"]:
            raise OutOfOrder(f"{topic}, partition {row['partition']}: an offset stands twice in one batch")
        spans.append(_Span(int(row["partition"]), int(row["offset_min"]), int(row["offset_max"])))
    return spans
