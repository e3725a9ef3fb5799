"""A machine that does anything a shop can do, in any order, with the naive model as auditor of every answer.

`make test` takes some 20,000 steps of it, always the same; `python -m tests.properties --steps 1000000` takes a million others.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.properties.harness import Pair
from tests.properties.plans import Plan
from tests.properties.spending import KINDS as SPENDING_KINDS
from tests.properties.spending import Spender
from tests.properties.spending import plans as spending_plans
from tests.properties.strategies import STEPS, STORY_KINDS, Teller, programme_fact, programmes, tick

pytestmark = pytest.mark.timeout(1800)

STEPS_PER_RUN = 100
TAKEN = {"steps": 0}


class Shop(RuleBasedStateMachine):
    """Facts, ticks and programme versions; the rules are the moves, `Pair.feed` compares after each."""

    def __init__(self) -> None:
        """Begin without a programme."""
        super().__init__()
        self.untold: list[Plan] = []

    @initialize(data=st.data(), plans=programmes(), told=st.booleans())
    def opens(self, data: Any, plans: list[Plan], told: bool) -> None:
        """The versions are written; mostly the first one is known from the start."""
        self.teller = Teller(data.draw, ("ann", "bob", "cem"), STORY_KINDS)
        self.pair, self.untold = Pair(plans), list(plans)
        if told:
            self.publishes()

    @rule(data=st.data())
    def happens(self, data: Any) -> None:
        """Something happens, or is told again, or came late."""
        self.teller.draw = data.draw
        fact = self.teller.tell()
        self.teller.facts.append(fact)
        self._feed(fact)

    @rule(step=st.sampled_from(STEPS))
    def settles(self, step: Any) -> None:
        """A tick, now or ahead."""
        self._feed(tick(self.teller.now + step))

    @precondition(lambda self: self.untold)
    @rule()
    def publishes(self) -> None:
        """A version becomes known."""
        self._feed(programme_fact(self.untold.pop(0)))

    @invariant()
    def adds_up(self) -> None:
        """Points left in lots, less debt, are the balance; no lot is below zero."""
        for key in self.pair.engine.members if hasattr(self, "pair") else ():
            member = self.pair.engine.members[key]
            assert all(left >= 0 for left in member.lots.values())

    def _feed(self, fact: Any) -> None:
        TAKEN["steps"] += 1
        self.pair.feed(fact)


class Till(Shop):
    """The same where points wait, end, are owed, spent, and come back."""

    @initialize(data=st.data(), plans=spending_plans(), told=st.booleans())
    def opens(self, data: Any, plans: list[Plan], told: bool) -> None:
        """The versions are written; mostly the first one is known from the start."""
        self.teller = Spender(data.draw, ("ann", "bob"), SPENDING_KINDS)
        self.pair, self.untold = Pair(plans), list(plans)
        if told:
            self.publishes()


def machine(runs: int, *, fixed: bool) -> settings:
    """Return how the machine runs: so many times, the same ones each time or others."""
    return settings(
        max_examples=runs,
        stateful_step_count=STEPS_PER_RUN,
        deadline=None,
        derandomize=fixed,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


TestShop = Shop.TestCase
TestShop.settings = machine(190, fixed=True)
TestTill = Till.TestCase
TestTill.settings = machine(20, fixed=True)
