"""`make mutants`: how a change is put into a running function, what counts, what is excused, and how sure a sample is."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from tests.interpreted import interpreted_only
from tests.mutants.score import excused, excuses, interval, stale
from tests.mutants.trying import change
from tests.mutants.written import Mutant, Place, lines_changed

STRICT = """--- a
+++ b
@@ -1 +1 @@
-    for one, other in zip(ones, others, strict=True):
+    for one, other in zip(ones, others, strict=False):
"""
POINTS = """--- a
+++ b
@@ -1 +1 @@
-    if points <= 0:
+    if points < 0:
"""


def test_only_the_kinds_of_the_list_are_excused() -> None:
    """`strict=` is excused everywhere, a boundary in its one function alone."""
    known = excuses()
    assert all(one.reason for one in known)
    assert excused("engine.ledger.refunds.x__claw_back__mutmut_9", STRICT, known) is not None
    assert excused("engine.ledger.lots.x_burn_from__mutmut_2", POINTS, known) is not None
    assert excused("engine.ledger.debt.x_burn__mutmut_2", POINTS, known) is None


@pytest.mark.parametrize(
    ("killed", "of", "population", "low", "high"),
    [(90, 100, 10**9, 0.8256, 0.9448), (0, 10, 10**9, 0.0, 0.2775), (18, 20, 20, 0.9, 0.9), (0, 0, 5, 0.0, 0.0)],
)
def test_the_interval_is_wilsons(killed: int, of: int, population: int, low: float, high: float) -> None:
    """Values of Wilson's interval from its formula; where all were tried there is nothing to be unsure of."""
    assert interval(killed, of, population) == pytest.approx((low, high), abs=1e-4)


def test_a_large_sample_of_few_is_surer() -> None:
    """Half of a small number tells more than as many of a large one."""
    near, far = interval(90, 100, 200), interval(90, 100, 10**9)
    assert near[1] - near[0] < far[1] - far[0]


def test_an_excuse_for_code_that_is_gone_is_told() -> None:
    """By the name of its function, or by the text that it excuses."""
    known = excuses()
    there = [("engine.ledger.lots.x_burn_from__mutmut_1", "def burn_from():\n    if points <= 0:\n")]

    assert stale(known, []) == known
    old = {one.where for one in stale(known, there)}
    assert "engine.ledger.lots.x_burn_from__*" not in old
    assert any(where.startswith("rules.codes.") for where in old)


def in_child(mutant: Mutant, says: str) -> bool:
    """Tell whether an expression holds once a mutant is in place; the change stays in a child of this process."""
    child = os.fork()
    if child == 0:
        try:
            change(mutant)
            os._exit(0 if eval(says) else 1)  # noqa: S307 - our own text
        except BaseException:  # noqa: BLE001 - a child of a test must not go on with the tests
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@interpreted_only
@pytest.mark.parametrize(
    ("place", "after", "says"),
    [
        (
            Place(Path("engine/ledger/pruning.py"), None, "year_of", 1),
            "def year_of(time_us: int) -> int:\n    return 7",
            "__import__('engine.ledger.pruning', fromlist=['x']).over.__globals__['year_of'](0) == 7",
        ),
        (
            Place(Path("engine/ledger/member.py"), "Spent", "of", 1),
            "@staticmethod\ndef of(fields: Sequence[Any]) -> Spent:\n    return len(fields)",
            "__import__('engine.ledger.member', fromlist=['x']).Spent.of([1, 2]) == 2",
        ),
        (
            Place(Path("engine/ledger/member.py"), "Member", "in_segment", 1),
            "def in_segment(self, segment: str = 'vip') -> bool:\n    return segment",
            "__import__('engine.ledger.member', fromlist=['x']).Member('a').in_segment() == 'vip'",
        ),
    ],
    ids=["function", "static", "method"],
)
def test_a_change_reaches_whoever_holds_the_function(place: Place, after: str, says: str) -> None:
    """In a child of its own: nothing is changed here."""
    assert in_child(Mutant("it", place, "", after, frozenset()), says)
    assert not in_child(Mutant("it", place, "", "def broken(:", frozenset()), says)


TEXT = """def two(a, b):
    if a and (
        b
    ):
        return [
            a,
            b,
        ]
    return 0
"""


@pytest.mark.parametrize(
    ("out", "into", "lines"),
    [
        ("a and", "a or", {12, 13, 14}),
        ("            b,", "", {15, 16, 17, 18}),
        ("0", "1", {19}),
        ("(a, b)", "(a, b=1)", None),
    ],
)
def test_a_change_is_tried_where_its_statement_runs(out: str, into: str, lines: set[int] | None) -> None:
    """All lines of a statement, the head alone of a compound one, and the whole body where the head of the function changes."""
    function = ast.parse("\n" * 10 + TEXT).body[0]
    assert isinstance(function, ast.FunctionDef)

    assert lines_changed(function, TEXT, TEXT.replace(out, into, 1)) == (set(range(12, 20)) if lines is None else lines)
