"""The tables in a DuckLake: the catalogue in PostgreSQL (or in a file, for one machine), the rows as Parquet in a folder or in
object storage (object_storage.py).

The projector appends to it as it does to a file: rows and log positions in one transaction of the lake. What a DuckLake cannot
hold stays out of it: CHECK constraints (they keep remote writers out of a file that is served; a lake's writers are told apart
by its database's rights), and macros whose parameters are NULL by default. So views and macros are no part of the lake: a
reader makes them for itself, from the same SQL, over the lake's tables.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import duckdb
import structlog

from engine.settings import No, UsageError
from projections import sql
from projections.object_storage import Storage, unlock
from projections.server import load_extensions
from projections.trouble import OtherLogs, OtherVersion, explained
from projections.warehouse import MEMORY_LIMIT, Warehouse, threads_for_writing

POSTGRES = "postgres:"
_CHECK = re.compile(r",\s*check \(coalesce\(getvariable\('stammgast_writes'\), false\)\)")
#: How often small files are merged, and old states of the lake forgotten. Too often: files are written twice for nothing. Too
#: seldom: readers open thousands of small files.
COMPACT_SECONDS = 3_600.0
#: A reader may look at a state of the lake for so long; what is older goes.
KEEP_HOURS = 24

log = structlog.get_logger(__name__)


def checked(catalogue: str) -> str:
    """The catalogue as DuckDB's ducklake names it: `postgres:dbname=... host=...`, or a file.

    Errors: UsageError for a password in it, which process lists and logs would show.
    """
    if re.search(r"\bpassword\s*=", catalogue):
        raise UsageError(
            "--lake holds a password, which process lists show: put it into a file that PGPASSFILE names "
            "(host:port:database:user:password) and leave it out of --lake."
        )
    return catalogue


class LakeWarehouse(Warehouse):
    """The tables of a lake and the one connection that writes them; see `Warehouse`."""

    _compacted_s = 0.0
    compact_seconds = COMPACT_SECONDS

    @classmethod
    def open_lake(
        cls,
        catalogue: str,
        data: str,
        *,
        storage: Storage | None = None,
        memory_limit: str = MEMORY_LIMIT,
        threads: int | None = None,
        churn_horizon_days: int = 90,
        churn_threshold: float = 0.5,
    ) -> Self:
        """Open a lake to write it; tables are made where there are none.

        Args:
            catalogue: see `checked`. data: where the Parquet files go; the catalogue remembers it. storage: its keys.

        Errors: UsageError, No: the catalogue cannot be reached or is not ours; OtherVersion.
        """
        memory: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": memory_limit,
            "threads": threads or threads_for_writing(),
        }
        connection = duckdb.connect(config=memory)
        warehouse = cls(connection, catalogue)
        try:
            attach(connection, catalogue, data, storage)
            with explained(catalogue):
                for name in ("utc", "writes"):
                    connection.execute(sql.statements("staging/session")[name])
                connection.execute(sql.statements("staging/lake")["use"])
                warehouse._prepare()
                warehouse._keep_settings(churn_horizon_days, churn_threshold)
        except BaseException:
            connection.close()
            raise
        warehouse._compacted_s = time.monotonic()
        return warehouse

    def bind(self, log_id: str) -> None:
        """As Warehouse, told for a lake."""
        known = self.log_id
        if known is not None and known != log_id:
            raise OtherLogs(
                f"{self.path} was built from other logs (id {known}, these are {log_id}): name another --lake and --lake-data."
            )
        super().bind(log_id)

    def require_in_place(self) -> None:
        """A catalogue is asked by its name, whatever lies beneath it."""

    def _prepare(self) -> None:
        """Make the tables, without what a lake cannot hold; views are the readers' own."""
        tables_hash, session = sql.hash_of("staging/tables"), sql.statements("staging/session")
        if not tables_of(self.connection):
            with self._transaction():
                for statement in sql.statements("staging/tables").values():
                    self.connection.execute(_CHECK.sub("", statement))
                self.connection.execute(session["identify"], [tables_hash, ""])
        if self._one("session", "tables_hash") != tables_hash:
            raise OtherVersion(
                f"{self.path} was built by another version of stammgast, its tables differ: build a new lake from the logs, "
                "under another --lake and --lake-data; readers go on with the old one until then."
            )
        if self._one("session", "views_hash") != sql.views_hash():
            with self._transaction():
                self.connection.execute(session["forget_versions"])
                self.connection.executemany(session["keep_version"], list(sql.versions().items()))
                self.connection.execute(session["renew_views"], [sql.views_hash()])
        self._read_positions()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One transaction of the lake, in which nobody else has written since ours before it."""
        with super()._transaction():
            if self._positions:
                rows = self.connection.execute(sql.statements("staging/lake")["writes_alone"]).fetchall()
                if {(topic, partition): position for topic, partition, position in rows} != self._positions:
                    raise No(f"another projector writes to {self.path}: one lake has one projector; stop one of them.")
            yield

    def compact_if_due(self) -> bool:
        """Merge small files and forget old states, once in `compact_seconds`; did it?

        Errors: duckdb.Error: nothing was lost.
        """
        if time.monotonic() - self._compacted_s < self.compact_seconds:
            return False
        statements, began = sql.statements("staging/lake"), time.monotonic()
        for name in ("flush", "merge", "expire", "clean"):
            self.connection.execute(statements[name].replace(":hours", str(KEEP_HOURS)))
        self._compacted_s = time.monotonic()
        log.info("lake compacted", lake=self.path, seconds=round(self._compacted_s - began, 1))
        return True

    def score_if_due(self) -> bool:
        """A lake has no fitted models; between batches it is compacted instead."""
        self.compact_if_due()
        return False

    def keep_month_if_due(self) -> bool:
        """A lake keeps no months: its questions count from the first purchase on."""
        return False


def attach(
    connection: duckdb.DuckDBPyConnection, catalogue: str, data: str | None, storage: Storage | None = None
) -> None:
    """Attach a lake as `lake`; read-only without a folder for its data.

    Errors: UsageError where it cannot be reached.
    """
    names = ("ducklake", "postgres_scanner") if catalogue.startswith(POSTGRES) else ("ducklake",)
    load_extensions(connection, names)
    if storage is not None:
        unlock(connection, storage)
    statements = sql.statements("staging/lake")
    statement = statements["attach_read_only"] if data is None else statements["attach"].replace(":data", _quoted(data))
    try:
        connection.execute(statement.replace(":catalogue", _quoted(f"ducklake:{catalogue}")))
    except duckdb.Error as error:
        if storage is None and "httpfs" in str(error):  # DuckDB says so when the catalogue names s3://
            raise UsageError(
                f"the files of the lake {catalogue} lie in object storage: name the file with its keys by --lake-s3."
            ) from error
        raise UsageError(f"the lake {catalogue} cannot be opened: {str(error).splitlines()[0]}.") from error


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def tables_of(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """(schema, table) of our tables in the attached lake."""
    return [
        (schema, table) for schema, table in connection.execute(sql.statements("staging/lake")["tables"]).fetchall()
    ]


def open_reader(
    catalogue: str, memory_limit: str = MEMORY_LIMIT, storage: Storage | None = None
) -> duckdb.DuckDBPyConnection:
    """A connection with the tables, views and macros of a file, over the rows of a lake as they are now and as they come.

    Errors: UsageError: no such lake, or none of ours; OtherVersion.
    """
    connection = duckdb.connect(config={"memory_limit": memory_limit})
    try:
        attach(connection, checked(catalogue), None, storage)
        statements = sql.statements("staging/lake")
        with explained(catalogue):
            found = tables_of(connection)
            if not found:
                raise UsageError(f"{catalogue} holds no tables of stammgast: `stammgast projector --lake` makes them.")
            for statement in (sql.statements("staging/session")["utc"], statements["staging"]):
                connection.execute(statement)
            for schema, table in found:
                connection.execute(statements["see"].replace(":schema", schema).replace(":table", table))
            (known,) = connection.execute(sql.statements("staging/session")["tables_hash"]).fetchone() or (None,)
            if known != sql.hash_of("staging/tables"):
                raise OtherVersion(f"{catalogue} was built by another version of stammgast: ask it with that one.")
            for statement in sql.views():
                connection.execute(statement)
            connection.execute(sql.statements("staging/session")["no_python_objects"])
    except BaseException:
        connection.close()
        raise
    return connection
