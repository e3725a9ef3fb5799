"""Questions of the console: the SQL of its pages, the saved questions, and who answers them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from engine.settings import UsageError
from projections.desk import Question
from projections.desks import Desks, Rows
from projections.sql import MARK

HERE = Path(__file__).parent
CHARTS = ("none", "line", "bar")
# Our own questions are known to end; this is for a machine that is crowded.
PAGE_S = 60.0


@cache
def statements(page: str) -> dict[str, str]:
    """The statements of a page, `sql/<page>.sql`, by their names."""
    found: dict[str, str] = {}
    for part in (HERE / "sql" / f"{page}.sql").read_text(encoding="utf-8").split(f"{MARK} ")[1:]:
        name, _, text = part.partition("\n")
        found[name.strip()] = text.strip().rstrip(";")
    return found


class Asker:
    """Asks a page's statements, and a reader's within a number of seconds."""

    def __init__(self, desks: Desks, seconds: float) -> None:
        self.desks = desks
        self.seconds = seconds

    async def rows(self, page: str, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of one statement of a page; days go in as ISO 8601 texts."""
        given = {name: value.isoformat() if isinstance(value, date) else value for name, value in parameters.items()}
        return (await self.desks.ask(Question(statements(page)[statement], given), PAGE_S)).dicts()

    async def row(self, page: str, statement: str, **parameters: Any) -> dict[str, Any]:
        """The one row of a statement; an empty dict where there is none."""
        found = await self.rows(page, statement, **parameters)
        return found[0] if found else {}

    async def reader(self, text: str, *, rows: int, size: int = 64 << 20) -> Rows:
        """What a reader wrote, held to the lists of what readers may ask."""
        return await self.desks.ask(Question(text, rows=rows, size=size, reader=True), self.seconds)


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved question: a .sql file whose first line is `-- <title>` and whose second may be `-- chart: line|bar`."""

    name: str
    title: str
    chart: str
    text: str


def saved(folder: Path | None = None) -> dict[str, Saved]:
    """The saved questions by name: those that come along, and those of a folder, which win.

    Raises:
        UsageError: a file of the folder is no such question.
    """
    found = [_read(path) for path in sorted((HERE / "questions").glob("*.sql"))]
    if folder is not None:
        if not folder.is_dir():
            raise UsageError(f"--questions {folder} is no folder: name one that holds .sql files.")
        found += [_read(path) for path in sorted(folder.glob("*.sql"))]
    return {one.name: one for one in found}


def _read(path: Path) -> Saved:
    text = path.read_text(encoding="utf-8").strip()
    title = re.match(r"-- *(?P<title>\S.*)", text)
    if title is None:
        raise UsageError(f"{path}: begin it with a line `-- <title>`, which the console shows.")
    chart = re.search(r"^-- chart: *(\w+) *$", text, re.MULTILINE)
    if chart is not None and chart[1] not in CHARTS:
        raise UsageError(f"{path}: `-- chart: {chart[1]}` is none of {', '.join(CHARTS)}.")
    return Saved(path.stem, title["title"].strip(), chart[1] if chart else "none", text)
