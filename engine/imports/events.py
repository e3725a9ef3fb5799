"""Files of events: one CloudEvent in JSON per line, plain or gzip, the same bytes for the same events."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, cast

import orjson


def write_events(path: Path, events: Iterable[Mapping[str, Any]]) -> int:
    """Write ``events`` to ``path`` (gzip when it ends in .gz) and return how many there were.

    The file appears whole or not at all: it is written beside its place and moved there at the end.

    Raises:
        OSError: the file cannot be written. Whatever ``events`` raises passes through.
    """
    beside = path.with_name(f".{path.name}.part")
    count = 0
    try:
        with beside.open("wb") as file, _compressed(file, path) as out:
            for event in events:
                out.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
                count += 1
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return count


def _compressed(file: IO[bytes], path: Path) -> IO[bytes]:
    """Gzip without a time stamp and a name in its header, so that equal events make equal files."""
    if path.suffix != ".gz":
        return file
    return cast(IO[bytes], gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6))
