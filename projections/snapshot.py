"""A copy of the DuckDB file for readers, taken beside a projector that goes on writing and knows nothing of it.

DuckDB writes a file block by block to places that its current header does not reach; a checkpoint writes a new header last.
So log and file, copied in this order while the header stays the same, are some committed prefix of the file: a block that the
log speaks of is written before the log says so, and none that the header reaches is written over before the next header
(DuckDB 1.5, storage format; held by tests/projections/test_snapshot.py under load). Nobody who asks a copy can hold back
the writer, and the file itself is free for its projector to open.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb

from engine.settings import No, UsageError
from projections import sql
from projections.files import remove, wal_of
from projections.server import fill_lists
from projections.stamp import Stamp, stamp_of
from projections.trouble import explained

# The main header and the two that checkpoints write in turn, 4,096 bytes each.
HEADER_BYTES = 3 * 4096
# A copy is taken again when a checkpoint came in between; a writer makes one every 128 MB of log (warehouse.py).
ATTEMPTS = 20
AGAIN_S = 0.1
_FOLDERS, _LOCK = "stammgast-readers-", "lock"
#: Between a folder's making and its lock. Too short: it is taken from under a process that starts slowly. Too long: what a
#: killed process left stays longer.
BEING_MADE_S = 60.0
#: Locks of this process's own folders.
_HELD: dict[Path, int] = {}


class TooBusy(No):
    """The file was rewritten during every attempt to copy it."""


@dataclass(frozen=True, slots=True)
class State:
    """What tells whether a file has changed: its header, and the log's identity, size and time."""

    header: bytes
    log: tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A finished copy.

    Attributes:
        path: where it lies.
        stamp: what its rows are.
        state: of the file it was taken from.
        taken_at: seconds since the epoch when copying began: what the file held then is in it.
        seconds: how long it took.
    """

    path: Path
    stamp: Stamp
    state: State
    taken_at: float
    seconds: float


def state_of(db: Path) -> State:
    """Look at a file without opening it.

    Raises:
        UsageError: there is no such file.
    """
    try:
        with db.open("rb") as file:
            header = file.read(HEADER_BYTES)
    except OSError as error:
        raise UsageError(
            f"{db} cannot be read: {error.strerror}. `stammgast up`, `projector` and `replay` make such a file."
        ) from error
    try:
        found = wal_of(db).stat()
    except OSError:
        return State(header, None)
    return State(header, (found.st_ino, found.st_size, found.st_mtime_ns))


def private_folder(parent: Path | None) -> Path:
    """Make a folder that only its owner may enter: a copy holds everything that the file holds.

    What a process that was killed left beside it is put away. Processes in other containers are told by a lock, not by a number.

    Errors: OSError.
    """
    folder = Path(tempfile.mkdtemp(prefix=_FOLDERS, dir=parent))
    _HELD[folder] = _lock(folder / _LOCK)
    for other in folder.parent.glob(f"{_FOLDERS}*"):
        if other != folder and _is_left(other):
            shutil.rmtree(other, ignore_errors=True)
    return folder


def _lock(path: Path) -> int:
    """Hold a file for as long as this process lives. Errors: BlockingIOError where somebody else does."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _is_left(folder: Path) -> bool:
    """Does nobody use a folder of copies any more? One without a lock is being made at this moment."""
    try:
        if time.time() - (folder / _LOCK).stat().st_mtime < BEING_MADE_S:
            return False
        os.close(_lock(folder / _LOCK))
    except OSError:
        return False
    return True


def take(db: Path, folder: Path, *, memory_limit: str) -> Snapshot:
    """Copy a file into a folder, ready for readers: log written in, lists of what may be asked filled.

    Raises:
        UsageError: there is no such file, or it holds no tables of ours.
        No: it changes faster than it can be copied, or there is no room.
    """
    began, started = time.time(), time.monotonic()
    path = folder / f"{time.time_ns()}.duckdb"
    try:
        state = _copy_in_one_piece(db, path)
        stamp = _make_ready(path, db, memory_limit)
    except OSError as error:
        remove(path)
        raise No(f"{db} cannot be copied to {folder}: {error.strerror or error}.") from error
    except BaseException:
        remove(path)
        raise
    return Snapshot(path, stamp, state, began, time.monotonic() - started)


def _copy_in_one_piece(db: Path, path: Path) -> State:
    for _ in range(ATTEMPTS):
        before = state_of(db)
        if before.log is not None:
            with contextlib.suppress(FileNotFoundError):  # a checkpoint took it; the header tells
                shutil.copyfile(wal_of(db), wal_of(path))
        shutil.copyfile(db, path)
        after = state_of(db)
        if _same_piece(before, after):
            path.chmod(0o600)
            return before
        remove(path)
        time.sleep(AGAIN_S)
    raise TooBusy(
        f"{db} changes faster than it can be copied ({ATTEMPTS} attempts): ask its projector instead, with `stammgast query`."
    )


def _same_piece(before: State, after: State) -> bool:
    """No checkpoint came in between, and the log is the one that was copied, perhaps longer by now."""
    if before.header != after.header:
        return False
    if before.log is None:
        return True
    return after.log is not None and before.log[0] == after.log[0] and before.log[1] <= after.log[1]


def _make_ready(path: Path, db: Path, memory_limit: str) -> Stamp:
    statements = sql.statements("staging/session")
    with explained(db), duckdb.connect(str(path), config={"memory_limit": memory_limit, "threads": 2}) as connection:
        connection.execute(statements["utc"])
        if connection.execute(statements["exists"]).fetchone() is None:
            raise UsageError(f"{db} holds no tables of stammgast: name another file with --db.")
        connection.execute(statements["writes"])
        fill_lists(connection)
        connection.execute(sql.statements("serving/asking")["checkpoint"])
        return stamp_of(connection)


def discard(folder: Path) -> None:
    """Delete a folder of copies."""
    shutil.rmtree(folder, ignore_errors=True)
    handle = _HELD.pop(folder, None)
    if handle is not None:
        os.close(handle)
