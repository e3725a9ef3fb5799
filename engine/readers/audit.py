"""The audit log: a line of JSON for every question of a named reader, and for every token that was refused."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import structlog

from engine.readers.book import TOKEN

Outcome = Literal["answered", "refused", "failed", "too_long", "left", "no_token"]
STATEMENT_CHARACTERS = 10_000

log = structlog.get_logger(__name__)


def withheld(text: str) -> str:
    """A text without what reads like a token."""
    return TOKEN.sub("sgr_***", text)


class Audit:
    """Appends to a file that only its owner reads. It is opened for every line, so whoever renames it gets a new one."""

    def __init__(self, path: Path, statements: Literal["text", "hash"]) -> None:
        self._path = path
        self._as_text = statements == "text"

    def write(
        self,
        outcome: Outcome,
        *,
        reader: str | None = None,
        session: str = "",
        statement: str = "",
        rows: int | None = None,
        seconds: float = 0.0,
        as_of: str | None = None,
        why: str = "",
    ) -> None:
        """Write a line.

        Args:
            reader: who; None where a token was nobody's.
            session: the first eight letters are written: enough to tell two sessions apart, too little to take one over.
            rows: sent to the reader; None where the answer cannot be counted.
            seconds: that the reader's process was busy with the question.
            as_of: the newest settled moment of the copy that was asked.
            why: the error, where there was one.

        Raises:
            OSError: it cannot be written; then the question is not answered either.
        """
        said: dict[str, object] = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "reader": reader}
        said |= {"session": session[:8], "outcome": outcome, "rows": rows, "seconds": round(seconds, 3), "as_of": as_of}
        if statement:
            said["statement_sha256"] = hashlib.sha256(statement.encode()).hexdigest()
            if self._as_text:
                said["statement"] = withheld(statement)[:STATEMENT_CHARACTERS]
        if why and (self._as_text or outcome in ("too_long", "left", "no_token")):
            said["why"] = withheld(why)[:1_000]
        line = json.dumps(said, ensure_ascii=False, separators=(",", ":")) + "\n"
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
