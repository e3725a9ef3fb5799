"""The checkpoint is written before the snapshots it speaks of, and those come a few at a time."""

from __future__ import annotations

from typing import Any

from engine.stream import snapshots
from engine.stream.outbox import Outbox
from engine.stream.snapshots import Snapshots, checkpoint_key

FEW = 1


def plant() -> None:
    """Put the bug in."""
    right = Snapshots.add_some

    def add_some(self: Any, outbox: Outbox, most: int, now_ms: int) -> int:
        if self._checkpoint is not None:
            outbox.add(self._place, checkpoint_key(self._partition), self._checkpoint.encode(), now_ms)
        return right(self, outbox, most, now_ms)

    snapshots.TURN_LEAST = snapshots.TURN_MOST = FEW
    Snapshots.add_some = add_some  # type: ignore[method-assign]
