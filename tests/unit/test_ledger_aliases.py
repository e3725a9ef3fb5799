"""Examples of keys that become aliases: cards, merged accounts, chains, circles."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from engine.ledger.packing import pack, unpack
from schemas import facts
from schemas.decisions import Decision, encode_decision, parse_decision
from schemas.envelope import Fact, encode_fact, parse_fact
from tests.unit.ledger import Stage, points, programme
from tests.unit.test_ledger_examples import REFER

SPEND = (
    "earn: [{id: spend, on: purchase, award: {points: 1, per: 1.00 EUR}, cap: {points: 100, every: day}},\n"
    "  {id: hello, on: visit, award: {points: 5}}]\n"
)
TIERS = "tiers: {levels: [{id: guest}, {id: gold, from: 50.00 EUR}]}\n"


def link(stage: Stage, alias: str, member: str, time: str = "2026-03-05T10:00:00Z") -> Decision:
    """Staff gives a key to a member."""
    return stage.staff(facts.LINK, alias, time, member=member)


def merge(stage: Stage, gone: str, into: str, time: str = "2026-03-05T10:00:00Z") -> Decision:
    """Staff makes one member of two."""
    return stage.staff(facts.MERGE, gone, time, into=into)


def outcomes(stage: Stage, decision: Decision) -> list[tuple[str | None, str, str | None]]:
    """Return member, outcome and reason of a decision and of all that followed."""
    behind = stage.decisions[stage.decisions.index(decision) :]
    return [(one.member_id, one.outcome, one.reason) for one in behind]


def test_what_comes_for_an_alias_is_its_members() -> None:
    """The alias's partition answers `forwarded`; the member's decides the same fact, under the same name."""
    stage = Stage(programme(SPEND))
    link(stage, "card-7", "anna")
    bought = stage.buy("2026-03-06T10:00:00Z", ("mug", "9.00"), member="card-7")
    assert outcomes(stage, bought) == [("card-7", "forwarded", None), ("anna", "decided", None)]
    decided = stage.decisions[-1]
    assert (decided.source, decided.fact_id, points(decided)) == (bought.source, bought.fact_id, [("spend", 9)])
    assert (stage.balance("anna"), stage.balance("card-7")) == (9, 0)


def test_a_second_delivery_stays_one_by_either_key() -> None:
    """Sent again for the card, or for the member himself: a duplicate."""
    stage = Stage(programme(SPEND))
    link(stage, "card-7", "anna")
    data = {"store": "north"}
    stage.say(facts.VISIT, "card-7", "2026-03-06T10:00:00Z", data, "v1")
    again = stage.say(facts.VISIT, "card-7", "2026-03-06T10:00:00Z", data, "v1")
    assert outcomes(stage, again)[-1] == ("anna", "duplicate", None)
    assert stage.say(facts.VISIT, "anna", "2026-03-06T10:00:00Z", data, "v1").outcome == "duplicate"


def test_what_the_alias_had_moves_over() -> None:
    """Points as a transfer with their dates, progress and caps; the sums of both stay right."""
    stage = Stage(programme(SPEND + TIERS))
    stage.buy("2026-03-01T10:00:00Z", ("mug", "30.00"), member="ben")
    stage.buy("2026-03-01T11:00:00Z", ("mug", "30.00"), member="anna")
    gone = merge(stage, "ben", "anna")
    taken = stage.decisions[-1]
    assert [(e.member_id, e.kind, e.points, e.rule_id) for e in (*gone.entries, *taken.entries)] == [
        ("ben", "transfer", -30, "merge"),
        ("anna", "transfer", 30, "merge"),
    ]
    assert taken.entries[0].earned_at == "2026-03-01T10:00:00.000000Z"
    assert [change.tier for change in taken.tiers] == ["gold"]
    assert (stage.balance("anna"), stage.balance("ben")) == (60, 0)
    late = stage.buy("2026-03-01T12:00:00Z", ("mug", "90.00"), member="anna")
    assert points(late) == [("spend", 40)]


def test_the_merge_does_not_lose_history() -> None:
    """An order of the account that ended can be refunded by either key, and does not earn a second time."""
    stage = Stage(programme(SPEND))
    stage.buy("2026-03-01T10:00:00Z", ("mug", "30.00"), member="ben", order="o1")
    stage.refund("2026-03-02T10:00:00Z", "o1", member="ben", amount="10.00")
    merge(stage, "ben", "anna")
    assert stage.balance("anna") == 20
    assert points(stage.refund("2026-03-06T10:00:00Z", "o1", member="anna", amount="10.00")) == [("spend", -10)]
    stage.refund("2026-03-07T10:00:00Z", "o1", member="ben", amount="30.00")
    assert [note.code for note in stage.decisions[-1].notes] == ["more_than_bought"]
    assert stage.balance("anna") == 0
    assert stage.buy("2026-03-08T10:00:00Z", ("mug", "30.00"), order="o1").reason == "order_already_counted"


def test_what_the_alias_had_seen_is_not_counted_again() -> None:
    """A visit before the merge, delivered again afterwards: a duplicate at the alias, and at the member."""
    stage = Stage(programme(SPEND))
    stage.say(facts.VISIT, "ben", "2026-03-01T10:00:00Z", {"store": "north"}, "v1")
    merge(stage, "ben", "anna")
    for member in ("ben", "anna"):
        assert stage.say(facts.VISIT, member, "2026-03-01T10:00:00Z", {"store": "north"}, "v1").outcome == "duplicate"
    reused = stage.say(facts.VISIT, "ben", "2026-03-01T11:00:00Z", {"store": "east"}, "v1")
    assert (reused.reason, [note.code for note in reused.notes]) == ("id_reused", ["id_reused"])


def test_what_a_key_took_over_before_it_became_an_alias_is_not_counted_again() -> None:
    """Ben's visit came to anna by a merge, anna became carol: told again of anna, it is a duplicate there."""
    stage = Stage(programme(SPEND))
    stage.say(facts.VISIT, "ben", "2026-03-01T10:00:00Z", {"store": "north"}, "v1")
    merge(stage, "ben", "anna")
    link(stage, "anna", "carol")
    assert stage.say(facts.VISIT, "anna", "2026-03-01T10:00:00Z", {"store": "north"}, "v1").outcome == "duplicate"


