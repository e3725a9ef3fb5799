"""From a checked programme file to compiled rules."""

from __future__ import annotations

from rules.plan import Programme


def from_canonical(text: bytes) -> Programme:
    """Compile canonical JSON."""
    raise NotImplementedError
