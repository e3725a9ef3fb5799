"""The keys of the chaos shop's profiles: files in the run's folder, for workers, `verify` and the auditor."""

from __future__ import annotations

from pathlib import Path

from engine.ledger.profiles import Opens
from engine.vault.master import new_master, read_master
from engine.vault.store import KeyStore
from engine.vault.vault import vault_of


def _files(folder: Path) -> tuple[Path, Path]:
    return folder / "master.key", folder / "keys.db"


def make_in(folder: Path) -> None:
    """Make a master key and an empty store."""
    master, keys = _files(folder)
    new_master(master)
    KeyStore(keys, read_master(master), create=True).close()


def told_of(folder: Path) -> list[str]:
    """What a command is told of them."""
    master, keys = _files(folder)
    return ["--profile-key-file", str(master), "--profile-keys", str(keys)]


def opens_in(folder: Path) -> Opens:
    """What reads profiles with them."""
    return vault_of(*_files(folder)).opens(gone=None)
