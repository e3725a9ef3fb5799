"""Rows of a CSV or JSON Lines file, plain or gzip, with their line numbers. Reads a row at a time and never holds the file."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from engine.imports.errors import BadLineError, WrongFileError

Row = tuple[int, list[str]]
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK\x03\x04"
_ENCODING = "utf-8-sig"
_SHOWN = 60


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, text) for every line. Errors: WrongFileError: no such file, broken gzip."""
    with _opened(path, _ENCODING) as text, _reading(path):
        yield from enumerate(text, 1)


def rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield (line number, values in the order of ``columns``) for every row below the header.

    Text is UTF-8; a byte that is none becomes U+FFFD, because descriptions, which nobody uses, come in old encodings.
    Blank rows are skipped, further columns ignored.

    Raises:
        WrongFileError: no such file, no CSV, broken gzip, or columns are missing.
        BadLineError: a row has another number of fields than the header.
    """
    with _opened(path, _ENCODING) as text:
        reader = csv.reader(text)
        with _reading(path, reader):
            header = next(reader, [])
            places = _places(path, header, columns)
            for row in reader:
                if len(row) == len(header):
                    yield reader.line_num, [row[place] for place in places]
                elif row:
                    raise _uneven(path, reader.line_num, row, header)


def csv_header(path: Path, encoding: str, delimiter: str, quote: str, skip: int) -> list[str]:
    """Return the names of a file's columns, without space around them. Errors: WrongFileError."""
    with _opened(path, encoding) as text:
        reader = csv.reader(islice(text, skip, None), delimiter=delimiter, quotechar=quote, strict=True)
        with _reading(path, reader):
            return [name.strip() for name in next(reader, [])]


def csv_rows(
    path: Path, names: Sequence[str], encoding: str, delimiter: str, quote: str, skip: int
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) for every row after the first ``skip`` lines; blank rows are skipped.

    Empty fields behind the last column are left out: some tills end every row with a delimiter.

    Raises:
        WrongFileError: no such file, no CSV, broken gzip.
        BadLineError: a row has another number of fields than there are names.
    """
    with _opened(path, encoding) as text:
        reader = csv.reader(islice(text, skip, None), delimiter=delimiter, quotechar=quote, strict=True)
        with _reading(path, reader):
            for row in reader:
                if len(row) > len(names) and not any(field.strip() for field in row[len(names) :]):
                    del row[len(names) :]
                if len(row) == len(names):
                    yield reader.line_num + skip, row
                elif row:
                    raise _uneven(path, reader.line_num + skip, row, names)


def json_rows(path: Path, encoding: str, items: str | None) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, values by dotted path) for every line, or for every element of its list ``items`` where it has one.

    Values are texts: numbers with every digit they were written with, ``true`` and ``false``, nothing for null.

    Raises:
        WrongFileError: no such file, broken gzip.
        BadLineError: a line is no JSON object, or ``items`` is no list there.
    """
    with _opened(path, encoding) as text, _reading(path):
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            try:
                said = json.loads(line, parse_float=Decimal)
            except (ValueError, RecursionError) as error:
                raise BadLineError(path, number, f"this is not JSON ({error}): one object per line.") from error
            if not isinstance(said, dict):
                raise BadLineError(path, number, "this is not a JSON object like {...}.")
            if items is None:
                yield number, _flat(said)
                continue
            inner = said.pop(items, [{}])
            if not isinstance(inner, list):
                raise BadLineError(path, number, f"{items!r}, which file.items names, is no list.")
            around = _flat(said)
            for item in inner:
                yield number, around | _flat({items: item})


def _flat(said: Mapping[str, Any], before: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in said.items():
        path = before + name
        if isinstance(value, dict):
            flat |= _flat(value, f"{path}.")
        elif not isinstance(value, list):
            flat[path] = _as_text(value)
    return flat


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _uneven(path: Path, line: int, row: Sequence[str], header: Sequence[str]) -> BadLineError:
    return BadLineError(path, line, f"{len(row)} fields where the header has {len(header)}.")


@contextmanager
def _reading(path: Path, reader: Any = None) -> Iterator[None]:
    """What the readers of CSV and gzip say, in our words."""
    try:
        yield
    except csv.Error as error:
        raise WrongFileError(f"{path}:{reader.line_num}: this is not a CSV ({error}).") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise WrongFileError(f"{path}: the gzip file is damaged ({error}); fetch it again.") from error
    except UnicodeError as error:
        raise WrongFileError(f"{path}: cannot be read as {error.args[0]}: say file.encoding.") from error


@contextmanager
def _opened(path: Path, encoding: str) -> Iterator[TextIO]:
    """Open by what the file is, not by what it is called."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            if magic == _ZIP_MAGIC:
                raise WrongFileError(f"{path}: this is a spreadsheet or a zip file; save the sheet as CSV first.")
            file.seek(0)
            raw: Any = gzip.GzipFile(fileobj=file) if magic.startswith(_GZIP_MAGIC) else file
            with io.TextIOWrapper(raw, encoding=encoding, errors="replace", newline="") as text:
                yield text
    except FileNotFoundError as error:
        raise WrongFileError(f"{path}: there is no such file.") from error
    except OSError as error:
        raise WrongFileError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _places(path: Path, header: list[str], columns: Sequence[str]) -> list[int]:
    names = [name.strip() for name in header]
    missing = [name for name in columns if name not in names]
    if not names:
        raise WrongFileError(f"{path}: the file is empty; expected a CSV with the columns {', '.join(columns)}.")
    if len(missing) == len(columns):
        shown = ",".join(names)[:_SHOWN]
        raise WrongFileError(
            f"{path}: this is not a CSV with the columns {', '.join(columns)}; it begins with {shown!r}."
        )
    if missing:
        raise WrongFileError(f"{path}: the columns {', '.join(missing)} are missing; found {', '.join(names)}.")
    return [names.index(name) for name in columns]
