"""`when` and `unless` say of which lines, or of which facts, a rule speaks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.times import DAY_US, to_us
from tests.unit.rules_help import NOW, Guest, asked, fact, line, purchase, rule

NOW_US = to_us(NOW)
COFFEE, CAKE = line("coffee-1", "coffee", "2", 600), line("cake-1", "cake", "1", 450)


def test_a_rule_without_conditions_takes_every_line() -> None:
    """No condition: all lines of a purchase, and any other fact."""
    assert asked(rule(), purchase(COFFEE, CAKE)) == (0, 1)
    assert asked(rule(), purchase(*[COFFEE] * 300)) == tuple(range(300))
    assert asked(rule("visit"), fact("visit", {"store": None, "dwell_seconds": None})) == (0,)


@pytest.mark.parametrize(
    ("when", "lines"),
    [
        ({"category": "coffee"}, (0,)),
        ({"category": ["coffee", "cake"]}, (0, 1)),
        ({"sku": ["cake-1", "tea-1"]}, (1,)),
        ({"quantity": {"at_least": 2}}, (0,)),
        ({"quantity": {"below": 2}}, (1,)),
        ({"category": "cake", "quantity": {"at_least": 2}}, ()),
        ({"amount": {"at_least": "10.50 EUR"}}, (0, 1)),
        ({"amount": {"at_least": "10.51 EUR"}}, ()),
        ({"amount": {"below": "10.50 EUR"}}, ()),
        ({"channel": "pos"}, (0, 1)),
        ({"channel": ["web", "app"]}, ()),
        ({"store": "altstadt"}, ()),
        ({"weekday": "mon"}, (0, 1)),
        ({"weekday": ["tue", "sun"]}, ()),
        ({"first_purchase": True}, (0, 1)),
        ({"first_purchase": False}, ()),
        ({"tier": "guest"}, (0, 1)),
        ({"tier": "regular"}, ()),
        ({"any": [{"category": "coffee"}, {"sku": "cake-1"}]}, (0, 1)),
        ({"any": [{"category": "coffee"}, {"channel": "web"}]}, (0,)),
        ({"any": [{"channel": "web"}, {"tier": "guest"}]}, (0, 1)),
        ({"all": [{"category": "coffee"}, {"channel": "pos"}]}, (0,)),
        ({"not": {"category": "coffee"}}, (1,)),
        ({"not": {"channel": "pos"}}, ()),
        ({"not": {"category": "coffee", "channel": "web"}}, (0, 1)),
        ({"channel": "pos", "category": "coffee", "tier": "guest", "weekday": "mon", "sku": "coffee-1"}, (0,)),
        ({"quantity": {"at_least": 1}, "category": "coffee", "sku": "coffee-1"}, (0,)),
    ],
)
def test_when_names_lines_and_unless_the_others(when: dict[str, Any], lines: tuple[int, ...]) -> None:
    """What holds for a line in `when` makes it eligible; the same words in `unless` leave it out."""
    bought = purchase(COFFEE, CAKE)
    assert asked(rule(when=when), bought) == lines
    assert asked(rule(unless=when), bought) == tuple(index for index in (0, 1) if index not in lines)


@pytest.mark.parametrize(
    ("hours", "at", "holds"),
    [
        (["14:00", "17:00"], "2026-03-02T13:00:00+00:00", True),  # 14:00 in Berlin
        (["14:00", "17:00"], "2026-03-02T12:59:59.999999+00:00", False),
        (["14:00", "17:00"], "2026-03-02T16:00:00+00:00", False),  # 17:00, not included
        (["14:00", "17:00"], "2026-07-06T12:00:00+00:00", True),  # 14:00 in summer
        (["22:00", "02:00"], "2026-03-02T21:00:00+00:00", True),
        (["22:00", "02:00"], "2026-03-02T00:59:59+00:00", True),
        (["22:00", "02:00"], "2026-03-02T01:00:00+00:00", False),
        (["00:00", "24:00"], "2026-03-02T01:00:00+00:00", True),
        (["02:00", "03:00"], "2026-10-25T00:30:00+00:00", True),  # 02:30, the first time
        (["02:00", "03:00"], "2026-10-25T01:30:00+00:00", True),  # 02:30, the second time
        (["02:00", "03:00"], "2026-03-29T01:00:00+00:00", False),  # 01:59 is followed by 03:00
    ],
)
def test_hours_are_local_and_may_cross_midnight(hours: list[str], at: str, holds: bool) -> None:
    """`between` is the wall clock of the programme's time zone, its end not included."""
    assert bool(asked(rule(when={"between": hours}), purchase(at=at))) is holds


