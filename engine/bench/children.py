"""Measurements run in processes of their own: a clean heap for each, no event loop shared with another."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import orjson

from engine.bench.figures import Run
from engine.bench.jobs import Job
from engine.settings import as_environment
from engine.stream.clients import Cluster

#: Between a polite end and a hard one. A measuring process holds nothing worth saving.
STOP_S = 5.0
#: On top of a job's own limit, for starting Python.
START_S = 30.0
#: One line of JSON may hold the moments of many thousand events.
LINE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Command:
    """How a measuring process is started: its arguments, and what its environment has on top of ours."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


#: Our own contenders.
OURS = Command((sys.executable, "-m", "engine.bench.contender"))


class MeasurementFailed(Exception):
    """A measuring process ended without a result; the message holds its last words."""


class Child:
    """A running measurement."""

    def __init__(self, job: Job, process: asyncio.subprocess.Process, complaints: IO[bytes]) -> None:
        self._job = job
        self._process = process
        self._complaints = complaints

    async def hear(self) -> dict[str, Any]:
        """The next line it tells.

        Errors: MeasurementFailed when it ended instead, or said nothing within its time.
        """
        try:
            async with asyncio.timeout(self._job.limit_s + START_S):
                line = await self._process.stdout.readline() if self._process.stdout else b""
        except TimeoutError:
            raise MeasurementFailed(f"{self._job.task}: nothing within {self._job.limit_s:.0f} s") from None
        if not line:
            raise MeasurementFailed(f"{self._job.task} ended without a result: {self._last_words()}")
        told: dict[str, Any] = orjson.loads(line)
        return told

    async def result(self) -> Run:
        """Wait for its result, whatever else it tells before. Errors: MeasurementFailed."""
        while "run" not in (told := await self.hear()):
            pass
        return Run(**told["run"])

    def _last_words(self) -> str:
        self._complaints.seek(0)
        return self._complaints.read().decode("utf-8", "replace").strip()[-800:] or "it said nothing"

    async def stop(self) -> None:
        """End it; safe when it has ended already."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                async with asyncio.timeout(STOP_S):
                    await self._process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()


async def _hand_over(pipe: asyncio.StreamWriter | None, job: Job) -> None:
    if pipe is not None:
        pipe.write(job.line())
        with contextlib.suppress(ConnectionError):
            await pipe.drain()


@asynccontextmanager
async def child(job: Job, cluster: Cluster, command: Command = OURS) -> AsyncIterator[Child]:
    """A process that works on `job`; stopped by its id when the block ends."""
    environment = os.environ | as_environment({"bootstrap": cluster.bootstrap}) | cluster.security.environment()
    environment |= command.environment
    if not job.compiled:
        environment |= {"STAMMGAST_COMPILED": "0"}
    with (
        # Its own temporary folder, removed here: a process that ends hard leaves things behind.
        tempfile.TemporaryDirectory(prefix="stammgast-bench-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile(prefix="stammgast-bench-") as complaints,
    ):
        process = await asyncio.create_subprocess_exec(
            *command.arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=complaints,
            limit=LINE_BYTES,
            env=environment | {"TMPDIR": folder},
        )
        running = Child(job, process, complaints)
        try:
            await _hand_over(process.stdin, job)
            yield running
        finally:
            await running.stop()


async def measured(job: Job, cluster: Cluster, command: Command = OURS) -> Run:
    """Run a job in a process of its own to its end. Errors: MeasurementFailed."""
    async with child(job, cluster, command) as running:
        return await running.result()
