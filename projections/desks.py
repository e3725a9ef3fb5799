"""Several desks over one copy of the file: questions with a limit in seconds, a copy that is renewed while they are asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import structlog

from engine.settings import No
from projections import snapshot
from projections.desk import Question
from projections.files import remove
from projections.snapshot import Snapshot
from projections.stamp import Stamp

log = structlog.get_logger(__name__)

# A start is an interpreter, DuckDB and opening the file; on a crowded machine it takes seconds.
START_S = 60.0
# A new copy is taken at most after so many times what the last one cost: copying is kept under a twentieth of the time.
COST_SHARE = 20
# Pages ask the same questions again and again; between two copies the answers are the same.
REMEMBERED = 256


class Refused(No):
    """The statement is not one that readers may ask."""


class TooLong(No):
    """The question took longer than its seconds and was ended."""


class Wrong(No):
    """DuckDB does not understand the statement, or cannot answer it."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What came back.

    Attributes:
        table: the rows.
        types: DuckDB's name of each column's type.
        more: were there more rows than asked for?
        stamp: what the rows come from.
        taken_at: when the copy that was asked was taken, seconds since the epoch.
        seconds: how long it took.
    """

    table: pa.Table
    types: list[str]
    more: bool
    stamp: Stamp
    taken_at: float
    seconds: float

    def dicts(self) -> list[dict[str, Any]]:
        """The rows as dicts."""
        found: list[dict[str, Any]] = self.table.to_pylist()
        return found

    def names(self) -> list[str]:
        """Column names; two columns can have the same."""
        return [str(name) for name in self.table.column_names]

    def tuples(self) -> list[tuple[Any, ...]]:
        """The rows as tuples."""
        return list(zip(*(column.to_pylist() for column in self.table.columns), strict=True))


class _Desk:
    """One child process over one copy."""

    def __init__(self, process: asyncio.subprocess.Process, copy: Snapshot) -> None:
        if process.stdin is None or process.stdout is None:
            raise TypeError("a desk is spoken to through pipes")
        self.process = process
        self.copy = copy
        self._to, self._of = process.stdin, process.stdout

    @classmethod
    async def start(cls, copy: Snapshot, memory_limit: str, threads: int) -> Self:
        command = ("-m", "projections.desk", str(copy.path), memory_limit, str(threads), str(os.getpid()))
        pipe = asyncio.subprocess.PIPE
        # A session of its own: Ctrl-C is meant for whoever keeps the desks.
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdin=pipe, stdout=pipe, limit=1 << 20, start_new_session=True
        )
        desk = cls(process, copy)
        try:
            await asyncio.wait_for(desk.receive(), START_S)
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            await desk.end()
            raise No(f"no process could be started to answer questions from {copy.path}.") from error
        return desk

    async def receive(self) -> bytes:
        head = await self._of.readexactly(4)
        return await self._of.readexactly(int.from_bytes(head, "big"))

    async def ask(self, question: Question) -> tuple[dict[str, Any], bytes]:
        self._to.write(question.as_bytes())
        await self._to.drain()
        return json.loads(await self.receive()), await self.receive()

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


class Desks:
    """A few desks over the newest copy of a file. Belongs to one event loop.

    A question takes a free desk or waits for one. When the file has changed, `keep_fresh` takes a new copy; questions under
    way end on the old one, which is deleted with its last desk.
    """

    def __init__(self, db: Path, folder: Path, *, memory_limit: str, count: int = 2, threads: int = 2) -> None:
        self._db = db
        self._folder = folder
        self._memory_limit = memory_limit
        self._threads = threads
        self._free: list[_Desk] = []
        self._places = asyncio.Semaphore(count)
        self._users: dict[Path, int] = {}
        self._known: OrderedDict[tuple[Path, str], Rows] = OrderedDict()
        self._copy: Snapshot | None = None
        self.trouble = ""
        self.looked_at = 0.0

    @property
    def copy(self) -> Snapshot:
        """The newest copy."""
        if self._copy is None:
            raise No("no copy of the file was taken yet.")
        return self._copy

    async def refresh(self) -> bool:
        """Take a new copy if the file has changed since the last one; return whether it had.

        Raises:
            UsageError, No: as `snapshot.take`; the last copy goes on answering.
        """
        now = time.time()
        if self._copy is not None and snapshot.state_of(self._db) == self._copy.state:
            self.looked_at = now
            return False
        taken = await asyncio.to_thread(snapshot.take, self._db, self._folder, memory_limit=self._memory_limit)
        old, self._copy, self.looked_at = self._copy, taken, now
        self._known.clear()
        idle, self._free = self._free, []
        for desk in idle:
            await desk.end()
        if old is not None and not self._users.get(old.path):
            remove(old.path)
        return True

    async def keep_fresh(self, every: float) -> None:
        """Look for changes for ever, every so many seconds, less often where a copy takes long."""
        while True:
            await asyncio.sleep(max(every, COST_SHARE * self.copy.seconds))
            try:
                await self.refresh()
                self.trouble = ""
            except (No, OSError) as error:
                self.trouble = str(error)
                log.warning("readers keep the older copy", why=self.trouble)

    async def ask(self, question: Question, seconds: float) -> Rows:
        """Ask; the same question of the program itself is answered from memory until the copy changes.

        Raises:
            Refused, Wrong, TooLong: as their names say.
        """
        key = (self.copy.path, question.as_bytes().decode("latin-1"))
        if not question.reader and key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        async with self._places:
            rows = await self._ask_somebody(question, seconds)
        if not question.reader:
            self._known[key] = rows
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return rows

    async def _ask_somebody(self, question: Question, seconds: float) -> Rows:
        copy, began = self.copy, time.monotonic()
        self._users[copy.path] = self._users.get(copy.path, 0) + 1
        desk: _Desk | None = None
        try:
            desk = self._free.pop() if self._free else await _Desk.start(copy, self._memory_limit, self._threads)
            said, data = await asyncio.wait_for(desk.ask(question), seconds)
            if desk.copy is self._copy:
                self._free.append(desk)
                desk = None
        except TimeoutError as error:
            raise TooLong(f"ended: the answer took longer than {seconds:g} seconds.") from error
        except (asyncio.IncompleteReadError, OSError) as error:
            raise Wrong(
                "the process that looked for the answer died, probably for want of memory: ask for less at once."
            ) from error
        finally:
            if desk is not None:
                await desk.end()
            self._let_go(copy)
        return _read(said, data, copy, time.monotonic() - began)

    def _let_go(self, copy: Snapshot) -> None:
        self._users[copy.path] -= 1
        if not self._users[copy.path]:
            del self._users[copy.path]
            if copy is not self._copy:
                remove(copy.path)

    async def close(self) -> None:
        """End every desk that is free and forget the copies."""
        for desk in self._free:
            await desk.end()
        self._free = []
        snapshot.discard(self._folder)


def _read(said: dict[str, Any], data: bytes, copy: Snapshot, seconds: float) -> Rows:
    if "refused" in said:
        raise Refused(said["refused"])
    if "wrong" in said:
        raise Wrong(said["wrong"])
    with pa.ipc.open_stream(data) as reader:
        table = reader.read_all()
    return Rows(table, said["types"], said["more"], copy.stamp, copy.taken_at, seconds)
