"""A new master key for the same member keys: everything is wrapped anew, and the old master key opens nothing any more.

The file of the master key and the key store cannot change in one moment, so the old key stays beside its file until both have
changed; a rotation that was interrupted is taken up from there.
"""

from __future__ import annotations

import os
from pathlib import Path

from engine.settings import UsageError
from engine.vault.master import new_master, read_master
from engine.vault.store import KeyStore


def rotate(key_file: Path, keys: Path) -> int:
    """Put a new master key into its file and wrap every key with it; returns how many keys there are.

    Workers that run read the file again and go on.

    Errors: UsageError, KeysUnavailable.
    """
    fresh, old = key_file.with_name(f"{key_file.name}.new"), key_file.with_name(f"{key_file.name}.old")
    if old.exists():
        _take_up(key_file, old, keys)
    fresh.unlink(missing_ok=True)
    store = KeyStore(keys, read_master(key_file))
    try:
        master = new_master(fresh)
        os.link(key_file, old)
        count = store.rewrap(master, before_commit=lambda: _put(fresh, key_file))
        _sync(key_file.parent)
        old.unlink()
        _sync(key_file.parent)
    except OSError as error:
        raise UsageError(
            f"{error.filename or key_file}: {error.strerror}. Say it again: a rotation that was interrupted is taken up."
        ) from error
    finally:
        store.close()
    return count


def _put(source: Path, place: Path) -> None:
    source.replace(place)


def _take_up(key_file: Path, old: Path, keys: Path) -> None:
    """After an interruption: the key that opens the store is the one that counts."""
    try:
        KeyStore(keys, read_master(key_file)).close()
        old.unlink()
    except UsageError:
        KeyStore(keys, read_master(old)).close()
        old.replace(key_file)


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
