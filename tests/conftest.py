"""For all tests: long ones wait to be asked for, and where Kafka is required a skipped Kafka test is a failure."""

import os
from collections.abc import Generator

import hypothesis
import pytest

from engine.compiled import core
from tests.hanging import HangGuard

REQUIRE_KAFKA = os.environ.get("STAMMGAST_TEST_REQUIRE_KAFKA") == "1"
FULL = os.environ.get("STAMMGAST_TEST_FULL") == "1"
KAFKA_FOLDERS = ("tests/kafka/", "tests/chaos/")

# Two shared cores give no honest deadlines; a failure prints what it takes to run it again. The short run tries the same
# examples every time, so that a red build is a change and not luck; `make test-full` explores.
hypothesis.settings.register_profile("stammgast", deadline=None, print_blob=True, derandomize=not FULL)
hypothesis.settings.load_profile("stammgast")


def pytest_configure(config: pytest.Config) -> None:
    """Whatever hangs, hangs for minutes only."""
    config.pluginmanager.register(HangGuard(), "stammgast-hang-guard")


def pytest_report_header() -> str:
    """Say at the top how this run was asked for."""
    kafka = "required" if REQUIRE_KAFKA else "where Java and Maven are found"
    return f"stammgast: core {core()}; real Kafka {kafka}; long tests {'included' if FULL else 'left out (make test-full)'}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the long tests, with the reason, unless they are asked for."""
    if not FULL:
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: make test-full"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A Kafka test that was skipped counts as failed where Kafka is required."""
    report = yield
    wanted = item.get_closest_marker("kafka") is not None and (FULL or item.get_closest_marker("full") is None)
    if REQUIRE_KAFKA and wanted and report.skipped and not hasattr(report, "wasxfail"):
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module of Kafka tests that skips itself as a whole."""
    report = yield
    if REQUIRE_KAFKA and report.skipped and collector.nodeid.startswith(KAFKA_FOLDERS):
        _fail(report)
    return report


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"STAMMGAST_TEST_REQUIRE_KAFKA=1, but this was skipped: {reason}"
