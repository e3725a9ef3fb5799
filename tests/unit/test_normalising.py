"""Events are normalised beside the replay: the same facts in the same order, whoever does it."""

from __future__ import annotations

import gzip
import multiprocessing
import os
import re
from contextlib import closing
from pathlib import Path

import pytest

from engine import normalising
from engine.lines import ReplayError
from engine.normalising import Block, Stamp, normalised, normalised_file
from engine.replay import replay
from rules.book import load_directory
from schemas.envelope import parse_fact
from schemas.times import to_us
from tests.unit.ledger import RECORDED
from tests.unit.test_schemas_normalise import event

PROGRAMME = Path(__file__).parents[2] / "rules" / "programmes" / "coffee-bar"
LINES = [event(id=f"e{number}") if number % 7 else b"no event" for number in range(1, 200)]
STAMP = Stamp(RECORDED, to_us(RECORDED), b"secret" * 8)
#: A helper starts in half a second; it may take this long on a machine that is busy with other things.
PATIENCE_S = 120.0
#: More than a pipe holds, so that a helper is amid its work for as long as nobody reads what it made.
MANY = 20_000

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def helped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of ten lines, the first of which is made here; all the others by a helper, for whose start is waited."""
    monkeypatch.setattr(normalising, "BLOCK_LINES", 10)
    monkeypatch.setattr(normalising, "ALONE_BLOCKS", 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(normalising._Helper, "started", lambda self: self._inlet._connection.poll(PATIENCE_S))


def written(path: Path, lines: list[bytes]) -> Path:
    """A file of these lines."""
    with gzip.open(path, "wb") if path.suffix == ".gz" else path.open("wb") as file:
        file.write(b"\n".join(lines))
    return path


def silent(_done: int, _total: int) -> None:
    """No progress is shown."""


def told(blocks: list[Block]) -> tuple[int, list[bytes], list[int]]:
    """Events, facts, numbers of refused lines."""
    values = [value for block in blocks for value in block.values]
    return sum(block.events for block in blocks), values, [number for block in blocks for number, *_ in block.refused]


def helpers() -> list[int | None]:
    """Process ids of the children that run now."""
    return [child.pid for child in multiprocessing.active_children()]


@pytest.mark.usefixtures("helped")
@pytest.mark.parametrize("name", ["events.jsonl", "events.jsonl.gz"])
def test_facts_and_refusals_are_the_same_whoever_normalises(name: str, tmp_path: Path) -> None:
    """Given a helper, then order, bytes and line numbers are those that this process makes of the lines."""
    lines = [*LINES[:15], b"  ", b"", *LINES[15:], b""]
    seen: list[tuple[int, int]] = []

    with closing(normalised_file(written(tmp_path / name, lines), STAMP, lambda *at: seen.append(at))) as made:
        blocks = list(made)

    events, values, refused = told(blocks)
    assert (events, values, refused) == told(list(normalised(lines, STAMP)))
    assert [parse_fact(value).id for value in values] == [f"e{number}" for number in range(1, 200) if number % 7]
    assert refused[:3] == [7, 14, 23], "two empty lines stand in between"
    assert [block.events for block in blocks] == [10, 189], "one was made here, and all the others by the helper"
    assert seen[-1][0] > 0
    assert seen[-1][1] == (tmp_path / name).stat().st_size
    assert not helpers()


def test_a_small_file_starts_no_helper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As many lines as are done alone start no process; one more does."""

    class NoHelper(Exception):
        pass

    def refuse(*_: object) -> None:
        raise NoHelper

    monkeypatch.setattr(normalising, "BLOCK_LINES", 10)
    monkeypatch.setattr(normalising, "ALONE_BLOCKS", 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(normalising, "_Helper", refuse)

    alone = told(list(normalised_file(written(tmp_path / "small", LINES[:20]), STAMP, silent)))

    assert alone[0] == 20
    with pytest.raises(NoHelper):
        list(normalised_file(written(tmp_path / "larger", LINES[:21]), STAMP, silent))


@pytest.mark.usefixtures("helped")
def test_a_helper_that_is_killed_is_noticed(tmp_path: Path) -> None:
    """Given a helper killed amid its work, then whoever takes its blocks is told, and no process stays."""
    file = written(tmp_path / "events.jsonl", [event(id=f"e{number}") for number in range(MANY)])

    with closing(normalised_file(file, STAMP, silent)) as blocks:
        next(blocks)
        (helper,) = helpers()
        os.kill(helper or 0, 9)
        with pytest.raises(ReplayError, match="normalising process was killed"):
            list(blocks)

    assert not helpers()


@pytest.mark.usefixtures("helped")
def test_a_helper_goes_when_nobody_wants_the_rest(tmp_path: Path) -> None:
    """Given a reader that stops amid the file, then the helper is ended."""
    file = written(tmp_path / "events.jsonl", [event(id=f"e{number}") for number in range(MANY)])

    with closing(normalised_file(file, STAMP, silent)) as blocks:
        next(blocks)
        next(blocks)
        assert helpers()

    assert not helpers()


@pytest.mark.usefixtures("helped")
def test_a_file_that_breaks_off_in_the_helpers_part_is_refused(tmp_path: Path) -> None:
    """Its damage is told in the same words, and nothing is made."""
    whole = written(tmp_path / "whole.jsonl.gz", [event(id=f"e{os.urandom(24).hex()}") for _ in range(2_000)])
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(whole.read_bytes()[:-2_000])

    with pytest.raises(ReplayError, match=re.escape("cut.jsonl.gz: cannot be read to its end")):
        replay(cut, load_directory(PROGRAMME), tmp_path / "out.duckdb")

    assert not list(tmp_path.glob("*.duckdb*"))
    assert not helpers()


@pytest.mark.usefixtures("helped")
def test_a_file_that_is_replaced_meanwhile_is_refused(tmp_path: Path) -> None:
    """The helper opens the file anew: it must be the one that was begun."""
    file = written(tmp_path / "events.jsonl", [event(id=f"e{number}") for number in range(100)])
    other = written(tmp_path / "other.jsonl", [event(id=f"o{number}") for number in range(100)])
    patient = normalising._Helper.started

    def replaced(self: normalising._Helper) -> bool:
        other.replace(file)
        return patient(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalising._Helper, "started", replaced)
        with pytest.raises(ReplayError, match="another file took its place"):
            list(normalised_file(file, STAMP, silent))
