"""What the tables say about themselves, for `stammgast verify`: whoever holds the file, each answer is of one moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from projections.reading import ask_named

STATEMENTS = "serving/evidence"
#: Tables that are compared row by row with the logs, and the columns that order their rows.
ROWS = {"facts": ("position",), "decisions": ("position",), "points_entries": ("position", "entry_id")}


def log_id(db: Path) -> str | None:
    """The id of the logs that a file was built from. Errors as `projections.reading.ask_file`."""
    return next((row["log_id"] for row in ask_named(db, STATEMENTS, "identity")), None)


def standing(db: Path) -> Iterator[dict[str, Any]]:
    """Positions, the settled moment and every member's numbers, all of one moment; `what` tells which a row is."""
    return ask_named(db, STATEMENTS, "standing")


def rows(db: Path, table: str, partition: int, after: int, upto: int) -> Iterator[dict[str, Any]]:
    """Rows of one of `ROWS` from records of one partition behind `after` up to `upto`, in order."""
    return ask_named(db, STATEMENTS, table, partition=partition, after=after, upto=upto)
