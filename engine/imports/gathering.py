"""Lines of one receipt brought together, and receipts in the order of their times, without holding the file.

The file is read twice: once for the earliest time and the number of lines of every receipt, then for the lines, which are held
only until their receipt is whole and every earlier one is out. A file in order of time, as tills write it, needs memory for
the receipts of a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Line = TypeVar("Line")


class Receipts(Generic[Key]):
    """What the first reading learns of each receipt."""

    def __init__(self) -> None:
        self._times: dict[Key, tuple[int, str]] = {}
        self._lines: dict[Key, int] = {}

    def add(self, key: Key, time_us: int, time: str) -> None:
        """One more line of ``key``, at a time that is given twice: in microseconds and as text."""
        known = self._times.get(key)
        if known is None or time_us < known[0]:
            self._times[key] = time_us, time
        self._lines[key] = self._lines.get(key, 0) + 1

    def whole(
        self, lines: Iterable[tuple[Key, Line]], sort_key: Callable[[Key], Any]
    ) -> Iterator[tuple[Key, str, list[Line]]]:
        """Yield (key, earliest time, lines) of every receipt by (time, ``sort_key``), from the same lines read again."""
        order = iter(sorted(self._times, key=lambda key: (self._times[key][0], sort_key(key))))
        waiting: dict[Key, list[Line]] = {}
        due = next(order, None)
        for key, line in lines:
            waiting.setdefault(key, []).append(line)
            while due is not None and len(waiting.get(due, ())) == self._lines[due]:
                yield due, self._times[due][1], waiting.pop(due)
                due = next(order, None)
