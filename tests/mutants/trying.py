"""Tries mutants: everything is loaded once, and for each mutant a child of this process changes one function and runs the
tests that reach the changed lines, until one of them minds.

A run of pytest that never begins by itself: it collects the tests, and then the loop is ours (`Trier.pytest_runtestloop`).
"""

from __future__ import annotations

import functools
import gc
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from tests.mutants.written import Mutant

#: Whose functions change, and whose memories must not outlive a change.
OURS = ("engine", "rules", "schemas", "tests")
#: A mutant that runs for ever is told by its processor time: so many times what its tests need, and so many seconds more.
TIMES, MORE_SECONDS = 4, 30
#: Or by its memory, in bytes more than the process has.
MOST_MEMORY = 3 << 30


class Reach(NamedTuple):
    """Which tests run which lines of a file, by number of the test, and how many seconds each test takes."""

    lines: dict[str, dict[int, list[int]]]
    seconds: dict[str, float]


class Tried(NamedTuple):
    """What became of a mutant: the test that minded, or `TIME`, `NOBODY`; None where all that reach it were content."""

    name: str
    digest: str
    by: str | None
    seconds: float


TIME, NOBODY = "it ran for ever", "no test reaches it"


class Trier:
    """A plugin of pytest that tries mutants instead of running the tests once.

    Args:
        mutants: to be tried, in this order.
        folders: of the files that they change.
        jobs: children at once.
        reached: file of what was found out before about these very tests.
        tell: is called with each mutant that was tried.
    """

    def __init__(
        self,
        mutants: Sequence[Mutant],
        folders: Sequence[str],
        jobs: int,
        reached: Path,
        tell: Callable[[Tried], None],
    ) -> None:
        self._mutants, self._folders, self._jobs = mutants, folders, jobs
        self._reached, self._tell = reached, tell
        self._items: dict[str, pytest.Item] = {}
        self._killers: dict[tuple[str, str], list[str]] = {}
        self._failed = False

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Find out which tests reach what, then try."""
        if session.testsfailed:
            raise session.Interrupted("tests could not be collected")
        self._items = {item.nodeid: item for item in session.items}
        if not self._reached.exists():
            os.waitpid(_fork(self._find_reach), 0)
        if not self._reached.exists():
            raise session.Failed("a test fails without any mutant: mend that first")
        said = orjson.loads(self._reached.read_bytes())
        self._order = list(said["seconds"])
        self._reach = Reach(
            {path: {int(line): tests for line, tests in lines.items()} for path, lines in said["lines"].items()},
            said["seconds"],
        )
        _memories()  # what is frozen is not found any more
        gc.freeze()
        running: dict[int, tuple[Mutant, int, float]] = {}
        for mutant in self._mutants:
            while len(running) >= self._jobs:
                self._collect(running)
            tests = self._tests_of(mutant)
            if not tests:
                self._tell(Tried(mutant.name, mutant.digest, NOBODY, 0.0))
                continue
            reader, writer = os.pipe()
            child = _fork(partial(self._try, mutant, tests, writer))
            os.close(writer)
            running[child] = (mutant, reader, time.monotonic())
        while running:
            self._collect(running)
        return True

    def _collect(self, running: dict[int, tuple[Mutant, int, float]]) -> None:
        child, status = os.wait()
        mutant, reader, began = running.pop(child)
        with os.fdopen(reader) as pipe:
            by: str | None = pipe.read()
        if os.WIFSIGNALED(status):
            by = TIME
        elif os.WEXITSTATUS(status) == 0:
            by = None
        if by in self._items:
            place = (mutant.place.module, mutant.place.function)
            known = self._killers.setdefault(place, [])
            self._killers[place] = [by, *[one for one in known if one != by]][:8]
        self._tell(Tried(mutant.name, mutant.digest, by, time.monotonic() - began))

    def _tests_of(self, mutant: Mutant) -> list[str]:
        """Return the tests that run a changed line: those that minded other changes of that function first, then the quickest."""
        lines = self._reach.lines.get(str(mutant.place.path), {})
        numbers = {test for line in mutant.lines for test in lines.get(line, ())}
        killers = self._killers.get((mutant.place.module, mutant.place.function), [])
        names = [self._order[number] for number in numbers]
        return sorted(names, key=lambda name: (name not in killers, self._reach.seconds[name], name))

    def _try(self, mutant: Mutant, tests: Iterable[str], writer: int) -> None:
        need = sum(self._reach.seconds[name] for name in tests)
        most = round(TIMES * need) + MORE_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (most, most + 5))
        resource.setrlimit(resource.RLIMIT_AS, (_memory() + MOST_MEMORY, resource.RLIM_INFINITY))
        try:
            change(mutant)
            for name in tests:
                if not self._passes(self._items[name]):
                    os.write(writer, name.encode())
                    os._exit(1)
        except BaseException as error:  # noqa: BLE001 - a mutant may do anything; that it did is the finding
            os.write(writer, f"{type(error).__name__}".encode())
            os._exit(1)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Hear how a test ended."""
        self._failed = self._failed or report.failed

    def _passes(self, item: pytest.Item) -> bool:
        self._failed = False
        item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
        return not self._failed

    def _find_reach(self) -> None:
        """Run every test once and write down what it reaches; nothing is written where one fails."""
        measure = import_module("coverage").Coverage(
            data_file=None, source=list(self._folders), messages=False, config_file=False
        )
        seconds = {}
        measure.start()
        for name, item in self._items.items():
            forget()
            measure.switch_context(name)
            began = time.process_time()
            if not self._passes(item):
                print(f"{name} fails without any mutant", file=sys.stderr)
                os._exit(1)
            seconds[name] = time.process_time() - began
        measure.stop()
        data, here = measure.get_data(), Path.cwd()
        numbers = {name: number for number, name in enumerate(seconds)}
        lines = {}
        for file in data.measured_files():
            found = data.contexts_by_lineno(file)
            lines[str(Path(file).relative_to(here))] = {
                str(line): [numbers[name] for name in names if name in numbers] for line, names in found.items()
            }
        self._reached.parent.mkdir(exist_ok=True)
        self._reached.write_bytes(orjson.dumps({"lines": lines, "seconds": seconds}))


