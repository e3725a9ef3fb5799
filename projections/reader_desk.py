"""A reader's own process: serves copies of the file by DuckDB's remote protocol, to the gate before it and nobody else.

DuckDB has no statement timeout and quack cannot end a question, so whoever asks for named readers (`engine.readers`) gives each
a process, and ends that. It is told on standard input, one JSON object a line, so that no list of processes shows a token:
``{"open": path}`` is answered by ``{"port": n}``, ``{"close": path}`` by ``{}``; trouble by ``{"trouble": text}``.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from collections.abc import Iterable
from typing import IO

import duckdb

from engine.processes import end_with, stand_back
from engine.settings import No
from projections import sql
from projections.desk import BESIDE_BYTES, bytes_of, open_copy
from projections.server import HOST, STATEMENTS, free_port, load_extensions

PORT_ATTEMPTS = 5


class _Served:
    """One copy that is served."""

    def __init__(self, path: str, memory_limit: str, threads: int, token: str) -> None:
        self.connection = open_copy(path, memory_limit, threads, before_lock=_before_lock)
        try:
            self.port = self._listen(token)
        except BaseException:
            self.connection.close()
            raise

    def _listen(self, token: str) -> int:
        for attempt in range(PORT_ATTEMPTS):
            port = free_port()
            try:
                self.connection.execute(
                    sql.statements(STATEMENTS)["serve"], {"uri": f"quack:{HOST}:{port}", "token": token}
                )
            except duckdb.Error:
                if attempt == PORT_ATTEMPTS - 1:
                    raise
            else:
                return port
        raise AssertionError("unreachable: the last attempt returns or raises")

    def close(self) -> None:
        with contextlib.suppress(duckdb.Error):
            self.connection.execute(sql.statements(STATEMENTS)["stop"], {"uri": f"quack:{HOST}:{self.port}"})
        self.connection.close()


def _before_lock(connection: duckdb.DuckDBPyConnection) -> None:
    load_extensions(connection)
    connection.execute(sql.statements(STATEMENTS)["authoriser"])


def serve(memory_limit: str, threads: int, source: Iterable[str], sink: IO[str]) -> None:
    """Do what the lines say until there is no next one."""
    bound = 2 * bytes_of(memory_limit) + BESIDE_BYTES  # two copies are open while one follows the other
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
    lines = iter(source)
    token = str(json.loads(next(lines))["token"])
    open_now: dict[str, _Served] = {}
    for line in lines:
        told = json.loads(line)
        said: dict[str, object] = {}
        try:
            if "open" in told:
                open_now[told["open"]] = _Served(told["open"], memory_limit, threads, token)
                said = {"port": open_now[told["open"]].port}
            elif told.get("close") in open_now:
                open_now.pop(told["close"]).close()
        except (duckdb.Error, OSError, No) as error:
            said = {"trouble": str(error).splitlines()[0]}
        print(json.dumps(said), file=sink, flush=True)


if __name__ == "__main__":
    end_with(int(sys.argv[3]))
    stand_back()
    serve(sys.argv[1], int(sys.argv[2]), sys.stdin, sys.stdout)
