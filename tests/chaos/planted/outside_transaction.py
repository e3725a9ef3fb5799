"""Decisions are written past the transaction, by a producer that nobody fences; only derived facts are in it."""

from __future__ import annotations

from typing import Any

from engine.stream.outbox import Outbox, Place
from engine.stream.turn import Turn
from engine.stream.writing import Writer

PLAIN: dict[int, Any] = {}


def plant() -> None:
    """Put the bug in."""
    right_start, right_write, right_turn = Writer.start, Writer._in_a_transaction, Turn.__init__

    async def start(self: Any) -> None:
        await right_start(self)
        plain = PLAIN[id(self.producer)] = self._tools.new_producer(None)
        await plain.start()

    def turn(self: Any, producer: Any) -> None:
        right_turn(self, producer)
        self.outbox = Outbox(PLAIN[id(producer)])

    async def write(self: Any, outbox: Outbox, derived: Outbox | None) -> dict[Place, int | None]:
        if outbox._producer is not PLAIN[id(self.producer)]:  # a note of the keeper's own, no turn
            return await right_write(self, outbox, derived)
        ends = await outbox.send()
        await right_write(self, Outbox(self.producer), derived)
        return ends

    Writer.start = start  # type: ignore[method-assign]
    Writer._in_a_transaction = write  # type: ignore[method-assign]
    Turn.__init__ = turn  # type: ignore[method-assign]
