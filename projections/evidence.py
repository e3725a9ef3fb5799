"""What the tables say about themselves, for `stammgast verify`: whoever holds the file, each answer is of one moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from engine.settings import No
from projections import sql
from projections.reading import ask_file
from projections.trouble import explanation

STATEMENTS = "serving/evidence"
#: Tables that are compared row by row with the logs, and the columns that order their rows.
ROWS = {"facts": ("position",), "decisions": ("position",), "points_entries": ("position", "entry_id")}


def log_id(db: Path) -> str | None:
    """The id of the logs that a file was built from. Errors as `projections.reading.ask_file`."""
    return next((row["log_id"] for row in _ask(db, "identity", {})), None)


def standing(db: Path) -> Iterator[dict[str, Any]]:
    """Positions, the settled moment and every member's numbers, all of one moment; `what` tells which a row is."""
    return _ask(db, "standing", {})


def rows(db: Path, table: str, partition: int, after: int, upto: int) -> Iterator[dict[str, Any]]:
    """Rows of one of `ROWS` from records of one partition behind `after` up to `upto`, in order."""
    return _ask(db, table, {"partition": partition, "after": after, "upto": upto})


def _ask(db: Path, name: str, numbers: dict[str, int]) -> Iterator[dict[str, Any]]:
    statement = sql.statements(STATEMENTS)[name]
    for parameter, number in numbers.items():
        statement = statement.replace(f":{parameter}", str(int(number)))
    answer = ask_file(db, statement)
    try:
        names = answer.names()
        for row in answer.all_rows():
            yield dict(zip(names, row, strict=True))
    except duckdb.Error as error:
        raise No(explanation(db, error, to_reader=True)) from error
    finally:
        answer.connection.close()
