"""Whatever hangs, hangs for minutes only: tests in processes of their own, stuck where Python cannot interrupt them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A mutex locked twice: a wait that no signal breaks off, as a query of DuckDB.
STUCK = (
    "mutex, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None); [libc.pthread_mutex_lock(mutex) for _ in '12']"
)

IN_A_CALL = f"""
import ctypes

def test_that_passes():
    pass

def test_that_is_stuck():
    {STUCK}
"""

AFTER_A_FAILURE = f"""
import ctypes

import pytest

@pytest.fixture
def stuck():
    yield
    {STUCK}

def test_that_fails(stuck):
    assert not "this"
"""

WAITING_AFTER_A_FAILURE = """
import threading

import pytest

@pytest.fixture
def waiting():
    yield
    threading.Event().wait()

def test_that_fails(waiting):
    assert not "this"

def test_the_next_one():
    pass
"""

IN_A_FIXTURE = f"""
import ctypes

import pytest

@pytest.fixture
def stuck():
    {STUCK}

@pytest.mark.timeout(2)
def test_whose_fixture_is_stuck(stuck):
    pass
"""

CONFTEST = """
from tests.hanging import HangGuard

def pytest_configure(config):
    config.pluginmanager.register(HangGuard(patience={patience}))
"""


def run_tests(folder: Path, text: str, patience: float) -> subprocess.CompletedProcess[str]:
    """Run a file of tests under a guard. Errors: TimeoutExpired where the guard does nothing."""
    (folder / "conftest.py").write_text(CONFTEST.format(patience=patience))
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\ntimeout = 3\n")
    plugins = ["-p", "pytest_timeout", "-p", "no:cacheprovider"]
    where = ["--rootdir", str(folder), "-c", str(folder / "pytest.ini"), str(folder)]
    words = [sys.executable, "-m", "pytest", *plugins, *where]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("text", "where"),
    [(IN_A_CALL, "test_that_is_stuck"), (AFTER_A_FAILURE, "in stuck"), (IN_A_FIXTURE, "in stuck")],
    ids=["in a test", "in the teardown of a test that failed", "in a fixture"],
)
def test_what_is_stuck_in_c_is_told_and_ends_the_run(tmp_path: Path, text: str, where: str) -> None:
    # Given a test whose main thread never comes back from C, so that pytest-timeout's alarm is of no use
    # When it runs
    done = run_tests(tmp_path, text, patience=0.5)
    # Then the run ends as a failure, and the stacks of its threads say where it was
    assert done.returncode == 1, done
    assert "Timeout (0:00:0" in done.stderr, done
    assert where in done.stderr, done


def test_a_teardown_that_waits_after_a_failure_is_a_failure_and_the_next_test_runs(tmp_path: Path) -> None:
    done = run_tests(tmp_path, WAITING_AFTER_A_FAILURE, patience=90)
    assert done.returncode == 1, done
    assert "1 failed, 1 passed, 1 error" in done.stdout, done
    assert "Timeout (>3.0s) from pytest-timeout" in done.stdout, done


def bounded(minutes: float, program: str) -> list[str]:
    """The command line that runs a Python program for so many minutes at most."""
    return [sys.executable, "-m", "tests.bounded", "--minutes", str(minutes), "--", sys.executable, "-c", program]


# A child in a session of its own, deaf to polite signals: such are brokers of a run that was killed.
LEAVES_ONE_BEHIND = """
import os, signal, subprocess, sys
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
os._exit(3)
"""

NEVER_ENDS = "import faulthandler, time; faulthandler.enable(); print('begun', flush=True); time.sleep(600)"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands orphans to a chosen process")
def test_nothing_that_a_run_started_outlives_it() -> None:
    # Given a run that dies and leaves a process behind, When it is over
    done = subprocess.run(
        bounded(2, LEAVES_ONE_BEHIND), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    # Then that process is gone and named, and the exit code is the run's
    assert done.returncode == 3, done
    assert "left behind, killed: python" in done.stderr, done
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


# Its parent is gone when it ends, and whoever looks for its id must not find it for ever.
ENDS_AS_AN_ORPHAN = """
import os, subprocess, sys, time
start = "import subprocess; print(subprocess.Popen(['sleep', '0.2'], stdout=subprocess.DEVNULL).pid)"
pid = int(subprocess.run([sys.executable, "-c", start], stdout=subprocess.PIPE, check=True).stdout)
while os.path.exists(f"/proc/{pid}"):
    time.sleep(0.02)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands orphans to a chosen process")
def test_an_orphan_that_ended_is_gone_while_the_run_goes_on() -> None:
    done = subprocess.run(
        bounded(1, ENDS_AS_AN_ORPHAN), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done


def test_a_run_that_takes_too_long_tells_its_stacks_and_ends() -> None:
    done = subprocess.run(bounded(0.05, NEVER_ENDS), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 124, done
    assert "still running after 0.05 minutes" in done.stderr, done
    assert 'File "<string>", line 1 in <module>' in done.stderr, done


def test_a_run_that_is_told_to_end_takes_everything_along() -> None:
    with subprocess.Popen(
        bounded(5, NEVER_ENDS), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "begun\n"
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 128 + signal.SIGTERM, said
    assert "SIGTERM: ending" in said


def test_a_run_that_passes_passes() -> None:
    done = subprocess.run(
        bounded(2, "print('fine')"), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")
