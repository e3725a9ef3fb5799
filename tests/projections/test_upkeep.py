"""The projector under fire: whatever happens to its file, its disk or its process, it ends at the same rows by itself."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from engine.stream.clients import Cluster
from engine.stream.topics import Layout, ensure
from projections import projector, upkeep, warehouse
from projections.files import draft_of, outgoing_of, wal_of
from projections.warehouse import DECISIONS, FACTS, Warehouse
from tests.projections import given
from tests.projections.keeping import Projecting, asked, everything, holds
from tests.projections.test_projector import send
from tests.projections.test_warehouse import small_disk

__all__ = ["small_disk"]

COUNT = 2_000
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
    """The same, nearly all of it in the file itself."""
    one = tmp_path_factory.mktemp("left-in-file") / "shop.duckdb"
    with Projecting(*logs, one, early_checkpoints) as running:
        running.until_read(COUNT + 1, COUNT + 1)
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
    seed = random.randrange(2**32)
    print(f"seed {seed}")
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
    seed = random.randrange(2**32)
    print(f"seed {seed}")
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
    """One line when it began to wait, one when that was over (and again, had it found a little room between)."""
    settle(running)
    waits, over = running.said("waiting; it goes on by itself"), running.said("going on")
    assert {line["cause"] for line in waits} == {line["after"] for line in over} == {"disk"}
    assert len(waits) == len(over) <= 3
    assert running.metric("projector_waiting", cause="disk") == 0
    finish(running)


def test_a_disk_that_fills_and_empties(
    logs: tuple[str, str], small_disk: Path, expected: Expected, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Given no room for the log of last transactions, then it waits and serves; with room again it goes on by itself."""
    file, ballast = small_disk / "shop.duckdb", small_disk / "ballast"
    Warehouse.open(file).close()
    ballast.write_bytes(os.urandom(11_900_000))
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
    seed = int(os.environ.get("STAMMGAST_TEST_SEED", random.randrange(2**32)))
    print(f"STAMMGAST_TEST_SEED={seed}")
    return random.Random(seed)


def batter(logs: tuple[str, str], db: Path, rng: random.Random, rounds: int) -> list[str]:
    """Start a projector and kill it at some moment, again and again; now and then harm what it left. Returns what was done."""
    done = []
    for _ in range(rounds):
        with Projecting(*logs, db, *rng.sample([small_batches, early_checkpoints], rng.randrange(3))) as running:
            running.until("it is at work", lambda: running.get("/healthz")[0] or db.exists())
            time.sleep(rng.random() * 0.8)
            running.kill()
        blow, victim = rng.choice([*BLOWS, "none", "none", "none"]), rng.choice([db, wal_of(db), draft_of(db)])
        if blow != "none" and victim.exists() and victim.stat().st_size:
            BLOWS[blow](victim, rng)
            done.append(f"{blow} {victim.suffix}")
        else:
            done.append("kill")
    return done


@pytest.mark.parametrize("rounds", [12, pytest.param(150, marks=[pytest.mark.full, pytest.mark.timeout(900)])])
def test_killed_at_random_moments_and_harmed(
    rounds: int, logs: tuple[str, str], db: Path, expected: Expected, rng: random.Random
) -> None:
    """Given any number of kills, torn logs and lost files, then the projector that is left alone ends at the same rows."""
    done = batter(logs, db, rng, rounds)
    print(", ".join(done))
    with Projecting(*logs, db) as running:
        finish(running)

    assert holds(db) == expected
    assert len(old_ones(db)) <= 2
