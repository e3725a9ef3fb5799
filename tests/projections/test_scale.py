"""The shop that metrics are measured on, small: it fills, every question answers, and days are those of the time zone."""

from __future__ import annotations

import pytest

from projections.warehouse import Warehouse
from tests.projections import given
from tests.projections.measure_apply import purchase
from tests.projections.measure_metrics import fill, questions

# Quarters of an hour, half-hour summer time, a day left out, midnight that did not exist.
ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo")


def test_the_shop_fills_and_every_question_answers() -> None:
    """What is measured once in a while must still run; members' questions find members."""
    with Warehouse.open(":memory:", log_id="scale") as warehouse:
        fill(warehouse, 20, 300)
        rows = {name: len(warehouse.connection.execute(question).fetchall()) for name, question in questions().items()}

    assert rows["churn_as_of"] == rows["rfm_as_of"] > 10
    assert rows["balances_as_of"] > 10


@pytest.mark.parametrize("earliest", [0, 1_325_239_200], ids=["fifty years", "a dozen years"])
@pytest.mark.parametrize("zone", ZONES)
def test_days_of_sales_are_those_of_the_time_zone(zone: str, earliest: int) -> None:
    """A day looked up by its quarter of an hour is the day that the time zone tells for the moment itself.

    Quarters between the first sale and the last are counted out, unless that is half a century: then those with a sale are found.
    """
    with Warehouse.open(":memory:", log_id="scale") as warehouse:
        fill(warehouse, 20, 2_000)
        ask = warehouse.connection.execute
        ask("update staging.programmes set time_zone = $1", [zone])
        # Around 1970, where a quarter would be cut towards zero, and around the changes of these zones.
        ask(
            "update staging.purchases set occurred_at = make_timestamptz($1[cast(fact_id as integer) + 1]) "
            "where cast(fact_id as integer) < len($1)",
            [
                [
                    around * 1_000_000 + step * 299_000_000
                    for around in (earliest, 1_325_239_200, 1_539_486_000, 1_711_846_800)
                    for step in range(-8, 8)
                ]
            ],
        )
        told = given.rows(
            warehouse,
            "select count(*) as sales, "
            "count(*) filter (where s.day <> cast(p.occurred_at at time zone c.time_zone as date)) as other "
            "from staging.purchases as p cross join staging.clock as c "
            "inner join staging.sale_quarters as s on s.quarter = staging.quarter(p.occurred_at) "
            "inner join staging.counted_quarters as n on n.quarter = s.quarter and n.day = s.day",
        )

    assert told == [{"sales": 2_000, "other": 0}]


def test_what_was_not_answered_does_not_count() -> None:
    """A purchase whose decision is still to come is in no metric; neither is one of a partition without a decision."""
    facts, decisions = given.records([purchase(number) for number in range(4)])
    elsewhere, _ = given.records([purchase(9)], partition=1)
    with Warehouse.open(":memory:", log_id="test") as warehouse:
        warehouse.apply([*facts, *elsewhere], decisions[:3])

        assert given.rows(warehouse, "select order_id from staging.orders order by order_id") == [
            {"order_id": "o0"},
            {"order_id": "o1"},
        ]
