"""`make mutants MUTANTS_ARGS="--sample 600 --seed 1"`: change the core one thing at a time; does a test mind?

mutmut thinks of the changes. Everything is loaded once; for each mutant a child changes one function and runs the tests that
reach the changed lines, quickest first, until one minds. The order is drawn by chance, so what a run that was broken off has
tried is a sample as well, and it goes on where it stopped: results are kept in mutants/. Without --sample all are tried.
Survivors that are of no use to kill are listed by kind in survivors.yaml with the reason, and are taken out of the score; all
others are shown.
"""

from __future__ import annotations

import argparse
import fnmatch
import random
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.mutants.score import excused, excuses, interval, stale
from tests.mutants.trying import NOBODY, Tried, Trier
from tests.mutants.written import Mutant, Place, mutant, places

KEPT = Path("mutants")
RESULTS = KEPT / "results.jsonl"
#: What tests are made of beside the files of the tests themselves.
TEST_PARTS = ("tests/*.py", "tests/stories/**/*", "tests/properties/*.py", "schemas/**/*.py", "engine/vault/*.py")


def chosen_mutants(everywhere: Sequence[Place], patterns: Sequence[str], sample: int | None, seed: int) -> list[Mutant]:
    """Return the mutants of a pattern, or some drawn by chance, in an order drawn by chance."""
    names = [
        (place, number)
        for place in everywhere
        for number in range(1, place.mutants + 1)
        if any(fnmatch.fnmatch(place.name(number), pattern) for pattern in patterns)
    ]
    count = len(names) if sample is None else min(sample, len(names))
    print(f"{count:,} of {len(names):,} mutants, seed {seed}", flush=True)
    return [mutant(place, number) for place, number in random.Random(seed).sample(names, count)]


def digest(patterns: Iterable[str]) -> str:
    """Return what names the bytes of some files."""
    found = blake2b(digest_size=12)
    for path in sorted({path for pattern in patterns for path in Path().glob(pattern) if path.is_file()}):
        if "__pycache__" not in path.parts:
            found.update(str(path).encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def known_results(tests: str) -> dict[str, Tried]:
    """Return what became of mutants before, by digest: the killed ones, and what these very tests let live."""
    found: dict[str, Tried] = {}
    for line in RESULTS.read_bytes().splitlines() if RESULTS.exists() else ():
        said = orjson.loads(line)
        if said["by"] not in (None, NOBODY) or said["tests"] == tests:
            found[said["digest"]] = Tried(said["name"], said["digest"], said["by"], said["seconds"])
    return found


def try_mutants(mutants: Sequence[Mutant], settings: dict[str, Any], jobs: int, tests: str) -> Iterator[Tried]:
    """Try mutants and keep what became of them. Errors: SystemExit where pytest fails itself."""
    done: list[Tried] = []

    def tell(tried: Tried) -> None:
        done.append(tried)
        with RESULTS.open("ab") as file:
            file.write(orjson.dumps({**tried._asdict(), "tests": tests}) + b"\n")
        if len(done) % 25 == 0:
            print(f"{len(done):,} of {len(mutants):,} tried", file=sys.stderr, flush=True)

    folders = settings["source_paths"]
    reached = KEPT / f"reach-{digest([f'{folder}/**/*.py' for folder in folders])}-{tests}.json"
    trier = Trier(mutants, folders, jobs, reached, tell)
    arguments = ["-q", "-s", "--assert=plain", "--tb=short", "-p", "no:cacheprovider", "-p", "no:randomly"]
    failed = pytest.main([*arguments, *settings["pytest_add_cli_args_test_selection"]], plugins=[trier])
    if failed not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SystemExit(f"pytest ended with {failed}: what it printed says why")
    yield from done


def report(mutants: Sequence[Mutant], results: dict[str, Tried], population: int) -> None:
    """Print survivors and the score."""
    known = excuses()
    tried = [one for one in mutants if one.digest in results]
    left: dict[str, list[str]] = {}
    for one in tried:
        by = results[one.digest].by
        if by not in (None, NOBODY):
            continue
        excuse = excused(one.name, one.diff, known)
        left.setdefault("" if excuse is None else excuse.reason, []).append(one.name)
        if excuse is None:
            changed = [line for line in one.diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
            print(f"{one.name} ({by or 'survived'})", *changed, sep="\n    ")
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
    parser.add_argument("--seed", type=int, default=1, help="of the sample and the order; default 1")
    parser.add_argument("--jobs", type=int, default=2, help="processes; default 2")
    parser.add_argument("--report", action="store_true", help="try nothing, tell what was found before")
    chosen = parser.parse_args()
    settings = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
    KEPT.mkdir(exist_ok=True)
    everywhere = list(places(settings["source_paths"]))
    for one in stale(excuses(), ((place.name(1), mutant(place, 1).before) for place in everywhere)):
        print(f"survivors.yaml excuses what is no longer there: {one.where} {one.out.pattern}: {one.reason}")
    patterns = chosen.patterns or ["*"]
    mutants = chosen_mutants(everywhere, patterns, chosen.sample, chosen.seed)
    tests = digest([*TEST_PARTS, *settings["pytest_add_cli_args_test_selection"]])
    results = known_results(tests)
    wanting = [one for one in mutants if one.digest not in results]
    if not chosen.report and wanting:
        results |= {one.digest: one for one in try_mutants(wanting, settings, chosen.jobs, tests)}
    population = sum(
        fnmatch.fnmatch(p.name(n), q) for p in everywhere for n in range(1, p.mutants + 1) for q in patterns
    )
    report(mutants, results, population)
    return 0


if __name__ == "__main__":
    sys.exit(main())
