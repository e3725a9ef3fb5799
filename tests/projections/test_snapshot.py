"""Copies of a file that is being written: each is some committed prefix of it, and asking one hurts nobody."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

import duckdb
import pytest

from engine.settings import No, UsageError
from projections import snapshot, sql
from projections.desk import Question
from projections.desks import Desks, Refused, TooLong, Wrong
from projections.snapshot import TooBusy
from projections.warehouse import Warehouse
from tests.projections import given

MEMORY = "300MB"
RUNAWAY = "select sum(a.range * b.range) from range(10000000) as a, range(1000000) as b"


def note(number: int) -> dict[str, Any]:
    """A purchase of some member that earns a point."""
    return {"type": "purchase", "id": f"p{number}", "subject": f"m{number % 500}", "time": "2026-03-01T10:00:00Z",
            "decision": {"entries": [{"entry_id": f"e{number}", "points": 1, "rule_id": "base"}]}}  # fmt: skip


class Writing:
    """A file that a thread writes all the time, with a checkpoint every few transactions."""

    def __init__(self, path: Path, checkpoint: str) -> None:
        self.warehouse = Warehouse.open(path, log_id="test", threads=1)
        self.warehouse.connection.execute(f"set checkpoint_threshold = '{checkpoint}'")
        self.facts, self.decisions = given.records(map(note, range(40_000)))
        self.error: BaseException | None = None
        self._begun, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        try:
            for first in range(0, len(self.facts), 250):
                self.warehouse.apply(self.facts[first : first + 250], self.decisions[first : first + 250])
                self._begun.set()
                if self._stop.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - told to the test
            self.error = error

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._begun.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.warehouse.close()


@pytest.mark.parametrize("checkpoint", ["64KB", "1GB"])
def test_a_copy_is_a_committed_prefix_while_the_file_is_written(tmp_path: Path, checkpoint: str) -> None:
    """Rows and positions agree in every copy, whether checkpoints come all the time or never, and copies grow."""
    ends = []
    (tmp_path / "copies").mkdir()
    with Writing(tmp_path / "w.duckdb", checkpoint) as writing:
        for _ in range(5):
            with contextlib.suppress(TooBusy):
                ends.append(
                    _looked_through(snapshot.take(tmp_path / "w.duckdb", tmp_path / "copies", memory_limit=MEMORY))
                )
    assert writing.error is None
    assert ends == sorted(ends)
    assert checkpoint == "64KB" or len(ends) == 5
    assert _looked_through(snapshot.take(tmp_path / "w.duckdb", tmp_path / "copies", memory_limit=MEMORY)) >= max(
        ends, default=0
    )


def _looked_through(copy: snapshot.Snapshot) -> int:
    """The position that a copy has come to, once everything in it was found to agree with it."""
    with duckdb.connect(str(copy.path), read_only=True) as connection:
        connection.execute(sql.statements("staging/session")["utc"])
        ((facts, decisions, entries, points),) = connection.execute(
            "select (select count(*) from facts), (select count(*) from decisions), (select count(*) from points_entries), "
            "(select sum(available) from balances)"
        ).fetchall()
    positions = copy.stamp.positions
    assert int(facts) == positions["facts"]["0"] + 1
    assert int(decisions) == positions["points-log"]["0"] + 1
    assert int(entries) == int(decisions) - 1 == int(points)
    assert copy.path.stat().st_mode & 0o077 == 0
    return int(facts)


def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    """Missing, no DuckDB file, somebody else's: each is told, and no copy is left."""
    (tmp_path / "copies").mkdir()
    with duckdb.connect(str(tmp_path / "other.duckdb")) as other:
        other.execute("create table mine (a integer)")
    (tmp_path / "text.duckdb").write_text("no database " * 2_000, encoding="utf-8")

    for name, error in (("missing", UsageError), ("other", UsageError), ("text", No)):
        with pytest.raises(error):
            snapshot.take(tmp_path / f"{name}.duckdb", tmp_path / "copies", memory_limit=MEMORY)
    assert list((tmp_path / "copies").iterdir()) == []


def test_what_a_killed_process_left_is_put_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given folders of one that runs, of one that was killed, and one that is being made, then the next process takes the killed
    one's away, and no other."""
    making = (
        "import sys; from pathlib import Path; from projections import snapshot; "
        "print(snapshot.private_folder(Path(sys.argv[1])), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", making, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        (theirs / "copy.duckdb").write_bytes(b"rows")
        being_made = tmp_path / "stammgast-readers-new"
        being_made.mkdir()
        monkeypatch.setattr(snapshot, "BEING_MADE_S", 0.0)

        mine = snapshot.private_folder(tmp_path)
        assert theirs.exists(), "its process runs"
        other.kill()
        other.wait()
        again = snapshot.private_folder(tmp_path)

    assert {path for path in tmp_path.iterdir() if path.is_dir()} == {mine, again, being_made}
    snapshot.discard(mine)
    snapshot.discard(again)
    assert list(tmp_path.iterdir()) == [being_made]


@pytest.mark.timeout(300)
async def test_twenty_readers_ask_while_the_file_is_written(tmp_path: Path) -> None:
    """No question fails although copies are swapped under them, and one that never ends takes its desk along and nothing else."""
    folder = snapshot.private_folder(tmp_path)
    with Writing(tmp_path / "w.duckdb", "1MB") as writing:
        desks = Desks(tmp_path / "w.duckdb", folder, memory_limit=MEMORY, count=2, threads=1)
        await desks.refresh()

        async def reader(number: int) -> list[int]:
            seen = []
            for _ in range(3):
                rows = await desks.ask(Question("select count(*) as n from facts", reader=True), 60)
                seen.append(int(rows.dicts()[0]["n"]))
                assert seen[-1] == rows.stamp.positions["facts"]["0"] + 1
                if number == 0:
                    await desks.refresh()
            return seen

        async def runaway() -> None:
            with pytest.raises(TooLong):
                await desks.ask(Question(RUNAWAY, reader=True), 1)

        answers = await asyncio.gather(*(reader(number) for number in range(20)), runaway())
        left = sorted(folder.glob("*.duckdb"))
        await desks.close()

    assert writing.error is None
    assert all(seen == sorted(seen) for seen in answers if seen is not None)
    assert left == [desks.copy.path]
    assert not folder.exists()


async def test_a_desk_answers_or_says_why_not(tmp_path: Path) -> None:
    """Refused, wrong, too large; the next question is answered all the same."""
    with Warehouse.open(tmp_path / "d.duckdb", log_id="test") as warehouse:
        warehouse.apply(*given.records([note(1)]))
    desks = Desks(tmp_path / "d.duckdb", snapshot.private_folder(tmp_path), memory_limit=MEMORY, count=1)
    await desks.refresh()

    with pytest.raises(Refused, match="only one SELECT"):
        await desks.ask(Question("drop view facts", reader=True), 60)
    with pytest.raises(Wrong, match="nothing_such"):
        await desks.ask(Question("select nothing_such from facts", reader=True), 60)
    with pytest.raises(Wrong, match="larger than"):
        await desks.ask(Question("from range(100000)", rows=100_000, size=1_000, reader=True), 60)
    rows = await desks.ask(Question("from range(10)", rows=4, reader=True), 60)

    assert (rows.table.num_rows, rows.more, rows.types) == (4, True, ["BIGINT"])
    assert not await desks.refresh(), "nothing changed"
    await desks.close()