def test_a_chain_of_aliases_ends_at_the_member() -> None:
    """Whichever link was made first."""
    for links in ([("a", "b"), ("b", "c")], [("b", "c"), ("a", "b")]):
        stage = Stage(programme(SPEND))
        stage.buy("2026-03-01T10:00:00Z", ("mug", "7.00"), member="a")
        for alias, member in links:
            link(stage, alias, member)
        stage.buy("2026-03-06T10:00:00Z", ("mug", "9.00"), member="a")
        assert stage.balance("c") == 16
        assert link(stage, "c", "a", "2026-03-07T10:00:00Z").reason == "alias_loop"


def test_what_makes_no_alias() -> None:
    """Oneself, a key that is one already, and one that belongs to this one."""
    stage = Stage(programme(SPEND))
    assert link(stage, "a", "a").reason == "own_alias"
    assert link(stage, "a", "b").reason is None
    assert link(stage, "a", "c").reason == "already_alias"
    assert merge(stage, "b", "a").reason == "alias_loop"


@pytest.mark.parametrize("first", ["a", "b"])
def test_a_circle_closed_at_one_moment_is_opened_at_the_smallest_key(first: str) -> None:
    """Two of the staff link two keys with each other before either partition hears of it: nothing is lost, nothing turns."""
    stage = Stage(programme(SPEND))
    stage.buy("2026-03-01T10:00:00Z", ("mug", "7.00"), member="a")
    stage.buy("2026-03-01T10:00:00Z", ("mug", "5.00"), member="b")
    waiting: list[Any] = []
    stage.hold = waiting
    link(stage, first, "ab".replace(first, ""))
    link(stage, "ab".replace(first, ""), first)
    stage.hold = None
    for fact in waiting:
        stage.answer(fact)
    assert (stage.balance("a"), stage.balance("b")) == (12, 0)
    stage.buy("2026-03-06T10:00:00Z", ("mug", "9.00"), member="b")
    assert stage.balance("a") == 21


def test_a_referral_award_finds_the_member_behind_the_card() -> None:
    """The referrer named a card: the derived fact is forwarded like any other."""
    stage = Stage(programme(SPEND + REFER))
    link(stage, "card-7", "anna", "2026-02-01T10:00:00Z")
    stage.say(facts.REFERRAL, "ben", "2026-03-01T10:00:00Z", {"referrer": "card-7"})
    stage.buy("2026-03-02T10:00:00Z", ("chair", "150.00"), member="ben")
    assert stage.balance("anna") > 0


def test_a_redemption_of_the_alias_can_be_cancelled_by_the_member() -> None:
    """What it took goes back into the lots that came over."""
    rewards = "rewards: [{id: mug, cost: 20}]\n"
    stage = Stage(programme(SPEND + rewards))
    stage.buy("2026-03-01T10:00:00Z", ("mug", "30.00"), member="ben")
    stage.say(facts.REDEMPTION, "ben", "2026-03-02T10:00:00Z", {"reward": "mug"}, "r1")
    assert stage.balance("ben") == 10
    merge(stage, "ben", "anna")
    assert stage.balance("anna") == 10
    cancelled = stage.say(facts.REDEMPTION_CANCELLED, "ben", "2026-03-06T10:00:00Z", {"redemption": "r1"})
    assert cancelled.outcome == "forwarded"
    assert stage.balance("anna") == 30


def test_a_refund_that_waited_under_the_other_key_acts_when_they_become_one() -> None:
    """It was told for the card, the purchase for the member."""
    stage = Stage(programme(SPEND))
    stage.buy("2026-03-01T10:00:00Z", ("mug", "30.00"), member="anna", order="o1")
    stage.buy("2026-03-01T10:00:00Z", ("mug", "20.00"), member="card", order="o2")
    assert stage.refund("2026-03-02T10:00:00Z", "o1", member="card", amount="10.00").reason == "unknown_order"
    assert stage.refund("2026-03-02T10:00:00Z", "o2", member="anna", amount="5.00").reason == "unknown_order"
    link(stage, "card", "anna", "2026-03-05T10:00:00Z")
    assert stage.balance("anna") == 35
    assert not stage.partition.members["anna"].waiting


