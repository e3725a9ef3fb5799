"""`stammgast projector` as a process that starts at once and may be killed: forked from a server that has imported everything."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import duckdb

from engine.broker import free_port
from engine.settings import No, UsageError
from projections import reading, sql
from projections.reading import Answer, ask_file, ask_server
from projections.server import read_endpoint
from projections.warehouse import Warehouse
from tests.kafka.deployment import Samples, samples_of
from tests.projections import given

PATIENCE_S = 120.0
LOOK_S = 0.02
#: Changes something in the child before the command starts; it must be importable, since it is sent by its name.
Tweak = Callable[[], None]
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__, "engine.commands.projector"])


def _run(arguments: Sequence[str], log: Path, tweaks: Sequence[Tweak]) -> None:
    """The child: its log goes to a file."""
    from engine.cli import main

    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    for tweak in tweaks:
        tweak()
    main(list(arguments))


class Projecting:
    """A running `stammgast projector`. Its log is shared by those that follow it on the same file."""

    def __init__(self, bootstrap: str, prefix: str, db: Path, *tweaks: Tweak, log: Path | None = None) -> None:
        self.db, self.port = db, free_port()
        self.log = log or db.with_name(f"{db.name}.log")
        self._log_starts = self.log.stat().st_size if self.log.exists() else 0
        arguments = ["projector", "--bootstrap", bootstrap, "--topic-prefix", prefix, "--db", str(db)]
        arguments += ["--log-format", "json", "--metrics-port", str(self.port)]
        self.process = _FORKS.Process(target=_run, args=(arguments, self.log, tweaks), daemon=True)
        self.process.start()

    def said(self, *words: str) -> list[dict[str, Any]]:
        """Its log lines that hold all of these words."""
        text = self.log.read_bytes()[self._log_starts :].decode() if self.log.exists() else ""
        lines = [line for line in text.splitlines() if all(word in line for word in words)]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def get(self, path: str) -> tuple[int, bytes]:
        """(status, body) of its telemetry; status 0 while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def samples(self) -> Samples:
        """Its metrics."""
        return samples_of(self.get("/metrics")[1])

    def metric(self, name: str, **labels: str) -> float:
        """One of them; 0 while there is none."""
        return self.samples().get((f"stammgast_{name}", frozenset(labels.items())), 0.0)

    def until(self, what: str, holds: Callable[[], object]) -> None:
        """Look until it holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
            assert self.process.is_alive(), f"it ended with {self.process.exitcode}:\n{text}"
            assert time.monotonic() < deadline, f"not within {PATIENCE_S:.0f} s: {what}\n{text}"
            time.sleep(LOOK_S)

    def until_begun(self) -> None:
        """Wait until it works, or has already died of it."""
        while self.process.is_alive() and not self.said("projector started"):
            self.process.join(LOOK_S)

    def until_read(self, facts: int, decisions: int) -> None:
        """Wait until the tables that readers see stand at these positions of partition 0."""
        wanted = [("facts", facts - 1), ("points-log", decisions - 1)]
        self.until("all is loaded", lambda: set(positions(self.db)) >= set(wanted))

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.join()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def end(self) -> int | None:
        """SIGTERM; returns its exit code."""
        if self.process.is_alive():
            self.process.terminate()
        self.process.join(PATIENCE_S)
        return self.process.exitcode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Reader:
    """A process that asks again and again while everything happens, as an analyst's tool would.

    `remote`: of the server that the endpoint names at that moment, and never once more; else as `stammgast query` does.
    """

    def __init__(self, db: Path, statement: str, *, remote: bool = False) -> None:
        self._ours, theirs = _FORKS.Pipe()
        self._process = _FORKS.Process(target=_read, args=(db, statement, remote, theirs), daemon=True)
        self._process.start()
        assert self._ours.recv() == "asked once"

    def answers(self) -> list[Any]:
        """What it was told until now, one answer or error after the other; it stops asking."""
        self._ours.send("stop")
        told: list[Any] = self._ours.recv()
        self._process.join()
        return told


def _read(db: Path, statement: str, remote: bool, pipe: Connection) -> None:
    reading.HANDOVER_S = PATIENCE_S  # between two servers a crowded machine takes longer than a shop's
    told: list[Any] = []
    while not pipe.poll(LOOK_S):
        try:
            told.append(next(iter(_answer(db, statement, remote).all_rows())))
        except (No, UsageError, duckdb.Error) as error:
            told.append(str(error))
        if len(told) == 1:
            pipe.send("asked once")
    pipe.send(told)


def _answer(db: Path, statement: str, remote: bool) -> Answer:
    if not remote:
        return ask_file(db, statement)
    endpoint = read_endpoint(db)
    assert endpoint is not None
    return ask_server(endpoint.uri, Path(endpoint.token_file), statement)


def asked(db: Path, statement: str) -> list[tuple[Any, ...]] | None:
    """The rows that a reader gets; None while there is no file or nobody answers."""
    try:
        return list(ask_file(db, statement).all_rows())
    except (No, UsageError, duckdb.Error):
        return None


def positions(db: Path) -> list[tuple[Any, ...]]:
    """(topic, position) as a reader sees them."""
    return asked(db, "select topic, position from log_positions") or []


def everything(warehouse: Warehouse) -> dict[str, list[dict[str, object]]]:
    """All rows of all marts and the positions, in an order that does not depend on the database; not which logs they are."""
    names = [*(name for name in sql.names("marts") if name not in ("meta", "stamp")), "log_positions"]
    return {name: sorted(given.rows(warehouse, f"from {name}"), key=repr) for name in names}


def holds(db: Path) -> dict[str, list[dict[str, object]]]:
    """The same of a file that nobody holds."""
    with Warehouse.open(db) as warehouse:
        assert warehouse.broken_invariants() == []
        return everything(warehouse)
