"""In whatever order goods come back and rewards are cancelled, a member ends with the same points."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import Fact
from tests.properties.harness import Pair
from tests.properties.plans import Earn, Lots, Plan, Points
from tests.properties.profiles import examples
from tests.properties.strategies import SHOP, programme_fact, shop_fact

pytestmark = pytest.mark.timeout(1800)

BEGIN = datetime(2026, 3, 2, 9, tzinfo=UTC)
WITHIN = Plan(
    1,
    date(2026, 1, 1),
    ZoneInfo("Europe/Berlin"),
    rules=(Earn("spend", "purchase", Points(1, 100)),),
    lots=Lots(negative="within_balance"),
)


def bought(number: int, euros: int) -> Fact:
    """An order of one line."""
    line = {
        "sku": "mug", "category": "goods", "quantity": "1", "unit_price": str(euros),
        "discount_minor": 0, "amount_minor": euros * 100,
    }  # fmt: skip
    data = {
        "order_source": SHOP, "order_id": f"o{number}", "lines": [line], "total_minor": euros * 100, "currency": "EUR",
        "channel": "pos", "store": None, "paid_with_points_minor": 0, "paid_with_voucher_minor": 0,
    }  # fmt: skip
    return shop_fact(f"b{number}", "purchase", "ann", BEGIN + timedelta(hours=number), data)


def back(number: int, euros: int, at: datetime) -> Fact:
    """Money back for an order."""
    data = {
        "order_source": SHOP, "order_id": f"o{number}", "lines": None, "amount_minor": euros * 100, "total_minor": None,
        "currency": "EUR", "channel": "pos", "store": None,
    }  # fmt: skip
    return shop_fact(f"r{number}", "refund", "ann", at, data)


def asked(number: int, points: int) -> Fact:
    """Points spent on nothing in particular."""
    data = {"reward": None, "points": points, "store": None, "order_id": None, "order_source": None}
    return shop_fact(f"s{number}", "redemption", "ann", BEGIN + timedelta(days=2, hours=number), data)


def cancelled(number: int, at: datetime) -> Fact:
    """That is taken back."""
    data = {"redemption": f"s{number}", "redemption_source": SHOP}
    return shop_fact(f"c{number}", "redemption_cancelled", "ann", at, data)


def ends_with(told: list[Fact], undone: list[Any]) -> tuple[int, int, int]:
    """Return balance and debt in the end, and how often something was taken of what had come back."""
    pair = Pair([WITHIN])
    pair.feed(programme_fact(WITHIN))
    for fact in told:
        pair.feed(fact)
    for hour, (kind, number, euros) in enumerate(undone):
        at = BEGIN + timedelta(days=5, hours=hour)
        pair.feed(back(number, euros, at) if kind == "back" else cancelled(number, at))
    member = pair.engine.members["ann"]
    return member.balance, member.debt, sum(-entry for entry in pair.retaken)


@examples(2)
@given(st.data())
def test_the_order_of_giving_back_does_not_matter(data: st.DataObject) -> None:
    """Refunds and cancelled redemptions, in two orders: the naive model agrees with each, and both end alike."""
    orders = data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=4), label="orders")
    wishes = data.draw(st.lists(st.integers(1, 80), min_size=1, max_size=4), label="redemptions")
    told = [bought(number, euros) for number, euros in enumerate(orders)]
    told += [asked(number, points) for number, points in enumerate(wishes)]
    undone = [("back", number, data.draw(st.integers(1, euros))) for number, euros in enumerate(orders)]
    undone += [("cancel", number, 0) for number in range(len(wishes)) if data.draw(st.booleans())]
    first = data.draw(st.permutations(undone), label="one order")
    cancelled_first = sorted(undone, key=lambda one: one[0] == "back")
    assert ends_with(told, first)[:2] == ends_with(told, cancelled_first)[:2]


def test_what_comes_back_is_really_taken() -> None:
    """The property above is about something: refund first, cancel second takes the points a second later."""
    told = [bought(0, 50), asked(0, 50)]
    assert ends_with(told, [("back", 0, 50), ("cancel", 0, 0)]) == (0, 0, 50)
    assert ends_with(told, [("cancel", 0, 0), ("back", 0, 50)]) == (0, 0, 0)
