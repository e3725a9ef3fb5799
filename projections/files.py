"""The DuckDB file among its neighbours: set it aside, build another beside it, put that into its place.

Beside FILE lie, at times: FILE.wal (DuckDB's log of the last transactions), FILE.endpoint and FILE.token (who serves it),
FILE.console-token (who may log in to its console), FILE.rebuild (a new file being built), FILE.outgoing (the old one's second
name, by which it is read meanwhile) and FILE.<time>.old or FILE.<time>.<reason>.old (files that were set aside).
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

import duckdb

from engine.settings import No
from projections.trouble import FileTrouble, Kind, kind_of

# So many files that a rebuild has set aside are kept, the newest; those that --fresh set aside are left alone. Too few:
# nobody can look what was wrong with one. Too many: each is as large as the file itself.
KEPT_AFTER_REBUILDS = 2
# DuckDB's (1.5) own files beside a database; a database without them is an older one, and with those of another none.
_LOGS = (".wal", ".wal.checkpoint", ".wal.recovery")


def wal_of(path: str | Path) -> Path:
    """Where DuckDB keeps the last transactions of a file."""
    return Path(f"{path}.wal")


def _logs_of(path: Path) -> list[Path]:
    """The same, and the logs it keeps while it writes the file itself: what is there of them."""
    return [log for ending in _LOGS if (log := Path(f"{path}{ending}")).exists()]


def draft_of(db: str | Path) -> Path:
    """Where a new file is built that will take this one's place."""
    return Path(f"{db}.rebuild")


def outgoing_of(db: str | Path) -> Path:
    """The second name by which the old file is read while a new one is built."""
    return Path(f"{db}.outgoing")


def remove(path: Path) -> None:
    """Delete a DuckDB file and its logs, whichever of them is there."""
    for one in (path, *_logs_of(path)):
        one.unlink(missing_ok=True)


def set_aside(path: str | Path) -> Path | None:
    """Rename a DuckDB file and its logs out of the way; return its new name, None where there was no file.

    Raises:
        No: a process holds the file, and would go on writing it under its new name; or it cannot be renamed.
    """
    old = Path(path)
    if str(path) == ":memory:" or not old.exists():
        return None
    require_free(old)
    return _rename(old, ".old")


def _rename(old: Path, ending: str) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(old.stat().st_mtime))
    new, count = old.with_name(f"{old.name}.{stamp}{ending}"), 1
    while new.exists():
        count += 1
        new = old.with_name(f"{old.name}.{stamp}-{count}{ending}")
    try:
        _move(old, new)
    except OSError as error:
        raise No(
            f"{old} cannot be set aside as {new.name}: {error.strerror}. Move it away yourself, or name another file with --db."
        ) from error
    return new


def put_in_place(db: Path, reason: str) -> Path | None:
    """Let the finished draft take the place of `db`, which is set aside for `reason`; return that one's new name.

    Nobody of this process may have either open under these names. Interrupted in the middle, it leaves the draft complete
    and no `db`: the next start goes on from there.
    """
    draft = draft_of(db)
    old = _rename(db, f".{reason}.old") if db.exists() else None
    remove(db)  # logs without their file
    _move(draft, db)
    _flush(db.absolute().parent)
    _forget_oldest(db)
    return old


def second_name(db: Path) -> Path | None:
    """Give the file and its logs a second name, by which it is read although its own name changes hands; None if it cannot.

    A hard link: DuckDB opens one name only once per process, and finds the log by the name.
    """
    outgoing = outgoing_of(db)
    remove(outgoing)
    try:
        for one in (db, *_logs_of(db)):
            os.link(one, f"{outgoing}{str(one).removeprefix(str(db))}")
    except OSError:
        remove(outgoing)
        return None
    return outgoing


def _move(old: Path, new: Path) -> None:
    """Rename a file, then its logs: without them it would be an older prefix, and they without it nothing."""
    logs = _logs_of(old)
    old.rename(new)
    for log in logs:
        log.rename(f"{new}{str(log).removeprefix(str(old))}")


def open_here(db: Path) -> bool:
    """Has this process the file still open, deleted or not? A question that a reader asks keeps a closed database open until
    it is answered. Where the system does not tell (Linux does): no."""
    own = Path("/proc/self/fd")
    path = db.resolve()
    names = {str(path), f"{path} (deleted)", str(wal_of(path))}
    found = set()
    for handle in own.iterdir() if own.exists() else ():
        with contextlib.suppress(OSError):
            found.add(str(handle.readlink()))
    return not names.isdisjoint(found)


def require_free(path: Path) -> None:
    """Refuse a file that a process holds to write it; one that is missing, damaged or no DuckDB file is free.

    Raises:
        No: with the holder and what to do about it.
    """
    if not path.exists():
        return
    try:
        duckdb.connect(str(path), read_only=True).close()
    except duckdb.Error as error:
        if kind_of(error) is Kind.HELD:
            raise FileTrouble.of(path, error) from error


def holds(path: Path, text: str) -> bool:
    """Is this the whole text of a file?"""
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def remove_own(path: Path, text: str) -> None:
    """Delete a file that we wrote, unless somebody has put his own there since."""
    if holds(path, text):
        path.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody but its owner ever could read, not even for a moment."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _forget_oldest(db: Path) -> None:
    """Keep the newest of the files that rebuilds have set aside."""
    ours = re.compile(re.escape(db.name) + r"\.\d{8}T\d{6}(-\d+)?\.[a-z_]+\.old")
    found = [path for path in db.absolute().parent.iterdir() if ours.fullmatch(path.name)]
    for path in sorted(found, key=lambda one: one.stat().st_mtime)[:-KEPT_AFTER_REBUILDS]:
        with contextlib.suppress(OSError):
            remove(path)


def _flush(folder: Path) -> None:
    """Make renames survive a power cut, where folders can be flushed."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
