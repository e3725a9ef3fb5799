"""The gift shop's programme, restated from reading its files aloud: if a file changes, this must be changed by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

from tests.independent.points import Level, Rule, Version
from tests.independent.till import LONDON, Sale

LEVELS = (
    Level("guest", 0, Fraction(1)),
    Level("regular", 300_00, Fraction(5, 4)),
    Level("gold", 1500_00, Fraction(3, 2)),
)


def is_early(sale: Sale) -> bool:
    """From six until before ten in the morning, London time."""
    return 6 <= sale.when.astimezone(LONDON).hour < 10


def is_large(sale: Sale) -> bool:
    """A hundred pounds or more, with everything on the bill."""
    return sum(line.pennies for line in sale.lines) >= 100_00


SPEND = Rule("spend", "base", points=1, per=100)
EARLY_BIRD = Rule("early-bird", "multiply", factor=Fraction(2), applies=is_early)
LARGE_BASKET = Rule("large-basket", "bonus", points=25, applies=is_large)
GIFT_SHOP = (
    Version(1, datetime(2010, 12, 1, tzinfo=UTC), (SPEND,), LEVELS, 0, LONDON),
    Version(2, datetime(2010, 12, 15, tzinfo=UTC), (SPEND, EARLY_BIRD, LARGE_BASKET), LEVELS, 0, LONDON),
)
