"""Programme files in a directory: one file per version."""

from __future__ import annotations

from pathlib import Path

from rules.plan import Programme


def read_directory(path: Path) -> list[Programme]:
    """Read every version in ``path``."""
    raise NotImplementedError
