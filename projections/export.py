"""Every table as files for those who cannot attach: Parquet, CSV, Excel workbooks or one DuckDB file, with the stamp beside."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow.parquet

from engine.settings import No, UsageError
from projections import sql
from projections.desk import open_copy
from projections.formats import write_csv
from projections.snapshot import Snapshot
from projections.stamp import Stamp
from projections.workbook import write_workbook

STAMP_FILE = "stamp.json"
STAMP_KEY = b"stammgast.stamp"
LATEST = "latest"
BATCH_ROWS = 50_000
FORMATS = ("parquet", "csv", "xlsx", "duckdb")


def tables_of(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The names of all tables that readers may ask."""
    return [str(name) for (name,) in connection.execute(sql.statements("serving/exporting")["tables"]).fetchall()]


def export(
    copy: Snapshot, folder: Path, shape: str, *, memory_limit: str, tables: Sequence[str] = ()
) -> dict[str, int]:
    """Write tables of a copy into a folder that does not exist yet; it appears whole or not at all.

    Args:
        copy: what is written.
        folder: made here, with one file per table, or `stammgast.duckdb`, and `stamp.json`.
        shape: one of `FORMATS`.
        tables: which; none means all.

    Returns:
        Rows by table.

    Raises:
        UsageError: the folder is there already, or a table is not.
        No: it cannot be written, or a table cannot be computed within the memory limit.
    """
    if folder.exists():
        raise UsageError(f"{folder} exists already: name another folder with --out.")
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    connection = open_copy(str(copy.path), memory_limit, 2)
    try:
        known = tables_of(connection)
        wanted = _chosen(known, tables)
        draft.mkdir(parents=True)
        counts = _WRITERS[shape](connection, wanted, draft, copy.stamp)
        (draft / STAMP_FILE).write_text(copy.stamp.as_json() + "\n", encoding="utf-8")
        draft.rename(folder)
    except OSError as error:
        raise No(f"{folder} cannot be written: {error.strerror or error}.") from error
    except duckdb.Error as error:
        raise No(f"the export to {folder} failed, nothing was written: {str(error).splitlines()[0]}") from error
    finally:
        connection.close()
        shutil.rmtree(draft, ignore_errors=True)
    return counts


def point_latest(folder: Path) -> None:
    """Let `latest` beside a finished folder lead to it, from one moment to the next.

    Raises:
        No: there is something else of that name.
    """
    link, draft = folder.with_name(LATEST), folder.with_name(f".{LATEST}.{os.getpid()}")
    if link.exists() and not link.is_symlink():
        raise No(f"{link} is no link of ours: move it away, so that it can lead to {folder.name}.")
    draft.unlink(missing_ok=True)
    draft.symlink_to(folder.name)
    draft.replace(link)


def _chosen(known: Sequence[str], tables: Sequence[str]) -> list[str]:
    missing = [name for name in tables if name not in known]
    if missing:
        raise UsageError(f"there is no table {missing[0]}: there are {', '.join(known)}.")
    return list(tables or known)


def _parquet(
    connection: duckdb.DuckDBPyConnection, tables: Sequence[str], folder: Path, stamp: Stamp
) -> dict[str, int]:
    counts = {}
    for name in tables:
        reader = connection.table(name).to_arrow_reader(BATCH_ROWS)
        schema = reader.schema.with_metadata({STAMP_KEY: stamp.as_json().encode()})
        with pyarrow.parquet.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd") as writer:
            counts[name] = 0
            for batch in reader:
                writer.write_batch(batch.replace_schema_metadata(schema.metadata))
                counts[name] += batch.num_rows
    return counts


def _csv(connection: duckdb.DuckDBPyConnection, tables: Sequence[str], folder: Path, _: Stamp) -> dict[str, int]:
    counts = {}
    for name in tables:
        relation = connection.table(name)
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            counts[name] = write_csv(file, relation.columns, _rows(relation), spreadsheet=True)
    return counts


def _xlsx(connection: duckdb.DuckDBPyConnection, tables: Sequence[str], folder: Path, _: Stamp) -> dict[str, int]:
    counts = {}
    for name in tables:
        relation = connection.table(name)
        counts[name] = write_workbook(folder / f"{name}.xlsx", name, relation.columns, _rows(relation))
    return counts


def _rows(relation: duckdb.DuckDBPyRelation) -> Iterator[Sequence[object]]:
    while found := relation.fetchmany(BATCH_ROWS):
        yield from found


def _duckdb(connection: duckdb.DuckDBPyConnection, tables: Sequence[str], folder: Path, _: Stamp) -> dict[str, int]:
    counts = {}
    with duckdb.connect(str(folder / "stammgast.duckdb")) as made:
        made.execute(sql.statements("staging/session")["utc"])
        for name in tables:
            made.from_arrow(connection.table(name).to_arrow_reader(BATCH_ROWS)).create(name)
            counts[name] = len(made.table(name))
    return counts


_WRITERS: dict[str, Callable[[duckdb.DuckDBPyConnection, Sequence[str], Path, Stamp], dict[str, int]]] = {
    "parquet": _parquet,
    "csv": _csv,
    "xlsx": _xlsx,
    "duckdb": _duckdb,
}
