"""The collector may only be off where nothing waits for it."""

from __future__ import annotations

import gc

import pytest

from engine.bench import data
from engine.tuning import without_collector
from schemas.decisions import encode_decision
from schemas.envelope import encode_fact, parse_fact


def test_folding_makes_no_cycles() -> None:
    """What a replay does fact by fact leaves nothing to the collector: ten times the facts, not one object more."""

    def left_over(count: int) -> int:
        ledger = data.fresh_ledger(data.programmes())
        values = [encode_fact(fact) for fact in data.facts(data.TWO_LINES, count)]
        gc.collect()
        with without_collector():
            for value in values:
                for decision in ledger.answer(parse_fact(value), ledger.next_offset).decisions:
                    encode_decision(decision)
            return gc.collect()

    left_over(20)  # what is made once: caches, imports
    assert left_over(400) <= left_over(40)


def fail_with_it_off() -> None:
    """Raise KeyError, with the collector off."""
    assert not gc.isenabled()
    raise KeyError


def test_the_collector_is_on_again_afterwards() -> None:
    """Also after an error, and it stays off where it was."""
    assert gc.isenabled()
    with pytest.raises(KeyError), without_collector():
        fail_with_it_off()
    assert gc.isenabled()
    gc.disable()
    try:
        with without_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
