"""Parse one batch while the batch before it is written: two threads, one writer, each batch one transaction as ever."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Self, TypeVar

import duckdb
import pyarrow as pa

from projections.parsing import Parsed, Parser
from projections.warehouse import DECISIONS, FACTS, SCRIPTS, Warehouse

#: A batch of fewer records is parsed by its writer: handing it over costs some milliseconds, whatever is in it.
WORTH_RECORDS = 5_000


Made = TypeVar("Made")


class Ahead:
    """A thread and its parser. What it parses must be given to `Warehouse.apply` together with the same tables."""

    def __init__(self) -> None:
        self._parser = Parser()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="projector-parser")

    def parse(self, facts: pa.Table, decisions: pa.Table) -> dict[str, Parsed]:
        """Parse in the caller's thread, of which there may be one at a time.

        A log that cannot be parsed is left out: the writer parses it itself, and meets and tells the same trouble.
        """
        found = {}
        for topic, table in ((FACTS, facts), (DECISIONS, decisions)):
            if table.num_rows >= WORTH_RECORDS:
                with contextlib.suppress(duckdb.Error):
                    found[topic] = self._parser.parse(*SCRIPTS[topic], table)
        return found

    def run(self, work: Callable[[], Made]) -> Future[Made]:
        """Do something in the thread that is there to parse."""
        return self._thread.submit(work)

    def close(self) -> None:
        """Wait for what is being parsed, then let thread and memory go."""
        self._thread.shutdown(cancel_futures=True)
        self._parser.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def apply_all(warehouse: Warehouse, batches: Iterable[tuple[pa.Table, pa.Table]]) -> None:
    """Apply (facts, decisions) one after the other; each is parsed while the one before is written.

    Raises:
        As `Warehouse.apply`: the batches before the one that failed are applied.
    """
    with Ahead() as ahead:
        waiting: tuple[pa.Table, pa.Table, Future[dict[str, Parsed]]] | None = None
        for facts, decisions in batches:
            parsing = ahead.run(partial(ahead.parse, facts, decisions))
            if waiting is not None:
                warehouse.apply(waiting[0], waiting[1], parsed=waiting[2].result())
            waiting = (facts, decisions, parsing)
        if waiting is not None:
            warehouse.apply(waiting[0], waiting[1], parsed=waiting[2].result())
