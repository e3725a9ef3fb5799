"""The DuckDB file is the fold of the logs up to the positions it holds: row by row, and member by member.

A projector may go on writing while we look. Rows up to a position never change, so they can be asked for in portions; what
members have is asked for once, together with the positions, before any log is read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, Self

import orjson

from engine.stream.clients import partition_for
from engine.stream.topics import FACTS, POINTS_LOG
from engine.verify.books import Account, Books
from engine.verify.findings import Findings
from engine.verify.report import Report
from engine.verify.rows import Row, decision_row, entry_rows, fact_row
from engine.verify.scope import Scope
from projections import evidence
from schemas.envelope import Fact
from schemas.times import to_text, to_us

#: Rows that are asked for and compared at once. Too few: round trips. Too many: memory.
PORTION = 20_000
_MEMORY_BYTES = 4 << 20
_JSON_COLUMNS = ("payload", "notes", "lines")
#: Which log the rows of a table come from.
_LOG_OF = {"facts": FACTS, "decisions": POINTS_LOG, "points_entries": POINTS_LOG}
_SUMS = (
    "available", "pending", "debt", "earned_ever", "spent_ever", "expired_ever", "clawed_back_ever", "cancelled_ever",
    "adjusted_ever", "transferred_ever",
)  # fmt: skip


class FileTables:
    """Compares a file with the logs that are read past it; satisfies `engine.verify.audit.Tables`. A context manager.

    Args:
        db: the file, or one that a projector holds and serves.
    """

    def __init__(self, db: Path, partitions: int, scope: Scope, report: Report) -> None:
        self._db, self._partitions, self._scope, self._report = db, partitions, scope, report
        self._findings: Findings = report.findings
        self._positions: dict[tuple[str, int], int] = {}
        self._settled: int | None = None
        self._closing = ExitStack()
        self._members: list[IO[bytes]] = []
        self._partition, self._looking = 0, True
        self._expected: dict[str, list[Row]] = {}
        self._compared: dict[str, int] = {}
        self._members_done = False
        self._newest_fact = -1
        report.tables = dict.fromkeys((*evidence.ROWS, "members"), 0)
        self._take_standing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _take_standing(self) -> None:
        """Put what members have aside, a file per partition, and learn the positions."""
        self._members = [
            self._closing.enter_context(tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES))  # noqa: SIM115
            for _ in range(self._partitions)
        ]
        for row in evidence.standing(self._db):
            match row["what"]:
                case "position":
                    self._positions[row["name"], row["partition"]] = row["position"]
                case "settled":
                    self._settled = row["position"]
                case _:
                    home = partition_for(str(row["name"]).encode(), self._partitions)
                    self._members[home].write(orjson.dumps(row) + b"\n")

    def check_ends(self, ends: Mapping[int, tuple[int, int]]) -> None:
        """Compare the positions with where points-log ends: partition -> (begin, end), learnt after the positions."""
        for (topic, partition), position in self._positions.items():
            if topic == POINTS_LOG and position >= ends.get(partition, (0, 0))[1]:
                self._ahead(topic, partition, position)

    def _ahead(self, topic: str, partition: int, position: int) -> None:
        text = f"the file holds {topic}[{partition}] up to offset {position}, and the log ends before"
        self._findings.add("db_ahead", text, topic="log_positions", partition=partition, offset=position)

    # --------------------------------------------------------------------------------------------------- as it is fed

    def begin(self, partition: int) -> None:
        """As `Tables`."""
        self._partition = partition
        self._looking = self._scope.takes_partition(partition, self._partitions)
        self._expected = {table: [] for table in evidence.ROWS}
        self._compared = dict.fromkeys(evidence.ROWS, -1)
        self._members_done = False
        self._newest_fact = -1

    def fact(self, record: Any, _fact: Fact | None) -> None:
        """As `Tables`."""
        self._newest_fact = record.offset
        if self._looking and record.offset <= self._position(FACTS):
            self._expect("facts", [fact_row(record)], record)

    def decision(self, record: Any, raw: dict[str, Any], books: Books) -> None:
        """As `Tables`: the books are compared where the file's position is passed."""
        if not self._looking:
            return
        if record.offset > self._position(POINTS_LOG):
            self._compare_members(books)
            return
        self._expect("decisions", [decision_row(record, raw)], record)
        # A decision that cannot be read has been told, and has no rows.
        with suppress(KeyError, TypeError, ValueError, AttributeError):
            self._expect("points_entries", list(entry_rows(record, raw)), record)

    def end(self, books: Books) -> None:
        """As `Tables`."""
        if not self._looking:
            return
        self._compare_members(books)
        for table in evidence.ROWS:
            self._compare(table, self._position(_LOG_OF[table]))
        if self._position(FACTS) > self._newest_fact:
            self._ahead(FACTS, self._partition, self._position(FACTS))

    def close(self) -> None:
        """As `Tables`."""

    def _position(self, topic: str) -> int:
        return self._positions.get((topic, self._partition), -1)

    # ----------------------------------------------------------------------------------------------------------- rows

    def _expect(self, table: str, rows: Iterable[Row], record: Any) -> None:
        expected = self._expected[table]
        expected.extend(row for row in rows if self._wanted(row))
        if len(expected) >= PORTION:
            self._compare(table, record.offset)

    def _wanted(self, row: Row) -> bool:
        since, member = self._scope.since_ms, row["member_id"]
        recent = since is None or row["recorded_at"] >= since * 1_000
        return recent and (member is None or self._scope.takes_member(member))

    def _compare(self, table: str, upto: int) -> None:
        """Compare the rows of a table behind the last portion up to a position."""
        expected, after = self._expected[table], self._compared[table]
        self._expected[table], self._compared[table] = [], upto
        if upto <= after:
            return
        found = (row for row in evidence.rows(self._db, table, self._partition, after, upto) if self._wanted(row))
        if self._report.tables is not None:
            self._report.tables[table] += len(expected)
        order = evidence.ROWS[table]
        for wanted, stands in _side_by_side(expected, map(_plain, found), order):
            if wanted != stands:
                self._tell_row(table, wanted, stands)

    def _tell_row(self, table: str, wanted: Row | None, stands: Row | None) -> None:
        row = wanted or stands or {}
        kind = "db_row_missing" if stands is None else "db_row_extra" if wanted is None else "db_row_differs"
        differ = ", ".join(name for name in row if wanted and stands and wanted[name] != stands[name])
        self._findings.add(
            kind,
            f"{table}: {differ or 'the whole row'}",
            topic=f"{self._db} {table}",
            partition=self._partition,
            offset=row["position"],
            fact=f"{row.get('source')} {row.get('fact_id')}",
            member=row.get("member_id"),
            expected=None if wanted is None else _text(wanted),
            found=None if stands is None else _text(stands),
        )

    # -------------------------------------------------------------------------------------------------------- members

    def _compare_members(self, books: Books) -> None:
        """Compare every member once, with the books as they stand at the file's position."""
        if self._members_done:
            return
        self._members_done = True
        settled = None if self._settled is None else to_text(self._settled)
        found = self._members[self._partition]
        found.seek(0)
        told: set[str] = set()
        for line in found:
            row = orjson.loads(line)
            member = row["name"]
            told.add(member)
            self._compare_member(member, books.accounts.get(member), row, settled)
        for member, account in books.accounts.items():
            if member not in told:
                self._compare_member(member, account, None, settled)
        if self._report.tables is not None:
            self._report.tables["members"] += len(books.accounts)

    def _compare_member(self, member: str, account: Account | None, row: Row | None, settled: str | None) -> None:
        expected = {} if account is None else member_row(account, settled)
        stands = (
            {} if row is None else {name: row[name] for name in (*_SUMS, "lots", "tier", "since", "until", "projected")}
        )
        least = None if row is None else row["least"]
        if expected == stands and (least is None or least >= 0):
            return
        differ = ", ".join(name for name in {**expected, **stands} if expected.get(name) != stands.get(name))
        self._findings.add(
            "db_member_differs",
            f"{differ or 'a lot is below zero'}; `stammgast query` shows the member's lots and entries",
            topic=f"{self._db} balances, lots, tiers",
            partition=self._partition,
            offset=self._position(POINTS_LOG),
            member=member,
            expected=_text(expected) if expected else None,
            found=_text(stands) if stands else None,
        )


