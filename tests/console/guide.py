"""The generated parts of docs/analysts.md: each saved question with its answer on the demo's data.

python -m tests.console.guide    # refreshes the page; tests/console/test_analysts.py holds it
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb

from engine.console.asking import saved
from projections import sql
from projections.formats import write_csv
from projections.server import Server
from projections.warehouse import Warehouse
from tests.console.demo_file import make_month

PAGE = Path(__file__).parents[2] / "docs" / "analysts.md"
ORDER = "loyal leaving share rules owed again rising products then returns weekdays".split()


def answer(db: Path, statement: str) -> str:
    """The answer as CSV, as `stammgast query --format csv` prints it."""
    with duckdb.connect(str(db), read_only=True) as connection:
        connection.execute(sql.statements("staging/session")["utc"])
        found = connection.execute(statement)
        written = io.StringIO()
        write_csv(written, [str(column[0]) for column in found.description or ()], found.fetchall())
    return written.getvalue().strip()


def questions(db: Path) -> str:
    """Every question with its SQL and answer."""
    known = saved()
    parts = []
    for number, name in enumerate(ORDER, start=1):
        one = known[name]
        body = "\n".join(line for line in one.text.splitlines() if not line.startswith("-- "))
        parts.append(f"## {number}. {one.title}\n\n```sql\n{body}\n```\n\n```text\n{answer(db, one.text)}\n```\n")
    return "\n".join(parts)


def notebook(db: Path, text: str) -> str:
    """What the page's Python says, run beside a served file of the name it asks for."""
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    with Warehouse.open(db) as warehouse, Server.start(warehouse.connection, db):
        run = subprocess.run(
            [sys.executable, "-c", code], cwd=db.parent, capture_output=True, text=True, check=False, timeout=100
        )
    if run.returncode:
        raise AssertionError(run.stderr)
    return f"```text\n{run.stdout.rstrip()}\n```\n"


def refreshed(text: str, db: Path) -> str:
    """The page with its generated parts made anew; `db` is called shop.duckdb and may be written."""
    return _between(_between(text, "questions", questions(db)), "notebook", notebook(db, text))


def _between(text: str, name: str, body: str) -> str:
    """The page with `body` between the marks of a generated part."""
    before, mark, rest = text.partition(f"<!-- {name}: made by `python -m tests.console.guide` -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    return f"{before}{mark}{body}{end}{after}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(
            refreshed(PAGE.read_text(encoding="utf-8"), make_month(Path(folder), "shop.duckdb")), encoding="utf-8"
        )
