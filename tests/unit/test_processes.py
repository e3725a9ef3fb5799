"""Processes that answer questions take what the others leave."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.processes import BEHIND_NICE

AUTOGROUP = Path("/proc/self/autogroup")
CHILD = "from engine.processes import stand_back; stand_back(); import os; print(os.nice(0)); input()"


@pytest.mark.skipif(not AUTOGROUP.exists(), reason="this kernel groups no sessions (no /proc/self/autogroup)")
def test_a_process_that_stands_back_takes_its_session_with_it() -> None:
    # Given a process in a session of its own, which Linux weighs as one against all others, whatever its nice value
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        assert child.stdout is not None
        # When it stands back
        nice = child.stdout.readline().strip()
        told = Path(f"/proc/{child.pid}/autogroup").read_text()
        child.communicate("\n", timeout=60)
    # Then both values say so
    assert int(nice) == min(19, os.nice(0) + BEHIND_NICE)
    assert told.split()[-1] == str(BEHIND_NICE), told
