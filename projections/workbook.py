"""Rows as an Excel workbook, as spreadsheets read it best: times are times, keys keep their zeros, no text is a formula."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path

from xlsxwriter.exceptions import XlsxWriterException
from xlsxwriter.format import Format
from xlsxwriter.workbook import Workbook
from xlsxwriter.worksheet import Worksheet

from engine.settings import No
from projections.formats import csv_cell

# What a spreadsheet holds: rows of a sheet with its header, characters of a cell, digits of a number, characters of a name.
SHEET_ROWS = 1_048_576
CELL_CHARACTERS = 32_767
NUMBER_DIGITS = 15
TITLE_CHARACTERS = 31
CUT = " ..."
COLUMN_WIDTH = 20
OPTIONS = {
    "constant_memory": True,  # rows go to a file as they come
    "remove_timezone": True,  # a cell has no zone; all our times are UTC
    "default_date_format": "yyyy-mm-dd hh:mm:ss",
}


def write_workbook(
    path: Path, title: str, names: Sequence[str], rows: Iterable[Sequence[object]], *, sheet_rows: int = SHEET_ROWS
) -> int:
    """Write a header and rows, and return how many; what does not fit on one sheet goes on to the next, `title 2` and so on.

    Numbers of more than 15 digits become texts, and a text that is too long for a cell ends with `CUT`.

    Raises:
        No: there is more than such a file can hold.
        OSError: it cannot be written.
    """
    left, total, sheets = iter(rows), 0, 0
    try:
        with Workbook(str(path), OPTIONS) as book:
            day = book.add_format({"num_format": "yyyy-mm-dd"})
            while total == sheets * (sheet_rows - 1):
                sheets += 1
                sheet = _begin_sheet(book, title if sheets == 1 else f"{title[: TITLE_CHARACTERS - 4]} {sheets}", names)
                for at, row in enumerate(islice(left, sheet_rows - 1), start=1):
                    for column, value in enumerate(row):
                        _write(sheet, at, column, value, day)
                    total += 1
    except XlsxWriterException as error:
        raise No(f"{title} cannot be written as a workbook: {error}") from error
    return total


def _begin_sheet(book: Workbook, title: str, names: Sequence[str]) -> Worksheet:
    sheet = book.add_worksheet(title[:TITLE_CHARACTERS])
    sheet.set_column(0, len(names) - 1, COLUMN_WIDTH)
    sheet.freeze_panes(1, 0)
    bold = book.add_format({"bold": True})
    for column, name in enumerate(names):
        sheet.write_string(0, column, name, bold)
    return sheet


def _write(sheet: Worksheet, row: int, column: int, value: object, day: Format) -> None:
    """Write a cell as what it is; nothing is guessed from a text."""
    match value:
        case None:
            pass
        case bool():
            sheet.write_boolean(row, column, value)
        case int() | float() | Decimal() if math.isfinite(value) and abs(value) < 10**NUMBER_DIGITS:
            sheet.write_number(row, column, value)
        case datetime():
            sheet.write_datetime(row, column, value)
        case date():
            sheet.write_datetime(row, column, value, day)
        case _:
            text = str(csv_cell(value))
            fits = len(text) <= CELL_CHARACTERS
            sheet.write_string(row, column, text if fits else text[: CELL_CHARACTERS - len(CUT)] + CUT)
