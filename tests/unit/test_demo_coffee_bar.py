"""The coffee bar's week: generated, the same every time, and with everything in it that the demo wants to show."""

from __future__ import annotations

from collections import Counter

import orjson

from engine.demo import coffee_bar
from engine.demo.show import statement
from schemas.envelope import Fact
from schemas.facts import INBOUND_TYPES, LEFT, PURCHASE
from schemas.normalise import normalise
from schemas.rejects import Rejected
from schemas.times import to_us

NOW = "2026-04-01T00:00:00.000000Z"


def taken(events: list[coffee_bar.Event]) -> tuple[list[Fact], list[Rejected]]:
    """The events as intake takes them, and those it refuses."""
    facts: list[Fact] = []
    refused: list[Rejected] = []
    for event in events:
        try:
            facts.append(normalise(orjson.dumps(event), NOW, to_us(NOW)))
        except Rejected as error:
            refused.append(error)
    return facts, refused


def test_the_seed_makes_the_week() -> None:
    """The same seed gives the same events, another seed others, and the seed is told."""
    assert coffee_bar.week() == coffee_bar.week(coffee_bar.SEED)
    assert coffee_bar.week() != coffee_bar.week(seed=1)
    assert str(coffee_bar.SEED) in coffee_bar.described()
    assert "generated" in coffee_bar.described()


def test_every_type_happens_and_one_record_is_broken() -> None:
    """Each type that a first week has occurs, one record is refused for its time, one event is delivered twice."""
    facts, refused = taken(coffee_bar.week())
    assert {fact.type for fact in facts} == set(INBOUND_TYPES[: INBOUND_TYPES.index(LEFT)])
    assert [error.reason for error in refused] == ["naive_time"]
    twice = [name for name, count in Counter(fact.id for fact in facts).items() if count > 1]
    assert len(twice) == 1


def test_the_week_is_delivered_in_order() -> None:
    """Facts come by time, from Monday to Sunday in Berlin."""
    facts, _ = taken(coffee_bar.week())
    times = [fact.time_us for fact in facts]
    assert times == sorted(times)
    assert to_us("2026-03-02T00:00:00+01:00") <= times[0] <= times[-1] < to_us("2026-03-09T00:00:00+01:00")


def test_about_a_hundred_members_and_some_passers_by() -> None:
    """Between 60 and 150 members; anonymous sales and one order in another currency are among the purchases."""
    facts, _ = taken(coffee_bar.week())
    purchases = [fact for fact in facts if fact.type == PURCHASE]
    assert 60 <= len({fact.subject for fact in facts if fact.subject}) <= 150
    assert any(fact.subject is None for fact in purchases)
    assert Counter(fact.data["currency"] for fact in purchases)["CHF"] == 1


def test_one_guest_orders_the_same_every_day() -> None:
    """The guest whom the demo's table of the rule change names has seven equal orders at the same time of day."""
    facts, _ = taken(coffee_bar.week())
    orders = [fact for fact in facts if fact.type == PURCHASE and fact.subject == coffee_bar.CREATURE_OF_HABIT]
    assert len(orders) == coffee_bar.DAYS
    assert len({orjson.dumps([fact.data["lines"], fact.data["currency"], fact.time[11:]]) for fact in orders}) == 1
    assert f"'{coffee_bar.CREATURE_OF_HABIT}'" in statement("coffee_bar_change")
