"""The master key: a file that only its owner reads, with 32 random bytes as base64 in one line."""

from __future__ import annotations

import os
import stat
from base64 import b64decode, b64encode
from pathlib import Path

from engine.settings import UsageError
from engine.vault.sealing import KEY_BYTES


def new_master(path: Path) -> bytes:
    """Write a new master key into a file that is not there yet; return it. Errors: UsageError."""
    key = os.urandom(KEY_BYTES)
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(
            f"{path} exists already: a master key is never written over, because what it opens would be lost. Name another file."
        ) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}).") from error
    with os.fdopen(number, "wb") as file:
        file.write(b64encode(key) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return key


def read_master(path: Path) -> bytes:
    """Read a master key. Errors: UsageError where it is missing, open to others, or no key."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(1_000)
    except OSError as error:
        raise UsageError(
            f"--profile-key-file {path}: {error.strerror}. `stammgast keys new FILE` makes a master key."
        ) from error
    if mode & 0o077:
        raise UsageError(f"--profile-key-file {path}: others may read it (mode {mode:04o}): chmod 600 {path}")
    try:
        key = b64decode(text.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise UsageError(
            f"--profile-key-file {path}: this is no master key (32 bytes as base64 in one line): "
            "`stammgast keys new FILE` makes one."
        )
    return key
