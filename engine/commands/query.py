"""`stammgast query`: ask the tables in SQL, whether a projector holds the file or nobody does."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

import click
import duckdb
import pyarrow.parquet
import rich.box
from rich.console import Console
from rich.table import Table

from engine import settings
from engine.settings import No, UsageError
from projections.export import STAMP_KEY
from projections.formats import as_json, write_csv
from projections.object_storage import read_storage
from projections.reading import Answer, ask_file, ask_lake, ask_server, with_stamp

TABLE_ROWS = 1_000
ANSWERED = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
FORMATS = ("table", "csv", "json", "parquet")


class _Comments(click.Command):
    """A command that takes an argument beginning with `-- ` for SQL with a comment, not for an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does it; a line break before the comment changes nothing for SQL and everything for click."""
        return super().parse_args(ctx, [f"\n{one}" if one.startswith("--") and _is_text(one) else one for one in args])


def _is_text(argument: str) -> bool:
    """Has it blanks before any `=`, as no option has?"""
    return any(sign.isspace() for sign in argument.partition("=")[0])


@click.command(cls=_Comments)
@click.argument("statement", metavar="SQL")
@settings.option("db")
@settings.option("lake", help="Ask the tables of this DuckLake (its catalogue) instead of a file.")
@settings.option("lake_s3")
@click.option("--remote", metavar="quack:HOST:PORT", help="Ask this server instead of a file; needs --token-file.")
@click.option("--token-file", type=click.Path(dir_okay=False, path_type=Path), help="File with the token of --remote.")
@click.option(
    "--format", "shape", type=click.Choice(FORMATS), default="table", show_default=True, help="How rows are written."
)
@click.option("--stamp", is_flag=True, help="Also say what the answer comes from: one JSON object on standard error.")
def query(
    *,
    statement: str,
    db: Path | None,
    lake: str | None,
    lake_s3: Path | None,
    remote: str | None,
    token_file: Path | None,
    shape: str,
    stamp: bool,
) -> None:
    """Ask the tables in SQL, also while a projector holds the file.

    One SELECT (or FROM, SHOW, DESCRIBE). `stammgast query --db FILE "show tables"` says what there is, and
    `stammgast query --db FILE "describe balances"` what a table holds. With --stamp the answer names log positions,
    programme hashes and metric versions: the same question with the same stamp has the same answer (in Parquet it also
    stands in the file, under `stammgast.stamp`). Exit codes: 0 answered, 1 refused or not understood, nobody answers,
    2 wrong usage.
    """
    kind = _check(statement)
    if stamp and kind == duckdb.StatementType.EXPLAIN:
        raise UsageError("--stamp names what rows come from, and EXPLAIN gives none: leave one of them out.")
    place = _place_in_lake(lake, lake_s3, db, remote) or _place(db, remote, token_file)
    answer = with_stamp(place, statement) if stamp else place(statement)
    _WRITERS[shape](answer)
    said = answer.stamp()
    if said is not None:
        click.echo(said.as_json(), err=True)


def _check(statement: str) -> duckdb.StatementType | None:
    """One question at a time, and questions only. Mistakes in the SQL are left to whoever answers it: then None."""
    try:
        found = duckdb.extract_statements(statement)
    except duckdb.Error:
        return None
    if len(found) != 1:
        what = f"there are {len(found)} statements" if found else "there is no question"
        raise UsageError(f'{what} in the SQL: write one, like "from balances limit 10".')
    if found[0].type not in ANSWERED:
        raise No(f"refused: only one SELECT is answered, and this is {found[0].type.name}; nothing was changed.")
    return found[0].type


def _place_in_lake(
    lake: str | None, keys: Path | None, db: Path | None, remote: str | None
) -> Callable[[str], Answer] | None:
    """Whom to ask where a lake is named, None where none is. Errors: UsageError."""
    if lake is None:
        if keys is not None:
            raise UsageError("--lake-s3 is for --lake: name the catalogue of the lake, too.")
        return None
    if db is not None or remote is not None:
        raise UsageError("--lake and --db or --remote name two places to ask: say one of them.")
    return partial(ask_lake, lake, None if keys is None else read_storage(keys))


def _place(db: Path | None, remote: str | None, token_file: Path | None) -> Callable[[str], Answer]:
    """Whom to ask: a function of the statement. Errors: UsageError."""
    if remote is not None:
        if db is not None:
            raise UsageError("--db and --remote name two places to ask: say one of them.")
        if token_file is None:
            raise UsageError(
                f"--remote {remote} needs --token-file: the file FILE.token beside the DuckDB file that is served there."
            )
        return partial(ask_server, remote, token_file)
    if db is None:
        raise UsageError(
            "say which tables to ask: --db FILE, --lake CATALOGUE, or --remote quack:HOST:PORT with --token-file."
        )
    return partial(ask_file, db)


def _write_table(answer: Answer) -> None:
    names, rows = answer.names(), answer.rows(TABLE_ROWS + 1)
    table = Table(box=rich.box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name, right in zip(names, answer.numeric(), strict=True):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows[:TABLE_ROWS]:
        table.add_row(*(_cell(value) for value in row))
    console = Console(width=None if sys.stdout.isatty() else 10_000)
    console.print(table, highlight=False, markup=False)
    if len(rows) > TABLE_ROWS:
        click.echo(
            f"... only the first {TABLE_ROWS} rows are shown; --format csv, json or parquet writes all.", err=True
        )


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.4g}"
        case datetime():
            return value.isoformat(sep=" ", timespec="seconds" if not value.microsecond else "microseconds").replace(
                "+00:00", "Z"
            )
        case list() | dict():
            return as_json(value)
        case _:
            return str(value)


def _write_json(answer: Answer) -> None:
    names = answer.names()
    click.echo("[", nl=False)
    for number, row in enumerate(answer.all_rows()):
        click.echo(("," if number else "") + "\n" + as_json(dict(zip(names, row, strict=True))), nl=False)
    click.echo("\n]")


def _write_csv(answer: Answer) -> None:
    write_csv(sys.stdout, answer.names(), answer.all_rows())


def _write_parquet(answer: Answer) -> None:
    if sys.stdout.isatty():
        raise UsageError("parquet is no text for a terminal: write it into a file with `> rows.parquet`.")
    buffer, table = io.BytesIO(), answer.table()
    stamp = answer.stamp()
    if stamp is not None:
        table = table.replace_schema_metadata({STAMP_KEY: stamp.as_json().encode()})
    pyarrow.parquet.write_table(table, buffer)
    sys.stdout.buffer.write(buffer.getvalue())


_WRITERS = {"table": _write_table, "csv": _write_csv, "json": _write_json, "parquet": _write_parquet}
