"""The score of `make mutants`: what counts, what is excused, and how sure a sample is."""

from __future__ import annotations

import pytest

from tests.mutants.__main__ import excused, excuses, interval

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
