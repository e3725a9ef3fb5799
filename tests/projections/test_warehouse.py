"""The file and its one transaction: all of a batch or none, once, and one clear sentence when the file cannot be used."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from engine.settings import No, UsageError
from engine.stream.turn import UNREADABLE
from projections import sql
from projections.files import set_aside
from projections.trouble import explanation
from projections.warehouse import DECISIONS, FACTS, LOG_SCHEMA, OutOfOrder, Record, Warehouse
from schemas.envelope import UNREADABLE_SOURCE
from tests.projections import given

STORY: list[dict[str, Any]] = [
    {"type": "purchase", "id": "p1", "subject": "anna", "time": "2026-03-01T10:00:00Z",
     "decision": {"entries": [{"entry_id": "e1", "points": 10, "rule_id": "base"}],
                  "tiers": [{"tier": "guest", "since": "2026-03-01T10:00:00.000000Z"}]}},
    {"type": "refund", "id": "r1", "subject": "anna", "time": "2026-03-05T10:00:00Z",
     "data": {"order_id": "p1", "amount_minor": 400},
     "decision": {"entries": [{"entry_id": "c1", "kind": "clawback", "points": -4, "rule_id": "base", "burns": [["e1", 4]]}]}},
    {"type": "review", "id": "w1", "subject": "anna", "time": "2026-03-06T10:00:00Z", "data": {"sku": "tea", "rating": 7}},
    {"type": "visit", "id": "v1", "subject": "bert", "time": "2026-03-07T10:00:00Z", "data": {"store": "mitte"}},
    {"type": "joined", "id": "j1", "subject": "bert", "time": "2026-03-08T10:00:00Z", "data": {"via": "flyer"}},
    {"type": "purchase", "id": "p2", "subject": "bert", "time": "2026-04-08T10:00:00Z"},
]  # fmt: skip


def everything(warehouse: Warehouse) -> dict[str, list[dict[str, object]]]:
    """All rows of all marts, in an order that does not depend on the database."""
    return {
        name: sorted(given.rows(warehouse, f"from {name}"), key=repr) for name in sql.names("marts") if name != "meta"
    }


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A file that another process holds."""
    path = tmp_path / "held.duckdb"
    code = (
        "import sys; from projections.warehouse import Warehouse\n"
        "held = Warehouse.open(sys.argv[1]); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        yield path
        process.kill()


def test_a_second_delivery_changes_nothing() -> None:
    """Records at or below the position are left out, whole batches and overlapping ones."""
    facts, decisions = given.records(STORY)
    with given.warehouse(STORY) as warehouse:
        once = everything(warehouse)
        warehouse.apply(facts, decisions)
        warehouse.apply(facts[2:5], decisions[1:])

        assert once == everything(warehouse)
        assert warehouse.positions(FACTS) == {0: 6}


def test_batches_do_not_matter(tmp_path: Path) -> None:
    """A rebuild record by record, from Arrow tables, across a restart, gives the same rows as one batch."""
    facts, decisions = given.records(STORY)
    path = tmp_path / "b.duckdb"
    for number, record in enumerate(facts):
        with Warehouse.open(path, log_id="test") as warehouse:
            columns = zip(*[record], strict=True)
            table = pa.table(
                [pa.array(c, t) for c, t in zip(columns, LOG_SCHEMA.types, strict=True)], schema=LOG_SCHEMA
            )
            warehouse.apply(table, decisions[number : number + 1])
    with Warehouse.open(path, log_id="test") as warehouse, given.warehouse(STORY) as at_once:
        assert everything(at_once) == everything(warehouse)
        assert at_once.positions(DECISIONS) == warehouse.positions(DECISIONS)


def test_a_failure_in_the_middle_leaves_no_rows_and_no_position() -> None:
    """Rows and positions are one transaction; a decision that is none takes its whole batch back."""
    facts, decisions = given.records(STORY)
    broken = Record(0, 5, 0, b'{"id": "without the rest"}')
    with given.warehouse(STORY[:2]) as warehouse:
        before = everything(warehouse)
        with pytest.raises(duckdb.Error):
            warehouse.apply(facts[3:], [*decisions[3:5], broken])

        assert before == everything(warehouse)
        assert (warehouse.positions(FACTS), warehouse.positions(DECISIONS)) == ({0: 2}, {0: 2})
        warehouse.apply(facts, decisions)
        assert warehouse.positions(FACTS) == {0: 6}


def test_large_transactions_hold_the_same_rows_or_none(tmp_path: Path) -> None:
    """Built in one large transaction, a file holds what batch by batch would; without a proper end it holds nothing."""
    facts, decisions = given.records(STORY)
    path, left = tmp_path / "o.duckdb", tmp_path / "left.duckdb"
    with Warehouse.open(path, log_id="test", commit_records=1_000) as warehouse:
        for number in range(len(facts)):
            warehouse.apply(facts[number : number + 1], decisions[number : number + 1])
        warehouse.apply(facts, decisions)
    stack = contextlib.ExitStack()
    stack.enter_context(Warehouse.open(left, log_id="test", commit_records=1_000)).apply(facts, decisions)
    stack.__exit__(RuntimeError, RuntimeError("interrupted"), None)
    with Warehouse.open(path) as warehouse, Warehouse.open(left) as nothing, given.warehouse(STORY) as at_once:
        assert everything(at_once) == everything(warehouse)
        assert (warehouse.positions(FACTS), nothing.positions(FACTS)) == ({0: 6}, {})
        assert given.rows(nothing, "from facts") == []


def test_a_transaction_is_committed_when_it_is_large_enough(tmp_path: Path) -> None:
    """What lies behind the last commit is lost with the process, and no more."""
    facts, decisions = given.records(STORY)
    path, stack = tmp_path / "o.duckdb", contextlib.ExitStack()
    warehouse = stack.enter_context(Warehouse.open(path, log_id="test", commit_records=4))
    for number in range(3):
        warehouse.apply(facts[number : number + 1], decisions[number : number + 1])
    stack.__exit__(RuntimeError, RuntimeError("interrupted"), None)
    with Warehouse.open(path) as found:
        assert (found.positions(FACTS), found.positions(DECISIONS)) == ({0: 1}, {0: 1})


def test_what_somebody_else_wrote_to_facts_stops_nothing() -> None:
    """Noise is a row that is named like its quarantined decision; a head without its order has no row among the purchases."""
    head = {"id": "x", "source": "s", "subject": None, "time": "2026-03-01T10:00:00.000000Z"}
    stamped = head | {"recordedat": head["time"], "bodyhash": "0"}
    kinds = ("purchase", "refund", "visit", "review", "referral", "activity", "joined", "programme", "tick")
    contents: tuple[object, ...] = (
        {},
        [1],
        "x",
        None,
        {"total_minor": "x", "lines": "no", "rating": "x", "valid_from": "x"},
    )
    heads = [
        json.dumps(stamped | {"type": f"stammgast.{kind}.v1", "data": data}).encode()
        for kind in kinds
        for data in contents
    ]
    noise = [b"\xff", b"", b"no json", b"[]", b"null", b'{"id": "without the rest"}', json.dumps(head).encode()]
    with Warehouse.open(":memory:", log_id="test") as warehouse:
        warehouse.apply([Record(3, offset, 1_000, value) for offset, value in enumerate([*noise, *heads])])
        facts = given.rows(warehouse, "select source, fact_id, type, member_id from facts order by position")
        orders = given.rows(warehouse, "from purchases union all by name from refunds")

        assert warehouse.broken_invariants() == []
    assert len(facts) == len(noise) + len(heads)
    assert orders == []
    for offset, row in enumerate(facts[: len(noise)]):
        assert row == {
            "source": UNREADABLE_SOURCE,
            "fact_id": f"3:{offset}",
            "type": UNREADABLE,
            "member_id": None,
        }


def test_a_failure_takes_the_whole_transaction_back() -> None:
    """Rows and positions of earlier batches go with it, and the same batches can be applied again."""
    facts, decisions = given.records(STORY)
    with Warehouse.open(":memory:", log_id="test", commit_records=1_000) as warehouse:
        warehouse.apply(facts[:3], decisions[:3])
        with pytest.raises(duckdb.Error):
            warehouse.apply(facts[3:], [Record(0, 5, 0, b"{}")])
        assert (given.rows(warehouse, "from facts"), warehouse.positions(FACTS)) == ([], {})
        warehouse.apply(facts, decisions)
        assert warehouse.positions(FACTS) == {0: 6}


def test_second_deliveries_are_told_by_partition() -> None:
    """One batch may hold old records of one partition and new ones of another."""
    first, _ = given.records(STORY)
    other, _ = given.records(STORY, partition=1)
    with given.warehouse(()) as warehouse:
        warehouse.apply(first[:4])
        warehouse.apply([*other[:2], *first[2:6]])

        assert warehouse.positions(FACTS) == {0: 5, 1: 1}
        assert given.rows(warehouse, "select partition, position from facts order by all") == [
            {"partition": partition, "position": position}
            for partition, end in ((0, 6), (1, 2))
            for position in range(end)
        ]


def test_a_killed_process_leaves_whole_batches(tmp_path: Path) -> None:
    """After a kill in the middle of a transaction the file holds the batches that were committed, positions included."""
    path = tmp_path / "k.duckdb"
    code = (
        "import os, sys, signal; from tests.projections import given, test_warehouse as t; from projections.warehouse import *\n"
        "facts, decisions = given.records(t.STORY); w = Warehouse.open(sys.argv[1], log_id='test')\n"
        "w.apply(facts[:3], decisions[:3])\n"
        "real = w._run\n"
        "def run(script, *rest):\n"
        "    real(script, *rest)\n"
        "    if script == 'staging/positions': os.kill(os.getpid(), signal.SIGKILL)\n"
        "w._run = run; w.apply(facts, decisions)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    with Warehouse.open(path, log_id="test") as warehouse, given.warehouse(STORY[:2]) as two:
        assert everything(two) == everything(warehouse)
        assert warehouse.positions(FACTS) == {0: 2}


def test_the_same_offset_twice_in_a_batch_is_a_broken_reader() -> None:
    """Nothing of such a batch is applied."""
    facts, _ = given.records(STORY)
    with given.warehouse(()) as warehouse:
        with pytest.raises(OutOfOrder):
            warehouse.apply([*facts[1:], facts[2]])
        assert warehouse.positions(FACTS) == {0: 0}


def test_a_file_of_other_logs_is_refused_and_fresh_sets_it_aside(tmp_path: Path) -> None:
    """The message names --fresh; the old file stays under another name."""
    path = tmp_path / "c.duckdb"
    Warehouse.open(path, log_id="one").close()
    with pytest.raises(UsageError, match="--fresh") as refusal:
        Warehouse.open(path, log_id="two")
    Warehouse.open(path, log_id="two", fresh=True).close()
    (old,) = tmp_path.glob("c.duckdb.*.old")

    assert refusal.value.exit_code == 2
    with Warehouse.open(old) as aside:
        assert aside.log_id == "one"


def test_tables_of_another_version_are_refused(tmp_path: Path) -> None:
    """The file is a cache: it is rebuilt rather than bent."""
    path = tmp_path / "v.duckdb"
    with Warehouse.open(path) as warehouse:
        warehouse.connection.execute("update staging.identity set tables_hash = 'older'")
    with pytest.raises(UsageError, match="another version"):
        Warehouse.open(path)


def test_views_follow_the_program(tmp_path: Path) -> None:
    """Views are made anew when their SQL changed; rows stay."""
    path = tmp_path / "v.duckdb"
    with Warehouse.open(path, log_id="test") as warehouse:
        warehouse.apply(*given.records(STORY))
        warehouse.connection.execute("update staging.identity set views_hash = 'older'")
        warehouse.connection.execute("create or replace view balances as select 1 as nothing")
    with Warehouse.open(path) as warehouse:
        assert [row["available"] for row in given.rows(warehouse, "select available from balances")] == [6]


def test_settings_stand_in_the_rows(tmp_path: Path) -> None:
    """Horizon and threshold of the churn flag are those of the last start."""
    path = tmp_path / "s.duckdb"
    with Warehouse.open(path, log_id="test") as warehouse:
        warehouse.apply(*given.records(STORY))
    with Warehouse.open(path, churn_horizon_days=30, churn_threshold=0.9) as warehouse:
        found = given.rows(warehouse, "select distinct horizon_days, threshold from churn_flags")

    assert found == [{"horizon_days": 30, "threshold": 0.9}]


def test_a_held_file_is_named_with_its_holder(held: Path) -> None:
    """A second writer is told who holds the file and how to ask it."""
    with pytest.raises(No, match=r"held by another process \(.*PID \d+.*stammgast query") as refusal:
        Warehouse.open(held)
    assert refusal.value.exit_code == 1


def test_a_held_file_is_not_set_aside(held: Path) -> None:
    """--fresh would leave the holder writing a renamed file, so it is refused like any second writer."""
    with pytest.raises(No, match=r"held by another process \(.*PID \d+"):
        Warehouse.open(held, fresh=True)
    with pytest.raises(No, match="held by another process"):
        set_aside(held)
    assert [path.name for path in held.parent.iterdir() if path.name.startswith("held.duckdb.2")] == []
    assert held.exists()


def test_a_damaged_file_can_be_set_aside(tmp_path: Path) -> None:
    """What cannot be opened is held by nobody."""
    path = tmp_path / "x.duckdb"
    path.write_bytes(b"this is a shopping list" * 400)

    assert set_aside(path) is not None
    assert not path.exists()


def test_somebody_elses_tables_are_left_alone(tmp_path: Path) -> None:
    """A DuckDB file with other tables is refused, and nothing is written into it."""
    path = tmp_path / "foreign.duckdb"
    with duckdb.connect(str(path)) as foreign:
        foreign.execute("create table t (a integer)")
    with pytest.raises(UsageError, match=r"holds somebody else's tables: name another file with --db\.$"):
        Warehouse.open(path)
    with duckdb.connect(str(path)) as foreign:
        assert foreign.execute("select table_name from information_schema.tables").fetchall() == [("t",)]


def test_an_empty_database_is_taken(tmp_path: Path) -> None:
    """A file without any tables is as good as none."""
    path = tmp_path / "empty.duckdb"
    duckdb.connect(str(path)).close()
    with Warehouse.open(path, log_id="test") as warehouse:
        assert warehouse.log_id == "test"


def test_a_cut_file_is_said_to_be_damaged(tmp_path: Path) -> None:
    """The message says how to mend it."""
    path = tmp_path / "whole.duckdb"
    with Warehouse.open(path, log_id="test") as warehouse:
        warehouse.apply(*given.records(STORY))
    cut = tmp_path / "cut.duckdb"
    cut.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(No, match=r"is damaged: .*[^.]\. It is a cache: say --fresh"):
        Warehouse.open(cut)


def test_what_is_no_database_is_said_so(tmp_path: Path) -> None:
    """A file of something else, a folder that is not there."""
    path = tmp_path / "x.duckdb"
    path.write_bytes(b"this is a shopping list" * 400)
    with pytest.raises(No, match=r"no DuckDB file: name another.*--fresh"):
        Warehouse.open(path)
    with pytest.raises(No, match="--db"):
        Warehouse.open(tmp_path / "nowhere" / "x.duckdb")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(tmp_path)], check=False, capture_output=True
    )
    if mount.returncode:
        pytest.skip(f"no small file system here: {mount.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def fill(path: Path, facts: list[Record], decisions: list[Record]) -> None:
    """Apply everything in batches of 4,000."""
    with Warehouse.open(path, log_id="test") as warehouse:
        for start in range(0, len(facts), 4_000):
            warehouse.apply(facts[start : start + 4_000], decisions[start : start + 4_000])


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    """The error is told as a full disk, and with room again the file goes on from whole batches to the same rows."""
    notes = [
        {"type": "visit", "id": f"v{n}", "subject": f"m{n}", "time": "2026-03-01T10:00:00Z"} for n in range(40_000)
    ]
    facts, decisions = given.records(notes)
    path, ballast = small_disk / "full.duckdb", small_disk / "ballast"
    ballast.write_bytes(os.urandom(8_000_000))
    with pytest.raises((No, duckdb.Error)) as trouble:
        fill(path, facts, decisions)
    ballast.unlink()
    with Warehouse.open(path, log_id="test") as warehouse:
        reached = warehouse.positions(FACTS).get(0, -1)
        stands = given.rows(warehouse, "select count(*) as n, max(position) as top from facts")

    assert "full" in explanation(path, trouble.value)
    assert reached < len(facts) - 1
    assert stands == [{"n": reached + 1, "top": reached if reached >= 0 else None}]


def test_a_disk_that_cannot_be_written_is_said_so(small_disk: Path) -> None:
    """A file on a read-only file system gives one sentence that says how to mend it."""
    path = small_disk / "r.duckdb"
    Warehouse.open(path).close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(No, match=r"cannot be written.*--db"):
        Warehouse.open(path)


def test_a_file_without_the_right_to_write_is_said_so(tmp_path: Path) -> None:
    """The same for a file that belongs to somebody else."""
    path = tmp_path / "r.duckdb"
    Warehouse.open(path).close()
    path.chmod(stat.S_IRUSR)
    if os.geteuid() == 0:
        pytest.skip("root may write read-only files")
    with pytest.raises(No, match="cannot be written"):
        Warehouse.open(path)
