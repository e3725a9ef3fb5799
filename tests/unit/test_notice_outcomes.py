"""What became of a notice, in the core: told once, it moves nothing and no time, also of a card, and verify proves it."""

from __future__ import annotations

from engine.ledger.engine_facts import programme_fact, tick_fact
from engine.ledger.packing import pack, unpack
from engine.ledger.partition import Partition
from schemas.decisions import parse_decision
from schemas.envelope import Fact
from schemas.times import to_us
from tests.unit.ledger import programme
from tests.unit.verify_history import RECORDED, buy, event, found
from tests.unit.written_logs import WrittenLogs

BODY = (
    "points: {expire: {inactivity: 6 months}}\nearn: [{id: spend, on: purchase, award: {points: 1, per: 1.00 EUR}}]\n"
    "tiers: {levels: [{id: guest}, {id: gold, from: 20.00 EUR}]}\n"
)


def outcome(event_id: str, member: str, when: str, what: str = "sent") -> Fact:
    """As intake writes it."""
    data = {"notice": "0123456789abcdef" * 2, "outcome": what, "channel": "mail"}
    return event(event_id, "notice_outcome", member, data, when)


def told() -> WrittenLogs:
    """Orders, a card that is linked, outcomes told long after and long before, twice, otherwise, and of nobody."""
    one = programme(BODY)
    logs = WrittenLogs({one.hash: one}, 3)
    logs.tell([programme_fact(one, RECORDED), buy("b1", "anna", "25.00"), buy("b2", "card")])
    late, early = "2031-01-01T10:00:00Z", "2020-01-01T10:00:00Z"
    link = event(
        "l0", "link", "card", {"member": "anna", "operator": "op", "reason": "lost_card"}, "2026-02-03T18:00:00Z"
    )
    logs.tell([outcome("o1", "anna", late), outcome("o1", "anna", late), outcome("o2", "anna", early)])
    logs.tell(
        [outcome("o1", "anna", late, "bounced"), outcome("o3", "nobody", late), link, outcome("o4", "card", late)]
    )
    logs.tell([buy("b3", "anna", "3.00", "2026-03-02T10:00:00Z"), buy("b4", "nobody", "3.00", "2026-03-02T10:00:00Z")])
    logs.tell([tick_fact(number, to_us("2026-04-01T00:00:00Z"), RECORDED) for number in range(3)])
    return logs


def test_outcomes_move_nothing_and_verify_proves_it() -> None:
    """Nothing expires by an outcome of 2031, no account begins, and whoever buys later earns as ever."""
    logs = told()
    report = found(logs)
    decided = [parse_decision(value) for partition in range(3) for value in logs.values(partition)]
    by_id = {(one.fact_id, one.member_id): one for one in decided}
    assert report.findings.first == []
    assert report.proven(strict=True)
    assert [one.outcome for one in decided if one.fact_id == "o1"] == ["decided", "duplicate", "rejected"]
    assert by_id["o3", "nobody"].reason == "unknown_member"
    assert by_id["o4", "card"].outcome == "forwarded"
    assert by_id["o4", "anna"].outcome == "decided"
    moved = [
        one for one in decided if one.type.endswith("notice_outcome.v1") and (one.entries or one.tiers or one.states)
    ]
    assert moved == []
    assert [entry.points for entry in by_id["b3", "anna"].entries] == [3]
    assert [entry.kind for one in decided for entry in one.entries if entry.points < 0 and entry.kind == "expire"] == []


def test_a_member_keeps_what_was_told_through_a_snapshot() -> None:
    """The newest fact of his stays the purchase, and the outcome stays known as seen."""
    one = programme(BODY)
    ledger = Partition(0, {one.hash: one})
    facts = [programme_fact(one, RECORDED), buy("b1", "anna"), outcome("o1", "anna", "2031-01-01T10:00:00Z")]
    for offset, fact in enumerate(facts):
        ledger.answer(fact, offset)
    member = unpack("anna", pack(ledger.members["anna"]))
    assert member.newest_us == facts[1].time_us
    assert ledger.newest_us == facts[1].time_us
    again = Partition(0, {one.hash: one})
    again.restore_outline(ledger.outline())
    again.restore("anna", *ledger.snapshot("anna"))
    assert again.answer(facts[2], 3).decisions[0].outcome == "duplicate"
