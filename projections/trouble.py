"""What can be wrong with the DuckDB file: DuckDB's errors by kind, each with one sentence that says how to mend it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Self

import duckdb

from engine.settings import No, UsageError


class Kind(StrEnum):
    """What is wrong, as far as it changes what is done about it (docs/projector.md)."""

    DISK = "disk"  #: no room to write; it passes
    MEMORY = "memory"  #: DuckDB's memory limit; it passes when a reader's question ends
    HELD = "held"  #: another process holds the file
    UNWRITABLE = "unwritable"  #: no right to write it
    NO_DATABASE = "no_database"  #: the file is something else
    DAMAGED = "damaged"  #: its bytes are not those that were written
    GAVE_UP = "fatal"  #: DuckDB invalidated the database; opened again it may be sound
    NO_FOLDER = "no_folder"  #: the path leads nowhere
    GONE = "gone"  #: somebody deleted or replaced the file under its writer
    OTHER = "other"


class FileTrouble(No):
    """The file cannot be used; the message is for whoever runs the command. Exit code 1."""

    def __init__(self, message: str, kind: Kind = Kind.OTHER) -> None:
        super().__init__(message)
        self.kind = kind

    @classmethod
    def of(cls, path: str | Path, error: Exception) -> Self:
        """The trouble that an error of DuckDB or the system about this file stands for."""
        return cls(explanation(path, error), kind_of(error))


class OtherLogs(UsageError):
    """The file was built from other logs. Exit code 2."""


class OtherVersion(UsageError):
    """The file was built by a version of stammgast whose tables differ. Exit code 2 for whoever cannot rebuild it."""


@contextlib.contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Turn DuckDB's errors about the file itself into one sentence: what, where, how to mend it."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        raise FileTrouble.of(path, error) from error


class _Meaning(NamedTuple):
    """Words in DuckDB's messages, what they mean, how it is told to who writes and to who only asks (has no --fresh)."""

    words: tuple[str, ...]
    kind: Kind
    told: str
    to_reader: str | None = None


# The first that fits is told: a fatal error names its cause, and the cause is what can be mended.
_MEANINGS: tuple[_Meaning, ...] = (
    _Meaning(
        ("no space left", "could not write all bytes", "failed to write", "disk full", "file too large", "disk quota"),
        Kind.DISK,
        "The disk that holds {path} is full: nothing of the last batch was kept. Make room; nothing is lost.",
    ),
    _Meaning(
        ("out of memory", "failed to allocate", "could not allocate"),
        Kind.MEMORY,
        "DuckDB needs more memory for {path} than it may take: {first}. Give it more with --memory-limit.",
    ),
    _Meaning(
        ("conflicting lock", "could not set lock"),
        Kind.HELD,
        "{path} is held by another process ({holder}). Stop it, or ask it with `stammgast query --db {path}`.",
    ),
    _Meaning(
        ("read-only", "permission denied", "read only"),
        Kind.UNWRITABLE,
        "{path} cannot be written: {first}. Give this user the right to write it and its folder, or name another file "
        "with --db.",
        "{path} cannot be read: {first}. Give this user the right to read it, or name another file with --db.",
    ),
    _Meaning(
        ("not a valid duckdb",),
        Kind.NO_DATABASE,
        "{path} is no DuckDB file: name another one with --db. Only if it was stammgast's own and is damaged, say --fresh "
        "to set it aside and build it anew.",
        "{path} is no DuckDB file: name another one with --db.",
    ),
    _Meaning(
        ("serialization", "corrupt", "checksum", "could not read enough bytes", "replaying wal", "wal was created for"),
        Kind.DAMAGED,
        "{path} is damaged: {first}. It is a cache: say --fresh to set it aside and build it anew.",
        "{path} is damaged: {first}. It is a cache: `stammgast projector --db {path}` sets it aside and builds it anew "
        "from the logs.",
    ),
    _Meaning(
        ("fatal error", "has been invalidated", "internal error"),
        Kind.GAVE_UP,
        "DuckDB gave up on {path}: {first}. Start again; if that fails, say --fresh to set it aside and build it anew.",
        "DuckDB gave up on {path}: {first}. Ask again; if that fails, build the file anew from the logs.",
    ),
    _Meaning(
        ("cannot open file", "no such file", "is a directory"),
        Kind.NO_FOLDER,
        "{path} cannot be opened: {first}. Make its folder, or name another file with --db.",
    ),
)


def kind_of(error: Exception) -> Kind:
    """What kind of trouble an error about the file stands for; one about a record, whose words may be anything, is none."""
    if isinstance(error, duckdb.DataError | duckdb.IntegrityError):
        return Kind.OTHER
    meaning = _meaning(str(error))
    return Kind.OTHER if meaning is None else meaning.kind


def explanation(path: str | Path, error: Exception, *, to_reader: bool = False) -> str:
    """Return in one or two sentences what an error about the file means and what to do about it."""
    text = str(error)
    first = text.splitlines()[0].rstrip(".! ") if text else type(error).__name__
    meaning = _meaning(text)
    if meaning is None:
        return f"{path}: {first}."
    told = meaning.to_reader if to_reader and meaning.to_reader else meaning.told
    return told.format(path=path, first=first, holder=_holder(text))


def _meaning(text: str) -> _Meaning | None:
    lower = text.lower()
    return next((one for one in _MEANINGS if any(word in lower for word in one.words)), None)


def _holder(message: str) -> str:
    _, _, rest = message.partition("Conflicting lock is held in ")
    return rest.split(". ")[0].strip() or "unknown"
