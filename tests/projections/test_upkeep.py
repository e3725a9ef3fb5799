"""The projector under fire: whatever happens to its file, its disk or its process, it ends at the same rows by itself."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import re
import resource
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest

from engine.stream.clients import Cluster
from engine.stream.topics import Layout, ensure
from engine.telemetry import Metrics
from projections import files, look_through, projector, reading, sql, upkeep, warehouse
from projections.files import draft_of, outgoing_of, put_in_place, wal_of
from projections.warehouse import DECISIONS, FACTS, Warehouse
from tests.projections import given
from tests.projections.keeping import Projecting, Reader, Tweak, asked, everything, holds
from tests.projections.test_projector import send
from tests.projections.test_warehouse import small_disk
from tests.seeds import chosen_seed

__all__ = ["small_disk"]

COUNT = 2_000
#: On a disk that is as good as full: less than the transactions to come, more than their server's small files.
ROOM_BYTES = 140_000
NOTES: list[dict[str, Any]] = [
    {"type": "visit", "id": f"v{n}", "subject": f"m{n % 50}", "time": "2026-03-01T10:00:00Z",
     "decision": {"entries": [{"entry_id": f"e{n}", "points": n % 7 + 1, "rule_id": "visit"}]}}
    for n in range(COUNT)
]  # fmt: skip


def small_batches() -> None:
    """Many transactions instead of one."""
    projector.BATCH_RECORDS = 200
    projector.FETCH_RECORDS = 100


def early_checkpoints() -> None:
    """The file itself is written after every transaction or two."""
    warehouse.CHECKPOINT_THRESHOLD = "100KB"


def impatient() -> None:
    """Looks soon whether there is room again."""
    upkeep.FIRST_WAIT_S, upkeep.LONGEST_WAIT_S = 0.1, 0.4


@pytest.fixture(scope="module")
def logs(embedded: str) -> tuple[str, str]:
    """(broker, prefix) of logs that hold the notes."""
    cluster, prefix = Cluster(embedded), f"u{time.time_ns():x}-"
    facts, decisions = given.records(NOTES)

    async def fill() -> None:
        await ensure(cluster, Layout(prefix, partitions=1))
        await send(cluster, prefix + FACTS, facts)
        await send(cluster, prefix + DECISIONS, decisions)

    asyncio.run(fill())
    return embedded, prefix


@pytest.fixture(scope="module")
def expected() -> dict[str, list[dict[str, object]]]:
    """The rows of a file that was built in one go, undisturbed."""
    with given.warehouse(NOTES) as undisturbed:
        return everything(undisturbed)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Where the projector's file is."""
    return tmp_path / "shop.duckdb"


