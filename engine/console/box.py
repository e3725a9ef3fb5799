"""The SQL box: what a reader asks, as a table, a chart, or a file to take away."""

from __future__ import annotations

import io
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow.parquet

from engine.console import plots
from projections.desks import Rows
from projections.export import STAMP_KEY
from projections.formats import write_csv
from projections.reading import NUMBERS

SHOWN_ROWS = 1_000
FILE_ROWS = 1_000_000
FILE_BYTES = 256 << 20
CHART_ROWS = 400


def numeric(rows: Rows) -> list[bool]:
    """For each column: does it hold numbers?"""
    return [kind.startswith(NUMBERS) for kind in rows.types]


def chart(rows: Rows, kind: str) -> plots.Chart | None:
    """The first column along the axis, every column of numbers after it a series; None where there is nothing to draw."""
    values = rows.tuples()[:CHART_ROWS]
    are = numeric(rows)
    columns = [number for number in range(1, len(are)) if are[number]]
    if kind not in ("line", "bar") or not columns or not values:
        return None
    labels = [_label(row[0]) for row in values]
    names = rows.names()
    series = {names[number]: [_float(row[number]) for row in values] for number in columns[: plots.SERIES_MAX]}
    return (plots.line if kind == "line" else plots.bar)(labels, series, 720.0, 300.0)


def _label(value: object) -> str:
    text = str(value)
    return text if len(text) <= 16 else f"{text[:15]}…"


def _float(value: Any) -> float:
    return float(value) if isinstance(value, int | float | Decimal) else 0.0


def as_csv(rows: Rows) -> bytes:
    """The rows for a spreadsheet."""
    buffer = io.StringIO()
    write_csv(buffer, rows.names(), rows.tuples(), spreadsheet=True)
    return buffer.getvalue().encode()


def as_parquet(rows: Rows) -> bytes:
    """The rows with their types; the stamp stands in the file's metadata under `stammgast.stamp`."""
    buffer = io.BytesIO()
    table = rows.table.rename_columns(_unique(rows.names()))
    table = table.replace_schema_metadata({STAMP_KEY: rows.stamp.as_json().encode()})
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()


def _unique(names: Sequence[str]) -> list[str]:
    """Names of columns without repetition: Parquet readers want to tell them apart."""
    found: list[str] = []
    for name in names:
        count = 1
        while (new := name if count == 1 else f"{name}_{count}") in found:
            count += 1
        found.append(new)
    return found
