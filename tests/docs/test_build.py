"""How the house is built and tested: the Makefile explains itself, CI asks for everything, skips are never silent."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WANTED = {"install", "demo", "test", "test-full", "lint", "format", "types", "bench", "help"}

SAMPLE = '''"""A sample of tests, run by the test around it."""

import pytest


@pytest.mark.kafka
def test_with_kafka() -> None:
    """Skips itself."""
    pytest.skip("no Java here")


@pytest.mark.kafka
@pytest.mark.full
def test_long_with_kafka() -> None:
    """Takes minutes."""


@pytest.mark.skip(reason="another reason")
def test_without_kafka() -> None:
    """Has nothing to do with Kafka."""
'''


def run_sample(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the sample under our conftest and configuration."""
    kafka = folder / "tests" / "kafka"
    kafka.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "conftest.py", folder / "tests")
    shutil.copy(ROOT / "pyproject.toml", folder)
    (kafka / "test_sample.py").write_text(SAMPLE)
    (kafka / "test_module.py").write_text(
        '"""Skips."""\nimport pytest\n\npytest.skip("whole", allow_module_level=True)\n'
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("STAMMGAST_", "PYTEST_"))}
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests"]
    return subprocess.run(words, cwd=folder, env=clean | env, capture_output=True, text=True, check=False)


def test_skips_are_listed_with_their_reasons(tmp_path: Path) -> None:
    """A run says at its end what it skipped and why; long tests name the target that runs them."""
    # when
    ran = run_sample(tmp_path)

    # then
    assert ran.returncode == 0, ran.stdout
    for reason in ("no Java here", "make test-full", "another reason", "whole"):
        assert reason in ran.stdout


def test_where_kafka_is_required_a_skipped_kafka_test_fails(tmp_path: Path) -> None:
    """A Kafka test or module that skips fails the run; other skips and long tests do not."""
    # when
    ran = run_sample(tmp_path, STAMMGAST_TEST_REQUIRE_KAFKA="1")

    # then
    assert ran.returncode != 0
    assert "STAMMGAST_TEST_REQUIRE_KAFKA=1, but this was skipped: " in ran.stdout
    failed = set(re.findall(r"^(?:FAILED|ERROR) (\S+)", ran.stdout, flags=re.MULTILINE))
    assert "tests/kafka/test_module.py" in failed
    assert not any("long" in name or "without_kafka" in name for name in failed)


def test_where_kafka_is_required_the_failure_names_the_test(tmp_path: Path) -> None:
    """Without the module that stops collection, the one Kafka test that skipped is the one that failed."""
    # when
    ran = run_sample(tmp_path, STAMMGAST_TEST_REQUIRE_KAFKA="1", PYTEST_ADDOPTS="--ignore=tests/kafka/test_module.py")

    # then
    assert re.findall(r"^FAILED (\S+)", ran.stdout, flags=re.MULTILINE) == [
        "tests/kafka/test_sample.py::test_with_kafka"
    ]


def test_every_target_of_the_makefile_explains_itself() -> None:
    """`make help` lists every phony target with a line."""
    # given
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    phony = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)[0]

    # when
    shown = subprocess.run([make, "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = {found[1] for line in shown.splitlines() if (found := re.match(r"  make ([a-z-]+) +\S", line))}

    # then
    assert listed == set(phony.split())
    assert listed >= WANTED


def test_ci_runs_everything_and_stops_at_the_first_failure() -> None:
    """.ci/run is an executable bash script: strict, Kafka required, then tests, lint and types."""
    # given
    script = ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")

    # then
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert "set -euo pipefail" in text
    order = [
        text.index(words)
        for words in ("STAMMGAST_TEST_REQUIRE_KAFKA=1 make", "make --no-print-directory lint", "directory types")
    ]
    assert order == sorted(order)
