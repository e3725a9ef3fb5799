"""How much of a partition is taken at once: as much as has lately gone quickly, little in the beginning.

A transaction that is open for longer than `TRANSACTION_TIMEOUT_MS` is aborted and its writer fenced; whoever takes the
partition over would meet the same facts, and be fenced in the same way, for ever. So nothing here has a fixed size: it
doubles as long as it goes quickly and shrinks when it does not, down to a single fact, and a keeper that was fenced begins
small again. That is the slow start of TCP (RFC 5681, section 3.1), and it needs no memory of who failed before.
"""

from __future__ import annotations


class Pace:
    """A number of records between 1 and `most`."""

    __slots__ = ("_most", "_quick_s", "_slow_s", "records")

    def __init__(self, first: int, most: int, quick_s: float, slow_s: float) -> None:
        """Start.

        Args:
            first: records in the beginning.
            most: records at the most.
            quick_s, slow_s: a full measure that took less than the first doubles it, whatever took more than the second
                shrinks it.
        """
        self.records = min(first, most)
        self._most, self._quick_s, self._slow_s = most, quick_s, slow_s

    def took(self, records: int, seconds: float) -> None:
        """So many records took so long."""
        if seconds > self._slow_s:
            # What would have taken the time that is neither quick nor slow; at most half of what it was.
            fitting = int(records * self._quick_s / seconds)
            self.records = max(1, min(fitting, self.records // 2))
        elif seconds < self._quick_s and records >= self.records:
            self.records = min(self._most, self.records * 2)
