"""``python -m tests.bounded --minutes 80 -- COMMAND``: run COMMAND to its end, or end it; leave no process of its behind.

A run of tests starts brokers, workers and browsers. When it dies in the middle they would hold the terminal, the build or a port.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

TIMED_OUT = 124  # what timeout(1) says, too
#: For printing stacks once asked.
LAST_WORDS_S = 20.0
#: For what was left behind to end by itself: most of it gets a signal when its parent is gone.
LEAVING_S = 5.0
_PR_SET_CHILD_SUBREAPER = 36


class Ended(Exception):
    """Somebody wants this run to end now."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def run(command: list[str], seconds: float) -> int:
    """Run ``command`` for at most ``seconds``; its exit code (128 + signal where one ended it), or 124 when time was up.

    One that is cut short is sent SIGABRT first, upon which Python under pytest prints the stacks of all threads.
    """
    _adopt()
    for signum, handler in ((signal.SIGTERM, _raise_ended), (signal.SIGALRM, _raise_time_up), (signal.SIGINT, _go_on)):
        signal.signal(signum, handler)  # before there is a child, which gets none of them: exec takes handlers away
    child = None
    try:
        child = subprocess.Popen(command, preexec_fn=_without_core_files)  # noqa: PLW1509  it loads and locks nothing
        code = _wait(child, seconds)
        return code if code >= 0 else 128 - code
    except TimeoutError:
        _say(f"still running after {seconds / 60:.4g} minutes, so it is ended: {' '.join(command)}")
        _break_off(child)
        return TIMED_OUT
    except Ended as ended:
        _say(f"{ended}: ending {' '.join(command)}")
        _break_off(child)
        return 128 + ended.signum
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _sweep()


def _adopt() -> None:
    """Orphans among our descendants become our children (prctl(2), PR_SET_CHILD_SUBREAPER; Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _without_core_files() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _wait(child: subprocess.Popen[bytes], seconds: float) -> int:
    """Its exit code, negative for a signal; orphans that end meanwhile are buried, so that their ids are free as under init.

    Errors: TimeoutError after ``seconds``.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == child.pid:
                child.returncode = os.waitstatus_to_exitcode(status)
                return child.returncode
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _raise_time_up(signum: int, frame: FrameType | None) -> NoReturn:
    raise TimeoutError


def _raise_ended(signum: int, frame: FrameType | None) -> NoReturn:
    raise Ended(signum)


def _go_on(signum: int, frame: FrameType | None) -> None:
    """Ctrl-C reaches the child as well, and it is the one that sums up."""


def _break_off(child: subprocess.Popen[bytes] | None) -> None:
    if child is None:
        return
    os.kill(child.pid, signal.SIGABRT)  # Popen's own methods would look after it, and take its end away from _wait
    try:
        _wait(child, LAST_WORDS_S)
    except TimeoutError:
        os.kill(child.pid, signal.SIGKILL)
        _wait(child, LAST_WORDS_S)


def _sweep() -> None:
    """End everything that is left, however deep: what loses its parent comes to us."""
    patient_until = time.monotonic() + LEAVING_S
    told: set[int] = set()
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        late = time.monotonic() - patient_until
        if late > LAST_WORDS_S:
            _say(f"still there, the kernel does not let them go: {', '.join(name for _, name in _children())}")
            return
        if late > 0:
            for pid, name in _children():
                if pid not in told:
                    told.add(pid)
                    _say(f"left behind, killed: {name} (process {pid})")
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _children() -> Iterator[tuple[int, str]]:
    """Process id and name of each child, zombies too: other threads of one may live on, and keep what they started."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            pid, rest = stat.read_text().split(" (", 1)
            name, after = rest.rsplit(") ", 1)
            if int(after.split()[1]) == os.getpid():
                yield int(pid), name


def _say(line: str) -> None:
    print(f"tests.bounded: {line}", file=sys.stderr, flush=True)


def main() -> NoReturn:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bounded", description="Run a command to its end, or end it.")
    parser.add_argument("--minutes", type=float, required=True, help="at most this long")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="and its arguments, after --")
    asked = parser.parse_args()
    sys.exit(run(asked.command, asked.minutes * 60))


if __name__ == "__main__":
    main()
