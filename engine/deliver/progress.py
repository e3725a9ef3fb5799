"""How far a partition of `incentives` is worked off, although its notices are finished in any order.

What is committed is the first offset that is not finished, and beside it, in the commit's metadata, which of those behind it are:
run lengths, so that a notice that waits for tomorrow morning holds back nobody and nothing is sent again after a restart. The
same technique as in Confluent's Parallel Consumer. Brokers take 4,096 bytes of metadata (`offset.metadata.max.bytes`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

_VERSION = "d1:"
#: Characters of metadata that may be written: under the brokers' limit.
METADATA_MOST = 4_000
#: From here on no more is taken from a partition until what waits is finished.
METADATA_FULL = 2_000


class Progress:
    """One partition: which offsets are finished. Offsets that hold no record (transactions leave some) count as finished."""

    __slots__ = ("_done", "_seen", "base", "forgotten")

    def __init__(self, base: int, metadata: str = "") -> None:
        """Go on from a commit: all below `base` is finished, and what `metadata` says."""
        self.base = base
        self._done = set(decode(base, metadata))
        self._seen = base
        #: Finished offsets that did not fit into the metadata when it was last made: they come again after a crash.
        self.forgotten = 0
        self._move()

    def take(self, offset: int) -> bool:
        """A record was read: True where it is still to be worked on."""
        if offset < self._seen:
            return False
        self._done.update(range(self._seen, offset))
        self._seen = offset + 1
        new = offset not in self._done
        self._move()
        return new

    def finish(self, offset: int) -> None:
        """A notice is finished, whatever came of it."""
        if offset >= self.base:
            self._done.add(offset)
            self._move()

    def _move(self) -> None:
        while self.base in self._done:
            self._done.remove(self.base)
            self.base += 1

    @property
    def next_offset(self) -> int:
        """The first offset that was not read."""
        return self._seen

    @property
    def commit(self) -> tuple[int, str]:
        """What to commit: offset and metadata."""
        text, told = encode(self.base, self._done)
        self.forgotten = len(self._done) - told
        return self.base, text

    @property
    def full(self) -> bool:
        """Are there so many gaps that no more should be taken?"""
        return len(self._done) > METADATA_FULL // 8 and len(self.commit[1]) > METADATA_FULL


def encode(base: int, done: set[int]) -> tuple[str, int]:
    """Run lengths of unfinished and finished offsets from `base` on, in turn, and how many finished ones that tells."""
    packed, told, at = bytearray(), 0, base
    for first, after in _runs(done):
        more = _varint(first - at) + _varint(after - first)
        if len(_VERSION) + -(-(len(packed) + len(more)) // 3) * 4 > METADATA_MOST:
            break
        packed += more
        told += after - first
        at = after
    return (_VERSION + base64.b64encode(packed).decode() if packed else ""), told


def decode(base: int, metadata: str) -> Iterator[int]:
    """Finished offsets out of a commit's metadata; what somebody else wrote there says nothing."""
    if not metadata.startswith(_VERSION):
        return
    try:
        packed = base64.b64decode(metadata[len(_VERSION) :], validate=True)
    except (binascii.Error, ValueError):
        return
    numbers, number, shift = [], 0, 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
    at = base
    for gap, run in zip(numbers[::2], numbers[1::2], strict=False):
        yield from range(at + gap, at + gap + run)
        at += gap + run


def _runs(done: set[int]) -> Iterator[tuple[int, int]]:
    first = after = -1
    for offset in sorted(done):
        if offset != after:
            if after >= 0:
                yield first, after
            first = offset
        after = offset + 1
    if after >= 0:
        yield first, after


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
