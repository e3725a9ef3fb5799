"""Examples of who collects points: joining and leaving."""

from __future__ import annotations

from schemas import facts
from tests.unit.ledger import Stage, points, programme

SPEND = "earn: [{id: spend, on: purchase, award: {points: 1, per: 1.00 EUR}}, {id: hello, on: joined, award: {points: 10}}]\n"
EXPLICIT = "join: explicit\n" + SPEND


def join(stage: Stage, time: str, member: str = "anna") -> list[tuple[str, int]]:
    """Let somebody join."""
    return points(stage.say(facts.JOINED, member, time, {}))


def test_nothing_is_earned_before_joining_where_it_must_be_said() -> None:
    """It says so, and the order is counted: sent again after joining it earns nothing either."""
    stage = Stage(programme(EXPLICIT))
    assert stage.buy("2026-03-01T10:00:00Z", ("mug", "9.00"), order="o1").reason == "not_joined"
    assert join(stage, "2026-03-02T10:00:00Z") == [("hello", 10)]
    assert stage.buy("2026-03-03T10:00:00Z", ("mug", "9.00"), order="o1").reason == "order_already_counted"
    assert points(stage.buy("2026-03-03T10:00:00Z", ("mug", "9.00"), order="o2")) == [("spend", 9)]
    late = stage.buy("2026-03-02T09:59:59Z", ("mug", "9.00"), order="o3")
    assert (late.reason, points(late)) == ("not_joined", [])


def test_the_first_fact_opens_an_account_otherwise() -> None:
    """Without `join: explicit` nobody has to say it."""
    stage = Stage(programme(SPEND))
    assert points(stage.buy("2026-03-01T10:00:00Z", ("mug", "9.00"))) == [("spend", 9)]


def test_whoever_left_earns_nothing_and_keeps_his_points() -> None:
    """Until he joins again, without a second welcome; what he did before he left still counts when it is told late."""
    stage = Stage(programme(SPEND))
    join(stage, "2026-03-01T10:00:00Z")
    stage.say(facts.LEFT, "anna", "2026-03-05T10:00:00Z", {})
    assert stage.buy("2026-03-06T10:00:00Z", ("mug", "9.00")).reason == "has_left"
    assert points(stage.buy("2026-03-04T10:00:00Z", ("mug", "9.00"))) == [("spend", 9)]
    assert stage.say(facts.LEFT, "anna", "2026-03-07T10:00:00Z", {}).reason == "already_left"
    again = stage.say(facts.JOINED, "anna", "2026-03-08T10:00:00Z", {})
    assert (again.reason, points(again)) == ("joined_again", [])
    assert points(stage.buy("2026-03-09T10:00:00Z", ("mug", "9.00"))) == [("spend", 9)]
    assert stage.balance() == 28


def test_a_refund_takes_back_after_leaving() -> None:
    """Leaving is no way to keep the points of goods that come back."""
    stage = Stage(programme(SPEND))
    stage.buy("2026-03-01T10:00:00Z", ("mug", "9.00"), order="o1")
    stage.say(facts.LEFT, "anna", "2026-03-05T10:00:00Z", {})
    assert points(stage.refund("2026-03-06T10:00:00Z", "o1", amount="9.00")) == [("spend", -9)]


def test_a_referral_told_before_joining_is_remembered() -> None:
    """It earns nothing itself, and pays at the first purchase after joining."""
    refer = "refer: {moment: {first: purchase}, referrer: {points: 100}, referred: {points: 50}}\n"
    stage = Stage(programme(EXPLICIT + refer))
    join(stage, "2026-03-01T10:00:00Z", "ben")
    told = stage.say(facts.REFERRAL, "anna", "2026-03-02T10:00:00Z", {"referrer": "ben"})
    assert [note.code for note in told.notes] == ["not_joined"]
    join(stage, "2026-03-02T10:00:01Z")
    bought = stage.buy("2026-03-03T10:00:00Z", ("mug", "9.00"))
    assert points(bought) == [("spend", 9), ("refer:referred", 50)]
    assert stage.balance("ben") == 110
