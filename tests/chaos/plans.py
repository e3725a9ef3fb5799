"""The programme of the chaos shop: the coffee bar's rules as plain data, for the naive model and, as files, for the workers."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.properties.plans import Bring, Earn, Ladder, Limit, Plan, Points, Step
from tests.properties.writing import text

BERLIN = ZoneInfo("Europe/Berlin")
WORKDAYS = ["mon", "tue", "wed", "thu", "fri"]


def _rules(hours: list[str], happy: int) -> tuple[Earn, ...]:
    return (
        Earn("spend", "purchase", Points(1, 100), unless={"category": ["gift_card", "deposit"]}),
        Earn(
            "happy-hour",
            "purchase",
            by=Fraction(happy),
            only=("spend",),
            when={"weekday": WORKDAYS, "between": hours, "channel": "pos"},
            cap=Limit(points=200, every="month"),
        ),
        Earn("visit", "visit", Points(2), cap=Limit(times=1, every="day")),
        Earn("review", "review", Points(20), when={"verified": True}, cap=Limit(times=1, per_place=True, every="year")),
        Earn("welcome-app", "joined", Points(10), when={"via": "app"}, cap=Limit(times=1, every="ever")),
        Earn("newsletter", "activity", Points(1), when={"name": "newsletter_read"}, cap=Limit(times=2, every="week")),
    )


LATER = (
    Earn("bakery", "purchase", Points(1, 100, rounding="half_up"), bonus=True, when={"category": "bakery"}),
    Earn(
        "coffee-for-two",
        "purchase",
        Points(3),
        bonus=True,
        when={"category": "coffee", "quantity": {"at_least": 2}},
        cap=Limit(times=1, every="day"),
    ),
)
LADDER = Ladder(
    "spend",
    "calendar_year",
    "earned_level",
    (Step("guest", 0), Step("regular", 3000, Fraction(5, 4)), Step("family", 9000, Fraction(3, 2))),
)


def _bring(at_least_minor: int) -> Bring:
    return Bring("first_purchase", at_least_minor, 90, (100, Limit(times=12, every="year")), (50, None))


#: Two versions; the second comes into force while the chaos goes on.
PLANS = [
    Plan(
        1, date(2026, 1, 1), BERLIN, accept_late_days=90, rules=_rules(["14:00", "17:00"], 2), ladder=LADDER,
        bring=_bring(1000),
    ),
    Plan(
        2, date(2026, 3, 5), BERLIN, accept_late_days=90, rules=(*_rules(["13:00", "17:00"], 3), *LATER), ladder=LADDER,
        bring=_bring(500),
    ),
]  # fmt: skip


def write_programme(folder: Path) -> Path:
    """Write both versions as files that `--programme` takes; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for plan in PLANS:
        (folder / f"{plan.starts.isoformat()}.yaml").write_text(text(plan), encoding="utf-8")
    return folder
