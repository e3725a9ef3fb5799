"""The account of an import balances for any till, and its events keep their promises."""

from __future__ import annotations

import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.imports.account import Account
from engine.imports.online_retail import convert
from schemas.normalise import normalise
from schemas.times import to_us
from tests.unit.test_import_online_retail import till

NOW = "2030-01-01T00:00:00.000000Z"

invoices = st.sampled_from(["1", "2", "3", "40", "C1", "C2", "C20", "A1"])
skus = st.sampled_from(["A", "B", "POST"])
quantities = st.one_of(st.integers(-12, 12), st.decimals(-5, 5, places=3))
prices = st.one_of(
    st.sampled_from(["0", "0.01", "2.55", "0.001"]), st.decimals(-2, 50, places=6).map(lambda price: f"{price:f}")
)
times = st.integers(0, 3000).map(lambda minutes: f"2011-03-{26 + minutes // 1440:02d} {minutes // 60 % 24:02d}:00")
customers = st.sampled_from(["", "7.0", "8.0"])
lines = st.lists(
    st.tuples(invoices, skus, quantities, times, prices, customers).map(lambda row: ",".join(map(str, row)))
)


def run(rows: list[str]) -> tuple[list[dict[str, Any]], Account]:
    """The events and the account of a till of these rows."""
    account = Account("GBP")
    with tempfile.TemporaryDirectory() as folder:
        return list(convert(till(Path(folder), rows), account)), account


@given(lines)
@settings(max_examples=150)
def test_every_line_and_penny_is_accounted_for(rows: list[str]) -> None:
    """Whatever the till wrote, lines and money in are those used and those left out."""
    events, account = run(rows)

    assert account.balances
    assert account.read.lines == len(rows)
    purchases, refunds = (
        sum(Decimal(event["data"]["total"]) for event in events if event["type"] == f"stammgast.{kind}.v1")
        for kind in ("purchase", "refund")
    )
    used = sum(tally.money_minor for tally in account.used.values())
    assert (purchases - refunds) * 100 == used


@given(lines)
@settings(max_examples=150)
def test_every_event_is_valid_unique_and_in_order(rows: list[str]) -> None:
    """Intake takes each event, ids are unique, and the file is sorted by (time, id)."""
    import orjson

    events, _ = run(rows)

    facts = [normalise(orjson.dumps(event), NOW, to_us(NOW)) for event in events]
    places = [(fact.time_us, fact.id) for fact in facts]
    assert places == sorted(set(places))


@given(lines)
@settings(max_examples=150)
def test_no_line_gives_back_more_than_was_bought(rows: list[str]) -> None:
    """Over all refunds an order's line returns at most its quantity, and only to its own member."""
    events, _ = run(rows)

    left: dict[tuple[str, int], Decimal] = {}
    owner: dict[str, str] = {}
    for event in events:
        data = event["data"]
        if event["type"] == "stammgast.purchase.v1":
            owner[data["order_id"]] = event.get("subject", "")
            for number, line in enumerate(data["lines"], start=1):
                left[data["order_id"], number] = Decimal(line["quantity"])
        elif not data["order_id"].startswith("unknown:"):
            (line,) = data["lines"]
            left[data["order_id"], line["line"]] -= Decimal(line["quantity"])
            assert event["subject"] == owner[data["order_id"]]
    assert all(quantity >= 0 for quantity in left.values())


def test_an_account_that_lost_a_line_does_not_balance() -> None:
    """The check can fail: one line too few, or one penny."""
    account = Account("GBP")
    account.read.add(2, 500)
    account.use("purchase", 1, 300)
    account.leave_out("quantity zero", 199)
    assert not account.balances

    account.leave_out("quantity zero", 1)
    assert account.accounted.money_minor == account.read.money_minor
    assert not account.balances
