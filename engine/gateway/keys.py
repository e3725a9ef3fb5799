"""Who may do what: API keys, known by their hashes alone, with scopes; several secrets of one key overlap while it is changed.

A key has 256 random bits, so a plain SHA-256 of it cannot be turned back, and needs no slow hash. The file is read again when
it changes: a key is added, changed or taken away without a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import structlog
import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from engine.gateway.problems import Problem
from engine.signing import SecretUnreadable, parse_secret
from schemas import facts
from schemas.times import from_datetime

Right = Literal["publish", "quote", "redeem", "read", "rejects"]
RIGHTS: tuple[str, ...] = get_args(Right)
PREFIX = "sg"
KEY_BYTES = 32
#: The file is looked at again after so many seconds at the earliest.
LOOK_AGAIN_S = 1.0

log = structlog.get_logger(__name__)


class KeyFileBroken(Exception):
    """The file with the keys cannot be used; the message says where and why."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SecretOf(_Strict):
    """One secret of a key: its hash, and until when it holds."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    until: AwareDatetime | None = None


class KeyEntry(_Strict):
    """One key as the file says it."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
    secrets: Annotated[list[SecretOf], Field(min_length=1)]
    topic: Annotated[str, Field(min_length=1)] = "shop-events"
    sources: Annotated[list[str], Field(min_length=1)]
    types: Annotated[list[str], Field(min_length=1)] = ["*"]
    may: list[Right] = ["publish"]
    events_per_second: Annotated[float, Field(gt=0)] = 200.0
    signing_secret_files: list[str] = []


class _File(_Strict):
    keys: list[KeyEntry]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key, ready for use.

    Attributes:
        secrets: (hash, until in microseconds or None) of each secret.
        sources: what its events may name as source; one may end in `*`.
        types: full names of the types it may send.
        signing: secrets one of which must have signed every request with a body; empty: no signature is asked for.
    """

    id: str
    secrets: tuple[tuple[str, int | None], ...]
    topic: str
    sources: tuple[str, ...]
    types: frozenset[str]
    may: frozenset[str]
    events_per_second: float
    signing: tuple[bytes, ...] = field(default=(), repr=False)

    def require(self, right: Right) -> None:
        """Errors: Problem not_this_key."""
        if right not in self.may:
            have = ", ".join(sorted(self.may)) or "nothing"
            raise Problem("not_this_key", f"key {self.id} may {have}, not {right}")

    def admits(self, source: str) -> bool:
        """May its events name this source?"""
        return any(_fits(source, pattern) for pattern in self.sources)

    def require_source(self, source: str) -> None:
        """Errors: Problem not_this_key."""
        if not self.admits(source):
            raise Problem(
                "not_this_key", f"key {self.id} speaks for {', '.join(self.sources)}, not for {source}", "source"
            )

    def own_source(self) -> str | None:
        """The one source it speaks for, None where there are several."""
        only = self.sources[0] if len(self.sources) == 1 else "*"
        return None if only.endswith("*") else only


def _fits(source: str, pattern: str) -> bool:
    return source.startswith(pattern[:-1]) if pattern.endswith("*") else source == pattern


def new_secret(key_id: str) -> tuple[str, str]:
    """Make a secret for a key: what its owner sends, and the hash that the file holds."""
    secret = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(KEY_BYTES)}"
    return secret, hash_of(secret)


def hash_of(secret: str) -> str:
    """The hash of a secret, lower-case hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Keyring:
    """All keys of a file. `check` answers in microseconds; the file is read again when its time of change moves."""

    def __init__(self, path: Path, now_us: Callable[[], int]) -> None:
        """Read the file. Errors: KeyFileBroken."""
        self._path, self._now_us = path, now_us
        self._looked_us = now_us()
        self._changed = _changed_at(path)
        self._keys = read_keys(path)

    def check(self, authorization: str | None) -> ApiKey:
        """The key of a request. Errors: Problem no_key, bad_key."""
        self._look_again()
        if authorization is None:
            raise Problem("no_key", "the request has no Authorization header")
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer" or not secret:
            raise Problem("no_key", "the Authorization header does not read `Bearer KEY`")
        parts = secret.strip().split("_", 2)
        key = self._keys.get(parts[1]) if len(parts) == 3 and parts[0] == PREFIX else None
        # A key that is not there costs as much as one whose secret is wrong.
        known = () if key is None else key.secrets
        digest, now_us, good = hash_of(secret.strip()), self._now_us(), False
        for sha256, until_us in known or (("0" * 64, 0),):
            good |= hmac.compare_digest(digest, sha256) and (until_us is None or now_us < until_us)
        if key is None or not good:
            raise Problem("bad_key", "no key of this gateway, or its time is over")
        return key

    def _look_again(self) -> None:
        now_us = self._now_us()
        if now_us - self._looked_us < LOOK_AGAIN_S * 1_000_000:
            return
        self._looked_us = now_us
        try:
            changed = _changed_at(self._path)
            if changed != self._changed:
                self._keys, self._changed = read_keys(self._path), changed
                log.info("keys read again", keys=len(self._keys))
        except KeyFileBroken as error:
            log.error("the file with the keys is broken: the keys read before stay in force", error=str(error))


