"""What may be kept of an event that names or describes a person and was refused: its envelope, nothing of what it said."""

from __future__ import annotations

from typing import Any

import orjson

from schemas import facts
from schemas.normalise import check_key
from schemas.rejects import Rejected

#: By these two a record in `rejects` says that its data is not there, and how many bytes the event had.
LEFT_OUT, LEFT_OUT_BYTES = "dataleftout", "databytes"
_KEPT = ("specversion", "id", "source", "type", "subject", "time")
_LONGEST = 256
_HINT = b"stammgast.profile"


def is_personal(raw: bytes, types: frozenset[str]) -> bool:
    """Tell whether bytes that intake refused may describe a person.

    Args:
        raw: the record's value.
        types: what its topic may carry. On a topic for profiles, whatever is not plainly something else is taken for one.
    """
    meant = bool(types & facts.PERSONAL_TYPES) or _HINT in raw
    try:
        event = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return meant
    named = event.get("type") if isinstance(event, dict) else None
    if not isinstance(named, str):
        return meant
    if named in facts.DATA_MODELS:
        return named in facts.PERSONAL_TYPES
    return meant or "profile" in named.casefold()


def without_data(raw: bytes) -> bytes:
    """Return an event without its data and without attributes of its own, as JSON.

    A hash of the data is not kept either: whoever has a list of names or birthdays could find the one that fits.
    """
    try:
        event = orjson.loads(raw)
    except orjson.JSONDecodeError:
        event = {}
    kept: dict[str, Any] = {}
    for name in _KEPT if isinstance(event, dict) else ():
        value = event.get(name)
        if isinstance(value, str) and 0 < len(value) <= _LONGEST and _is_key(value):
            kept[name] = value
    return orjson.dumps(kept | {LEFT_OUT: True, LEFT_OUT_BYTES: len(raw)})


def _is_key(text: str) -> bool:
    try:
        check_key(text, "")
    except Rejected:
        return False
    return True
