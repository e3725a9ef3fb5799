"""A desk: a process of its own that answers one question at a time from a copy of the file, and can be killed over it.

DuckDB has no statement timeout, and a question can hold a thread in a place that no interrupt reaches. So whoever asks for
readers keeps desks (`projections.desks`), gives each question its seconds, and ends the desk that needs more. A question and
its parameters arrive on standard input, so that no list of processes and no log shows them.

On the wire, both ways: four bytes of length (big endian), then JSON; an answer's rows follow as an Arrow stream with a length
of its own.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa

from engine.processes import end_with
from projections import sql

# What a desk may take beside DuckDB's own limit: the interpreter, Arrow, one answer, address space that an allocator sets aside
# without using it (160 MB resident and 1.4 GB of data were seen). Too small: questions fail for want of memory that nobody uses.
BESIDE_BYTES = 3 << 30


@dataclass(frozen=True, slots=True)
class Question:
    """One question to a desk.

    Attributes:
        statement: SQL; of a reader one SELECT, of ours one statement.
        parameters: what stands for $names in it.
        rows: at most so many come back; one more is looked for, to tell whether there are more.
        size: at most so many bytes come back.
        reader: was it written by a reader? Then it is held to the lists of `serving/rules.sql`.
    """

    statement: str
    parameters: dict[str, Any] = field(default_factory=dict)
    rows: int = 10_000
    size: int = 64 << 20
    reader: bool = False

    def as_bytes(self) -> bytes:
        """As it goes over the wire."""
        return _with_length(json.dumps(asdict(self)).encode())


def _with_length(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def open_copy(
    path: str,
    memory_limit: str,
    threads: int,
    before_lock: Callable[[duckdb.DuckDBPyConnection], None] = lambda _connection: None,
) -> duckdb.DuckDBPyConnection:
    """Open a copy read-only and closed in: no files, no network, no settings, nothing spilled to a disk.

    `before_lock` may still load and set things.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "temp_directory": "",
        "memory_limit": memory_limit,
        "threads": threads,
    }
    connection = duckdb.connect(path, read_only=True, config=config)
    connection.execute(sql.statements("staging/session")["utc"])
    before_lock(connection)
    for name in ("no_python_objects", "no_external_access", "lock"):
        connection.execute(sql.statements("serving/authoriser")[name])
    return connection


def answer(connection: duckdb.DuckDBPyConnection, question: Question) -> tuple[dict[str, Any], bytes]:
    """Ask, and return what is said about the answer, and its rows as an Arrow stream."""
    try:
        statement = question.statement
        if question.reader:
            statements = sql.statements("serving/asking")
            refusal = _one(connection, statements["refusal"], statement)
            if refusal is not None:
                return {"refused": f"refused: {refusal}"}, b""
            statement = str(_one(connection, statements["rewritten"], statement))
        found = connection.sql(statement, params=question.parameters or None)
        table = found.limit(question.rows + 1).to_arrow_table()
    except duckdb.Error as error:
        return {"wrong": str(error)}, b""
    more = table.num_rows > question.rows
    table = table.slice(0, question.rows)
    if table.nbytes > question.size:
        return {"wrong": f"the answer is larger than {question.size >> 20} MB: ask for fewer rows or columns."}, b""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    types = [str(kind) for kind in found.types]
    return {"more": more, "types": types}, sink.getvalue().to_pybytes()


def _one(connection: duckdb.DuckDBPyConnection, statement: str, query: str) -> object:
    row = connection.execute(statement, {"query": query}).fetchone()
    return None if row is None else row[0]


def bytes_of(memory_limit: str) -> int:
    """A limit such as 2GB or 512MiB in bytes."""
    text = memory_limit.replace(" ", "").upper().rstrip("B")
    binary = text.endswith("I")
    number, unit = text.rstrip("IKMGT"), text.rstrip("I")[-1]
    power = "KMGT".index(unit) + 1 if unit in "KMGT" else 0
    return int(float(number) * (1024 if binary else 1000) ** power)


def serve(path: str, memory_limit: str, threads: int, source: BinaryIO, sink: BinaryIO) -> None:
    """Answer until there is no next question."""
    # What no limit of DuckDB's sees (one enormous text) fails in here, and not in the whole machine.
    bound = bytes_of(memory_limit) + BESIDE_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
    connection = open_copy(path, memory_limit, threads)
    sink.write(_with_length(b"{}"))
    sink.flush()
    while len(head := source.read(4)) == 4:
        question = Question(**json.loads(source.read(int.from_bytes(head, "big"))))
        try:
            said, rows = answer(connection, question)
        except MemoryError:
            said, rows = {"wrong": f"the answer needs more memory than {memory_limit}: ask for less at once."}, b""
        sink.write(_with_length(json.dumps(said).encode()))
        sink.write(_with_length(rows))
        sink.flush()


if __name__ == "__main__":
    end_with(int(sys.argv[4]))
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.stdin.buffer, sys.stdout.buffer)
