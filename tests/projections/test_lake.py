"""The tables in a DuckLake: the same rows as in a file under the same SQL, a transaction a batch, one projector, many readers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from engine.bench import data
from engine.broker import free_port
from engine.cli import main
from engine.loading import Batch
from engine.replay import Replay
from engine.settings import No, UsageError
from projections import lake
from projections.lake import LakeWarehouse, open_reader
from projections.trouble import OtherLogs, OtherVersion
from projections.warehouse import Warehouse

pytestmark = pytest.mark.timeout(240)
EVENTS = 120
#: What is compared where not everything needs to be.
SOME = ("facts", "balances", "lots", "tiers")
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


@cache
def batches() -> list[Batch]:
    """Some months of a shop, in several batches, a tick at the end."""
    replay = Replay(data.programmes(), recorded_us=1_700_000_000_000_000)
    (batch,) = replay.events(iter(list(data.events(data.TWO_LINES, EVENTS))), "events")
    middle = len(batch.facts.values) // 2
    return [_part(batch, slice(0, middle)), _part(batch, slice(middle, None))]


def _part(batch: Batch, which: slice) -> Batch:
    part = Batch()
    for log, into in ((batch.facts, part.facts), (batch.decisions, part.decisions)):
        for row in list(zip(log.partitions, log.offsets, log.timestamps, log.values, strict=True))[which]:
            into.append(*row)
    return part


def apply(warehouse: Warehouse, batch: Batch) -> None:
    """One batch."""
    warehouse.apply(batch.facts.table(), batch.decisions.table(), batch.rejects)


@pytest.fixture
def place(tmp_path: Path) -> tuple[str, str]:
    """Catalogue and folder of a lake on this machine."""
    return str(tmp_path / "catalogue.ducklake"), str(tmp_path / "data")


def rows(connection: duckdb.DuckDBPyConnection, names: Iterable[str] = SOME) -> dict[str, list[str]]:
    """Every row of some tables, sorted as text."""
    return {name: sorted(map(repr, connection.execute(f"from {name}").fetchall())) for name in names}


def views(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Every table that analysts know."""
    told = connection.execute(
        "select view_name from duckdb_views() where not internal and schema_name = 'main'"
    ).fetchall()
    return sorted(name for (name,) in told)


@cache
def in_a_file(whole: bool = False) -> dict[str, list[str]]:
    """The same logs in a file."""
    with Warehouse.open(":memory:", log_id="logs") as file:
        for batch in batches():
            apply(file, batch)
        return rows(file.connection, views(file.connection) if whole else SOME)


def test_a_lake_holds_what_a_file_holds(place: tuple[str, str]) -> None:
    """Given the same logs, applied in two goes with a stop between and delivered twice, then every table has the same rows, and
    macros answer the same."""
    # given
    for batch in batches():
        with LakeWarehouse.open_lake(*place) as warehouse:
            warehouse.bind("logs")
            apply(warehouse, batch)
            apply(warehouse, batch)

    # when
    with closing(open_reader(place[0])) as reader:
        names = [name for name in views(reader) if name != "log_positions"]
        found = rows(reader, names)
        spent = reader.execute("select sum(spent_ever) from balances_as_of(timestamptz '2011-03-01 00:00:00+00')")

        # then
        expected = in_a_file(whole=True)
        assert set(found) == set(expected)
        assert {name: told for name, told in found.items() if told != expected[name]} == {}
        assert len(found["facts"]) > EVENTS
        assert len(found["balances"]) >= 5
        assert spent.fetchone() is not None


