"""Examples of points that go from one member to another."""

from __future__ import annotations

import pytest

from engine.ledger.packing import pack, unpack
from schemas import facts
from schemas.decisions import Decision, encode_decision, parse_decision
from schemas.envelope import Fact, encode_fact, parse_fact
from tests.unit.ledger import Stage, programme

SPEND = "earn: [{id: spend, on: purchase, award: {points: 1, per: 1.00 EUR}}]\n"
GIVE = "transfer: {at_least: 10, at_most: 100}\n"
EXPIRY = "points: {name: points, expire: {after: 12 months}}\n"


def stage_with(body: str = SPEND + GIVE) -> Stage:
    """Anna has 30 and 20 points, ben 5."""
    stage = Stage(programme(body))
    stage.buy("2026-03-01T10:00:00Z", ("mug", "30.00"))
    stage.buy("2026-04-01T10:00:00Z", ("mug", "20.00"))
    stage.buy("2026-03-01T10:00:00Z", ("mug", "5.00"), member="ben")
    return stage


def give(stage: Stage, points: int, to: str = "ben", time: str = "2026-05-01T10:00:00Z") -> Decision:
    """Anna gives points."""
    return stage.say(facts.TRANSFER, "anna", time, {"to": to, "points": points})


def told(stage: Stage, since: Decision) -> list[tuple[str | None, str | None, list[tuple[str, int]], list[str]]]:
    """Return member, reason, entries and states of what was decided from ``since`` on."""
    behind = stage.decisions[stage.decisions.index(since) :]
    return [
        (one.member_id, one.reason, [(e.kind, e.points) for e in one.entries], [s.state for s in one.states])
        for one in behind
    ]


def test_a_transfer_is_reserved_credited_and_confirmed() -> None:
    """Both legs, and the answer."""
    stage = stage_with()
    assert told(stage, give(stage, 35)) == [
        ("anna", None, [("transfer", -35)], ["reserved"]),
        ("ben", None, [("transfer", 30), ("transfer", 5)], ["credited"]),
        ("anna", None, [], ["confirmed"]),
    ]
    assert (stage.balance("anna"), stage.balance("ben")) == (15, 40)
    assert not stage.partition.members["anna"].spent


def test_lots_keep_their_dates() -> None:
    """What was given expires when it would have, not later."""
    stage = Stage(programme(EXPIRY + SPEND + GIVE))
    stage.buy("2026-03-01T10:00:00Z", ("mug", "30.00"))
    stage.buy("2026-03-05T10:00:00Z", ("mug", "5.00"), member="ben")
    give(stage, 30)
    credit = stage.decisions[-2].entries[0]
    assert (credit.earned_at, credit.expires_at) == ("2026-03-01T10:00:00.000000Z", "2027-03-01T23:00:00.000000Z")
    stage.tick("2027-03-02T00:00:00Z")
    assert stage.balance("ben") == 5


def test_points_that_nobody_takes_come_back_into_their_lots() -> None:
    """A key that nobody has, or a member who left: all or nothing, and no account is opened by it."""
    stage = stage_with()
    before = dict(stage.partition.members["anna"].lots)
    assert told(stage, give(stage, 35, "nobody-7")) == [
        ("anna", None, [("transfer", -35)], ["reserved"]),
        ("nobody-7", "unknown_member", [], []),
        ("anna", None, [("restore", 35)], ["returned"]),
    ]
    assert stage.partition.members["anna"].lots == before
    assert told(stage, give(stage, 35, "nobody-7"))[1][1] == "unknown_member"
    stage.say(facts.LEFT, "ben", "2026-04-02T10:00:00Z", {})
    assert told(stage, give(stage, 35))[1][1] == "has_left"
    assert (stage.balance("anna"), stage.balance("ben")) == (50, 5)


def test_what_comes_back_after_its_day_expires_at_once() -> None:
    """The other side answered when the lot was over."""
    stage = Stage(programme(EXPIRY + SPEND + GIVE))
    stage.buy("2026-03-01T10:00:00Z", ("mug", "30.00"))
    stage.hold = []
    give(stage, 30, "nobody-7")
    offer, stage.hold = stage.hold[0], None
    stage.buy("2027-03-05T10:00:00Z", ("mug", "5.00"))
    stage.answer(offer)
    assert [(e.kind, e.points) for e in stage.decisions[-1].entries] == [("restore", 30), ("expire", -30)]
    assert stage.balance() == 5


def test_what_is_refused_at_once_moves_nothing() -> None:
    """With the numbers."""
    stage = stage_with()
    refused = give(stage, 60)
    assert (refused.reason, refused.notes[0].text, refused.derived) == ("not_enough_points", "needs 60, has 50", ())
    assert give(stage, 9).reason == "too_few_points"
    assert give(stage, 101).reason == "too_many_points"
    assert give(stage, 20, "anna").reason == "own_account"
    stage.staff(facts.LINK, "card-7", "2026-04-02T10:00:00Z", member="anna")
    assert give(stage, 20, "card-7").reason == "own_account"
    assert give(stage_with(SPEND), 20).reason == "no_transfers"


def test_twenty_transfers_of_all_points_give_them_once() -> None:
    """They are decided in the sender's order."""
    stage = stage_with()
    given = [give(stage, 50) for _ in range(20)]
    assert [one.reason for one in given] == [None] + ["not_enough_points"] * 19
    assert (stage.balance("anna"), stage.balance("ben")) == (0, 55)


def test_a_transfer_to_a_card_finds_its_member() -> None:
    """The offer is forwarded; nobody gives to himself that way."""
    stage = stage_with()
    stage.staff(facts.LINK, "card-7", "2026-04-02T10:00:00Z", member="ben")
    give(stage, 20, "card-7")
    assert (stage.balance("anna"), stage.balance("ben")) == (30, 25)


@pytest.mark.parametrize("to", ["ben", "nobody-7"])
def test_a_sender_who_is_merged_meanwhile_has_what_comes_back(to: str) -> None:
    """The answer is forwarded to whom he became, who took over what was reserved."""
    stage = stage_with()
    waiting: list[Fact] = []
    stage.hold = waiting
    give(stage, 35, to)
    stage.hold = None
    stage.staff(facts.MERGE, "anna", "2026-05-02T10:00:00Z", into="cora")
    assert stage.balance("cora") == 15
    for fact in waiting:
        stage.answer(fact)
    assert (stage.balance("cora"), stage.balance("ben")) == ((15, 40) if to == "ben" else (50, 5))
    assert not stage.partition.members["cora"].spent


def test_states_and_logs_hold_transfers() -> None:
    """What is reserved is packed; folded from the logs everything is the same."""
    stage = stage_with()
    stage.hold = []
    give(stage, 35)
    anna = stage.partition.members["anna"]
    assert anna.spent
    assert pack(unpack("anna", pack(anna))) == pack(anna)
    offer, stage.hold = stage.hold[0], None
    stage.answer(offer)
    again = Stage(programme(SPEND + GIVE))
    for fact, decision in stage.heard[1:]:
        again.partition.recall(parse_fact(encode_fact(fact)), parse_decision(encode_decision(decision)))
    for key in ("anna", "ben"):
        assert pack(again.partition.members[key]) == pack(stage.partition.members[key])
