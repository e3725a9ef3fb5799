"""Decisions are written past the transaction, by a producer that nobody fences; only derived facts are in it."""

from __future__ import annotations

from typing import Any

from engine.stream.outbox import Outbox
from engine.stream.writing import Writer


def plant() -> None:
    """Put the bug in."""
    right = Writer._in_a_transaction

    async def write(self: Any, derived: Outbox, outbox: Outbox) -> None:
        plain = self._tools.new_producer(None)
        await plain.start()
        try:
            outbox._producer = plain
            await outbox.send()
        finally:
            await plain.stop()
        await right(self, derived, Outbox(self.producer))

    Writer._in_a_transaction = write  # type: ignore[method-assign]
