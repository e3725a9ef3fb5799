"""What the writer does when a day is over and nothing is left to read: score the members, keep the month that ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import duckdb
import structlog

if TYPE_CHECKING:
    from projections.warehouse import Warehouse

log = structlog.get_logger()

# How often it is asked whether a day is over. Too often: every batch looks.
LOOK_S = 10.0
# How long scoring that took more memory than there is waits. Too short: whoever publishes waits for it again and again.
AGAIN_S = 3600.0


class DayEnd:
    """When to look whether a day is over, for one open file. Belongs to the thread that writes."""

    def __init__(self, warehouse: Warehouse, clock: Callable[[], float] = time.monotonic) -> None:
        self._warehouse = warehouse
        self._clock = clock
        self._look_s = self._score_s = 0.0

    def look(self) -> None:
        """Do what is due, if it is time to look.

        Raises:
            duckdb.Error: nothing of it was kept. Scores that want more memory than there is are told and put off instead: points
                and balances do not wait for them.
        """
        now = self._clock()
        if now <= self._look_s:
            return
        if now > self._score_s:
            self._score()
        # One at a time: the next facts are not to wait for years of them.
        more = self._warehouse.keep_month_if_due()
        self._look_s = self._clock() + (0 if more else LOOK_S)

    def _score(self) -> None:
        try:
            if self._warehouse.score_if_due():
                log.info("members scored", file=self._warehouse.path)
        except duckdb.OutOfMemoryException as error:
            self._score_s = self._clock() + AGAIN_S
            log.warning(
                "members not scored: it takes more memory than --memory-limit; the newest scores stay",
                file=self._warehouse.path,
                again_s=AGAIN_S,
                detail=str(error).splitlines()[0],
            )
