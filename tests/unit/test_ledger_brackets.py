"""Marginal brackets: every part of what is spent earns at its own rate."""

from __future__ import annotations

import pytest

from rules.book import from_json
from rules.words import effect_words
from tests.unit.ledger import Stage, points, programme
from tests.unit.rules_help import problems

BRACKETS = """
earn:
  - id: spend
    on: purchase
    unless: {category: gift_card}
    award:
      brackets:
        - {to: 50.00 EUR, points: 1, per: 1.00 EUR}
        - {to: 75.00 EUR, points: 12, per: 10.00 EUR}
        - {points: 2, per: 1.00 EUR}
"""


def buy(stage: Stage, day: str, price: str, **data: str) -> int:
    """Buy something and return the points for it."""
    return sum(given for _, given in points(stage.buy(f"{day}T10:00:00Z", ("mug", price), order=f"o{day}", **data)))


def test_an_order_that_crosses_a_bracket_earns_at_both_rates() -> None:
    """40 at 1; 10 at 1 and 20 at 1.2 are 34; 5 at 1.2 and 15 at 2 are 36; then 2 each. A gift card counts for none."""
    stage = Stage(programme(BRACKETS))

    assert buy(stage, "2026-03-02", "40.00") == 40
    assert buy(stage, "2026-03-03", "100.00", category="gift_card") == 0
    assert [buy(stage, f"2026-03-0{day}", price) for day, price in ((4, "30.00"), (5, "20.00"), (6, "1.00"))] == [
        34,
        36,
        2,
    ]
    assert buy(stage, "2027-01-01", "40.00") == 40


def test_one_rounding_for_the_whole_order() -> None:
    """9.99 at 1 and 0.01 and 0.83 at 1.2 are 10.998: rounded down once."""
    stage = Stage(programme(BRACKETS))
    assert buy(stage, "2026-03-02", "40.01") == 40
    assert buy(stage, "2026-03-03", "10.83") == 10  # 9.99 + 0.84 x 1.2 = 10.998


def test_what_comes_back_counts_for_the_brackets_no_more() -> None:
    """50 spent, 30 of it come back: the next 30 earn at the first rate again."""
    stage = Stage(programme(BRACKETS))
    assert buy(stage, "2026-03-02", "50.00") == 50
    refund = stage.refund("2026-03-03T10:00:00Z", "o2026-03-02", amount="30.00")
    assert refund.counters == [("purchase spent spend|2026", -3000, 0, [1])]
    assert buy(stage, "2026-03-04", "30.00") == 30
    assert buy(stage, "2026-03-05", "10.00") == 12


def test_brackets_end_where_the_last_one_says() -> None:
    """Beyond it nothing is earned."""
    ending = BRACKETS.replace("        - {points: 2, per: 1.00 EUR}\n", "").replace(
        "      brackets", "      over: month\n      brackets"
    )
    stage = Stage(programme(ending))
    assert [buy(stage, "2026-03-02", "80.00"), buy(stage, "2026-03-03", "80.00")] == [80, 0]
    assert buy(stage, "2026-04-01", "50.00") == 50


def test_brackets_are_said_in_words_and_come_back_from_canonical_json() -> None:
    """What `rules show` reads aloud; the published form compiles to the same programme."""
    made = programme(BRACKETS)
    assert effect_words(made.document.earn[0]) == (
        "1 point per 1.00 EUR up to 50.00 EUR, then 12 points per 10.00 EUR up to 75.00 EUR, then 2 points per 1.00 EUR, "
        "of what is spent in a calendar year after discounts, rounded down"
    )
    assert from_json(made.canonical_json()) == made


@pytest.mark.parametrize(
    ("award", "message"),
    [
        (
            {"brackets": [{"points": 1, "per": "1.00 EUR"}], "points": 1},
            "an award with brackets has no points of its own",
        ),
        ({"brackets": [{"points": 1, "per": "1.00 EUR"}], "each": "line"}, "brackets count whole orders"),
        ({"points": 1, "over": "month"}, "over goes with brackets"),
        (
            {"brackets": [{"to": "0.00 EUR", "points": 1, "per": "1.00 EUR"}]},
            "it ends where the bracket before it does, or sooner",
        ),
        ({"brackets": [{"points": 1, "per": "1.00 EUR"}] * 2}, "only the last bracket may go on without an end"),
        ({"brackets": [{"points": 1, "per": "0.00 EUR"}]}, "points per nothing"),
    ],
)
def test_brackets_that_make_no_sense(award: dict[str, object], message: str) -> None:
    """Each mistake is named."""
    found = problems(earn=[{"id": "a", "on": "purchase", "award": award}])
    assert [problem.message for problem in found] == [message]
