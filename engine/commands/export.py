"""`stammgast export`: every table as files, for spreadsheets and tools that cannot attach."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from engine import settings
from engine.settings import UsageError
from projections import snapshot
from projections.export import FORMATS, export, point_latest


@click.command("export")
@settings.option("db", required=True)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, metavar="FOLDER", help="Where to."
)
@click.option("--format", "shape", type=click.Choice(FORMATS), default="parquet", show_default=True, help="What files.")
@click.option("--table", "tables", multiple=True, metavar="NAME", help="Only this table; may be said several times.")
@click.option(
    "--daily", is_flag=True, help="Into FOLDER/<day>, once per day of the programme, and let FOLDER/latest lead there."
)
@settings.option("memory_limit")
@settings.option("datadir", help="Where a copy of the file is kept meanwhile; a fresh temporary folder when not given.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def export_(
    *,
    db: Path,
    out: Path,
    shape: str,
    tables: tuple[str, ...],
    daily: bool,
    memory_limit: str,
    datadir: Path | None,
    as_json: bool,
) -> None:
    """Write every table of FILE to FOLDER, while a projector writes FILE or nobody does.

    parquet, csv and xlsx are one file per table, duckdb is one file with all of them as tables. FOLDER appears whole or not
    at all; `stamp.json` in it says what the rows come from: positions in the logs, programmes, definitions. For a
    spreadsheet take xlsx: of a csv it takes keys for numbers and times for texts. In csv a text that a spreadsheet would
    take for a formula begins with an apostrophe. Exit codes: 0 written, or with --daily there already, 1 could not be
    written, 2 wrong usage.
    """
    copies = snapshot.private_folder(datadir)
    try:
        copy = snapshot.take(db, copies, memory_limit=memory_limit)
        folder = _folder(out, copy.stamp.as_of) if daily else out
        if daily and folder.exists():
            _say({"folder": str(folder), "rows": {}, "new": False}, as_json)
            return
        counts = export(copy, folder, shape, memory_limit=memory_limit, tables=tables)
        if daily:
            point_latest(folder)
        _say({"folder": str(folder), "rows": counts, "new": True, "stamp": asdict(copy.stamp)}, as_json)
    finally:
        snapshot.discard(copies)


def _folder(out: Path, as_of: str | None) -> Path:
    if as_of is None:
        raise UsageError("the file holds no fact yet, so it has no day: leave --daily out.")
    return out / as_of


def _say(done: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(done, indent=2))
    elif done["new"]:
        click.echo(f"{len(done['rows'])} tables, {sum(done['rows'].values()):,} rows in {done['folder']}")
    else:
        click.echo(f"{done['folder']} is there already; nothing was written.")
