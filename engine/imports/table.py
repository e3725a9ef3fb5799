"""Rows of a CSV file, plain or gzip, with their line numbers. Reads one row at a time and never holds the file."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from engine.imports.errors import BadLineError, WrongFileError

Row = tuple[int, list[str]]
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK\x03\x04"
_ENCODING = "utf-8-sig"
_SHOWN = 60


def rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield (line number, values in the order of ``columns``) for every row below the header.

    Text is UTF-8; a byte that is none becomes U+FFFD, because descriptions, which nobody uses, come in old encodings.
    Blank rows are skipped, further columns ignored.

    Raises:
        WrongFileError: no such file, no CSV, broken gzip, or columns are missing.
        BadLineError: a row has another number of fields than the header.
    """
    with _open(path) as text:
        reader = csv.reader(text)
        try:
            header = next(reader, [])
            places = _places(path, header, columns)
            for row in reader:
                if len(row) == len(header):
                    yield reader.line_num, [row[place] for place in places]
                elif row:
                    raise BadLineError(path, reader.line_num, f"{len(row)} fields where the header has {len(header)}.")
        except csv.Error as error:
            raise WrongFileError(f"{path}:{reader.line_num}: this is not a CSV ({error}).") from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise WrongFileError(f"{path}: the gzip file is damaged ({error}); fetch it again.") from error


def _open(path: Path) -> TextIO:
    """Open by what the file is, not by what it is called."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if magic == _ZIP_MAGIC:
            raise WrongFileError(f"{path}: this is a spreadsheet or a zip file; save the sheet as CSV first.")
        if magic.startswith(_GZIP_MAGIC):
            return io.TextIOWrapper(gzip.GzipFile(path), encoding=_ENCODING, errors="replace", newline="")
        return path.open(encoding=_ENCODING, errors="replace", newline="")
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
