"""A chaos that finds nothing proves nothing: bugs planted into the workers must be found, each by its name."""

from __future__ import annotations

import pytest

from tests.chaos.run import Options, chaos

pytestmark = [pytest.mark.kafka, pytest.mark.full, pytest.mark.timeout(600), pytest.mark.usefixtures("jars")]

DEATHS = ("worker_killed", "every_worker_killed", "worker_zombie", "connections_reset")
BUGS: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "outside_transaction": (DEATHS, {"decisions doubled", "derived facts lost"}),
    "checkpoint_early": (("every_worker_killed", "worker_killed"), {"decisions with other bytes"}),
    "from_group_offset": (("group_ahead",), {"decisions lost"}),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    """Given workers with a bug, when chaos runs, then it fails with a finding of the bug's kind."""
    faults, kinds = BUGS[bug]
    options = Options(
        seed=5,
        minutes=2,
        brokers=1,
        workers=2,
        partitions=3,
        rate=300,
        patience_s=40,
        session_s=3.0,
        plant=bug,
        only=faults,
    )
    report = chaos(options)
    print("\n".join(report.lines()))

    assert not report.good
    found = {kind for kind, count in report.audit["zeros"].items() if count}
    assert found & kinds, found
