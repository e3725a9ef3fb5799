"""Secrets and other small files that may change while a process runs: looked at again when their time of change moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from engine.deliver.sending import ConfigBroken

T = TypeVar("T")
#: How often it is looked whether a file changed. Too often: a system call per notice. Too rarely: a new secret waits.
LOOK_S = 1.0


class Watched(Generic[T]):
    """A file and what was read out of it, read again when it changes; what cannot be read leaves the old in force."""

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        """Read it now. Errors: ConfigBroken."""
        self._path, self._read = path, read
        self._looked_s = time.monotonic()
        self._changed = _changed_at(path)
        self._value = read(path)

    def get(self) -> T:
        """What the file says now."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            try:
                changed = _changed_at(self._path)
                if changed != self._changed:
                    self._value, self._changed = self._read(self._path), changed
            except ConfigBroken:  # half written, or on its way: the next look will tell
                return self._value
        return self._value


def _changed_at(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise ConfigBroken(f"{path}: {error.strerror}") from error
    return stat.st_mtime_ns, stat.st_size


def first_line(path: Path) -> str:
    """A secret out of a file: its first line. Errors: ConfigBroken."""
    try:
        text = path.read_text(encoding="utf-8").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigBroken(f"{path}: {getattr(error, 'strerror', None) or 'it is no text'}") from error
    if not text:
        raise ConfigBroken(f"{path}: its first line is empty")
    return text
