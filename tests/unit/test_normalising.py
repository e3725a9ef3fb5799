"""Events are normalised beside the replay: the same facts in the same order, whoever does it."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from engine import normalising
from engine.lines import ReplayError
from engine.normalising import normalised
from engine.replay import Replay, replay
from rules.book import load_directory
from schemas.envelope import parse_fact
from schemas.times import to_us
from tests.unit.ledger import RECORDED
from tests.unit.test_schemas_normalise import event

PROGRAMME = Path(__file__).parents[2] / "rules" / "programmes" / "coffee-bar"
LINES = [event(id=f"e{number}") if number % 7 else b"no event" for number in range(1, 200)]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few lines, so that few lines are many blocks."""
    monkeypatch.setattr(normalising, "BLOCK_LINES", 10)


def read(lines: Iterator[bytes]) -> tuple[int, list[str], list[int]]:
    """Events, ids of facts, numbers of refused lines."""
    blocks = list(normalised(lines, RECORDED, to_us(RECORDED), b"secret" * 8))
    ids = [parse_fact(value).id for block in blocks for value in block.values]
    return sum(block.events for block in blocks), ids, [number for block in blocks for number, *_ in block.refused]


def helpers() -> list[int | None]:
    """Process ids of the children that run now."""
    return [child.pid for child in multiprocessing.active_children()]


def after_it_began(lines: list[bytes], seen: list[list[int | None]]) -> Iterator[bytes]:
    """The lines, with the running children noted at each."""
    for line in lines:
        seen.append(helpers())
        yield line


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("alone_blocks", [0, 3, 100])
def test_facts_and_refusals_are_the_same_whoever_normalises(alone_blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a helper from the start, later, or never, then order, ids and line numbers are those of the file."""
    monkeypatch.setattr(normalising, "ALONE_BLOCKS", alone_blocks)

    events, ids, refused = read(iter([*LINES, b"  ", b""]))

    assert events == len(LINES)
    assert ids == [f"e{number}" for number in range(1, 200) if number % 7]
    assert refused == list(range(7, 200, 7))
    assert not helpers()


@pytest.mark.usefixtures("small_blocks")
def test_a_small_file_starts_no_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many lines as are done alone start no process; one more does."""
    seen: list[list[int | None]] = []
    monkeypatch.setattr(normalising, "ALONE_BLOCKS", 2)

    read(after_it_began(LINES[:20], seen))

    assert not any(seen)


@pytest.mark.usefixtures("small_blocks")
def test_a_helper_that_is_killed_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Given a helper killed amid its work, then the replay says so, makes nothing and leaves no process."""
    monkeypatch.setattr(normalising, "ALONE_BLOCKS", 0)
    killed: list[int | None] = []

    def lines() -> Iterator[bytes]:
        for number in range(10**6):
            if number % 10 == 0 and not killed and helpers():
                killed.extend(helpers())
                os.kill(killed[0] or 0, 9)
            yield event(id=f"e{number}")

    with pytest.raises(BrokenProcessPool):
        read(lines())

    assert killed
    assert not helpers()
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join(LINES))
    monkeypatch.setattr(Replay, "events", lambda *_: (_ for _ in ()).throw(BrokenProcessPool()))
    with pytest.raises(ReplayError, match="normalising process was killed"):
        replay(file, load_directory(PROGRAMME), tmp_path / "out.duckdb")
    assert not list(tmp_path.glob("*.duckdb*"))