def member_row(account: Account, settled: str | None) -> Row:
    """What the tables must say of a member; a member without entries stands in `tiers` alone."""
    moved = account.entries > 0
    pending = account.pending(settled)
    tier, since, until, projected = account.tier or (None, None, None, None)
    sums = {
        "available": account.left - pending,
        "pending": pending,
        "debt": account.left - account.points,
        "earned_ever": account.earned,
        "spent_ever": account.spent,
        "expired_ever": account.expired,
        "clawed_back_ever": account.clawed,
        "cancelled_ever": account.cancelled,
        "adjusted_ever": account.adjusted,
        "transferred_ever": account.moved,
    }
    return {
        **{name: sums[name] if moved else None for name in _SUMS},
        "lots": str(account.lots) if account.lots_made else None,
        "tier": tier,
        "since": None if since is None else to_us(since),
        "until": None if until is None else to_us(until),
        "projected": projected,
    }


def _side_by_side(
    expected: Iterable[Row], found: Iterable[Row], order: tuple[str, ...]
) -> Iterator[tuple[Row | None, Row | None]]:
    """Rows of both, those of the same place together; both come in the order of their places."""
    left, right = iter(expected), iter(found)
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        here = None if one is None else tuple(one[name] for name in order)
        there = None if other is None else tuple(other[name] for name in order)
        if there is None or (here is not None and here < there):
            yield one, None
            one = next(left, None)
        elif here is None or there < here:
            yield None, other
            other = next(right, None)
        else:
            yield one, other
            one, other = next(left, None), next(right, None)


def _plain(row: Row) -> Row:
    """JSON columns as objects, so that blanks and the order of keys do not count."""
    return {
        name: orjson.loads(value) if name in _JSON_COLUMNS and value is not None else value
        for name, value in row.items()
    }


def _text(row: Row) -> str:
    return orjson.dumps(row, default=str).decode()
