"""Verify's comparison of a DuckDB file with the logs: the right rows pass, one wrong cell is named with its place."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest

from engine.verify.audit import verify
from engine.verify.report import Report
from engine.verify.scope import Scope
from engine.verify.tables import FileTables
from projections.warehouse import Record, Warehouse, reject_of
from tests.unit.verify_history import between, buy, event, history
from tests.unit.written_logs import FACTS, POINTS_LOG, REJECTS, WrittenLogs


def load(logs: WrittenLogs, db: Path) -> None:
    """Apply all records of the logs, as a projector does."""

    def records(topic: str) -> list[Record]:
        return [Record(r.partition, r.offset, r.timestamp, r.value or b"") for log in logs.topics[topic] for r in log]

    rejects = [reject_of(r.partition, r.offset, r.timestamp, r.headers) for log in logs.topics[REJECTS] for r in log]
    with Warehouse.open(db, log_id="logs") as warehouse:
        warehouse.apply(records(FACTS), records(POINTS_LOG), rejects)


def compared(logs: WrittenLogs, db: Path, scope: Scope | None = None) -> Report:
    """Verify logs and file."""
    report = Report(logs.partitions)
    ends = {number: (0, log[-1].offset + 1 if log else 0) for number, log in enumerate(logs.topics[POINTS_LOG])}
    with FileTables(db, logs.partitions, scope or Scope(), report) as tables:
        tables.check_ends(ends)
        return verify(logs, logs.programmes, scope=scope, tables=tables, report=report)


@pytest.mark.parametrize("hole", [0, 2])
def test_a_file_that_is_the_fold_of_the_logs_is_proven(tmp_path: Path, hole: int) -> None:
    """Given all records applied, refunds, refusals and noise among them, then every row and member is compared and right."""
    # given
    logs, db = history(partitions=3, hole=hole), tmp_path / "t.duckdb"
    load(logs, db)

    # when
    report = compared(logs, db)

    # then
    assert report.findings.first == []
    assert report.tables == {
        "facts": report.facts,
        "decisions": report.decisions,
        "points_entries": report.entries,
        "members": report.members,
    }
    assert report.entries > 40


def test_the_tables_know_whose_everything_is(tmp_path: Path) -> None:
    """Given aliases, claims and transfers, then every member is as the logs say, and each order stands once, with its member."""
    logs, db = between(), tmp_path / "t.duckdb"
    load(logs, db)

    assert compared(logs, db).findings.first == []

    with duckdb.connect(str(db), read_only=True) as file:

        def ask(query: str) -> list[tuple[object, ...]]:
            return file.execute(query).fetchall()

        assert ask("select alias, member_id from aliases order by alias") == [("ben", "cora"), ("card", "cora")]
        assert ask("select order_id, member_id from purchases order by order_id") == [
            ("a1", "anna"), ("b1", "cora"), ("b2", "cora"), ("till", "anna"),
        ]  # fmt: skip
        assert ask("select member_id, state, reason from claims order by member_id") == [
            ("anna", "granted", None), ("ben", "refused", "claimed_by_another"),
        ]  # fmt: skip
        assert ask("select to_member, state, reason from transfers order by to_member") == [
            ("card", "confirmed", None), ("nobody", "returned", "unknown_member"),
        ]  # fmt: skip
        assert ask("select member_id, orders from members order by member_id") == [("anna", 2), ("cora", 2)]
        assert ask("select member_id, available from balances where available <> 0 order by member_id") == [
            ("anna", 19), ("cora", 24),
        ]  # fmt: skip
        assert ask("select member_id from tiers order by member_id") == [("anna",), ("cora",)]


def test_a_file_that_lags_is_compared_up_to_where_it_is(tmp_path: Path) -> None:
    """Given facts and decisions behind the file's positions, then members are as they were there, and nothing is wrong."""
    logs, db = history(), tmp_path / "t.duckdb"
    load(logs, db)
    before = compared(logs, db).tables
    logs.tell(buy(f"later{n}", name) for n, name in enumerate(["anna", "dirk", "new", "anna"]))

    report = compared(logs, db)

    assert report.findings.first == []
    assert before is not None
    assert report.tables is not None
    assert {name: count for name, count in report.tables.items() if name != "members"} == {
        name: count for name, count in before.items() if name != "members"
    }


@pytest.mark.parametrize("portion", [7])
def test_portions_do_not_matter(right_file: Path, monkeypatch: pytest.MonkeyPatch, portion: int) -> None:
    """Given few rows per question, then the answer is the same."""
    logs = history()
    whole = compared(logs, right_file).tables
    monkeypatch.setattr("engine.verify.tables.PORTION", portion)

    report = compared(logs, right_file)

    assert report.findings.first == []
    assert report.tables == whole


