"""The shipped programmes do what their comments say: their newest versions, played."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from engine.ledger.engine_facts import tick_fact
from rules.book import load_directory
from rules.codes import is_genuine, plain_code
from schemas import facts
from schemas.normalise import normalise
from schemas.times import to_us
from tests.simulation.profiles import PlainVault, opens
from tests.unit.ledger import RECORDED, Stage, points

SHIPPED = Path(__file__).parents[2] / "rules" / "programmes"


@pytest.fixture
def bar() -> Stage:
    """The coffee bar with all its versions."""
    return Stage(*load_directory(SHIPPED / "coffee-bar"))


def test_the_tenth_coffee_is_on_the_house(bar: Stage) -> None:
    """Ten orders with a coffee bring one that waits thirty days, and costs no beans."""
    # given nine coffees on Sundays, without a happy hour, every other week: no streak
    days = [f"2027-{month:02d}-{day:02d}" for month, day in ((1, 3), (1, 17), (1, 31), (2, 14), (2, 28))]
    days += [f"2027-{month:02d}-{day:02d}" for month, day in ((3, 14), (3, 28), (4, 11), (4, 25))]
    for day in days:
        assert bar.buy(f"{day}T10:00:00Z", ("cup", "3.00"), category="coffee").states == ()
    # when the tenth comes
    tenth = bar.buy("2027-05-09T10:00:00Z", ("cup", "3.00"), category="coffee")
    # then
    assert points(tenth) == [("spend", 3)]
    assert [(change.what, change.state) for change in tenth.states] == [
        ("redemption_given", "free-coffee|tenth-coffee|3"),
        ("redemption_from", "urn:till:7|" + bar.heard[-1][0].data["order_id"] + "|1"),
        ("redemption", "granted"),
        ("redemption_until", "2027-06-08T10:00:00.000000Z"),
    ]
    # and nobody fetches it
    assert [change.state for decision in bar.tick("2027-06-08T10:00:00Z") for change in decision.states] == ["lapsed"]


def test_beans_of_the_web_shop_wait_and_buy_a_voucher(bar: Stage) -> None:
    """Web orders wait for 14 days; then their beans are a code that a later order uses up."""
    bar.buy("2027-02-07T10:00:00Z", ("machine", "290.00"), channel="web")
    bar.buy("2027-02-14T10:00:00Z", ("machine", "290.00"), channel="web")
    early = bar.say(facts.REDEMPTION, "anna", "2027-02-22T10:00:00Z", {"reward": "web-voucher"})
    assert early.reason == "not_enough_points"
    granted = bar.say(facts.REDEMPTION, "anna", "2027-03-01T10:00:00Z", {"reward": "web-voucher"})
    said = {change.what: change.state for change in granted.states}
    assert is_genuine("BAR-####-####-##", plain_code(said["redemption_code"]))
    assert (said["redemption_worth"], said["redemption_at_least"]) == ("5.00 EUR", "20.00 EUR")
    paid = {"voucher": "5.00", "vouchers": [said["redemption_code"]]}
    used = bar.buy("2027-03-07T10:00:00Z", ("cup", "25.00"), channel="web", payment=paid)
    assert [change.state for change in used.states][-1] == "fulfilled"


def test_the_app_brings_a_piece_of_cake_once(bar: Stage) -> None:
    """Joining by the app gives the cake; the fortieth bag of beans of a month is the last."""
    joined = bar.say(facts.JOINED, "anna", "2027-01-10T10:00:00Z", {"via": "app"})
    assert joined.states[0].state == "first-cake|welcome-app|3"
    for number in range(41):
        bar.staff(facts.ADJUSTMENT, f"m{number}", "2027-01-11T10:00:00Z", points=900)
        bar.staff(facts.TIER_OVERRIDE, f"m{number}", "2027-01-11T10:00:01Z", tier="regular", until="2027-12-31")
        bar.say(facts.REDEMPTION, f"m{number}", "2027-01-12T10:00:00Z", {"reward": "bean-bag"})
    assert [bar.balance(f"m{number}") for number in (0, 39, 40)] == [0, 0, 900]


def test_the_gift_shop_waits_for_the_parcel_and_lends() -> None:
    """Nothing before joining; a parcel's ribbons count when it has arrived; what is spent of a return is owed."""
    shop = Stage(*load_directory(SHIPPED / "gift-shop"))
    pounds = {"currency": "GBP", "channel": "web"}
    assert shop.buy("2012-01-08T12:00:00Z", ("mug", "10.00"), **pounds).reason == "not_joined"
    shop.say(facts.JOINED, "anna", "2012-01-09T12:00:00Z", {})
    shop.buy("2012-01-10T12:00:00Z", ("mug", "400.00"), order="parcel", **pounds)
    arrived = {"name": "delivered", "attributes": {"order_id": "parcel"}}
    wish = {"reward": "printed"}
    assert shop.say(facts.REDEMPTION, "anna", "2012-01-11T12:00:00Z", wish).reason == "not_enough_points"
    assert {entry.kind for entry in shop.say(facts.ACTIVITY, "anna", "2012-01-12T12:00:00Z", arrived).entries} == {
        "release"
    }
    assert shop.say(facts.REDEMPTION, "anna", "2012-01-13T12:00:00Z", wish).reason is None
    assert [change.state for change in shop.decisions[-1].states if change.what == "redemption_code"] == ["ROSE-41"]
    shop.refund("2012-01-20T12:00:00Z", "parcel", amount="400.00", currency="GBP")
    assert shop.partition.members["anna"].debt > 0


def test_the_coffee_bar_tells_its_guests_at_the_right_moment() -> None:
    """Given a guest who says who she is, when a basket is left or her birthday is near, then she hears of it, within limits."""
    stage = Stage(*load_directory(SHIPPED / "coffee-bar"))
    stage.partition.opens = opens
    said = {"birthday": "1990-03-10", "consents": {"email": True, "push": True}, "preferred_channel": "push"}
    event = {"specversion": "1.0", "id": "p", "source": "urn:crm", "type": facts.PROFILE, "subject": "anna"}
    profile = orjson.dumps(event | {"time": "2028-03-01T09:00:00+01:00", "data": said})
    stage.answer(PlainVault().seal(normalise(profile, RECORDED, to_us(RECORDED))))
    stage.say(
        facts.ACTIVITY, "anna", "2028-03-02T10:00:00+01:00", {"name": "cart_abandoned", "attributes": {"cart": "c"}}
    )
    stage.answer(tick_fact(0, to_us("2028-03-05T00:00:00+01:00"), RECORDED))
    resolved = {"name": "complaint", "attributes": {"case": "c1", "state": "resolved"}}
    stage.say(facts.ACTIVITY, "anna", "2028-03-20T10:00:00+01:00", resolved)

    told = [(one.rule_id, one.state, one.channel, one.reason) for d in stage.decisions for one in d.notices]
    assert told == [
        ("basket-left", "made", "push", None),
        ("birthday-soon", "made", "push", None),
        ("sorry", "made", "push", None),
        ("new-level", "suppressed", "push", "quiet"),
    ]
    assert stage.partition.members["anna"].tier == "regular"
