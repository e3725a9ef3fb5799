"""A chaos that finds nothing proves nothing: bugs planted into the workers must be found, each by its name."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.run import Options, chaos

pytestmark = [pytest.mark.kafka, pytest.mark.full, pytest.mark.timeout(600), pytest.mark.usefixtures("jars")]

DEATHS = ("worker_killed", "every_worker_killed", "worker_zombie", "connections_reset")
#: Faults, kinds of findings of which one must show, and what else is told to the run. A checkpoint without its snapshots shows
#: only where no member is new: then the engine sees that snapshots are missing, and reads the whole log.
BUGS: dict[str, tuple[tuple[str, ...], set[str], dict[str, Any]]] = {
    "outside_transaction": (DEATHS, {"decisions doubled", "derived facts lost"}, {}),
    "checkpoint_early": (
        ("every_worker_killed", "worker_killed"),
        {"decisions with other bytes"},
        {"shop": "business", "checkpoint": 100, "rate": 60},
    ),
    "from_group_offset": (("group_ahead",), {"decisions lost"}, {}),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    """Given workers with a bug, when chaos runs, then it fails with a finding of the bug's kind."""
    faults, kinds, more = BUGS[bug]
    told: dict[str, Any] = {"rate": 300, "patience_s": 40, "session_s": 3.0, "plant": bug, "only": faults} | more
    options = Options(seed=5, minutes=2, brokers=1, workers=2, partitions=3, **told)
    report = chaos(options)
    print("\n".join(report.lines()))

    assert not report.good
    found = {kind for kind, count in report.audit["zeros"].items() if count}
    assert found & kinds, found