#: What is edited, and the tables and members that must be named. ROW and ENTRY are spelt out when an edit is made.
EDITS: dict[str, tuple[str, list[str]]] = {
    "an entry's points": ("update staging.points_entries set points = points + 1 ENTRY", ["points_entries", "emma"]),
    "an entry's rule": ("update staging.points_entries set rule_id = 'gift' ENTRY", ["points_entries"]),
    "an entry's lines": ("update staging.points_entries set lines = [] ENTRY", ["points_entries"]),
    "an entry lost": ("delete from staging.points_entries ENTRY", ["points_entries", "emma"]),
    "a decision's outcome": ("update staging.decisions set outcome = 'duplicate' ROW", ["decisions"]),
    "a decision lost": ("delete from staging.decisions ROW", ["decisions", "points_entries"]),
    "a decision twice": ("insert into staging.decisions from staging.decisions ROW", ["decisions", "points_entries"]),
    "a fact's member": ("update staging.facts set member_id = 'ben' ROW", ["facts"]),
    "a fact's payload": ("update staging.facts set payload = '{}' ROW", ["facts"]),
    "a burn": ("update staging.lot_burns set points = points + 1", ["ben"]),
    "a burnt lot": ("update staging.lot_burns set lot_id = (OTHER_LOT)", ["ben"]),
    "a tier": ("update staging.tier_changes set tier = 'family' where member_id = 'ben'", ["ben"]),
    "a tier's end": ("update staging.tier_changes set until = now() where member_id = 'dirk'", ["dirk"]),
    "a position": ("update log_positions set position = position + 1 where topic = 'points-log'", ["log_positions"]),
    "a position of facts": (
        "update log_positions set position = position + 1 where topic = 'facts'",
        ["log_positions"],
    ),
}
WORDS = {
    "ROW": "where fact_id = 'p2-emma'",
    "ENTRY": "where position = (select min(position) from staging.decisions ROW) and rule_id = 'spend'",
    "OTHER_LOT": "select entry_id from staging.points_entries where member_id = 'ben' and entry_id <> lot_id limit 1",
}


def edit(db: Path, statement: str) -> None:
    """Change the file behind its program's back."""
    for word in ("ENTRY", "OTHER_LOT", "ROW"):
        statement = statement.replace(word, WORDS[word])
    with duckdb.connect(str(db)) as connection:
        connection.execute("set variable stammgast_writes = true")
        connection.execute(statement)


@pytest.fixture(scope="module")
def right_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is the fold of the history's logs; copy it before changing it."""
    db = tmp_path_factory.mktemp("right") / "t.duckdb"
    load(history(), db)
    return db


@pytest.mark.parametrize("name", EDITS)
def test_a_wrong_cell_is_found(right_file: Path, tmp_path: Path, name: str) -> None:
    """Given one edit of a right file, then that table or that member is named, with what was expected and what stands there."""
    # given
    statement, about = EDITS[name]
    logs, db = history(), Path(shutil.copy(right_file, tmp_path))
    edit(db, statement)

    # when
    report = compared(logs, db)

    # then
    assert not report.proven()
    told = [one.topic.rsplit(" ", 1)[-1] if one.kind.startswith("db_row") else one.member or one.topic
            for one in report.findings.first]  # fmt: skip
    assert sorted(set(told)) == sorted(about), report.findings.first
    assert all(one.kind.startswith("db_") for one in report.findings.first)
    assert all(one.expected or one.found or one.kind == "db_ahead" for one in report.findings.first)


def test_what_is_out_of_scope_is_not_compared(right_file: Path, tmp_path: Path) -> None:
    """Given a sample or a moment, then rows outside of it are left alone, and rows inside are compared."""
    logs, db = history(), Path(shutil.copy(right_file, tmp_path))
    edit(db, EDITS["an entry's rule"][0])
    scopes = {"all": Scope(), "none": Scope(share=0), "later": Scope(since_ms=1_900_000_000_000)}

    proven = {name: compared(logs, db, scope).proven() for name, scope in scopes.items()}

    assert proven == {"all": False, "none": True, "later": True}


def test_costs_are_proven_in_the_tables(tmp_path: Path) -> None:
    """Told twice, told otherwise, dated after everything: the file is the fold of the logs, its day and its members untouched."""
    data = {"day": "2031-01-01", "kind": "printing", "foreseen": True, "amount": "3.00", "currency": "EUR"}
    logs, db = history(partitions=3), tmp_path / "t.duckdb"
    load(logs, tmp_path / "before.duckdb")
    costs = [
        event("k1", "cost", None, data | {"amount": amount}, "2031-01-01T00:00:00Z")
        for amount in ("3.00", "3.00", "4.00")
    ]
    logs.tell([*costs, event("k2", "cost", None, data | {"day": "2019-05-05"}, "2019-05-05T00:00:00Z")])
    load(logs, db)
    report = compared(logs, db)

    assert report.findings.first == []
    earlier = str(tmp_path / "before.duckdb")
    with duckdb.connect(str(db), read_only=True) as file, duckdb.connect(earlier, read_only=True) as old:
        question = "select settled_at, (select count(*) from members), (select count(*) from balances) from meta"
        assert file.execute(question).fetchall() == old.execute(question).fetchall()
        assert file.execute("select fact_id, amount_minor from costs order by all").fetchall() == [
            ("k1", 300),
            ("k2", 300),
        ]
