"""No test can hold a run: what outlives its timeout ends the process, with the stacks of all threads.

pytest-timeout raises in the main thread, so it cannot end a wait inside C (DuckDB, librdkafka), and it gives up its alarm as
soon as a test fails, so the teardown of a failed test has no end at all. Python's faulthandler needs neither the main thread nor
the interpreter's lock. pytest's own `faulthandler_timeout` is one figure for all tests and is given up at a failure, too.
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Generator

import pytest
from pytest_timeout import Settings

#: Between a test's timeout and the end of the process. Too small: a test that fails by its timeout and then cleans up in order
#: takes the whole run along. Too large: a hang is reported that late.
PATIENCE_S = 120.0
#: For what is done once all tests are over. Nothing waits there on purpose.
ENDING_S = 300.0


class HangGuard:
    """A pytest plugin: each phase of a test (setup, call, teardown) may take the test's timeout and ``patience`` seconds more.

    A process that takes longer prints the stacks of all its threads and exits with 1. A timeout of 0 means no guard.
    """

    def __init__(self, patience: float = PATIENCE_S) -> None:
        self._patience = patience
        # pytest catches what goes to file descriptor 2 during tests; while plugins are set up it does not.
        self._stderr = os.dup(2)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Between tests nothing is guarded: a worker of pytest-xdist waits there for the others."""
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None]:
        """Fixtures are made."""
        self._allow(_timeout(item))
        yield

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None]:
        """The test itself."""
        self._allow(_timeout(item))
        yield

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None]:
        """Fixtures are taken down: with a timeout of their own, whatever became of the test."""
        seconds = _timeout(item)
        self._allow(seconds)
        if seconds > 0:
            item.config.hook.pytest_timeout_set_timer(item=item, settings=Settings(seconds, "signal", False, False))
        yield

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None]:
        """Reports are written."""
        self._guard(ENDING_S)
        yield

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Whoever runs pytest inside a process of his own goes on unguarded."""
        faulthandler.cancel_dump_traceback_later()

    def _allow(self, seconds: float) -> None:
        if seconds > 0:
            self._guard(seconds + self._patience)

    def _guard(self, seconds: float) -> None:
        faulthandler.dump_traceback_later(seconds, exit=True, file=self._stderr)


def _timeout(item: pytest.Item) -> float:
    """What pytest-timeout gives ``item``, in seconds: its marker, else the command line, else pyproject.toml."""
    marker = item.get_closest_marker("timeout")
    if marker is not None:
        return float(marker.args[0] if marker.args else marker.kwargs["timeout"])
    asked = item.config.getoption("timeout")
    return float(item.config.getini("timeout") or 0) if asked is None else float(asked)
