"""What a member is told about his tier: how much is missing to stay, and how much to rise."""

from __future__ import annotations

from engine.ledger.engine_facts import programme_fact
from engine.ledger.outlook import Outlook, outlook
from rules.book import Programme
from schemas import facts
from schemas.times import to_us
from tests.unit.ledger import RECORDED, Stage, programme
from tests.unit.test_levels import WELCOMES, ladder


def told(stage: Stage, version: Programme, time: str) -> Outlook:
    """Anna's outlook at a moment to which she is settled."""
    found = outlook(stage.partition.members["anna"], version, to_us(time))
    assert found is not None
    return found


def test_a_year_that_is_carried_and_the_year_after() -> None:
    """Silver of 2026 holds to the end of 2027: to stay longer 100 euros must come in 2027, of which 40 did."""
    version = ladder()
    stage = Stage(version)
    stage.buy("2026-03-01T10:00:00+01:00", ("lamp", "120.00"))
    first = told(stage, version, "2026-03-01T10:00:00+01:00")
    assert (first.tier, first.progress, first.next_tier, first.to_next, first.to_stay) == (
        "silver", 12000, "gold", 18000, 10000
    )  # fmt: skip
    stage.buy("2027-03-01T10:00:00+01:00", ("mug", "40.00"))
    second = told(stage, version, "2027-03-01T10:00:00+01:00")
    assert (second.tier, second.projected, second.progress, second.to_next, second.to_stay) == (
        "silver", "guest", 4000, 26000, 6000
    )  # fmt: skip


def test_in_the_grace_only_the_new_year_can_still_grow() -> None:
    """Silver of 2026 with three months of grace: in February 2028 what 2027 came to helps no more."""
    version = ladder(grace="3 months")
    stage = Stage(version)
    stage.buy("2026-03-01T10:00:00+01:00", ("lamp", "120.00"))
    stage.buy("2027-03-01T10:00:00+01:00", ("mug", "90.00"))
    assert told(stage, version, "2027-12-01T10:00:00+01:00").to_stay == 1000
    stage.buy("2028-02-01T10:00:00+01:00", ("mug", "5.00"))

    assert told(stage, version, "2028-02-01T10:00:00+01:00").to_stay == 9500


def test_a_rolling_window_counts_what_will_still_count_then() -> None:
    """90 of January and 30 of February: silver falls when January does, and 70 are missing then."""
    version = ladder("{rolling: 6 months}")
    stage = Stage(version)
    stage.buy("2026-01-10T10:00:00+01:00", ("lamp", "90.00"))
    stage.buy("2026-02-10T10:00:00+01:00", ("mug", "30.00"))
    found = told(stage, version, "2026-02-10T10:00:00+01:00")

    assert (found.tier, found.progress, found.to_next, found.to_stay) == ("silver", 12000, 18000, 7000)
    assert found.until_us == to_us("2026-07-11T00:00:00+02:00")


def test_a_membership_year_and_a_lifetime() -> None:
    """Years from the day of joining; for ever there is nothing to stay for."""
    version = ladder("membership_year")
    stage = Stage(version)
    stage.say(facts.JOINED, "anna", "2026-02-15T10:00:00+01:00", {})
    stage.buy("2027-02-14T10:00:00+01:00", ("mug", "40.00"))
    assert told(stage, version, "2027-02-14T23:00:00+01:00").to_next == 6000
    assert told(stage, version, "2027-02-15T00:00:00+01:00").to_next == 10000

    version = programme(WELCOMES.replace("calendar_year", "lifetime").replace("{to: earned_level, after: period_end}", "none")
                        .replace(", keep: for_ever", ""))  # fmt: skip
    stage = Stage(version)
    stage.buy("2026-03-01T10:00:00+01:00", ("chair", "300.00"))
    assert told(stage, version, "2030-03-01T10:00:00+01:00")[2:] == (
        None, None, 30000, None, None, None, ("coffee", "lounge")
    )  # fmt: skip


def test_who_has_no_tier_has_no_outlook() -> None:
    """No tiers in the programme, or nothing decided yet."""
    stage = Stage(programme("earn: []\n"))
    stage.buy("2026-03-01T10:00:00+01:00", ("mug", "40.00"))
    version = stage.partition.book.versions[0]
    assert outlook(stage.partition.members["anna"], version, to_us("2026-03-01T10:00:00+01:00")) is None


def test_the_programme_fact_tells_the_tables_how_tiers_are_reached() -> None:
    """What `tiers` in DuckDB computes progress from."""
    assert programme_fact(programme(WELCOMES), RECORDED).data["tiers"] == {
        "by": "spend",
        "over": "calendar_year",
        "months": 12,
        "levels": [
            {"id": "guest", "label": "guest", "from": 0, "benefits": ["water"]},
            {"id": "silver", "label": "silver", "from": 10000, "benefits": []},
            {"id": "gold", "label": "gold", "from": 30000, "benefits": ["coffee", "lounge"]},
        ],
    }
