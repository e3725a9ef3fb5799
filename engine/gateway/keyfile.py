"""The file with the keys, as `stammgast gateway key` changes it: whole or not at all, readable by its owner alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine import signing
from engine.gateway.keys import RIGHTS, KeyEntry, SecretOf, new_secret, read_entries, read_keys, written

_PRIVATE = 0o600


class KeyRefused(Exception):
    """A key cannot be made as it was asked for; the message says why."""


def add_key(
    path: Path,
    key_id: str,
    *,
    sources: Sequence[str],
    types: Sequence[str],
    may: Sequence[str],
    topic: str,
    events_per_second: float,
    signed: bool,
) -> dict[str, Any]:
    """Add a key; the file is made when it is not there. Returns its id, its secret, and the file of its signing secret.

    Errors: KeyRefused, KeyFileBroken, OSError.
    """
    entries = read_entries(path) if path.exists() else []
    if any(entry.id == key_id for entry in entries):
        raise KeyRefused(f"{path} has a key {key_id} already: --rotate DAYS gives it a new secret")
    if not sources:
        raise KeyRefused("say what its events name as their source: --source urn:my-shop (a * at the end for several)")
    unknown = [right for right in may if right not in RIGHTS]
    if unknown:
        raise KeyRefused(f"there is no right {unknown[0]!r}: {', '.join(RIGHTS)}")
    secret, digest = new_secret(key_id)
    file = f"{path.stem}.{key_id}.whsec" if signed else ""
    try:
        entry = KeyEntry(
            id=key_id,
            secrets=[SecretOf(sha256=digest)],
            topic=topic,
            sources=list(sources),
            types=list(types) or ["*"],
            may=list(may) or ["publish"],
            events_per_second=events_per_second,
            signing_secret_files=[file] if file else [],
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise KeyRefused(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error
    if file:
        _write(path.parent / file, signing.new_secret() + "\n")
    _replace(path, [*entries, entry])
    return {"id": key_id, "secret": secret, "signing_secret_file": str(path.parent / file) if file else None}


def rotate_key(path: Path, key_id: str, overlap_days: float) -> dict[str, Any]:
    """Give a key a new secret; its others hold for so many days more. Errors: KeyRefused, KeyFileBroken, OSError."""
    entries = read_entries(path)
    entry = next((one for one in entries if one.id == key_id), None)
    if entry is None:
        raise KeyRefused(f"{path} has no key {key_id}: {', '.join(one.id for one in entries) or 'it is empty'}")
    now = datetime.now(UTC).replace(microsecond=0)
    ends = now + timedelta(days=overlap_days)
    secret, digest = new_secret(key_id)
    held = [SecretOf(sha256=one.sha256, until=min(one.until or ends, ends)) for one in entry.secrets]
    alive = [one for one in held if one.until is not None and one.until > now]
    changed = entry.model_copy(update={"secrets": [*alive, SecretOf(sha256=digest)]})
    _replace(path, [changed if one is entry else one for one in entries])
    return {"id": key_id, "secret": secret, "signing_secret_file": None}


def _replace(path: Path, entries: Sequence[KeyEntry]) -> None:
    """Write the file anew beside the old one, check that it can be read, and put it in its place."""
    fresh = path.with_name(f".{path.name}.new")
    _write(fresh, written(entries))
    try:
        read_keys(fresh)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "w", encoding="utf-8") as file:
        file.write(text)