def _changed_at(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise KeyFileBroken(
            f"{path}: {error.strerror}; `stammgast gateway key new` makes a file with a first key"
        ) from error
    return stat.st_mtime_ns, stat.st_size


def read_keys(path: Path) -> dict[str, ApiKey]:
    """The keys of a file (YAML or JSON) by id. Errors: KeyFileBroken."""
    keys: dict[str, ApiKey] = {}
    for entry in read_entries(path):
        if entry.id in keys:
            raise KeyFileBroken(f"{path}: key {entry.id} is there twice; rotate it with a second secret instead")
        keys[entry.id] = _ready(entry, path)
    return keys


def read_entries(path: Path) -> list[KeyEntry]:
    """The keys as the file says them. Errors: KeyFileBroken."""
    try:
        said: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TypeAdapter(_File).validate_python(said).keys
    except OSError as error:
        raise KeyFileBroken(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise KeyFileBroken(f"{path}: neither YAML nor JSON ({' '.join(str(error).split())})") from error
    except ValidationError as error:
        raise KeyFileBroken(f"{path}: {'; '.join(_mistakes(error))}") from error


def _mistakes(error: ValidationError) -> Iterator[str]:
    for one in error.errors(include_url=False, include_input=False, include_context=False):
        yield f"{'.'.join(str(part) for part in one['loc']) or 'the file'}: {one['msg']}"


def _ready(entry: KeyEntry, path: Path) -> ApiKey:
    held = tuple((one.sha256, None if one.until is None else from_datetime(one.until)) for one in entry.secrets)
    return ApiKey(
        id=entry.id,
        secrets=held,
        topic=entry.topic,
        sources=tuple(entry.sources),
        types=_types(entry, path),
        may=frozenset(entry.may),
        events_per_second=entry.events_per_second,
        signing=tuple(_signing_secret(path.parent / name) for name in entry.signing_secret_files),
    )


def _types(entry: KeyEntry, path: Path) -> frozenset[str]:
    named: set[str] = set()
    for word in entry.types:
        if word == "*":
            named |= set(facts.INBOUND_TYPES) - facts.STAFF_TYPES - facts.HOUSE_TYPES
        elif word == "staff":
            named |= facts.STAFF_TYPES | facts.HOUSE_TYPES
        elif versions := facts.versions_of(word):
            named |= versions
        else:
            known = ", ".join(dict.fromkeys(facts.short_name(name) for name in facts.INBOUND_TYPES))
            raise KeyFileBroken(f"{path}: key {entry.id}: there is no type {word!r}; known are {known}, * and staff")
    return frozenset(named)


def _signing_secret(path: Path) -> bytes:
    try:
        return parse_secret(path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError, SecretUnreadable) as error:
        raise KeyFileBroken(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def written(entries: Sequence[KeyEntry]) -> str:
    """The text of a file with these keys."""
    said = [entry.model_dump(mode="json", exclude_defaults=True) for entry in entries]
    return yaml.safe_dump({"keys": said}, sort_keys=False, allow_unicode=True)
