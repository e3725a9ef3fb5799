"""Histories of workers that die, freeze and lose their partitions: every fact is decided once, in order, to the byte."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.stream.turn import Decider
from tests.simulation.history import Outcome, run
from tests.simulation.planted import PLANTED, Variant
from tests.simulation.seeds import FOUND

ROOT = Path(__file__).parents[2]
SCHEDULES, BLOCK = 150, 30
#: A planted bug must show within so many seeds.
SEEDS_TO_FIND = 60


def told(outcome: Outcome) -> str:
    """What a reader needs to run it again."""
    violations = "\n".join(outcome.violations[:3])
    seed = outcome.options.seed
    return f"seed {seed}: {violations}\nrun `make simulation SIMULATION_ARGS='--seed {seed} --schedules 1'`"


@pytest.mark.parametrize("first", range(1, SCHEDULES, BLOCK))
def test_no_history_breaks_the_promise(first: int) -> None:
    """Given histories with faults, when each has converged, then the auditor found nothing in any."""
    # when
    outcomes = [run(seed) for seed in range(first, first + BLOCK)]

    # then
    failed = [told(outcome) for outcome in outcomes if outcome.violations]
    assert not failed, "\n\n".join(failed)
    print(f"{len(outcomes)} schedules, {sum(outcome.facts for outcome in outcomes)} facts, 0 violations")
    assert sum(outcome.facts for outcome in outcomes) > 80 * BLOCK
    assert sum(outcome.faults["kill"] for outcome in outcomes) > BLOCK / 5
    assert sum(outcome.recoveries["snapshot"] for outcome in outcomes) > BLOCK / 5


@pytest.mark.parametrize(("seed", "facts", "business"), FOUND, ids=[f"seed {seed}" for seed, *_ in FOUND])
def test_what_was_found_once_stays_mended(seed: int, facts: int, business: bool) -> None:
    """Given a seed that failed before its bug was mended, when it runs, then it passes."""
    outcome = run(seed, facts, business=business)

    assert not outcome.violations, told(outcome)


@pytest.mark.parametrize("variant", PLANTED, ids=lambda variant: variant.name)
def test_a_planted_bug_is_found(variant: Variant) -> None:
    """Given the product with a bug planted, when histories run, then one of the first fails, and it passes without the bug."""
    # when
    found = next((seed for seed in range(1, SEEDS_TO_FIND + 1) if run(seed, variant=variant).violations), None)

    # then
    assert found is not None, f"{variant.name}: not found in {SEEDS_TO_FIND} seeds"
    assert not run(found, **variant.fixed).violations


def test_a_notice_that_is_lost_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a worker that tells nobody of its notices, when histories run, then the auditor misses them."""
    monkeypatch.setattr(Decider, "_write_notices", lambda *_: None)

    violations = [violation for seed in range(1, 12, 2) for violation in run(seed).violations]

    assert any("incentives missing" in violation for violation in violations), violations


def test_a_fact_that_kills_its_process_is_given_up() -> None:
    """Given a fact at which every process dies, when enough have, then it is given up, and everything else is decided."""
    # when
    outcome = run(1, deadly=1, transactional=True, meddling=())

    # then
    assert not outcome.violations, told(outcome)
    assert outcome.outcomes["given up"] == 1
    assert outcome.outcomes["decided"] > 20


def test_one_seed_is_one_history() -> None:
    """Given a seed, when it runs twice, in another process and with other hashes, then the histories are the same."""
    # given
    program = "from tests.simulation.history import run; print(*(run(seed).digest for seed in range(1, 9)))"

    # when
    digests = []
    for hashes in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hashes}
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=environment, check=True, capture_output=True
        )
        digests.append(done.stdout.decode().split())

    # then
    assert digests[0] == digests[1]
    assert digests[0] == [run(seed).digest for seed in range(1, 9)]
    assert len(set(digests[0])) == len(digests[0])
