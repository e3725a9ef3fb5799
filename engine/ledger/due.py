"""When members are due: the index by which a tick finds them. It holds keys and moments, never members."""

from __future__ import annotations


class DueIndex:
    """Keys by the moment at which their next timer is due.

    Due moments are midnights and period ends, so many members share a few of them: a set of keys per moment takes less
    memory than an entry per member, and the first moment is found by looking at the moments alone.
    """

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: dict[int, set[str]] = {}

    @property
    def first_us(self) -> int | None:
        """The first moment at which somebody is due, None without one."""
        return min(self._keys, default=None)

    def move(self, key: str, before_us: int | None, after_us: int | None) -> None:
        """A member was due at ``before_us`` and is now due at ``after_us``; None stands for never."""
        if before_us == after_us:
            return
        if before_us is not None:
            keys = self._keys[before_us]
            keys.discard(key)
            if not keys:
                del self._keys[before_us]
        if after_us is not None:
            self._keys.setdefault(after_us, set()).add(key)

    def count_until(self, time_us: int) -> int:
        """Return how many keys are due at or before ``time_us``."""
        return sum([len(keys) for moment_us, keys in self._keys.items() if moment_us <= time_us])

    def until(self, time_us: int) -> list[str]:
        """Return the keys that are due at or before ``time_us``, in their order."""
        return sorted(key for moment_us, keys in self._keys.items() if moment_us <= time_us for key in keys)