def test_what_a_batch_began_is_not_seen_before_it_is_whole(
    place: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a projector that dies between rows and positions, then readers see neither, and the next one does it all."""
    first, second = batches()
    with LakeWarehouse.open_lake(*place) as warehouse:
        apply(warehouse, first)
        before = warehouse.all_positions()
        run = warehouse._run

        def dies(script: str, *arguments: Any) -> None:
            if script == "staging/positions":
                raise duckdb.IOException("the disk is gone")
            run(script, *arguments)

        monkeypatch.setattr(warehouse, "_run", dies)
        with pytest.raises(duckdb.IOException):
            apply(warehouse, second)
    assert len(rows_of(place[0])["facts"]) == len(first.facts.values)
    with LakeWarehouse.open_lake(*place) as again:
        assert again.all_positions() == before
        apply(again, second)
    assert rows_of(place[0]) == in_a_file()


def test_a_second_projector_is_noticed(tmp_path: Path) -> None:
    """Given two projectors on one lake, when the one that is behind writes, then it is refused, and nothing stands twice."""
    catalogue, folder = str(tmp_path / "catalogue.ducklake"), str(tmp_path / "data")
    first, second = batches()
    with LakeWarehouse.open_lake(catalogue, folder) as warehouse:
        apply(warehouse, first)
        stale = {**warehouse._positions}
        apply(warehouse, second)
        warehouse._positions = stale
        with pytest.raises(No, match="another projector writes"):
            apply(warehouse, second)
    with closing(open_reader(catalogue)) as reader:
        assert len(rows(reader)["facts"]) == len(first.facts.values) + len(second.facts.values)


def test_small_files_are_merged_and_readers_see_the_same(place: tuple[str, str]) -> None:
    """Given many small batches, when the lake is compacted, then a table lies in fewer files and holds the same rows."""
    whole = batches()[0]
    count = len(whole.facts.values)
    with LakeWarehouse.open_lake(*place) as warehouse:
        for start in range(0, count, count // 3):
            apply(warehouse, _part(whole, slice(start, start + count // 3)))
    before = rows_of(place[0])
    with LakeWarehouse.open_lake(*place) as warehouse:
        files = _files(warehouse)
        warehouse.compact_seconds = 0.0
        assert warehouse.compact_if_due()
        assert 0 < _files(warehouse) < files
        warehouse.compact_seconds = 3_600.0
        assert not warehouse.compact_if_due()
    assert rows_of(place[0]) == before


def _files(warehouse: LakeWarehouse) -> int:
    row = warehouse.connection.execute("select count(*) from ducklake_list_files('lake', 'facts', schema => 'staging')")
    return int((row.fetchone() or (0,))[0])


def rows_of(catalogue: str) -> dict[str, list[str]]:
    """As `rows`, of a lake."""
    with closing(open_reader(catalogue)) as reader:
        return rows(reader)


def test_lakes_that_are_not_ours_are_refused(place: tuple[str, str], tmp_path: Path) -> None:
    """None there, other logs, another version, a password on the command line."""
    with pytest.raises(UsageError, match="cannot be opened"):
        open_reader(str(tmp_path / "none.ducklake"))
    with LakeWarehouse.open_lake(*place) as warehouse:
        warehouse.bind("logs")
        with pytest.raises(OtherLogs):
            warehouse.bind("others")
        warehouse.connection.execute("update staging.identity set tables_hash = 'older'")
    with pytest.raises(OtherVersion):
        LakeWarehouse.open_lake(*place)
    with pytest.raises(OtherVersion):
        open_reader(place[0])
    with pytest.raises(UsageError, match="PGPASSFILE"):
        lake.checked("postgres:host=db password=secret")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "one of both"),
        (["--db", "x.duckdb", "--lake", "x.ducklake"], "one of both"),
        (["--lake", "x.ducklake"], "also needs --lake-data"),
        (["--lake", "x.ducklake", "--lake-data", "d", "--fresh"], "are for a file"),
    ],
)
def test_wrong_usage_of_the_projector_is_told(arguments: list[str], words: str) -> None:
    """Exit code 2, before any Kafka is asked."""
    done = CliRunner().invoke(main, ["projector", "--bootstrap", "127.0.0.1:1", *arguments])
    assert (done.exit_code, words in done.output) == (2, True), done.output


def test_query_asks_a_lake(place: tuple[str, str]) -> None:
    """The command answers from it as from a file; questions only."""
    with LakeWarehouse.open_lake(*place) as warehouse:
        apply(warehouse, batches()[0])
    done = CliRunner().invoke(main, ["query", "--lake", place[0], "--format", "csv", "select count(*) as n from facts"])
    assert done.output.split() == ["n", str(len(batches()[0].facts.values))], done.output
    refused = CliRunner().invoke(main, ["query", "--lake", place[0], "drop view facts"])
    assert (refused.exit_code, "only one SELECT" in refused.output) == (1, True)


# ---------------------------------------------------------------------------------------------------------- PostgreSQL


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL of our own on loopback: its catalogue as `--lake` names it."""
    if not POSTGRES:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    programs = POSTGRES[-1].parent
    # It refuses to run as root.
    as_user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    if as_user and shutil.which("setpriv") is None:
        pytest.skip("this is root, and there is no setpriv to run PostgreSQL as somebody else")
    folder = Path("/tmp") / f"stammgast-pg-{os.getpid()}"
    folder.mkdir(mode=0o700)
    if as_user:
        os.chown(folder, 65534, 65534)
    port, base = free_port(), folder / "base"

    def do(*command: str) -> None:
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, cwd="/", env=os.environ | {"HOME": str(folder)})

    server = [*as_user, str(programs / "pg_ctl"), "-D", str(base), "-w", "-t", "120"]
    try:
        do(*as_user, str(programs / "initdb"), "-D", str(base), "-U", "stammgast", "-A", "trust", "-N")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        do(*server, "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgres:dbname=postgres host=127.0.0.1 port={port} user=stammgast"
        finally:
            do(*server, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_readers_on_other_machines_ask_a_catalogue_in_postgresql(postgres: str, tmp_path: Path) -> None:
    """Given a lake with its catalogue in PostgreSQL, while its projector has it open, then another process reads the same rows as
    from a file, sees what comes next, and may write nothing."""
    first, second = batches()
    with LakeWarehouse.open_lake(postgres, str(tmp_path / "data")) as warehouse:
        warehouse.bind("logs")
        apply(warehouse, first)
        counting = ["query", "--lake", postgres, "--format", "csv", "select count(*) as n from facts"]
        start = [sys.executable, "-c", "from engine.cli import main; main()"]
        elsewhere = subprocess.run([*start, *counting], capture_output=True, text=True, check=False)
        assert elsewhere.stdout.split() == ["n", str(len(first.facts.values))], elsewhere.stderr
        with closing(open_reader(postgres)) as reader:
            apply(warehouse, second)
            assert rows(reader) == in_a_file(), "an open reader sees what comes"
            with pytest.raises(duckdb.Error, match="read-only"):
                reader.execute("delete from lake.staging.facts")
