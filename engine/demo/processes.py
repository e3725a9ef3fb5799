"""Roles of stammgast as child processes: started, watched, ended in order, their logs kept until the demo is over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from engine.processes import ends_with_parent
from engine.settings import No, as_environment

#: A role may take this long to stop in order (its own limit is 15 s); then it is killed.
STOP_SECONDS = 20.0
_LAST_WORDS = 1_500
_START = "from engine.cli import main; main()"


class Role:
    """One running `stammgast <verb>`."""

    def __init__(self, verb: str, settings: Mapping[str, object], log: Path) -> None:
        """Start it. ``settings`` become environment variables, ``log`` takes all it says."""
        self.verb = verb
        self._log = log
        environment = {**os.environ, **as_environment({"log_format": "json", "log_level": "warning", **settings})}
        with log.open("wb") as said:
            # A session of its own: Ctrl-C reaches the demo alone, which ends its roles in order.
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, verb],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                preexec_fn=ends_with_parent(),  # noqa: PLW1509  it loads and locks nothing
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise when it is no longer running.

        Raises:
            No: with the last it said.
        """
        if self._process.poll() is not None:
            said = self._log.read_text(encoding="utf-8", errors="replace")[-_LAST_WORDS:].strip()
            raise No(f"the {self.verb} ended with exit code {self._process.returncode}:\n{said or '(it said nothing)'}")

    def ask_to_stop(self) -> None:
        """Send SIGTERM; returns at once."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Wait for its end, kill it when it takes too long."""
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def running(roles: list[Role]) -> Iterator[None]:
    """End these roles at the end, whatever happens: all are asked first, then waited for."""
    try:
        yield
    finally:
        for role in roles:
            role.ask_to_stop()
        for role in roles:
            role.wait()
