"""Who may read: names and the hashes of their tokens, in a file that is read again when it changes.

A token has 256 random bits, so a plain SHA-256 of it cannot be turned back, and needs no slow hash. A reader may have several at
once: that is how one is changed without a moment in which none holds.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import structlog
import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from engine.settings import UsageError
from projections.files import write_private

TOKEN = re.compile(r"sgr_[A-Za-z0-9_-]{43}")
NAME = r"^[a-z0-9][a-z0-9-]{0,31}$"
# The file is looked at again after so long at the earliest. Too short: a look per message. Too long: who was taken out reads on.
LOOK_AGAIN_S = 1.0

log = structlog.get_logger(__name__)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TokenOf(_Strict):
    """One token of a reader: its hash, and until when it holds."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    until: AwareDatetime | None = None

    def holds(self, now: datetime) -> bool:
        """Does it hold at a moment?"""
        return self.until is None or now < self.until


class Reader(_Strict):
    """One reader as the file says it."""

    name: Annotated[str, Field(pattern=NAME)]
    tokens: Annotated[list[TokenOf], Field(min_length=1)]


class _File(_Strict):
    readers: list[Reader]


def read(path: Path) -> list[Reader]:
    """The readers of a file.

    Raises:
        UsageError: it cannot be read, or a line of it is wrong.
    """
    try:
        readers = _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {"readers": []}).readers
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--readers {path}: {getattr(error, 'strerror', None) or 'it is no text'}.") from error
    except yaml.YAMLError as error:
        raise UsageError(f"--readers {path}: {str(error).splitlines()[0]}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UsageError(f"--readers {path}: {where}: {first['msg']}.") from error
    names = [one.name for one in readers]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--readers {path}: {twice} stands there twice.")
    return readers


def add(path: Path, name: str) -> str:
    """Add a reader and return the token, which is nowhere else. Errors: UsageError, OSError."""
    if not re.fullmatch(NAME, name):
        raise UsageError(f"{name!r} is no name of a reader: small letters, digits and -, at most 32.")
    readers = read(path) if path.exists() else []
    if any(one.name == name for one in readers):
        raise UsageError(f"{path} has a reader {name} already: --rotate DAYS gives a new token.")
    token, held = _new_token()
    _write(path, [*readers, Reader(name=name, tokens=[held])])
    return token


def rotate(path: Path, name: str, days: float) -> str:
    """Give a reader a new token; those from before hold for so many days more. Errors: UsageError, OSError."""
    readers = read(path)
    known = _known(path, readers, name)
    now = datetime.now(UTC).replace(microsecond=0)
    ends = now + timedelta(days=days)
    older = [TokenOf(sha256=one.sha256, until=min(one.until or ends, ends)) for one in known.tokens]
    token, held = _new_token()
    changed = Reader(name=name, tokens=[*(one for one in older if one.holds(now)), held])
    _write(path, [changed if one is known else one for one in readers])
    return token


def remove(path: Path, name: str) -> None:
    """Take a reader out. Errors: UsageError, OSError."""
    readers = read(path)
    known = _known(path, readers, name)
    _write(path, [one for one in readers if one is not known])


def _known(path: Path, readers: Sequence[Reader], name: str) -> Reader:
    found = next((one for one in readers if one.name == name), None)
    if found is None:
        raise UsageError(f"{path} has no reader {name}: {', '.join(one.name for one in readers) or 'it is empty'}.")
    return found


def _new_token() -> tuple[str, TokenOf]:
    token = f"sgr_{secrets.token_urlsafe(32)}"
    return token, TokenOf(sha256=hashlib.sha256(token.encode()).hexdigest())


def _write(path: Path, readers: Sequence[Reader]) -> None:
    """Put a new file in the place of the old one, whole or not at all, readable by its owner alone."""
    said = {"readers": [one.model_dump(mode="json", exclude_none=True) for one in readers]}
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    write_private(fresh, yaml.safe_dump(said, sort_keys=False))
    fresh.replace(path)


class Book:
    """The file, followed while it changes. A broken one changes nothing: those who could read go on, and the log says why."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._readers = read(path)
        self._seen = self._state()
        self._looked_s = time.monotonic()

    def who(self, token: str) -> str | None:
        """The name of the reader whose token this is; None where it is nobody's, or holds no more."""
        self._look()
        digest, now = hashlib.sha256(token.encode()).hexdigest(), datetime.now(UTC)
        found = None
        for reader in self._readers:
            for held in reader.tokens:
                if hmac.compare_digest(held.sha256, digest) and held.holds(now):
                    found = reader.name
        return found

    def names(self) -> frozenset[str]:
        """Who may read at this moment."""
        self._look()
        now = datetime.now(UTC)
        return frozenset(one.name for one in self._readers if any(held.holds(now) for held in one.tokens))

    def _look(self) -> None:
        if time.monotonic() < self._looked_s + LOOK_AGAIN_S:
            return
        self._looked_s = time.monotonic()
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            self._readers = read(self._path)
            log.info("the file of readers was read again", readers=len(self._readers))
        except UsageError as error:
            log.warning("the file of readers is broken; the readers from before stay", why=error.message)

    def _state(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
