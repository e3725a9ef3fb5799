"""The core compiled ahead of time: used only for the very sources it was made of, and never half."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine import compiled

SAYS = "from engine.compiled import core; print(core())"
DECIDES = """
import hashlib
from engine.bench import data
from schemas.decisions import encode_decision, parse_decision
from schemas.envelope import parse_fact

ledger = data.fresh_ledger(data.programmes())
digest = hashlib.sha256()
for offset, value in enumerate(data.fact_values(data.TWO_LINES, 2_000), ledger.next_offset):
    for decision in ledger.answer(parse_fact(value), offset).decisions:
        encoded = encode_decision(decision)
        assert encode_decision(parse_decision(encoded)) == encoded
        digest.update(encoded)
from engine.compiled import core
print(core(), digest.hexdigest())
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the sources, with nothing compiled."""
    for room in ("schemas", "rules", "engine", "projections"):
        shutil.copytree(compiled.ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run(checkout: Path, program: str, **environment: str) -> str:
    """What a program prints there."""
    clean = {name: value for name, value in os.environ.items() if name != "STAMMGAST_COMPILED"}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=checkout,
        env=clean | environment | {"PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_without_anything_compiled_the_core_is_interpreted(checkout: Path) -> None:
    """A bare Python needs nothing else."""
    assert run(checkout, SAYS) == "interpreted"


def test_what_was_compiled_is_used_until_a_source_changes_or_somebody_says_no(checkout: Path) -> None:
    """An edited source is never shadowed."""
    # given what was compiled of these sources
    compiled.kept_in(checkout).mkdir(parents=True)

    # then it is found, and left alone where that is asked for
    assert run(checkout, SAYS) == "compiled"
    assert run(checkout, SAYS, STAMMGAST_COMPILED="0") == "interpreted"

    # when a source of the core is edited, or joins, then it is not
    source = checkout / "schemas" / "facts.py"
    before = source.read_text()
    source.write_text(before + "# a word\n")
    assert run(checkout, SAYS) == "interpreted"
    source.write_text(before)
    assert run(checkout, SAYS) == "compiled"
    (checkout / "engine" / "ledger" / "lots.py").write_text('"""New."""\n')
    assert run(checkout, SAYS) == "interpreted"


def test_a_core_that_is_already_there_interpreted_stays_so_as_a_whole(checkout: Path) -> None:
    """Compiled and interpreted classes of one name must not meet."""
    compiled.kept_in(checkout).mkdir(parents=True)

    assert run(checkout, f"import schemas.ids\n{SAYS}") == "interpreted"


def test_every_module_of_the_ledger_is_compiled_and_every_named_one_is_there() -> None:
    """A new file of the ledger needs no line anywhere."""
    named = compiled.sources()

    assert all((compiled.ROOT / path).is_file() for path in named)
    assert {"engine/ledger/earning.py", "engine/ledger/partition.py", "schemas/envelope.py"} <= set(named)
    assert "schemas/normalise.py" not in named


@pytest.mark.full
@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_compiled_core_decides_byte_for_byte_as_the_interpreted_one(checkout: Path) -> None:
    """Compile a copy of the sources and let both decide the same facts."""
    # given
    interpreted = run(checkout, DECIDES)

    # when
    said = run(checkout, "from engine.cli import main; main(['compile'])")

    # then
    assert said.startswith("compiled"), said
    assert run(checkout, DECIDES) == interpreted.replace("interpreted", "compiled")
    assert run(checkout, "from engine.cli import main; main(['compile'])") == "the core is compiled already"
