"""Hold the tables against the invariants of the ledger while they are written, and tell Prometheus: design rule 4, in DuckDB."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import duckdb
import structlog

from engine.telemetry import Metrics
from projections import sql
from projections.beside import Beside
from projections.trouble import explanation
from projections.warehouse import Warehouse

STATEMENTS = "serving/ledger_check"
#: What breaks an invariant, by the statement that counts it.
CHECKS = ("lot_below_zero", "debt_below_zero", "fact_without_decision", "lot_overdue")
# A look once a minute, and never more than a twentieth of the time: on large files it takes seconds. Too often: a core is busy
# counting. Too seldom: an alert is late.
AGAIN_S = 60.0
SHARE = 20
# The first look waits: a file that was just opened catches up, and one that a full disk takes away again and again is left alone.
FIRST_S = 3.0

log = structlog.get_logger(__name__)


class LedgerCheck(Beside):
    """Asks the tables about themselves; every answer is of one moment of them."""

    def __init__(self, warehouse: Warehouse, metrics: Metrics, again_s: float = AGAIN_S) -> None:
        self._file = Path(warehouse.path)
        self._metrics = metrics
        self._again_s = again_s
        super().__init__(warehouse, "ledger-check")

    def _run(self) -> None:
        self._stop.wait(min(FIRST_S, self._again_s))
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._tell_disk()
                self._look()
                self._metrics.tables_check_seconds.set(time.monotonic() - began)
                self._metrics.tables_checked.set(time.time())
                self._metrics.tell_tables()  # only now: free room of 0 bytes would wake somebody up
            except (duckdb.Error, OSError) as error:
                if not self._stop.is_set():
                    log.warning(
                        "the tables could not be checked", file=str(self._file), because=_words(self._file, error)
                    )
            self._stop.wait(max(self._again_s, SHARE * (time.monotonic() - began)))

    def _look(self) -> None:
        """Ask everything in one transaction, then tell it: a half-told answer would break invariants by itself."""
        self._connection.begin()
        try:
            found = {name: self._one(text) for name, text in sql.statements(STATEMENTS).items()}
        finally:
            self._connection.rollback()
        entries, lots, debt, gap = found["points"]
        for part, points in (("entries", entries), ("lots", lots), ("debt", debt)):
            self._metrics.table_points.labels(part).set(points)
        self._metrics.table_gap.set(gap)
        self._metrics.tables_settled.set(found["settled"][0])
        for check in CHECKS:
            (rows,) = found[check]
            self._metrics.table_violations.labels(check).set(rows)
            if rows:
                log.error(
                    "tables break an invariant: run `stammgast verify`", check=check, rows=rows, file=str(self._file)
                )

    def _one(self, statement: str) -> tuple[int, ...]:
        row = self._connection.execute(statement).fetchone()
        return (0,) if row is None else row

    def _tell_disk(self) -> None:
        sizes = [path.stat().st_size for path in (self._file, Path(f"{self._file}.wal")) if path.exists()]
        self._metrics.file_bytes.set(sum(sizes))
        self._metrics.disk_free_bytes.set(shutil.disk_usage(self._file.absolute().parent).free)


def _words(path: Path, error: Exception) -> str:
    return explanation(path, error) if isinstance(error, duckdb.Error) else str(error)
