"""Names of facts across all partitions: reused by other members, and derived facts present exactly once.

A name is (source, id). All names of a log do not fit into memory, so they are spread by their hash over buckets on disk,
and one bucket at a time is looked at.
"""

from __future__ import annotations

import struct
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import blake2b
from typing import IO, NamedTuple, Self

BUCKETS = 64
#: A bucket stays in memory below this; above it goes to a temporary file.
BUCKET_BYTES = 1 << 20

FACT, ANNOUNCED, COPY, REPEATED, VOID, PASSED, FORWARDED, OPEN = range(8)
_ROW = struct.Struct(">16sB16siq")
NOTHING = bytes(16)


class Row(NamedTuple):
    """One mention of a name.

    Attributes:
        kind: FACT, told by a shop; ANNOUNCED by a decision; COPY of a derived fact in facts, REPEATED where it was answered
            as a duplicate, VOID where it was quarantined or refused; PASSED on by an alias, to whom FORWARDED says; OPEN, of any
            of these in facts, has no decision yet: it is here, and what else it is nobody can tell.
        other: of a FACT and of what is OPEN its member's hash, of PASSED the alias's, of FORWARDED that of the key it was
            written to; of an announcement and a copy the hash of the body, NOTHING where unknown.
        partition, offset: where: of an announcement the deciding record of facts.
    """

    name: bytes
    kind: int
    other: bytes
    partition: int
    offset: int


def digest(*parts: str) -> bytes:
    """Sixteen bytes that name the parts."""
    return blake2b("\0".join(parts).encode(), digest_size=16).digest()


class Register:
    """Takes mentions in any order, gives them back by name. A context manager: its files go when it is closed."""

    def __init__(self) -> None:
        self._closing = ExitStack()
        self._buckets: list[IO[bytes]] = [
            self._closing.enter_context(tempfile.SpooledTemporaryFile(max_size=BUCKET_BYTES))  # noqa: SIM115  closed with us
            for _ in range(BUCKETS)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def add(self, row: Row) -> None:
        """Take a mention."""
        self._buckets[row.name[0] % BUCKETS].write(_ROW.pack(*row))

    def by_name(self) -> Iterator[list[Row]]:
        """Yield the mentions of every name that has more than one, or that belongs to a derived fact."""
        for bucket in self._buckets:
            bucket.seek(0)
            found: dict[bytes, list[Row]] = defaultdict(list)
            for fields in _ROW.iter_unpack(bucket.read()):
                row = Row(*fields)
                found[row.name].append(row)
            yield from (rows for rows in found.values() if len(rows) > 1 or rows[0].kind != FACT)


def reused(rows: list[Row]) -> list[Row]:
    """The first mention of a shop's name by each member, where there is more than one member."""
    first: dict[bytes, Row] = {}
    for row in rows:
        if row.kind == FACT:
            first.setdefault(row.other, row)
    return list(first.values()) if len(first) > 1 else []


class Derived(NamedTuple):
    """What is wrong with one derived fact: a kind of finding, and the mention it is told by."""

    kind: str
    row: Row


def derived(rows: list[Row]) -> Iterator[Derived]:
    """Yield what is wrong with the mentions of one derived fact: announced once, in facts once, the same, not before."""
    announced = [row for row in rows if row.kind == ANNOUNCED]
    copies = [row for row in rows if row.kind == COPY]
    repeated = [row for row in rows if row.kind == REPEATED]
    present = [row for row in rows if row.kind in (COPY, REPEATED, VOID)]
    is_open = any(row.kind == OPEN for row in rows)
    forwarded = [row for row in rows if row.kind == FORWARDED]
    arrived = {row.other for row in rows if row.kind in (FACT, PASSED, OPEN)}
    if not present:
        yield from (Derived("derived_missing", row) for row in forwarded if row.other not in arrived)
    if announced and not (present or arrived):
        yield Derived("derived_missing", announced[0])
    if present and not announced:
        yield Derived("derived_unannounced", present[0])
    yield from (Derived("derived_doubled", row) for row in copies[1:])
    yield from (Derived("derived_repeated", row) for row in repeated)
    # Under the key of an alias the same fact has another body; a copy without a decision may be an alias's.
    if not announced or forwarded or is_open:
        return
    told = announced[0]
    yield from (Derived("derived_differs", row) for row in copies if NOTHING != told.other != row.other)
    for row in present[:1]:
        if row.partition == told.partition and row.offset <= told.offset:
            yield Derived("derived_too_early", row)