@pytest.fixture(scope="module")
def left(logs: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a projector that was killed after it had loaded everything left behind: all in the log of last transactions."""
    one = tmp_path_factory.mktemp("left") / "shop.duckdb"
    with Projecting(*logs, one) as running:
        running.until_read(COUNT + 1, COUNT + 1)
    return one


@pytest.fixture(scope="module")
def left_in_file(logs: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, all of it in the file itself."""
    one = tmp_path_factory.mktemp("left-in-file") / "shop.duckdb"
    with Projecting(*logs, one, early_checkpoints) as running:
        running.until_read(COUNT + 1, COUNT + 1)
        # In order: DuckDB shows readers a transaction a moment before the checkpoint that keeps it, and a kill can fall between.
        assert running.end() == 0
    with Projecting(*logs, one) as running:
        settle(running)
    # A question that is being answered puts the projector's own checkpoints off.
    with duckdb.connect(str(one)) as connection:
        connection.execute("checkpoint")
    return one


def put(left: Path, db: Path) -> None:
    """Copy what was left behind."""
    for path in left.parent.glob(f"{left.name}*"):
        if path.suffix != ".log":
            shutil.copy(path, db.parent)


def settle(running: Projecting) -> None:
    """Wait until everything is loaded and served from the file itself."""
    running.until("the file is written and served", lambda: b"written and served" in running.get("/readyz")[1])
    running.until_read(COUNT + 1, COUNT + 1)


def finish(running: Projecting) -> None:
    """The same; then end it in order."""
    settle(running)
    assert running.end() == 0


def old_ones(db: Path) -> list[str]:
    """Why files were set aside."""
    return sorted(path.name.split(".")[-2] for path in db.parent.glob(f"{db.name}.*.old"))


def flip(path: Path, rng: random.Random) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def cut(path: Path, rng: random.Random) -> None:
    """Lose the end."""
    os.truncate(path, rng.randrange(path.stat().st_size))


def spoil_head(path: Path, _: random.Random) -> None:
    """Lose what says that it is a database."""
    with path.open("r+b") as file:
        file.write(bytes(4096))


def delete(path: Path, _: random.Random) -> None:
    """Lose it."""
    path.unlink()


BLOWS: dict[str, Callable[[Path, random.Random], None]] = {"flip": flip, "cut": cut, "delete": delete}
Expected = dict[str, list[dict[str, object]]]


@pytest.mark.parametrize("blow", BLOWS)
def test_a_log_of_last_transactions_that_is_torn_or_lost(
    blow: str, logs: tuple[str, str], left: Path, db: Path, expected: Expected
) -> None:
    """Given a killed projector, when its WAL is cut, deleted or changed, then the next one ends at the same rows."""
    seed = chosen_seed()
    put(left, db)
    assert wal_of(db).stat().st_size > 100_000
    BLOWS[blow](wal_of(db), random.Random(seed))

    with Projecting(*logs, db) as running:
        finish(running)
        said = running.said("building the file anew")

    assert holds(db) == expected
    assert [line["reason"] for line in said] == (["damaged"] if blow == "flip" else [])
    assert old_ones(db) == (["damaged"] if blow == "flip" else [])


def test_without_its_last_transactions_the_file_is_an_older_prefix(logs: tuple[str, str], db: Path) -> None:
    """Given a checkpoint in the middle and a kill, when the WAL is lost, then rows and positions are those of one moment."""
    facts, decisions = given.records(NOTES)
    with Warehouse.open(db, log_id="test") as begun:
        begun.apply(facts[:700], decisions[:700])
        begun.connection.execute("checkpoint")
        begun.apply(facts[700:], decisions[700:])
        assert wal_of(db).exists()
        shutil.copy(db, db.with_name("left.duckdb"))
    with Warehouse.open(db.with_name("left.duckdb")) as older, given.warehouse(NOTES[:699]) as prefix:
        assert everything(older) == everything(prefix)


@pytest.mark.parametrize("blow", [cut, spoil_head], ids=["cut", "spoilt head"])
def test_a_damaged_file_is_built_anew(
    blow: Callable[[Path, random.Random], None], logs: tuple[str, str], left_in_file: Path, db: Path, expected: Expected
) -> None:
    """Given a killed projector, when its file is damaged, then the next sets it aside, counts it, says so, and has the rows."""
    seed = chosen_seed()
    put(left_in_file, db)
    if blow is cut:
        os.truncate(db, 4096 * 3 + random.Random(seed).randrange(100))
    else:
        blow(db, random.Random(seed))

    with Projecting(*logs, db) as running:
        running.until_read(COUNT + 1, COUNT + 1)
        rebuilds = running.metric("projector_rebuilds_total", reason="damaged")
        (told,) = running.said("building the file anew")
        (done,) = running.said("the new file is complete")
        finish(running)

    assert rebuilds == 1
    assert told["readers"] == "told to wait"
    assert done["set_aside"].endswith(".damaged.old")
    assert holds(db) == expected
    assert old_ones(db) == ["damaged"]
    assert not draft_of(db).exists()


def test_a_file_that_is_deleted_while_it_is_written(
    logs: tuple[str, str], left: Path, db: Path, expected: Expected
) -> None:
    """Given a projector at work, when its file is deleted, then it builds another, and whoever asks is answered meanwhile."""
    put(left, db)
    with Projecting(*logs, db) as running:
        settle(running)
        db.unlink()
        running.until("it is rebuilt", lambda: running.said("the new file is complete"))
        assert running.said("building the file anew")[0]["readers"] == "served from the deleted file"
        assert running.metric("projector_rebuilds_total", reason="deleted") == 1
        finish(running)

    assert holds(db) == expected


def test_a_file_that_is_replaced_while_it_is_written(
    logs: tuple[str, str], left: Path, db: Path, expected: Expected
) -> None:
    """Given an earlier copy of the file, when it is put back under a running projector, then that goes on from the copy."""
    put(left, db)
    copy = db.with_name("copy.duckdb")
    with Warehouse.open(db) as whole:
        log_id = whole.log_id
    with Warehouse.open(copy, log_id=log_id) as earlier:
        earlier.apply(*(records[:500] for records in given.records(NOTES)))
    with Projecting(*logs, db) as running:
        settle(running)
        copy.replace(db)
        running.until("it is opened again", lambda: running.said("opening the file again"))
        finish(running)

    assert holds(db) == expected
    assert old_ones(db) == []


def make_older(db: Path) -> None:
    """Let the file look as if another version had built it, with a row that only it has."""
    with duckdb.connect(str(db)) as older:
        older.execute("set variable stammgast_writes = true")
        older.execute("update staging.identity set tables_hash = 'older'")
        older.execute("update log_positions set position = 1000000")


def test_a_file_of_another_version_is_built_anew_beside_it(
    logs: tuple[str, str], left: Path, db: Path, expected: Expected
) -> None:
    """Given tables of another version, when a projector starts, then readers read them until the new ones take their place."""
    put(left, db)
    make_older(db)
    with Projecting(*logs, db, small_batches) as running:
        running.until("the old one is served", lambda: outgoing_of(db).exists() or running.said("complete"))
        finish(running)
        (told,) = running.said("building the file anew")

    assert (told["reason"], told["readers"]) == ("version", "served from the old file")
    assert holds(db) == expected  # the absurd positions of the old file decided nothing
    assert old_ones(db) == ["version"]
    assert not outgoing_of(db).exists()


COUNT_FACTS = "select count(*) from facts"


def test_readers_read_on_while_an_older_file_is_built_anew(logs: tuple[str, str], left: Path, db: Path) -> None:
    """Given one that asks the server and one that runs `query`, when tables are replaced, then neither is refused or set back."""
    put(left, db)
    make_older(db)
    with Projecting(*logs, db, small_batches) as running:
        running.until("the old one is served", lambda: running.said("building the file anew"))
        readers = [Reader(db, COUNT_FACTS, remote=True), Reader(db, COUNT_FACTS)]
        assert not running.said("the new file is complete")
        settle(running)
        answers = [reader.answers() for reader in readers]
        finish(running)

    for told in answers:
        assert len(told) > 3
        assert set(told) == {(COUNT + 1,)}


def test_readers_read_on_while_a_deleted_file_is_built_anew(logs: tuple[str, str], left: Path, db: Path) -> None:
    """Given somebody who runs `query` all the time, when the file is deleted and built anew, then every one is answered."""
    put(left, db)
    with Projecting(*logs, db, small_batches) as running:
        settle(running)
        reader = Reader(db, COUNT_FACTS)
        db.unlink()
        running.until("it is built anew", lambda: running.said("the new file is complete"))
        settle(running)
        told = reader.answers()
        finish(running)

    assert len(told) > 3
    assert set(told) == {(COUNT + 1,)}


#: What stands in a DuckDB file before its first block: three headers.
BLOCKS_BEGIN = 3 * 4096


def place_of_rows(db: Path, folder: Path) -> int:
    """Where in the file rows of `facts` stand: in a block that is in use, and that opening the file does not read."""
    for path in db.parent.glob(f"{db.name}*"):
        shutil.copy(path, folder)
    with duckdb.connect(str(folder / db.name), read_only=True) as connection:
        size = connection.execute("select block_size from pragma_database_size()").fetchone()
        blocks = "select max(block_id) from pragma_storage_info('staging.facts') where persistent"
        block = connection.execute(blocks).fetchone()
    assert size is not None
    assert block is not None
    return BLOCKS_BEGIN + int(block[0]) * int(size[0]) + 1_000


def test_damage_that_nobody_has_met_is_found(
    logs: tuple[str, str], left_in_file: Path, db: Path, expected: Expected, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Given rows that changed on the disk, when a projector starts, then it reads every row and builds the file anew."""
    put(left_in_file, db)
    data = bytearray(db.read_bytes())
    data[place_of_rows(db, tmp_path_factory.mktemp("copy"))] ^= 1
    db.write_bytes(data)
    with Projecting(*logs, db) as running:
        running.until("it is built anew", lambda: running.said("the new file is complete"))
        running.until("every row was read", lambda: running.said("every row was read"))
        finish(running)
        (told,) = running.said("building the file anew")

    assert (told["reason"], told["readers"]) == ("damaged", "served from the old file")
    assert holds(db) == expected


def give_up_once() -> None:
    """The first checkpoint ends in a real FatalException of DuckDB's own: it has a setting for this."""
    opened = Warehouse.open.__func__  # type: ignore[attr-defined]
    armed = [True]

    def open_armed(cls: type[Warehouse], *arguments: Any, **options: Any) -> Warehouse:
        found: Warehouse = opened(cls, *arguments, **options)
        if armed:
            armed.clear()
            found.connection.execute("set debug_checkpoint_abort = 'before_header'")
        return found

    Warehouse.open = classmethod(open_armed)  # type: ignore[method-assign,assignment]


def test_a_database_that_duckdb_gave_up_is_opened_again(logs: tuple[str, str], db: Path, expected: Expected) -> None:
    """Given a FatalException in a checkpoint, then the file is opened again and nothing is built anew."""
    with Projecting(*logs, db, small_batches, early_checkpoints, give_up_once) as running:
        finish(running)
        (again,) = running.said("opening the file again")
        assert running.said("building the file anew") == []

    assert again["reason"] == "fatal"
    assert "Checkpoint aborted before header write" in again["because"]
    assert holds(db) == expected


def give_up_here() -> None:
    """At one place of this one file, DuckDB gives up whenever it comes there. Raised at the seam, not by DuckDB itself."""
    applied = Warehouse.apply

    def apply(self: Warehouse, *records: Any, **how: Any) -> None:
        if (
            Path(self.path).suffix == ".duckdb"
            and self.positions(FACTS).get(0, 0) > 500
            and not old_ones(Path(self.path))
        ):
            raise duckdb.FatalException("FATAL Error: Failed to delete all rows from index")
        applied(self, *records, **how)

    Warehouse.apply = apply  # type: ignore[method-assign]


def test_a_file_on_which_duckdb_gives_up_twice_is_built_anew(
    logs: tuple[str, str], db: Path, expected: Expected
) -> None:
    """Given a FatalException again at the same place, then opening was no cure and the file is built anew."""
    with Projecting(*logs, db, small_batches, give_up_here) as running:
        finish(running)
        again, anew = running.said("opening the file again"), running.said("building the file anew")

    assert ([line["reason"] for line in again], [line["reason"] for line in anew]) == (["fatal"], ["fatal"])
    assert holds(db) == expected
    assert old_ones(db) == ["fatal"]


def test_a_file_of_other_logs_and_another_version_is_refused(logs: tuple[str, str], db: Path) -> None:
    """Given a file that is not of these logs, then its tables' version is no reason to build it anew: exit code 2, untouched."""
    Warehouse.open(db, log_id="of other logs").close()
    make_older(db)
    with Projecting(*logs, db) as running:
        running.process.join(20)
        code, text = running.process.exitcode, running.log.read_text()

    assert code == 2
    assert "was built from other logs" in text
    assert "--fresh" in text
    assert not draft_of(db).exists()
    assert old_ones(db) == []


def test_it_is_known_whether_a_file_is_open_here(db: Path) -> None:
    """Also after its name is gone: as long as DuckDB has it open it writes its log under that name."""
    with Warehouse.open(db):
        assert files.open_here(db)
        db.unlink()
        assert files.open_here(db)
    assert not files.open_here(db)


def test_two_projectors_never_build_one_file(logs: tuple[str, str], db: Path) -> None:
    """Given a rebuild under way, when another projector is started on the same file, then that one ends with exit code 1."""
    with Warehouse.open(draft_of(db)), Projecting(*logs, db) as running:
        running.process.join(30)
        code, text = running.process.exitcode, running.log.read_text()

    assert code == 1
    assert f"PID {os.getpid()}" in text


def test_every_table_is_looked_through() -> None:
    """A table that is added is read, too."""
    with Warehouse.open(":memory:") as empty:
        found = empty.connection.execute(
            "select table_name from information_schema.tables where table_type = 'BASE TABLE'"
        ).fetchall()
    assert set(sql.statements("staging/look_through")) == {name for (name,) in found}


def test_only_the_newest_files_that_were_set_aside_are_kept(tmp_path: Path) -> None:
    """What --fresh set aside, and what belongs to another file, is left alone."""
    db = tmp_path / "a.duckdb"
    others = [tmp_path / "a.duckdb.20200101T000000.old", tmp_path / "a.duckdb.b.duckdb.20200101T000000.damaged.old"]
    for path in others:
        path.write_bytes(b"x")
    for number in range(4):
        db.write_bytes(b"old")
        os.utime(db, (number, number))
        draft_of(db).write_bytes(b"new")
        put_in_place(db, "damaged")

    kept = [path.name for path in sorted(tmp_path.iterdir())]
    assert kept == sorted(
        ["a.duckdb", *(one.name for one in others), *(f"a.duckdb.1970010{1}T00000{n}.damaged.old" for n in (2, 3))]
    )


def test_an_interrupted_rebuild_goes_on(logs: tuple[str, str], left: Path, db: Path, expected: Expected) -> None:
    """Given a rebuild that is killed in the middle, then the next start goes on with it, or with what there is."""
    put(left, db)
    make_older(db)
    with Projecting(*logs, db, small_batches) as running:
        running.until("the new one is begun", lambda: wal_of(draft_of(db)).exists())
        running.kill()
    with Projecting(*logs, db) as running:
        finish(running)

    assert holds(db) == expected
    assert old_ones(db) == ["version"]


def test_a_kill_between_the_two_renames(logs: tuple[str, str], left: Path, db: Path, expected: Expected) -> None:
    """Given a finished new file and none in its place, then the next start puts it there."""
    put(left, db)
    db.rename(draft_of(db))
    wal_of(db).rename(wal_of(draft_of(db)))
    with Projecting(*logs, db) as running:
        finish(running)
        assert running.metric("projector_rebuilds_total", reason="unfinished") == 0  # it has ended
        assert [line["reason"] for line in running.said("building the file anew")] == ["unfinished"]

    assert holds(db) == expected


def no_room(running: Projecting) -> bool:
    """Does it wait for room, and say so to whoever asks whether it is ready?"""
    status, body = running.get("/readyz")
    return status == 503 and b"is full" in body and running.metric("projector_waiting", cause="disk") == 1


def until_waiting(running: Projecting) -> None:
    """Wait until it waits for room; readers are answered."""
    running.until("it waits", lambda: no_room(running))
    running.until("readers are answered", lambda: asked(running.db, "select count(*) from facts"))


def expect_it_went_on(running: Projecting) -> None:
    """One line when it began to wait, one when that was over (and again, had it found a little room between).

    A file that is opened again may be held for a moment by the question that this test asks it just then.
    """
    settle(running)
    waits, over = running.said("waiting; it goes on by itself"), running.said("going on")
    causes = [line["cause"] for line in waits]
    assert causes == [line["after"] for line in over]
    assert set(causes) - {"held"} == {"disk"}
    assert causes.count("disk") <= 3
    assert running.metric("projector_waiting", cause="disk") == 0
    finish(running)


def test_a_disk_that_fills_and_empties(
    logs: tuple[str, str], small_disk: Path, expected: Expected, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Given no room for the log of last transactions, then it waits and serves; with room again it goes on by itself."""
    file, ballast = small_disk / "shop.duckdb", small_disk / "ballast"
    Warehouse.open(file).close()
    ballast.write_bytes(os.urandom(shutil.disk_usage(small_disk).free - ROOM_BYTES))
    with Projecting(*logs, file, small_batches, impatient, log=tmp_path_factory.mktemp("log") / "log") as running:
        until_waiting(running)
        ballast.unlink()
        expect_it_went_on(running)

    assert holds(file) == expected


def test_a_full_disk_that_makes_duckdb_give_up(logs: tuple[str, str], db: Path, expected: Expected) -> None:
    """Given no room for the file itself, whereupon DuckDB invalidates it (a real FatalException), then the same."""
    with Projecting(*logs, db, small_batches, early_checkpoints, impatient) as running:
        assert running.process.pid is not None
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (1_500_000, resource.RLIM_INFINITY))
        until_waiting(running)
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        expect_it_went_on(running)
        assert running.said("opening the file again")

    assert holds(db) == expected


@pytest.fixture
def rng() -> random.Random:
    """Randomness whose seed is printed; STAMMGAST_TEST_SEED repeats it."""
    return random.Random(chosen_seed())


def die_inside(step: int) -> None:
    """SIGKILL in the middle of a transaction: after so many of the steps that transactions are made of."""
    run, steps = Warehouse._run, itertools.count(1)

    def deadly(self: Warehouse, *step_of: Any) -> None:
        run(self, *step_of)
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    Warehouse._run = deadly  # type: ignore[method-assign,assignment]


def batter(logs: tuple[str, str], db: Path, rng: random.Random, rounds: int) -> Counter[str]:
    """Start a projector and kill it inside a transaction or at some moment, again and again; now and then harm what it left."""
    done: Counter[str] = Counter()
    for _ in range(rounds):
        tweaks: list[Tweak] = rng.sample([small_batches, early_checkpoints], rng.randrange(3))
        inside = rng.random() < 0.6
        if inside:
            tweaks += [small_batches, partial(die_inside, rng.randrange(1, 25))]
        with Projecting(*logs, db, *tweaks) as running:
            running.until_begun()
            running.process.join(5.0 if inside else rng.random() * 0.8)
            died = running.process.exitcode
            assert died in (None, -signal.SIGKILL), running.log.read_text()
            running.kill()
            done["killed inside a transaction" if died is not None else "killed at some moment"] += 1
        blow, victim = rng.choice([*BLOWS, "none", "none", "none"]), rng.choice([db, wal_of(db), draft_of(db)])
        if blow != "none" and victim.exists() and victim.stat().st_size:
            BLOWS[blow](victim, rng)
            done[f"{blow} {victim.suffix}"] += 1
    return done


@pytest.mark.parametrize("rounds", [12, pytest.param(150, marks=[pytest.mark.full, pytest.mark.timeout(900)])])
def test_killed_at_random_moments_and_harmed(
    rounds: int, logs: tuple[str, str], db: Path, expected: Expected, rng: random.Random
) -> None:
    """Given any number of kills, torn logs and lost files, then the projector that is left alone ends at the same rows."""
    done = batter(logs, db, rng, rounds)
    print(dict(done))
    with Projecting(*logs, db) as running:
        settle(running)
        running.until("every row was read", lambda: running.said("every row was read"))
        finish(running)

    assert holds(db) == expected
    assert len(old_ones(db)) <= 2


def test_the_documentation_lists_what_is_counted() -> None:
    """Every reason and cause stands in docs/projector.md, and no other; the metrics bear the names they have."""
    text = (Path(__file__).parents[2] / "docs" / "projector.md").read_text(encoding="utf-8")
    table = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")][1:]

    def named(word: str) -> set[str]:
        cells = [counted for _, _, counted in table if counted.strip().startswith(word)]
        return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}

    assert named("rebuild") == set(upkeep.REASONS)
    assert named("waiting") == {*upkeep.PASSING, "kafka"}
    assert named("reopen") == {*upkeep.PASSING, "fatal", "replaced"}
    told = Metrics(with_process=False)
    for counter in (told.projector_rebuilds, told.projector_reopens):
        (described,) = counter.describe()
        assert f"`{described.name}_total{{reason}}`" in text
    (described,) = told.projector_waiting.describe()
    assert f"`{described.name}{{cause}}`" in text
    assert f"the newest {files.KEPT_AFTER_REBUILDS} of these" in text
    assert f"answers for {upkeep.GRACE_S:.0f} s more" in text
    assert f"after {upkeep.FIRST_WAIT_S} s, then less often, at most {upkeep.LONGEST_WAIT_S:.0f} s" in text
    assert f"every {look_through.AGAIN_S / 3600:.0f} hours" in text
    assert f"asks again for {reading.HANDOVER_S:.0f} s" in text
