"""What survivors are excused, and how sure a sample is."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import yaml

EXCUSES = Path(__file__).with_name("survivors.yaml")
#: Two-sided 95 %.
_Z = 1.959964


class Excuse(NamedTuple):
    """A kind of change that nobody needs to notice."""

    reason: str
    where: str
    out: re.Pattern[str]
    into: re.Pattern[str]


def excuses() -> list[Excuse]:
    """Read survivors.yaml."""
    said = yaml.safe_load(EXCUSES.read_text(encoding="utf-8"))
    return [
        Excuse(
            one["reason"], one.get("where", "*"), re.compile(one.get("out", ".*")), re.compile(one.get("into", ".*"))
        )
        for one in said
    ]


def excused(name: str, diff: str, known: Sequence[Excuse]) -> Excuse | None:
    """Return why a survivor does not count, None where it does.

    Args:
        name: of the mutant, as mutmut gives it: ``engine.ledger.lots.x_burn_from__mutmut_2``.
        diff: unified, of the function.
        known: kinds of changes; one fits by name, by a line taken out and by a line put in, each searched for its pattern.
    """
    lines = [line for line in diff.splitlines() if not line.startswith(("+++", "---"))]
    out = "\n".join(line[1:] for line in lines if line.startswith("-"))
    into = "\n".join(line[1:] for line in lines if line.startswith("+"))
    for excuse in known:
        if fnmatch.fnmatch(name, excuse.where) and excuse.out.search(out) and excuse.into.search(into):
            return excuse
    return None


def stale(known: Iterable[Excuse], functions: Iterable[tuple[str, str]]) -> list[Excuse]:
    """Return the excuses that speak of code which is gone.

    Args:
        known: kinds of changes.
        functions: name of the first mutant of each function, and the function's text.
    """
    there = list(functions)
    return [
        one
        for one in known
        if not any(fnmatch.fnmatch(name, one.where) and one.out.search(text) for name, text in there)
    ]


def interval(killed: int, of: int, population: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share, with the correction for a sample of a finite number (Cochran 1977)."""
    if of == 0 or of >= population:
        share = killed / of if of else 0.0
        return share, share
    z = _Z * sqrt((population - of) / (population - 1))
    share, weight = killed / of, z * z / of
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * sqrt(share * (1 - share) / of + weight / (4 * of))
    return middle - half, middle + half