def test_nobody_brings_himself_by_another_card() -> None:
    """The referrer is a key of the member's own."""
    stage = Stage(programme(SPEND + REFER))
    link(stage, "card-7", "anna", "2026-02-01T10:00:00Z")
    assert stage.say(facts.REFERRAL, "anna", "2026-03-01T10:00:00Z", {"referrer": "card-7"}).reason == "self_referral"


def test_states_and_logs_hold_aliases() -> None:
    """Packed and folded from the logs they are the same."""
    stage = Stage(programme(SPEND + TIERS))
    stage.buy("2026-03-01T10:00:00Z", ("mug", "30.00"), member="ben", order="o1")
    stage.refund("2026-03-02T10:00:00Z", "o1", member="ben", amount="10.00")
    merge(stage, "ben", "anna")
    for key in ("ben", "anna"):
        member = stage.partition.members[key]
        assert pack(unpack(key, pack(member))) == pack(member)
    again = Stage(programme(SPEND + TIERS))
    for fact, decision in stage.heard[1:]:
        again.partition.recall(parse_fact(encode_fact(fact)), parse_decision(encode_decision(decision)))
    for key in ("ben", "anna"):
        assert pack(again.partition.members[key]) == pack(stage.partition.members[key])


def test_much_moves_over_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fact is larger than a record may be."""
    monkeypatch.setattr("engine.ledger.aliases.PART_BYTES", 500)
    stage = Stage(programme(SPEND))
    for day in range(1, 20):
        stage.buy(f"2026-03-{day:02d}T10:00:00Z", ("mug", "9.00"), member="ben", order=f"o{day}")
    gone = merge(stage, "ben", "anna", "2026-03-25T10:00:00Z")
    assert len(gone.derived) > 3
    assert stage.balance("anna") == 19 * 9
    assert points(stage.refund("2026-03-26T10:00:00Z", "o19", amount="9.00")) == [("spend", -9)]
    assert orjson.loads(encode_decision(gone))["derived"]


@pytest.mark.parametrize("kind", ["transfer", "redemption"])
def test_an_answer_that_overtakes_the_takeover_is_given_once_more(kind: str) -> None:
    """Staff closed a circle: the answer took the short way to ben, what anna had reserved goes the long way round."""
    body = SPEND + "transfer: {at_least: 1}\nrewards: [{id: beans, cost: 20, stock: 1 per month}]\n"
    stage = Stage(programme(body))
    stage.buy("2026-03-01T10:00:00Z", ("mug", "30.00"), member="anna")
    held: list[Fact] = []
    stage.hold = held
    wish = {"to": "nobody", "points": 20} if kind == "transfer" else {"reward": "beans"}
    stage.say(f"stammgast.{kind}.v1", "anna", "2026-03-02T10:00:00Z", wish, "wish")
    merge(stage, "anna", "ben")
    asked, takeover = held
    held.clear()
    for expected in (None, "forwarded", "unknown"):
        answer = stage.answer(asked).decisions[0]
        asked = held.pop() if held else asked
        assert expected is None or expected in f"{answer.outcome} {answer.reason}"
    assert not held

    stage.answer(takeover)
    (again,) = held
    last = stage.answer(again).decisions[0]

    ben = unpack("ben", pack(stage.partition.members["ben"]))
    assert {change.state for change in last.states} == {"returned" if kind == "transfer" else "granted"}
    assert ben.balance == sum(ben.lots.values()) == (30 if kind == "transfer" else 10)
    assert [spent.state for spent in ben.spent.values()] == ([] if kind == "transfer" else ["granted"])


def test_where_no_programme_is_in_force_what_moves_over_names_none() -> None:
    """A card that is linked before the first version begins: the entries on both sides are of version 0."""
    stage = Stage(programme(SPEND, start="2026-02-01"))
    stage.say(facts.VISIT, "card", "2026-02-02T10:00:00Z", {"store": "s1"})
    link(stage, "card", "anna", "2026-01-05T10:00:00Z")

    moved = [entry for one in stage.decisions for entry in one.entries if entry.kind == "transfer"]
    assert [(entry.member_id, entry.points, entry.rule_version) for entry in moved] == [("card", -5, 0), ("anna", 5, 0)]


def test_what_nobody_was_given_is_named() -> None:
    """A redemption and a code that nobody has are told apart in words."""
    stage = Stage(programme(SPEND))
    of_id = {"redemption": "r9", "redemption_source": "urn:till:7"}
    (one,) = stage.say(facts.REDEMPTION_FULFILLED, "anna", "2026-03-02T10:00:00Z", of_id).notes
    (other,) = stage.say(facts.REDEMPTION_FULFILLED, "anna", "2026-03-02T10:00:00Z", {"code": "A-1"}).notes

    assert one.text == "no redemption r9 was granted here"
    assert other.text == "no voucher with the code A-1 was granted here"
