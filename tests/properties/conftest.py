"""Properties make millions of small objects: what other tests left behind is not looked through again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from engine.tuning import expect_a_large_calm_heap


@pytest.fixture(scope="module", autouse=True)
def calm_heap() -> Iterator[None]:
    """Leave the objects of earlier tests alone while these run; then the collector is as it was."""
    before = gc.get_threshold()
    expect_a_large_calm_heap()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()
