"""The process of one reader, seen from the gate: started when the first question comes, ended when one takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any, Self

import duckdb

from engine.readers import wire
from engine.settings import No
from projections.server import HOST

# A start is an interpreter, DuckDB and its extensions; on a crowded machine it takes many seconds.
START_S = 90.0
OPEN_S = 60.0
ANSWER_BYTES = 256 << 20
_HEAD = (
    b"POST /quack HTTP/1.1\r\nHost: %s\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n"
)


class Gone(Exception):
    """The process ended before it had answered. `why` is empty where nobody ended it: then it died."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Desk:
    """A child process that serves copies; `end` is how a question is ended."""

    def __init__(self, process: asyncio.subprocess.Process, token: str) -> None:
        if process.stdin is None or process.stdout is None:
            raise TypeError("a desk is spoken to through pipes")
        self._process, self._token = process, token
        self._to, self._of = process.stdin, process.stdout
        self._talking = asyncio.Lock()
        self._ports: dict[Path, int] = {}
        self.ended = ""

    @classmethod
    async def start(cls, memory_limit: str, threads: int) -> Self:
        """Start one. Errors: No."""
        command = ("-m", "projections.reader_desk", memory_limit, str(threads), str(os.getpid()))
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdin=pipe, stdout=pipe, start_new_session=True
        )
        desk = cls(process, secrets.token_urlsafe(32))
        desk._to.write(json.dumps({"token": desk._token}).encode() + b"\n")
        return desk

    @property
    def alive(self) -> bool:
        """Does it still run, and shall it?"""
        return not self.ended and self._process.returncode is None

    @property
    def copies(self) -> frozenset[Path]:
        """The copies it has open."""
        return frozenset(self._ports) if self._process.returncode is None else frozenset()

    async def connect(self, copy: Path) -> tuple[int, wire.Message]:
        """Begin a session on a copy; returns its port and what the server answered. Errors: Gone, No."""
        async with self._talking:
            if copy not in self._ports:
                said = await self._told({"open": str(copy)}, START_S if not self._ports else OPEN_S)
                self._ports[copy] = int(said["port"])
        port = self._ports[copy]
        answer = wire.parse(await self.post(port, wire.connect(self._token, f"v{duckdb.__version__}")))
        if answer.kind != wire.Kind.CONNECTED:
            raise No(f"the reader's process refused a session: {wire.first_text(answer)}")
        return port, answer

    async def close_copy(self, copy: Path) -> None:
        """Let go of a copy that no session uses any more."""
        async with self._talking:
            if self._ports.pop(copy, None) is not None:
                with contextlib.suppress(Gone, No):
                    await self._told({"close": str(copy)}, OPEN_S)

    async def _told(self, what: dict[str, str], seconds: float) -> dict[str, Any]:
        try:
            self._to.write(json.dumps(what).encode() + b"\n")
            line = await asyncio.wait_for(self._of.readline(), seconds)
        except (OSError, TimeoutError) as error:
            await self.end("it did not answer")
            raise Gone(self.ended) from error
        if not line:
            raise Gone(self.ended)
        said: dict[str, Any] = json.loads(line)
        if "trouble" in said:
            raise No(str(said["trouble"]))
        return said

    async def post(self, port: int, data: bytes) -> bytes:
        """Send a message and return the answer. Errors: Gone."""
        try:
            source, sink = await asyncio.open_connection(HOST, port)
            try:
                sink.write(_HEAD % (f"{HOST}:{port}".encode(), len(data)) + data)
                await sink.drain()
                head = (await source.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = int(head.partition("content-length:")[2].partition("\r\n")[0] or -1)
                if not 0 <= length <= ANSWER_BYTES or " 200 " not in head.partition("\r\n")[0]:
                    return wire.error("the reader's process gave an answer that cannot be passed on")
                return await source.readexactly(length)
            finally:
                sink.close()
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Gone(self.ended) from error

    async def end(self, why: str) -> None:
        """Kill it; whoever waits for an answer gets Gone with this reason."""
        self.ended = self.ended or why
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
