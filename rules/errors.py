"""Mistakes in programme files: where, what, and a proposal; all of them at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake.

    ``field`` is the path as one would say it, ``earn[2].award.per``, empty for the file as a whole; ``line`` counts
    from 1, 0 where there is no line; ``proposal`` is empty where nothing sensible can be proposed.
    """

    file: str
    line: int
    field: str
    message: str
    proposal: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        what = f"{self.field}: {self.message}" if self.field else self.message
        return f"{place}: {what}" + (f" - {self.proposal}" if self.proposal else "")

    def as_dict(self) -> dict[str, str | int]:
        """Return the problem for a machine."""
        return asdict(self)


class ProgrammeErrors(Exception):
    """Programme files that cannot be used; ``problems`` holds every mistake, in file and line order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: list[Problem] = sorted(set(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def nearest(word: str, known: Sequence[str]) -> str:
    """Return the known word nearest to ``word``, empty when none is near."""
    matches = difflib.get_close_matches(word.lower(), [name.lower() for name in known], n=1, cutoff=0.6)
    if not matches:
        return ""
    return next(name for name in known if name.lower() == matches[0])


def did_you_mean(word: str, known: Sequence[str], *, few: int = 12) -> str:
    """Return a proposal: the nearest known word, else the known words themselves when they are few."""
    match = nearest(word, known)
    if match:
        return f"did you mean {match}?"
    each = list(dict.fromkeys(known))  # a name that stands twice is a mistake of its own
    return f"use {either(each)}" if 0 < len(each) <= few else ""


def either(words: Sequence[str]) -> str:
    """Return the words read aloud: ``a, b or c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
