"""Rows as text: exact decimals, ISO 8601 times, nested values as JSON. Shared by `stammgast query`, `export` and the console."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, TextIO
from uuid import UUID

import orjson

# A spreadsheet takes a text that begins so for a formula and would run it.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _plain(value: object) -> Any:
    """Values as JSON knows them: exact decimals stay numbers, times become ISO 8601 texts."""
    match value:
        case Decimal():
            return orjson.Fragment(str(value))
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.hex()
        case datetime() | date() | time() | UUID():
            return str(value) if isinstance(value, UUID) else value.isoformat()
        case _:
            raise TypeError(f"no JSON for {type(value).__name__}")


def as_json(value: object) -> str:
    """A value as JSON."""
    options = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(value, default=_plain, option=options).decode()
    except TypeError:  # an integer beyond 64 bits
        return json.dumps(value, default=str)


def csv_cell(value: object) -> object:
    """A value as it stands in CSV: nothing for NULL."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list() | dict():
            return as_json(value)
        case datetime() | date() | time():
            return value.isoformat()
        case _:
            return value


def spreadsheet_cell(value: object) -> object:
    """The same for a spreadsheet: a text that would be a formula begins with an apostrophe."""
    cell = csv_cell(value)
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def write_csv(
    file: TextIO, names: Sequence[str], rows: Iterable[Sequence[object]], *, spreadsheet: bool = False
) -> int:
    """Write a header and rows, lines ended by one line feed; return how many rows."""
    written = spreadsheet_cell if spreadsheet else csv_cell
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([written(name) for name in names])
    count = 0
    for row in rows:
        writer.writerow([written(value) for value in row])
        count += 1
    return count
