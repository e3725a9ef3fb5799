"""Ask a DuckDB file: directly when nobody holds it, else through the server that its holder runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from engine.settings import No, UsageError
from projections import sql
from projections.lake import open_reader
from projections.object_storage import Storage
from projections.server import Endpoint, endpoint_path, load_extensions, read_endpoint
from projections.stamp import Stamp, stamp_from_json
from projections.trouble import FileTrouble, Kind, explanation, kind_of

FETCH_ROWS = 10_000
# A file that a projector opens again or swaps for a new one is not served for some tenths of a second, on a crowded machine for
# seconds. Too short: readers see errors. Too long: whoever asks a dead server waits for the message.
HANDOVER_S = 10.0
HANDOVER_LOOK_S = 0.05
# What a reader is told by a server that is going, gone, or another file's by now.
UNANSWERED = ("could not connect", "failed to send message", "authentication failed", "has been invalidated")
NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UBIGINT", "UINTEGER", "FLOAT", "DOUBLE", "DECIMAL")


@dataclass(frozen=True, slots=True)
class Answer:
    """A result whose rows are not fetched yet; it lives as long as its connection.

    `stamps` is filled by fetching where the last column is the stamp; `again` asks for it where there is no row.
    """

    connection: duckdb.DuckDBPyConnection
    stamps: list[str] | None = None
    again: Callable[[], str] | None = None

    def names(self) -> list[str]:
        """Column names."""
        return [str(column[0]) for column in self._columns()]

    def numeric(self) -> list[bool]:
        """For each column: does it hold numbers?"""
        return [str(column[1]).startswith(NUMBERS) for column in self._columns()]

    def _columns(self) -> list[tuple[Any, ...]]:
        found = list(self.connection.description or ())
        return found if self.stamps is None else found[:-1]

    def rows(self, count: int) -> list[tuple[Any, ...]]:
        """The next rows, at most `count`."""
        rows: list[tuple[Any, ...]] = self.connection.fetchmany(count)
        if self.stamps is None or not rows:
            return rows
        self.stamps.append(rows[0][-1])
        return [row[:-1] for row in rows]

    def stamp(self) -> Stamp | None:
        """What the rows come from, once one of them was fetched; without rows, what no rows come from. None: not asked for."""
        if self.stamps is None or self.again is None:
            return None
        return stamp_from_json(self.stamps[0] if self.stamps else self.again())

    def all_rows(self) -> Iterator[tuple[Any, ...]]:
        """All rows not fetched yet, without holding them in memory at once."""
        while rows := self.rows(FETCH_ROWS):
            yield from rows

    def table(self) -> pa.Table:
        """All rows as an Arrow table."""
        table = self.connection.to_arrow_table()
        if self.stamps is None:
            return table
        if table.num_rows:
            self.stamps.append(table.column(table.num_columns - 1)[0].as_py())
        return table.select(range(table.num_columns - 1))


def with_stamp(ask: Callable[[str], Answer], statement: str) -> Answer:
    """Ask so that rows and stamp are of one moment, also while the tables are written.

    Args:
        ask: `ask_file` or `ask_server` with all but the statement given.
        statement: one SELECT.
    """
    statements = sql.statements("serving/stamp")
    answer = ask(statements["stamped"].replace(":statement", statement.rstrip().rstrip(";")))
    return replace(answer, stamps=[], again=lambda: str(ask(statements["alone"]).rows(1)[0][0]))


class Unanswered(No):
    """Nobody answers where a server was said to be: it is gone, or another one is taking over."""


def ask_file(db: Path, statement: str) -> Answer:
    """Ask the tables of a file, whoever holds it; while it changes hands, ask again.

    Raises:
        UsageError: there is no such file, or none of ours.
        No: the statement is wrong, or the file is held by something that does not serve it, or is being built anew.
    """
    deadline = time.monotonic() + HANDOVER_S
    while True:
        try:
            return _ask_holder(db, statement)
        except Unanswered:
            if time.monotonic() > deadline:
                raise
            time.sleep(HANDOVER_LOOK_S)


def ask_named(db: Path, group: str, name: str, **values: str | int) -> Iterator[dict[str, Any]]:
    """Ask a statement of our own .sql files and yield its rows by column name.

    Args:
        group, name: of the file, without `.sql`, and of the statement in it.
        values: what stands for `:parameter` there; ours alone, a reader's words never come here.

    Raises:
        UsageError, No: as `ask_file`.
    """
    statement = sql.statements(group)[name]
    for parameter, value in values.items():
        statement = statement.replace(f":{parameter}", str(value))
    answer = ask_file(db, statement)
    try:
        names = answer.names()
        for row in answer.all_rows():
            yield dict(zip(names, row, strict=True))
    except duckdb.Error as error:
        raise No(explanation(db, error, to_reader=True)) from error
    finally:
        answer.connection.close()


def _ask_holder(db: Path, statement: str) -> Answer:
    endpoint = read_endpoint(db)
    if not db.exists():
        if endpoint is None:
            raise UsageError(
                f"there is no {db}: `stammgast up`, `projector` and `replay` make such a file; name another with --db."
            )
        return _ask_endpoint(db, endpoint, statement)
    try:
        connection = duckdb.connect(str(db), read_only=True)
    except duckdb.Error as error:
        return _ask_server_of(db, endpoint, statement, error)
    settings = sql.statements("staging/session")
    if connection.execute(settings["exists"]).fetchone() is None:
        connection.close()
        raise UsageError(f"{db} holds no tables of stammgast: name another file with --db.")
    for name in ("utc", "no_python_objects"):
        connection.execute(settings[name])
    return _execute(connection, statement, {})


def _ask_server_of(db: Path, endpoint: Endpoint | None, statement: str, error: duckdb.Error) -> Answer:
    """The file itself did not open: ask whoever serves it, or say why there is nobody to be asked."""
    kind = kind_of(error)
    if endpoint is not None and (endpoint.note or kind is Kind.HELD):
        return _ask_endpoint(db, endpoint, statement)
    if kind is Kind.HELD:
        raise No(
            f"{db} is held by another process that does not serve it ({endpoint_path(db)} is missing). "
            "Ask again when it has finished."
        ) from error
    trouble = FileTrouble(explanation(db, error, to_reader=True), kind)
    if endpoint is not None and _runs(endpoint.pid):  # it is putting another file there at this moment, or is about to
        raise Unanswered(trouble.message) from error
    raise trouble from error


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def _ask_endpoint(db: Path, endpoint: Endpoint, statement: str) -> Answer:
    if endpoint.note:
        raise No(f"{db} cannot be asked now: {endpoint.note} (process {endpoint.pid}). Ask again later.")
    try:
        return ask_server(endpoint.uri, Path(endpoint.token_file), statement)
    except UsageError as error:  # the token went with its server
        raise Unanswered(error.message) from error


def ask_lake(catalogue: str, storage: Storage | None, statement: str) -> Answer:
    """Ask the tables of a lake, from any machine that reaches its catalogue and its files.

    Raises:
        UsageError: there is no such lake, or none of ours.
        No: the statement is wrong.
    """
    return _execute(open_reader(catalogue, storage=storage), statement, {})


def ask_server(uri: str, token_file: Path, statement: str) -> Answer:
    """Ask the server at ``quack:HOST:PORT``.

    Raises:
        UsageError: the address or the token file is wrong.
        No: nobody answers, or the statement is refused or wrong.
    """
    if not uri.startswith("quack:") or not uri.rpartition(":")[2].isdigit():
        raise UsageError(f"{uri!r} is no address of a server: write quack:HOST:PORT.")
    try:
        token = token_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(f"the token file {token_file} cannot be read: {reason}.") from error
    connection = duckdb.connect()
    load_extensions(connection)
    connection.execute(sql.statements("staging/session")["utc"])
    connection.execute(sql.statements("staging/session")["no_python_objects"])
    parameters = {"uri": uri, "query": statement, "token": token}
    return _execute(connection, sql.statements("serving/authoriser")["ask"], parameters)


def _execute(connection: duckdb.DuckDBPyConnection, statement: str, parameters: dict[str, str]) -> Answer:
    try:
        return Answer(connection.execute(statement, parameters))
    except duckdb.Error as error:
        connection.close()
        uri = parameters.get("uri")
        unanswered = uri is not None and any(word in str(error).lower() for word in UNANSWERED)
        raise (Unanswered if unanswered else No)(_plain(str(error), uri)) from error


def _plain(message: str, uri: str | None) -> str:
    """DuckDB's message without the line that shows our own call."""
    if uri is None:
        return message
    text = message.split("\n\nLINE 1: from quack_query", maxsplit=1)[0].removeprefix("Invalid Input Error: ").strip()
    lower = text.lower()
    if "authentication failed" in lower:
        return f"{uri} refuses the token: name the token file of the file that is served there."
    if "connect" in lower or "http" in lower:
        return (
            f"nobody answers at {uri}: {text.splitlines()[0]}. Is the projector running? A file that nobody holds is asked "
            "with --db alone."
        )
    return text
