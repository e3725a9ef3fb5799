"""A question that is asked of the open file again and again, beside the writer, and that ends when the file is closed."""

from __future__ import annotations

import contextlib
import threading

import duckdb

from projections.warehouse import Warehouse


class Beside:
    """A thread with a connection of its own.

    A subclass says in `_run` what it asks; what that needs must stand before `__init__` here is called.
    """

    def __init__(self, warehouse: Warehouse, name: str) -> None:
        """Start to ask; `name` is the thread's."""
        self._path = warehouse.path
        self._connection = warehouse.connection.cursor()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop asking; afterwards this holds nothing of the file."""
        self._stop.set()
        while self._thread.is_alive():
            with contextlib.suppress(duckdb.Error):
                self._connection.interrupt()
            self._thread.join(0.05)
        self._connection.close()

    def _run(self) -> None:
        """Ask until `_stop` is set."""
        raise NotImplementedError
