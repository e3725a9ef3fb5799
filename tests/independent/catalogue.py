"""Every mart and metric, and the test that computes it a second time without our SQL; or why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_TILL = "tests/independent/test_independent_gift_shop.py::test_the_whole_file_agrees"
_METRICS = "tests/independent/test_independent_metrics.py::test_the_whole_file_agrees"
_PICTURE = "tests/independent/test_independent_picture.py::test_the_whole_file_agrees"
_MONEY = "tests/independent/test_independent_money.py::test_the_money_of_the_whole_file_agrees"
_INVENTED = "tests/independent/test_independent_invented.py::test_an_invented_half_year_agrees"
_LIFT = "tests/independent/test_independent_lift.py::test_lift_is_what_plain_python_makes_of_the_same_moments"
_VALUES = "tests/independent/test_independent_values.py::test_values_of_cdnow_agree_with_other_formulas"

#: Table or metric -> file::test. Those of the whole file run on the bundled month with every `make test`.
CHECKED = {
    **dict.fromkeys(("points_entries", "balances", "lots", "tiers"), _TILL),
    **dict.fromkeys(
        (
            "cohorts", "repeat_purchases", "retention", "purchase_rhythm", "sleepers", "sales_months", "preferred_products",
            "products",
        ),
        _METRICS,
    ),
    **dict.fromkeys(
        (
            "purchases", "purchase_lines", "refunds", "members", "tier_history", "tier_movements", "tier_distribution",
            "rfm_segments", "rfm_movements", "churn_flags", "churn_reasons", "churn_by", "plain_value", "leaderboards", "journey",
        ),
        _PICTURE,
    ),
    **dict.fromkeys(
        (
            "engagement", "breakage", "rule_results", "reward_uptake", "ratings", "satisfaction_months", "unhappy_members",
            "referral_funnel", "referral_chains", "points_months", "liability_by_expiry", "lot_burns",
        ),
        _INVENTED,
    ),
    **dict.fromkeys(
        ("roi", "goal_values", "goal_progress", "liability_in_money", "programme_costs", "cost_days"), _MONEY
    ),
    "lift": _LIFT,
    **dict.fromkeys(("model_fits", "customer_values"), _VALUES),
}  # fmt: skip
_ROWS = "One row per fact as it was told, columns picked out of its JSON: nothing is computed but what the rows beside it show; "
_STATE = "The newest word of the engine on it, picked out of decisions: what the engine decides is computed by "
NOT_CHECKED = {
    "facts": "The log itself, record by record; verify reads it from Kafka and compares every decision made of it.",
    "decisions": "The log itself, record by record; verify decides every fact again and compares.",
    "meta": "One row about the file, not about the shop; its day is that of every comparison here.",
    "stamp": "Places in logs and hashes of SQL: there is no second way to make them.",
    "programmes": "One row per version published, which the tests of publishing compare with its file.",
    "rejects": _ROWS + "the tests of intake compare each reason with its record.",
    "visits": _ROWS + "their numbers go into engagement and leaderboards above.",
    "reviews": _ROWS + "they go into ratings and unhappy_members above.",
    "activities": _ROWS + "they go into engagement, unhappy_members and satisfaction_months above.",
    "referrals": _ROWS + "they go into referral_funnel and referral_chains above.",
    "costs": _ROWS + "they go into cost_days and programme_costs above.",
    "notice_outcomes": _ROWS
    + "they go into notice_funnel, whose counts test_notices of Kafka compares with what was sent.",
    "notice_funnel": "Counts by rule and outcome; tests/kafka/test_notices.py counts what came out of incentives instead.",
    "notices": _STATE + "tests/properties/test_notices.py and the simulation's own auditor.",
    "staff_actions": _STATE + "tests/properties/test_street.py (adjustments, links, merges).",
    "aliases": _STATE + "tests/properties/test_alias_properties.py and test_street.py.",
    "claims": _STATE + "tests/properties/test_street.py.",
    "transfers": _STATE + "tests/properties/test_machine.py, whose naive model moves the same points.",
    "redemptions": _STATE + "tests/properties/test_spending_properties.py; their counts are in reward_uptake above.",
    "vouchers": _STATE + "tests/properties/test_voucher_properties.py.",
    "challenge_progress": _STATE + "tests/properties/test_play_properties.py.",
    "badges": _STATE + "tests/properties/test_play_properties.py.",
    "raffles": _STATE
    + "tests/properties/test_play_properties.py; a draw is checked by anybody with `stammgast raffle`.",
    "raffle_tickets": _STATE + "tests/properties/test_play_properties.py.",
    "public_leaderboards": "leaderboards, above, for those who take part: its own rows beside it show who does.",
}


def words_of(file: Path) -> Iterator[Path]:
    """A test's file and what stands beside it in this folder: the names of what it asks are in one of them."""
    yield file
    yield from (file.parent / name for name in ("metrics.sql", "tables.sql", "picture.py", "invented.py"))
