"""Events out of a Parquet file: columns source, id, type, subject, time and data, the last as JSON text; a line of JSON each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from pyarrow import parquet

COLUMNS = ("source", "id", "type", "subject", "time", "data")
#: What every row must say; without a subject a purchase is an anonymous sale.
REQUIRED = ("source", "id", "type", "time", "data")
BATCH_ROWS = 10_000


class NoEvents(Exception):
    """The file does not hold events; the message names row and column."""


def event_lines(path: Path, progress: Callable[[int, int], None]) -> Iterator[bytes]:
    """Yield a CloudEvent in JSON for every row, in the rows' order.

    `data` goes in as it stands, so what it says is judged like any event's. `time` is a text, or a timestamp with a time zone.

    Args:
        progress: told rows read and rows in all.

    Raises:
        NoEvents: the file cannot be read, a column is missing or of another type, or a row leaves out what it must say.
    """
    try:
        with parquet.ParquetFile(path) as file:
            _check(path, file.schema_arrow)
            total, done = file.metadata.num_rows, 0
            for batch in file.iter_batches(BATCH_ROWS, columns=list(COLUMNS)):
                columns = [batch.column(name).to_pylist() for name in COLUMNS]
                for row in zip(*columns, strict=True):
                    done += 1
                    yield _event(path, done, row)
                progress(done, total)
    except (pa.ArrowException, OSError) as error:
        raise NoEvents(f"{path}: this Parquet file cannot be read: {str(error).splitlines()[0]}") from error


def _check(path: Path, schema: pa.Schema) -> None:
    missing = [name for name in COLUMNS if name not in schema.names]
    if missing:
        raise NoEvents(
            f"{path}: there is no column {missing[0]!r}; events have {', '.join(COLUMNS)}, this file {', '.join(schema.names)}"
        )
    for name in COLUMNS:
        kind = schema.field(name).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if name == "time" and pa.types.is_timestamp(kind):
            if kind.tz is None:
                raise NoEvents(
                    f"{path}: the column 'time' has no time zone: write it as timestamptz, or as text with an offset"
                )
        elif not (
            pa.types.is_string(kind) or pa.types.is_large_string(kind) or (name == "subject" and pa.types.is_null(kind))
        ):
            raise NoEvents(
                f"{path}: the column {name!r} is {kind}, not text"
                + (" with JSON: use to_json" if name == "data" else "")
            )


def _event(path: Path, number: int, row: Sequence[Any]) -> bytes:
    said = dict(zip(COLUMNS, row, strict=True))
    for name in REQUIRED:
        if said[name] is None or said[name] == "":
            raise NoEvents(f"{path}: row {number}, column {name!r}: it is empty")
    data = str(said["data"])
    try:
        if not isinstance(orjson.loads(data), dict):
            raise NoEvents(f"{path}: row {number}, column 'data': this is JSON, but no object like {{...}}")
    except orjson.JSONDecodeError as error:
        raise NoEvents(f"{path}: row {number}, column 'data': this is not JSON ({error})") from error
    event = {"specversion": "1.0", **{name: said[name] for name in COLUMNS[:4] if said[name] is not None}}
    event["time"] = _time(said["time"])
    event["data"] = orjson.Fragment(data)
    return orjson.dumps(event)


def _time(value: str | datetime) -> str:
    return value if isinstance(value, str) else value.astimezone(UTC).isoformat().replace("+00:00", "Z")
