"""Chaos, short: one broker and few seconds in every run; three brokers, and planted bugs that must be found, in the long one."""

from __future__ import annotations

import pytest

from tests.chaos.report import Report
from tests.chaos.run import Options, chaos

pytestmark = pytest.mark.kafka


def well(report: Report) -> None:
    """Everything is as it must be, and something was done."""
    print("\n".join(report.lines()))
    assert report.good, "\n".join(report.lines())
    assert report.audit["facts"] > 500
    assert report.audit["chained"] > 500
    assert report.faults


@pytest.mark.usefixtures("jars")
@pytest.mark.timeout(300)
def test_one_broker_for_a_short_while() -> None:
    """Given two workers, a projector and one broker, when they are killed and frozen, then the logs and tables are right."""
    faults = ("worker_killed", "worker_zombie", "leader_killed", "projector_killed", "connections_reset")
    well(
        chaos(
            Options(seed=1, minutes=0.2, brokers=1, workers=2, partitions=3, rate=200, session_s=3.0, only=faults),
        )
    )


@pytest.mark.full
@pytest.mark.usefixtures("jars")
@pytest.mark.timeout(900)
def test_three_brokers_for_three_minutes() -> None:
    """Given three brokers of which two must acknowledge, when leaders and workers die, then the logs and tables are right."""
    well(chaos(Options(seed=3, minutes=3, brokers=3, workers=3, partitions=6, rate=200)))