@pytest.mark.parametrize(
    ("said", "at", "holds"),
    [
        ({"from": "2026-03-02"}, "2026-03-01T23:00:00+00:00", True),
        ({"from": "2026-03-02"}, "2026-03-01T22:59:59+00:00", False),
        ({"until": "2026-03-02"}, "2026-03-02T22:59:59+00:00", True),
        ({"until": "2026-03-02"}, "2026-03-02T23:00:00+00:00", False),
        ({"until": "2026-03-02 12:00"}, "2026-03-02T10:59:59+00:00", True),
        ({"until": "2026-03-02 12:00"}, "2026-03-02T11:00:00+00:00", False),
        ({"from": "2026-03-02", "until": "2026-03-02"}, NOW, True),
    ],
)
def test_dates_hold_for_rules_and_conditions(said: dict[str, str], at: str, holds: bool) -> None:
    """`from` begins with its day, `until` includes its day, on a rule as in a condition."""
    assert bool(asked(rule(**said), purchase(at=at))) is holds
    assert bool(asked(rule(when=said), purchase(at=at))) is holds
    assert bool(asked(rule("visit", **said), fact("visit", {"store": None}, at))) is holds


def test_a_local_day_decides_the_weekday() -> None:
    """23:30 UTC on Sunday is Monday in Berlin."""
    assert asked(rule(when={"weekday": "mon"}), purchase(at="2026-03-01T23:30:00Z")) == (0,)
    assert asked(rule(when={"weekday": "sun"}), purchase(at="2026-03-01T23:30:00Z")) == ()


@pytest.mark.parametrize(
    ("when", "guest", "holds"),
    [
        ({"first_purchase": True}, Guest(orders_counted=1), False),
        ({"first_purchase": False}, Guest(orders_counted=1), True),
        ({"tier": ["regular", "guest"]}, Guest(tier="regular"), True),
        ({"tier": "guest"}, Guest(tier=None), False),
        ({"spent": {"at_least": "5.00 EUR", "within": "7 days"}}, Guest(spent=[(NOW_US - 7 * DAY_US, 500)]), True),
        ({"spent": {"at_least": "5.00 EUR", "within": "7 days"}}, Guest(spent=[(NOW_US - 7 * DAY_US - 1, 500)]), False),
        ({"spent": {"at_least": "5.01 EUR", "within": "7 days"}}, Guest(spent=[(NOW_US, 500)]), False),
        ({"days_since_joined": {"below": 1}}, Guest(), True),
        ({"days_since_joined": {"at_least": 1}}, Guest(joined_us=NOW_US - 10 * 3_600_000_000 - 1), True),
        ({"days_since_joined": {"at_least": 1}}, Guest(joined_us=NOW_US - 10 * 3_600_000_000), False),
        ({"days_since_joined": {"below": 1}}, Guest(joined_us=NOW_US + 5 * DAY_US), True),
        ({"days_since_last_purchase": {"at_least": 30}}, Guest(last_purchase_us=NOW_US - 30 * DAY_US), True),
        ({"days_since_last_purchase": {"at_least": 30}}, Guest(last_purchase_us=NOW_US - 29 * DAY_US), False),
        ({"days_since_last_purchase": {"below": 30}}, Guest(), False),
    ],
)
def test_conditions_ask_the_member_before_the_fact(when: dict[str, Any], guest: Guest, holds: bool) -> None:
    """Tier, counted orders, money spent and days are the member's as he stood before the fact."""
    assert bool(asked(rule(when=when), purchase(), guest)) is holds


@pytest.mark.parametrize(
    ("when", "said", "holds"),
    [
        ({"verified": True}, {"verified": True}, True),
        ({"verified": True}, {"verified": None}, False),
        ({"verified": False}, {"verified": None}, True),
        ({"rating": {"at_least": 4}}, {"rating": 4}, True),
        ({"rating": {"at_least": 4}}, {"rating": 3}, False),
        ({"rating": {"below": 3}}, {"rating": 3}, False),
        ({"sku": "cake-1"}, {"sku": "cake-1"}, True),
        ({"sku": "cake-1"}, {"sku": None}, False),
        ({"place": ["altstadt"]}, {"place": "altstadt"}, True),
        ({"bought_sku": {"within": "30 days"}}, {"sku": "coffee-1"}, True),
        ({"bought_sku": {"within": "9 days"}}, {"sku": "coffee-1"}, False),
        ({"bought_sku": {"within": "30 days"}}, {"sku": None}, False),
    ],
)
def test_reviews(when: dict[str, Any], said: dict[str, Any], holds: bool) -> None:
    """A review is asked for its rating, its verification, what it is about and whether that was bought before."""
    review = fact("review", {"sku": None, "place": None, "rating": 5, "verified": None, "link": None, **said})
    guest = Guest(bought={"coffee-1": NOW_US - 10 * DAY_US})
    assert bool(asked(rule("review", when=when), review, guest)) is holds


