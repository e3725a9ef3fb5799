"""A DuckDB file with all tables and views and no row, made once by `stammgast compile`, for replays to begin with a copy of.

To make a hundred views takes half a second of a core, and to open a file that has them a thirtieth of one. Nothing needs it.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import duckdb

from projections import sql
from projections.warehouse import STORAGE_VERSION, Warehouse

PATTERN = "blank-*.duckdb"


def kept_in(folder: Path) -> Path:
    """The file in `folder` that holds the tables and views as their SQL is now, for this DuckDB; it need not exist."""
    what = f"{duckdb.__version__} {STORAGE_VERSION} {sql.hash_of('staging/tables')} {sql.views_hash()}"
    return folder / PATTERN.replace("*", blake2b(what.encode(), digest_size=16).hexdigest())


def make(folder: Path) -> bool:
    """Make it where there is none, and let older ones go; was there none? Errors: OSError, and those of `Warehouse.open`."""
    file = kept_in(folder)
    missing = not file.exists()
    if missing:
        folder.mkdir(exist_ok=True)
        # Beside its place, so that it appears there whole.
        with tempfile.TemporaryDirectory(prefix="making-", dir=folder) as making:
            made = Path(making, file.name)
            Warehouse.open(made).close()
            made.replace(file)
    for old in folder.glob(PATTERN):
        if old != file:
            old.unlink()
    return missing


def copy(folder: Path, path: Path) -> bool:
    """Copy it to `path`, where nothing may lie, and no write-ahead log beside it: copies are alike, and DuckDB would take the log
    of another copy for its own. Tell whether it was there to be copied, whole."""
    try:
        shutil.copyfile(kept_in(folder), path)
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return False
    return True
