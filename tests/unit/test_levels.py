"""Which level holds on which day: years, membership years, rolling windows, grace, one level at a time, levels for ever."""

from __future__ import annotations

from typing import Any

import pytest

from engine.ledger.orders import day_number
from engine.ledger.packing import pack, unpack
from rules.book import Programme
from rules.words import tier_words
from schemas import facts
from schemas.decisions import Decision
from schemas.rejects import Rejected
from tests.unit.ledger import Stage, points, programme
from tests.unit.rules_help import problems


def ladder(over: str = "calendar_year", to: str = "earned_level", grace: str = "", keep: str = "") -> Programme:
    """Silver from 100 and gold from 300 euros."""
    more = f", grace: {grace}" if grace else ""
    keeps = {level: ", keep: for_ever" if level == keep else "" for level in ("silver", "gold")}
    return programme(
        f"tiers:\n  qualify: {{by: spend, over: {over}}}\n  downgrade: {{to: {to}, after: period_end{more}}}\n"
        f"  levels:\n    - {{id: guest}}\n    - {{id: silver, from: 100.00 EUR{keeps['silver']}}}\n"
        f"    - {{id: gold, from: 300.00 EUR{keeps['gold']}}}\n",
        start="2020-01-01",
    )


def moves(stage: Stage, until: str) -> list[tuple[str, str]]:
    """What time alone does: the day in Berlin of every change of tier, and the tier then."""
    found = [change for decision in stage.tick(until) for change in decision.tiers]
    return [(change.occurred_at[:13], change.tier) for change in found if change.tier != change.previous]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, [("2027-12-31T23", "guest")]),
        ({"grace": "3 months"}, [("2028-03-31T22", "guest")]),
        ({"to": "one_level"}, [("2027-12-31T23", "silver"), ("2028-12-31T23", "guest")]),
        ({"to": "one_level", "grace": "1 month"}, [("2028-01-31T23", "silver"), ("2029-01-31T23", "guest")]),
        ({"keep": "silver"}, [("2027-12-31T23", "silver")]),
        ({"keep": "gold"}, []),
        ({"over": "{rolling: 6 months}"}, [("2026-08-28T22", "guest")]),
        ({"over": "{rolling: 6 months}", "grace": "1 month"}, [("2026-09-28T22", "guest")]),
        ({"over": "{rolling: 6 months}", "to": "one_level"}, [("2026-08-28T22", "silver"), ("2027-02-28T23", "guest")]),
        # She joined with this purchase: her years begin on 28 February.
        ({"over": "membership_year"}, [("2028-02-27T23", "guest")]),
        ({"over": "membership_year", "to": "one_level"}, [("2028-02-27T23", "silver"), ("2029-02-27T23", "guest")]),
    ],
)
def test_time_takes_a_level_when_its_period_and_the_grace_are_over(
    said: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    """Gold on 28 February 2026, and nothing more: what time does, and when, in Berlin."""
    stage = Stage(ladder(**said))
    stage.buy("2026-02-28T10:00:00+01:00", ("chair", "300.00"))

    assert moves(stage, "2036-01-01T00:00:00Z") == expected


def test_what_is_earned_in_the_grace_keeps_the_level() -> None:
    """Given gold of 2026 with three months of grace, when 300 euros are spent in February 2028, then it was never lost."""
    stage = Stage(ladder(grace="3 months"))
    stage.buy("2026-02-28T10:00:00+01:00", ("chair", "300.00"))
    kept = stage.buy("2028-02-01T10:00:00+01:00", ("chair", "300.00")).tiers[-1]

    assert (kept.tier, kept.since, kept.until) == ("gold", "2026-02-28T09:00:00.000000Z", "2030-03-31T22:00:00.000000Z")


def test_who_began_on_a_leap_day_has_years_from_28_february() -> None:
    """A year that has no 29 February begins a day earlier, and the next leap year on the day itself."""
    stage = Stage(ladder("membership_year"))
    stage.say(facts.JOINED, "anna", "2024-02-29T10:00:00+01:00", {})
    reached = stage.buy("2026-02-28T10:00:00+01:00", ("chair", "300.00")).tiers[-1]

    assert reached.until == "2028-02-28T23:00:00.000000Z"  # the third year is 28 February 2026 to 27 February 2027


def test_joining_later_moves_the_membership_years() -> None:
    """A `joined` that comes behind the first purchase says when the years begin, and the tier follows at once."""
    stage = Stage(ladder("membership_year"))
    stage.buy("2026-03-01T10:00:00+01:00", ("chair", "300.00"))
    joined = stage.say(facts.JOINED, "anna", "2026-05-01T10:00:00+02:00", {})

    assert [change.until for change in joined.tiers] == ["2027-04-30T22:00:00.000000Z"]  # bought in the year before


def test_the_projected_tier_follows_what_is_earned_meanwhile() -> None:
    """Gold of last year: guest is next, and after 100 euros this year silver, with the same end."""
    stage = Stage(ladder())
    first = stage.buy("2026-03-01T10:00:00+01:00", ("chair", "300.00")).tiers[-1]
    second = stage.buy("2027-03-01T10:00:00+01:00", ("lamp", "100.00")).tiers[-1]

    assert [(change.tier, change.until, change.projected) for change in (first, second)] == [
        ("gold", "2027-12-31T23:00:00.000000Z", "guest"),
        ("gold", "2027-12-31T23:00:00.000000Z", "silver"),
    ]


def test_a_late_purchase_counts_in_the_window_of_its_time() -> None:
    """Told in 2027, 100 euros of December 2026 make gold of 2026; told when that is over they change nothing."""
    stage = Stage(ladder())
    stage.buy("2026-03-01T10:00:00+01:00", ("chair", "200.00"))
    stage.buy("2027-01-10T10:00:00+01:00", ("pen", "1.00"))
    late = stage.buy("2026-12-30T10:00:00+01:00", ("lamp", "100.00")).tiers[-1]
    assert (late.tier, late.since, late.until) == ("gold", "2027-01-10T09:00:00.000000Z", "2027-12-31T23:00:00.000000Z")

    stage = Stage(ladder())
    stage.buy("2026-12-01T10:00:00+01:00", ("chair", "200.00"))
    stage.tick("2028-01-01T00:00:00+01:00")
    assert list(stage.buy("2026-12-30T10:00:00+01:00", ("lamp", "100.00")).tiers) == []


def test_a_refund_takes_a_level_kept_for_ever_at_once() -> None:
    """What is kept is kept from time, not from a refund of what reached it."""
    stage = Stage(ladder(keep="gold"))
    stage.buy("2026-03-01T10:00:00+01:00", ("chair", "300.00"), order="o1")
    stage.tick("2030-01-01T00:00:00Z")

    assert stage.refund("2030-02-01T10:00:00+01:00", "o1", amount="1.00").tiers[-1].tier == "guest"


@pytest.mark.parametrize(
    ("tiers", "message"),
    [
        (
            {"qualify": {"over": "lifetime"}, "downgrade": {"to": "one_level"}},
            "levels over lifetime are not lost by time",
        ),
        ({"levels": [{"id": "guest"}, {"id": "gold", "from": 5, "keep": "for_ever"}]}, "time takes no level here"),
        ({"levels": [{"id": "guest", "keep": "for_ever"}]}, "everybody has the base level"),
        ({"levels": [{"id": "guest", "welcome": 5}]}, "nobody reaches the base level"),
    ],
)
def test_what_changes_nothing_is_refused(tiers: dict[str, Any], message: str) -> None:
    """A promise about time where time takes nothing."""
    said = {"qualify": {"by": "visits"}, "levels": [{"id": "guest"}], **tiers}
    if "over" in said["qualify"]:
        said["qualify"] = {"by": "visits", **said["qualify"]}
    found = [problem.message for problem in problems(tiers=said)]
    assert len(found) == 1
    assert message in found[0]


WELCOMES = """
tiers:
  qualify: {by: spend, over: calendar_year}
  downgrade: {to: earned_level, after: period_end}
  levels:
    - {id: guest, benefits: water}
    - {id: silver, from: 100.00 EUR, welcome: 50}
    - {id: gold, from: 300.00 EUR, welcome: {points: 200, again: true}, keep: for_ever, benefits: [coffee, lounge]}
"""


def test_a_level_is_welcomed_once_and_on_the_way_to_a_higher_one() -> None:
    """Straight to gold is silver and gold; silver is welcomed once, gold each time it is reached."""
    stage = Stage(programme(WELCOMES.replace(", keep: for_ever", "")))
    first = stage.buy("2026-03-01T10:00:00+01:00", ("chair", "300.00"))
    assert points(first) == [("welcome:silver", 50), ("welcome:gold", 200)]
    assert points(stage.buy("2026-03-02T10:00:00+01:00", ("chair", "300.00"))) == []

    again = stage.buy("2028-03-01T10:00:00+01:00", ("chair", "300.00"))
    assert points(again) == [("welcome:gold", 200)]
    assert first.progress == [("2026-03-01", 30000)]


def test_a_refund_that_undoes_the_reaching_takes_the_welcome_back() -> None:
    """Given silver by one order, when a cent comes back, then its welcome goes too, and can be earned anew."""
    stage = Stage(programme(WELCOMES))
    reached = stage.buy("2026-03-01T10:00:00+01:00", ("lamp", "100.00"), order="o1")
    refund = stage.refund("2028-03-02T10:00:00+01:00", "o1", amount="0.01")

    (taken,) = refund.entries
    assert (taken.kind, taken.points, taken.caused_by) == ("clawback", -50, reached.entries[0].entry_id)
    assert stage.balance() == 0
    assert points(stage.buy("2028-03-03T10:00:00+01:00", ("lamp", "100.00"))) == [("welcome:silver", 50)]


def test_a_refund_that_leaves_another_year_with_the_level_takes_no_welcome() -> None:
    """Silver of 2026 stands, whatever comes back of 2027."""
    stage = Stage(programme(WELCOMES))
    stage.buy("2026-03-01T10:00:00+01:00", ("lamp", "100.00"), order="o1")
    stage.buy("2027-03-01T10:00:00+01:00", ("lamp", "100.00"), order="o2")

    assert points(stage.refund("2027-03-02T10:00:00+01:00", "o2", amount="100.00")) == []


def test_a_tier_that_staff_gives_is_not_welcomed_and_the_reaching_of_it_is() -> None:
    """Gold of staff brings no points; earning it meanwhile does."""
    stage = Stage(programme(WELCOMES))

    assert points(override(stage, "2026-03-01T10:00:00+01:00", "gold", "2026-05-31")) == []
    reached = stage.buy("2026-04-01T10:00:00+02:00", ("chair", "300.00"))
    assert points(reached) == [("welcome:silver", 50), ("welcome:gold", 200)]
    anna = stage.partition.members["anna"]
    assert unpack("anna", pack(anna)) == anna


def test_new_thresholds_welcome_nobody() -> None:
    """A version that makes silver cheaper raises the member at the next fact, without a welcome."""
    dear = programme(WELCOMES)
    cheap = programme(WELCOMES.replace("from: 100.00", "from: 10.00"), version=2, start="2026-06-01")
    stage = Stage(dear, cheap)
    stage.buy("2026-03-01T10:00:00+01:00", ("lamp", "50.00"))
    later = stage.buy("2026-06-02T10:00:00+02:00", ("pen", "1.00"))

    assert (later.tiers[-1].tier, points(later)) == ("silver", [])


def test_a_level_says_everything_about_itself() -> None:
    """What `rules show` prints of a level."""
    tiers = programme(WELCOMES).document.tiers
    assert tiers is not None
    assert tier_words(tiers)[1:] == [
        "guest: everybody, with water",
        "silver: from 100.00 EUR, welcomed with 50 points",
        "gold: from 300.00 EUR, kept for ever, welcomed with 200 points each time, with coffee and lounge",
    ]


EARNED = """
points: {pending: {until: delivered, cancel_after: 30 days}}
earn:
  - {id: spend, on: purchase, award: {points: 1, per: 1.00 EUR}}
tiers:
  qualify: {by: points, over: calendar_year}
  downgrade: {to: earned_level, after: period_end}
  levels:
    - {id: guest}
    - {id: silver, from: 100, welcome: 50}
"""


def test_points_that_never_came_are_no_progress() -> None:
    """Given silver by points that wait for a delivery, when that does not come, then the tier goes with the points."""
    stage = Stage(programme(EARNED))
    stage.buy("2026-03-01T10:00:00+01:00", ("chair", "60.00"), order="o1")
    reached = stage.buy("2026-03-02T10:00:00+01:00", ("chair", "60.00"), order="o2")
    assert (reached.tiers[-1].tier, points(reached)) == ("silver", [("spend", 60), ("welcome:silver", 50)])
    stage.say(
        facts.ACTIVITY, "anna", "2026-03-05T10:00:00+01:00", {"name": "delivered", "attributes": {"order_id": "o1"}}
    )

    ticked = stage.tick("2026-05-01T00:00:00Z")[0]
    assert [(state.what, state.id, state.state) for state in ticked.states] == [("progress", "2026-03-02", "-60")]
    assert [(change.tier, change.occurred_at) for change in ticked.tiers] == [("guest", "2026-04-01T09:00:00.000000Z")]
    anna = stage.partition.members["anna"]
    assert (anna.days[day_number("2026-03-02")], anna.years[2026]) == (0, 60)
    # Nor was silver ever reached: its welcome goes back with them, and 60 of the delivered order are left.
    assert [(entry.kind, entry.points) for entry in ticked.entries] == [("cancel", -60), ("clawback", -50)]
    assert (anna.balance, anna.welcomed) == (60, {})
    assert unpack("anna", pack(anna)) == anna
    # The goods that were never delivered are paid back: there is nothing left to take, of points or of progress.
    back = stage.refund("2026-05-02T10:00:00+02:00", "o2", amount="60.00")
    assert (points(back), list(back.progress)) == ([], [])


def test_a_refund_before_points_are_cancelled_takes_its_part_of_the_progress_once() -> None:
    """A third comes back, the rest is never delivered: 20 and 40, and nothing more when the rest comes back too."""
    stage = Stage(programme(EARNED))
    stage.buy("2026-03-01T10:00:00+01:00", ("chair", "60.00"), order="o1")
    assert stage.refund("2026-03-02T10:00:00+01:00", "o1", amount="20.00").progress == [("2026-03-01", -20)]
    ticked = stage.tick("2026-05-01T00:00:00Z")[0]
    assert [state.state for state in ticked.states] == ["-40"]

    assert list(stage.refund("2026-05-02T10:00:00+02:00", "o1", amount="40.00").progress) == []
    assert stage.partition.members["anna"].years == {2026: 0}


def override(stage: Stage, time: str, tier: str, until: str) -> Decision:
    """Staff gives Anna a tier until the end of a day."""
    said = {"tier": tier, "until": until, "operator": "op-7", "reason": "complaint"}
    return stage.say(facts.TIER_OVERRIDE, "anna", time, said)


def test_a_complaint_answered_with_three_months_of_gold() -> None:
    """Given a guest, when staff gives gold until 31 May, then it is gold until the end of that day in Berlin, then guest."""
    stage = Stage(ladder())
    stage.buy("2026-02-28T10:00:00+01:00", ("mug", "10.00"))
    (given,) = override(stage, "2026-03-01T10:00:00+01:00", "gold", "2026-05-31").tiers

    assert (given.tier, given.previous, given.projected) == ("gold", "guest", "guest")
    assert given.until == "2026-05-31T22:00:00.000000Z"
    assert moves(stage, "2026-06-01T00:00:00Z") == [("2026-05-31T22", "guest")]


def test_an_override_raises_and_never_lowers() -> None:
    """Who earned gold until the end of 2027 and gets silver until June 2028 has gold first, then silver, then nothing."""
    stage = Stage(ladder())
    stage.buy("2026-02-28T10:00:00+01:00", ("chair", "300.00"))
    (given,) = override(stage, "2026-03-01T10:00:00+01:00", "silver", "2028-06-30").tiers

    assert (given.tier, given.until, given.projected) == ("gold", "2027-12-31T23:00:00.000000Z", "silver")
    assert moves(stage, "2036-01-01T00:00:00Z") == [("2027-12-31T23", "silver"), ("2028-06-30T22", "guest")]


def test_an_override_holds_on_its_last_day() -> None:
    """A fact of the last evening still finds the tier that was given, and the midnight behind it ends it."""
    stage = Stage(ladder())
    override(stage, "2026-03-01T10:00:00+01:00", "gold", "2026-05-31")

    assert list(stage.buy("2026-05-31T23:59:59+02:00", ("mug", "1.00")).tiers) == []
    assert moves(stage, "2026-06-01T00:00:00+02:00") == [("2026-05-31T22", "guest")]


def test_an_override_with_the_level_that_is_held_makes_it_last_longer() -> None:
    """Gold of 2026 and gold of staff until June 2028: one gold until then."""
    stage = Stage(ladder())
    stage.buy("2026-02-28T10:00:00+01:00", ("chair", "300.00"))
    (given,) = override(stage, "2026-03-01T10:00:00+01:00", "gold", "2028-06-30").tiers

    assert (given.tier, given.since) == ("gold", "2026-02-28T09:00:00.000000Z")
    assert (given.until, given.projected) == ("2028-06-30T22:00:00.000000Z", "guest")


def test_what_is_earned_during_an_override_stays_behind_it() -> None:
    """Gold given until May and earned in April is gold until the end of next year."""
    stage = Stage(ladder())
    override(stage, "2026-03-01T10:00:00+01:00", "gold", "2026-05-31")
    stage.buy("2026-04-01T10:00:00+02:00", ("chair", "300.00"))

    assert moves(stage, "2036-01-01T00:00:00Z") == [("2027-12-31T23", "guest")]


def test_an_override_with_the_base_level_ends_the_one_before() -> None:
    """The last one counts."""
    stage = Stage(ladder())
    override(stage, "2026-03-01T10:00:00+01:00", "gold", "2026-05-31")
    (ended,) = override(stage, "2026-03-02T10:00:00+01:00", "guest", "2026-03-02").tiers

    assert (ended.tier, ended.until) == ("guest", None)
    assert moves(stage, "2036-01-01T00:00:00Z") == []


def test_an_override_that_cannot_be_is_refused_with_its_reason() -> None:
    """No such tier, a day that is over, a programme without tiers: nothing changes."""
    stage = Stage(ladder())
    stage.buy("2026-03-05T10:00:00+01:00", ("mug", "10.00"))

    assert override(stage, "2026-03-06T10:00:00+01:00", "platinum", "2026-05-31").reason == "unknown_tier"
    assert override(stage, "2026-03-06T10:00:00+01:00", "gold", "2026-03-05").reason == "already_over"
    # It comes late: the member's timeline is further on.
    assert override(stage, "2026-03-01T10:00:00+01:00", "gold", "2026-03-05").reason == "already_over"
    plain = Stage(programme("earn: []\n"))
    assert override(plain, "2026-03-06T10:00:00+01:00", "gold", "2026-05-31").reason == "no_tiers"
    assert moves(stage, "2036-01-01T00:00:00Z") == []


@pytest.mark.parametrize("until", ["2026-02-30", "20260531", "2026-05-31T00:00:00Z", "2026-W10-01", "soon"])
def test_a_day_that_is_none_is_refused_at_the_door(until: str) -> None:
    """The last day of an override is a day of the calendar, written in one way."""
    with pytest.raises(Rejected) as refused:
        override(Stage(ladder()), "2026-03-06T10:00:00+01:00", "gold", until)
    assert (refused.value.reason, refused.value.field) == ("invalid", "data.until")


def test_an_override_survives_a_snapshot() -> None:
    """Given a packed member, when he is unpacked, then his override is there."""
    stage = Stage(ladder())
    override(stage, "2026-03-01T10:00:00+01:00", "gold", "2026-05-31")
    anna = stage.partition.members["anna"]

    assert unpack("anna", pack(anna)) == anna
    assert anna.override == ("gold", 20604)