def _memory() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()


def _fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    try:
        work()
    finally:
        os._exit(0)


def forget() -> None:
    """Empty every cache of ours: what was worked out before a change would hide it."""
    for one in _memories():
        one.cache_clear()


@functools.cache
def _memories() -> list[Any]:
    wrapper = type(_memories)
    return [
        one
        for one in gc.get_objects()
        if isinstance(one, wrapper) and str(one.__module__).split(".")[0] in OURS and not _is_own(one)
    ]


def _is_own(one: Any) -> bool:
    return str(one.__module__).startswith("tests.mutants")


def change(mutant: Mutant) -> None:
    """Put a mutant's code into the function that everybody holds.

    Raises:
        ValueError: its code does not fit the function.
    """
    module = import_module(mutant.place.module)
    owner: Any = module if mutant.place.owner is None else getattr(module, mutant.place.owner)
    held = vars(owner)[mutant.place.function]
    function = getattr(held, "__func__", held)
    text = f"from __future__ import annotations\n{mutant.after}"
    if mutant.place.owner is not None:
        inner = mutant.after.replace("\n", "\n    ")
        text = f"from __future__ import annotations\nclass {mutant.place.owner}:\n    {inner}"
    space = dict(vars(module))
    exec(compile(text, str(mutant.place.path), "exec"), space)  # noqa: S102 - it is our own text
    made: Any = space[mutant.place.function] if mutant.place.owner is None else space[mutant.place.owner]
    if mutant.place.owner is not None:
        made = vars(made)[mutant.place.function]
        made = getattr(made, "__func__", made)
    function.__code__ = made.__code__
    function.__defaults__, function.__kwdefaults__ = made.__defaults__, made.__kwdefaults__
    forget()
