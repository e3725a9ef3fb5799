"""How closely each fact is looked at: all of them, those recorded since a moment, or a sample."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

#: ``prove``: decide the fact again and compare bytes. ``follow``: take the decision as given, so that the state goes on.
#: ``skim``: look at the decision alone.
Mode = Literal["prove", "follow", "skim"]
_SHARES = 10_000


@dataclass(frozen=True, slots=True)
class Scope:
    """What is compared byte by byte. What is cheap (order, chain, rejects, derived facts) is checked everywhere.

    Attributes:
        since_ms: facts recorded before are taken as given; the fold still begins at the beginning.
        share: of the members, in ten-thousandths, chosen by the hash of their keys: the same ones every time.
        sampled: how many partitions, spread evenly; None for all.
    """

    since_ms: int | None = None
    share: int = _SHARES
    sampled: int | None = None

    @property
    def whole(self) -> bool:
        """Is everything compared?"""
        return self.since_ms is None and self.share >= _SHARES and self.sampled is None

    @property
    def every_member(self) -> bool:
        """Are all members of a partition compared?"""
        return self.share >= _SHARES

    def takes_partition(self, partition: int, partitions: int) -> bool:
        """Is this partition in the sample?"""
        if self.sampled is None or self.sampled >= partitions:
            return True
        step = partitions / self.sampled
        return partition in {int(number * step) for number in range(self.sampled)}

    def takes_member(self, key: str) -> bool:
        """Is this member in the sample?"""
        if self.every_member:
            return True
        return int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) % _SHARES < self.share

    def mode(self, record: Any, key: str | None) -> Mode:
        """How a fact of this key (None: a tick or a programme fact) is looked at."""
        if key is not None and not self.takes_member(key):
            return "skim"
        return "follow" if self.since_ms is not None and record.timestamp < self.since_ms else "prove"
