"""Read every row of the open file once in a while, beside the writer: DuckDB finds a damaged block only when it reads it."""

from __future__ import annotations

import time

import duckdb
import structlog

from projections import sql
from projections.beside import Beside
from projections.trouble import FileTrouble, Kind
from projections.warehouse import Warehouse

# At the start, and again so long after the last time: half a second of a core per million facts. Too often: a core is busy with
# nothing new. Too seldom: an analyst meets the damage first.
AGAIN_S = 6 * 3600.0

log = structlog.get_logger(__name__)


class LookThrough(Beside):
    """Reads everything at once and every `AGAIN_S`; `trouble` is what it found, None as long as all is well."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.trouble: FileTrouble | None = None
        super().__init__(warehouse, "look-through")

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                for statement in sql.statements("staging/look_through").values():
                    self._connection.execute(statement).fetchall()
                    if self._stop.is_set():
                        return
            except duckdb.Error as error:
                trouble = FileTrouble.of(self._path, error)
                if trouble.kind is Kind.DAMAGED:
                    self.trouble = trouble
                    return
                # What else hinders a reader hinders the writer too, or passes.
            else:
                log.info("every row was read", file=self._path, seconds=round(time.monotonic() - began, 1))
            self._stop.wait(AGAIN_S)
