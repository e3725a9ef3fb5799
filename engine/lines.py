"""The lines of a file that is replayed: plain, gzip or Parquet, with how far it was read."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

#: What a Parquet file begins with.
MAGIC = b"PAR1"
#: Told now and then: bytes read, bytes in all.
Progress = Callable[[int, int], None]
#: So many lines are read between two of those calls.
TOLD_LINES = 10_000
# Facts that take each step together: parsed, then decided, then encoded. Going through all steps line by line costs
# 40 % more, because each step's code and data push those of the others out of the processor's caches.
CHUNK_FACTS = 64


class ReplayError(Exception):
    """A file cannot be replayed; the message says what, where and how to mend it."""


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the events of a file, one a line: plain, gzipped or Parquet. Errors: ReplayError when it cannot be read."""
    with reading(path, lambda _done, _total: None) as lines:
        yield from lines


@contextmanager
def reading(path: Path, progress: Progress) -> Iterator[Iterator[bytes]]:
    """Open a file; yield its lines. Errors: ReplayError when it cannot be read."""
    try:
        total = path.stat().st_size
        raw = path.open("rb")
    except OSError as error:
        raise ReplayError(
            f"{path}: cannot be read ({error.strerror or error}); check its name and its rights."
        ) from error
    with raw:
        parquet = raw.read(len(MAGIC)) == MAGIC
        yield _rows(path, progress) if parquet else _lines(path, raw, total, progress)


def _rows(path: Path, progress: Progress) -> Iterator[bytes]:
    """The rows of a Parquet file as lines. Errors: ReplayError, with row and column."""
    # Only here: Arrow takes a third of a second to import, and most files are none of its.
    from engine.imports.parquet_events import NoEvents, event_lines  # noqa: PLC0415

    try:
        yield from event_lines(path, progress)
    except NoEvents as error:
        raise ReplayError(f"{error}. Nothing was made.") from error


def _lines(path: Path, raw: BinaryIO, total: int, progress: Progress) -> Iterator[bytes]:
    """The lines of a plain or gzipped file. Errors: ReplayError when it cannot be read to its end."""
    try:
        raw.seek(0)
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        for number, line in enumerate(gzip.GzipFile(fileobj=raw) if packed else raw):
            if number % TOLD_LINES == 0:
                progress(raw.tell(), total)
            yield line
    except (OSError, EOFError, zlib.error) as error:
        raise ReplayError(
            f"{path}: cannot be read to its end ({error}): damaged or cut off? Nothing was made; fetch the file again."
        ) from error
    progress(total, total)
