"""Which rules come to nobody where no profile can be read: a deployment needs keys for them (docs/privacy.md)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from rules.language import ProgrammeFile
from rules.moment_language import When
from rules.parts import Condition, Notice


class Need(NamedTuple):
    """A rule, by its id, and what it asks a profile for: ``birthday``, ``consent``, ``profile``; in this order, each once."""

    rule: str
    asks: tuple[str, ...]


def profile_needs(document: ProgrammeFile) -> list[Need]:
    """Return every rule of a version that needs profiles, in the order of the file."""
    rules: list[Any] = [*document.earn, *(document.challenges or ()), *(document.moments or ())]
    found = [Need(rule.id, tuple(sorted(set(_asks(rule))))) for rule in rules]
    return [need for need in found if need.asks]


def _asks(part: Any) -> Iterator[str]:
    """What a part of a rule asks for, whatever it is within."""
    if isinstance(part, When) and part.birthday is not None:
        yield "birthday"
    if isinstance(part, Notice):
        yield "consent"
    if isinstance(part, Condition):
        if part.consent is not None:
            yield "consent"
        if part.profile is not None:
            yield "profile"
    if isinstance(part, BaseModel):
        for name in type(part).model_fields:
            yield from _asks(getattr(part, name))
        if getattr(part, "on", None) == "birthday":
            yield "birthday"
    elif isinstance(part, tuple | list):
        for inner in part:
            yield from _asks(inner)
