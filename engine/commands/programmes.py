"""What several commands share: programme files read, their mistakes told."""

from __future__ import annotations

from pathlib import Path

from engine.settings import No, UsageError
from rules.book import Programme, load_directory
from rules.errors import ProgrammeErrors


def load_programmes(directory: Path) -> list[Programme]:
    """Return every version in ``directory``.

    Raises:
        UsageError: there is no such directory, or no programme in it.
        No: files have mistakes; all of them are told.
    """
    if not directory.exists():
        raise UsageError(f"--programme {directory}: there is no such folder; give one with a YAML file per version.")
    if not any(directory.glob("*.yaml")) and not any(directory.glob("*.yml")):
        raise UsageError(f"--programme {directory}: no programme in it; a version is one .yaml file.")
    try:
        programmes = load_directory(directory)
    except ProgrammeErrors as errors:
        count = len(errors.problems)
        raise No(f"{count} mistake{'s' if count != 1 else ''} in {directory}:\n{errors}") from errors
    return programmes