@pytest.mark.parametrize(
    ("attributes", "said", "holds"),
    [
        ({"kind": "run"}, {"kind": "run"}, True),
        ({"kind": ["run", "swim"]}, {"kind": "swim"}, True),
        ({"kind": "run"}, {}, False),
        ({"minutes": 30}, {"minutes": 30}, True),
        ({"minutes": 30}, {"minutes": "30"}, False),
        ({"done": True}, {"done": True}, True),
        ({"done": True}, {"done": 1}, False),
        ({"done": 1}, {"done": True}, False),
        ({"minutes": {"at_least": 30}}, {"minutes": 30}, True),
        ({"minutes": {"at_least": 30}}, {"minutes": "30.5"}, True),
        ({"minutes": {"at_least": 30, "below": 60}}, {"minutes": 60}, False),
        ({"minutes": {"at_least": 0}}, {"minutes": True}, False),
        ({"minutes": {"at_least": 0}}, {"minutes": "many"}, False),
    ],
)
def test_activities(attributes: dict[str, Any], said: dict[str, Any], holds: bool) -> None:
    """An activity is asked for its name and attributes; a word is not a number and true is not one."""
    sport = fact("activity", {"name": "sport", "attributes": said})
    assert bool(asked(rule("activity", when={"name": "sport", "attributes": attributes}), sport)) is holds
    assert asked(rule("activity", when={"name": "yoga", "attributes": attributes}), sport) == ()


def test_joined_referral_and_visit() -> None:
    """A joined fact is asked for its channel, a visit for its store, a referral for the member alone."""
    joined = fact("joined", {"via": "app"})
    assert asked(rule("joined", when={"via": ["app", "web"]}), joined) == (0,)
    assert asked(rule("joined", when={"via": "poster"}), joined) == ()
    visit = fact("visit", {"store": "altstadt", "dwell_seconds": None})
    assert asked(rule("visit", when={"store": "altstadt"}), visit) == (0,)
    assert asked(rule("visit", unless={"store": "altstadt"}), visit) == ()
    assert asked(rule("referral", when={"tier": "guest"}), fact("referral", {"referrer": "m-2"})) == (0,)


LEAVES = st.sampled_from(
    [{"category": "coffee"}, {"sku": "cake-1"}, {"channel": "pos"}, {"tier": "guest"}, {"quantity": {"at_least": 2}}]
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=8,
)


def naive(said: dict[str, Any], bought: dict[str, Any], tier: str, channel: str) -> bool:
    """Say whether a condition holds for one line, one word after the other."""
    ((key, value),) = said.items()
    if key in {"all", "any"}:
        answers = [naive(part, bought, tier, channel) for part in value]
        return all(answers) if key == "all" else any(answers)
    if key == "not":
        return not naive(value, bought, tier, channel)
    if key == "quantity":
        return int(bought["quantity"]) >= int(value["at_least"])
    given: str | None = {"tier": tier, "channel": channel}.get(key) or bought[key]
    return bool(given == value)


@given(
    said=TREES,
    lines=st.lists(
        st.builds(
            line, st.sampled_from(["coffee-1", "cake-1"]), st.sampled_from(["coffee", None]), st.sampled_from("123")
        ),
        min_size=1,
        max_size=4,
    ),
    tier=st.sampled_from(["guest", "regular"]),
    channel=st.sampled_from(["pos", "web"]),
)
def test_compiled_conditions_agree_with_words_read_one_by_one(
    said: dict[str, Any], lines: list[dict[str, Any]], tier: str, channel: str
) -> None:
    """Whatever all, any and not are made of, closures find the lines that a reading of each line finds."""
    bought = purchase(*lines, channel=channel)
    holds = tuple(index for index, each in enumerate(lines) if naive(said, each, tier, channel))
    assert asked(rule(when=said), bought, Guest(tier=tier)) == holds
    assert asked(rule(unless=said), bought, Guest(tier=tier)) == tuple(
        index for index in range(len(lines)) if index not in holds
    )


@pytest.mark.parametrize(
    ("at", "fits"),
    [
        ("2026-03-01T23:30:00Z", True),
        ("2026-03-02T22:59:00Z", True),
        ("2026-03-02T23:00:00Z", False),
        ("2026-03-01T22:59:00Z", False),
    ],
)
def test_a_part_of_any_lives_in_the_time_zone_of_the_programme(at: str, fits: bool) -> None:
    """A Monday of Berlin begins and ends an hour before that of Greenwich, by whichever word it is asked for."""
    for when in ({"weekday": "mon"}, {"from": "2026-03-02", "until": "2026-03-02"}):
        made = rule(when={"any": [{"channel": "web"}, when]})
        assert bool(asked(made, purchase(at=at))) is fits, when
    early = rule(when={"any": [{"channel": "web"}, {"between": ["00:00", "01:00"]}]})
    assert bool(asked(early, purchase(at=at))) is (at in ("2026-03-01T23:30:00Z", "2026-03-02T23:00:00Z"))
