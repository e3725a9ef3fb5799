"""Child processes: they end when their parent ends, however it ends, and users are told a command that works."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# A tenth of everybody else's share. At 19, a seventieth, answers starve on a busy machine.
BEHIND_NICE = 10
AUTOGROUP_ATTEMPTS = 50
AUTOGROUP_PAUSE_S = 0.05
_PR_SET_PDEATHSIG = 1
# Loaded before any fork: a child between fork and exec should import and load nothing.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def ends_with_parent() -> Callable[[], None]:
    """For `preexec_fn` of a child: it gets SIGTERM when this process is gone, SIGKILL included (Linux; elsewhere nothing).

    The kernel means the thread that started the child; start children from a thread that lives as long as they shall.
    """
    parent = os.getpid()
    return lambda: end_with(parent)


def end_with(parent: int) -> None:
    """Have the kernel end this process when ``parent``, the process that started it, is gone."""
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died in between, and nobody will tell
        os._exit(1)


def command_name() -> str:
    """How this `stammgast` was called, for lines that users copy: `stammgast`, or the path of one that is not on the PATH."""
    called = Path(sys.argv[0])
    if called.name != "stammgast":
        return "stammgast"
    found = shutil.which("stammgast")
    if found is not None and Path(found).resolve() == called.resolve():
        return "stammgast"
    whole = called.absolute()
    return str(whole.relative_to(Path.cwd())) if whole.is_relative_to(Path.cwd()) else str(whole)


def stand_back() -> None:
    """Take a tenth of the processor time that others take, however many processes like this one there are.

    Linux's scheduler weighs sessions, not processes, where autogroup is on, and ignores nice values between them: 20 processes in
    sessions of their own would take twenty shares. So the session gets the value too (sched(7), "The autogroup feature").
    """
    os.nice(BEHIND_NICE)
    with suppress(OSError):  # another kernel, or no autogroup: then the nice value alone holds
        for _attempt in range(AUTOGROUP_ATTEMPTS):
            try:
                Path("/proc/self/autogroup").write_text(str(BEHIND_NICE))
                return
            except BlockingIOError:  # the kernel takes ten changes a second of all of a machine's users together
                time.sleep(AUTOGROUP_PAUSE_S)
