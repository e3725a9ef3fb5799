"""`make mutants MUTANTS_ARGS="--sample 600 --seed 1"`: change the core one thing at a time; does a test mind?

mutmut writes every mutant beside the original, finds out once which tests reach which function, and asks of each mutant only
those, quickest first. Without --sample all of them are tried, which takes many hours; results are kept in mutants/, and a run
that was broken off goes on. Survivors that are of no use to kill are listed by kind in survivors.yaml with the reason, and are
taken out of the score; all others are shown.
"""

from __future__ import annotations

import argparse
import fnmatch
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import orjson
import yaml

MUTMUT = Path(sys.executable).with_name("mutmut")
WRITTEN = Path("mutants")
EXCUSES = Path(__file__).with_name("survivors.yaml")
#: A quick one: running it has mutmut write all mutants and find out which tests reach which function.
FIRST = "engine.ledger.lots.x_burn_from__mutmut_1"
#: mutmut's exit codes of mutants that no test minded: it survived, or no test reaches its function.
SURVIVED = frozenset({0, 5, 33})
#: Of names that one call of mutmut takes: each call writes all mutants anew first, which takes two minutes.
AT_ONCE = 20_000
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


def results() -> dict[str, int | None]:
    """Return what became of each mutant that is written, None for those not tried."""
    found: dict[str, int | None] = {}
    for meta in sorted(WRITTEN.rglob("*.meta")):
        found |= orjson.loads(meta.read_bytes())["exit_code_by_key"]
    return found


def try_mutants(names: Sequence[str], jobs: int) -> None:
    """Have mutmut try mutants, without names all that were not tried. Errors: SystemExit where it fails itself."""
    children = ["--max-children", str(jobs)]
    for start in range(0, max(1, len(names)), AT_ONCE):
        done = subprocess.run([MUTMUT, "run", *children, *names[start : start + AT_ONCE]], check=False)
        if done.returncode:
            raise SystemExit(f"mutmut ended with {done.returncode}: what it printed says why")


def diff_of(name: str) -> str:
    """Return a mutant as a unified diff."""
    return str(import_module("mutmut.mutation.diff_apply").get_diff_for_mutant(name))


def report(names: Sequence[str], population: int) -> None:
    """Print survivors and the score."""
    codes, known = results(), excuses()
    tried = [name for name in names if codes.get(name) is not None]
    left: dict[str, list[str]] = {}
    for name in tried:
        if codes[name] in SURVIVED:
            diff = diff_of(name)
            excuse = excused(name, diff, known)
            left.setdefault("" if excuse is None else excuse.reason, []).append(name)
            if excuse is None:
                changed = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
                print(f"{name} ({'no test reaches it' if codes[name] != 0 else 'survived'})", *changed, sep="\n    ")
    survivors = len(left.pop("", []))
    for reason, some in sorted(left.items()):
        print(f"{len(some)} survived and do not count: {reason}")
    counted = len(tried) - sum(map(len, left.values()))
    killed = counted - survivors
    low, high = interval(killed, counted, population)
    plain = killed / len(tried) if tried else 0
    print(f"{killed} of {counted} killed: {killed / max(1, counted):.1%} (95 %: {low:.1%} to {high:.1%})", end="; ")
    print(f"{plain:.1%} of all {len(tried)} tried, of {population:,} mutants")


def main() -> int:
    """Try some or all mutants, print survivors and the score."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("patterns", nargs="*", default=[], help="only these, like 'engine.ledger.refunds*'")
    parser.add_argument("--sample", type=int, help="so many, drawn by chance; default: all")
    parser.add_argument("--seed", type=int, default=1, help="of the sample; default 1")
    parser.add_argument("--jobs", type=int, default=2, help="processes; default 2")
    parser.add_argument("--report", action="store_true", help="try nothing, tell what was found before")
    chosen = parser.parse_args()
    if not chosen.report:
        try_mutants([FIRST] if chosen.patterns or chosen.sample is not None else [], chosen.jobs)
    patterns = chosen.patterns or ["*"]
    names = sorted(name for name in results() if any(fnmatch.fnmatch(name, pattern) for pattern in patterns))
    population = len(names)
    if chosen.sample is not None and chosen.sample < population:
        names = random.Random(chosen.seed).sample(names, chosen.sample)
        print(f"{chosen.sample} of {population:,} mutants, seed {chosen.seed}", flush=True)
    codes = results()
    wanting = [name for name in names if codes[name] is None]
    if not chosen.report and wanting:
        try_mutants(wanting, chosen.jobs)
    report(names, population)
    return 0


if __name__ == "__main__":
    sys.exit(main())
