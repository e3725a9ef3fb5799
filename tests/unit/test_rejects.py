"""Refused records: selected as asked, rehearsed as they would come out, and sent back no other way than that."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from engine.ledger.engine_facts import tick_fact
from engine.rejects.reading import MENDING, Refused, Wanted, select
from engine.rejects.redriving import Desk, Plan, plan
from engine.rejects.rehearsal import LogsBroken
from engine.stream.clients import partition_for
from engine.stream.topics import default_inbound
from schemas.envelope import encode_fact
from schemas.rejects import REASONS, Rejected
from schemas.times import to_us
from tests.unit.verify_history import RECORDED, buy, history, index_of, refer
from tests.unit.written_logs import POINTS_LOG, RECORDED_MS, WrittenLogs

NOW = to_us("2028-12-01T00:00:00Z")
DESK = Desk(default_inbound(), NOW, 300_000_000, 900_000)
NAIVE = {
    "specversion": "1.0", "id": "naive", "source": "urn:till:9", "type": "stammgast.purchase.v1", "subject": "anna",
    "time": "2028-02-02T10:00:00", "data": {"order_id": "n1", "lines": [{"sku": "A", "category": "coffee",
    "quantity": "1", "unit_price": "8.00"}], "total": "8.00", "currency": "EUR", "channel": "pos"},
}  # fmt: skip


def refused_logs() -> tuple[WrittenLogs, str]:
    """The history, with one event that intake refused for its time; returns its place, too."""
    logs = history()
    return logs, logs.refuse(json.dumps(NAIVE).encode(), Rejected("naive_time", "no offset", "time"))


def found(logs: WrittenLogs, **conditions: Any) -> list[Refused]:
    """What is selected."""
    return list(select(logs, Wanted(**conditions)))


def planned(logs: WrittenLogs, *names: str, mended: list[tuple[bytes, str]] | None = None, desk: Desk = DESK) -> Plan:
    """What would become of one record."""
    (one,) = plan(logs, logs.programmes, found(logs, names=names), desk, mended)
    return one


def balance(logs: WrittenLogs, member: str) -> tuple[int, str | None]:
    """What a member has by now."""
    ledger = logs._ledgers[partition_for(member.encode(), logs.partitions)]
    return ledger.members[member].balance, ledger.members[member].tier


def test_each_record_says_whence_and_why() -> None:
    """Given refusals of intake and of keepers, then each is read with its reason, its place, and its own headers alone."""
    logs, place = refused_logs()

    everything = found(logs)
    (naive,) = found(logs, names=(place,))

    assert Counter(one.reason for one in everything) == Counter(
        ["id_reused", "too_late_to_deduplicate", "quarantined", "quarantined", "naive_time"]
    )
    assert (naive.topic, naive.origin, naive.field, naive.by_keeper) == ("shop-events", (0, 7), "time", False)
    assert naive.headers == (("trace", b"t1"),)
    assert "subject" not in naive.brief()
    assert all(one.by_keeper for one in everything if one.place != naive.place)
    assert set(MENDING) == {*REASONS}


@pytest.mark.parametrize(
    ("conditions", "ids"),
    [
        ({"reasons": ("quarantined",)}, ["", "poison"]),
        ({"reasons": ("quarantined",), "sources": ("urn:te*",)}, ["poison"]),
        ({"sources": ("urn:till:9",)}, ["naive"]),
        ({"sources": ("urn:till",)}, []),
        ({"topics": ("facts",)}, ["", "late", "p1-cora", "poison"]),
        ({"topics": ("shop-events",)}, ["naive"]),
        ({"names": ("poison", "naive")}, ["naive", "poison"]),
        ({"until_us": to_us("2026-06-01T00:00:00Z")}, ["", "late", "p1-cora", "poison"]),
        ({"since_us": to_us("2026-06-01T00:00:00Z"), "until_us": to_us("2028-01-01T00:00:00Z")}, ["naive"]),
    ],
)
def test_records_are_selected_by_every_condition(conditions: dict[str, Any], ids: list[str]) -> None:
    """Given conditions, then those are found that fit all of them; a keeper's refusal was received when its fact was."""
    logs, _ = refused_logs()

    assert sorted(one.told("id") for one in found(logs, **conditions)) == ids


def test_a_quarantined_fact_is_rehearsed_as_it_then_comes_out() -> None:
    """Given a fact that an older engine could not decide, then its effect is foretold, and is what telling it does."""
    logs = history()

    one = planned(logs, "poison")
    logs.poisoned = frozenset()
    logs.tell([buy("poison", "emma")])

    assert (one.topic, one.outcome, one.refusal) == ("facts", "decided", "")
    assert one.effect is not None
    assert one.effect.before.points < one.effect.after.points
    assert (one.effect.after.points, one.effect.after.tier) == balance(logs, "emma")
    assert sum(points for _, points in one.effect.entries) == one.effect.after.points - one.effect.before.points
    assert one.value == encode_fact(buy("poison", "emma"))


def test_what_was_sent_back_and_decided_is_a_duplicate() -> None:
    """Given that the fact came again meanwhile, then it would be a duplicate that moves nothing."""
    logs = history()
    logs.poisoned = frozenset()
    logs.tell([buy("poison", "emma")])

    one = planned(logs, "poison")

    assert one.outcome == "duplicate"
    assert one.effect is not None
    assert one.effect.before == one.effect.after


@pytest.mark.parametrize(
    ("name", "says"),
    [("p1-cora", "id_reused"), ("late", "too_late_to_deduplicate"), ("naive", "naive_time"), ("", "never a fact")],
)
def test_what_would_be_refused_again_says_so(name: str, says: str) -> None:
    """Given records that nothing has changed for, then each would be refused again, with the reason."""
    logs, _ = refused_logs()
    names = {one.told("id"): one.name for one in found(logs)}

    one = planned(logs, names[name])

    assert (one.outcome, says in one.refusal) == ("refused", True), one.refusal


def test_a_mended_event_takes_the_place_of_the_refused_one() -> None:
    """Given the event with its offset written in, then it goes to its own topic and would earn."""
    logs, place = refused_logs()
    event = json.dumps(NAIVE | {"time": "2028-02-02T10:00:00+01:00"}).encode()

    one = planned(logs, place, mended=[(event, "shop-events")])

    assert (one.topic, one.outcome, one.value) == ("shop-events", "decided", event)
    assert one.effect is not None
    assert one.effect.after.points > one.effect.before.points


def test_a_moment_that_has_come_is_no_longer_in_the_future() -> None:
    """Given an event refused for its time, then the clock of today decides."""
    logs = history()
    event = json.dumps(NAIVE | {"time": "2028-06-01T10:00:00Z"}).encode()
    place = logs.refuse(event, Rejected("future_time", "too early", "time"))

    today = planned(logs, place)
    then = planned(logs, place, desk=replace(DESK, now_us=to_us("2028-05-01T00:00:00Z")))

    assert (today.outcome, then.outcome) == ("decided", "refused")


def test_a_topic_that_is_not_ours_is_named() -> None:
    """Given an event of a topic that this deployment does not listen to, then it is not sent there."""
    logs = history()
    place = logs.refuse(json.dumps(NAIVE).encode(), Rejected("invalid", "x"), topic="old-events")

    assert "--inbound" in planned(logs, place).refusal


def test_what_follows_for_others_is_rehearsed_too() -> None:
    """Given the quarantined first purchase of somebody who was brought, then the referrer's points are foretold as well."""
    logs = history()
    logs.poisoned = frozenset({"first"})
    logs.tell([refer("brought", "guest", "dirk"), buy("first", "guest")])

    one = planned(logs, "first")
    logs.poisoned = frozenset()
    logs.tell([buy("first", "guest")])

    assert one.effect is not None
    (award,) = one.effect.follows
    assert (award.member, award.after.points - award.before.points) == ("dirk", 100)
    assert (award.after.points, award.after.tier) == balance(logs, "dirk")
    assert one.effect.after.points == balance(logs, "guest")[0]


def test_several_records_are_rehearsed_one_after_the_other() -> None:
    """Given two quarantined facts of one member, then the second begins where the first ends."""
    logs = history()
    logs.poisoned = frozenset({"a", "b"})
    logs.tell([buy("a", "emma", "5.00"), buy("b", "emma", "7.00")])

    first, second = plan(logs, logs.programmes, found(logs, names=("a", "b")), DESK)

    assert first.effect is not None
    assert second.effect is not None
    assert first.effect.after == second.effect.before


def test_a_quarantined_tick_is_rehearsed_over_its_whole_partition() -> None:
    """Given a tick that could not be decided, then it goes back to its own partition."""
    logs = history()
    tick = tick_fact(0, to_us("2030-01-02T00:00:00Z"), RECORDED)
    logs.poisoned = frozenset({tick.id})
    logs.tell([tick])

    plans = plan(logs, logs.programmes, found(logs, names=(tick.id,)), DESK)

    assert [one.outcome for one in plans] == ["decided"] * logs.partitions
    assert [one.record.origin[0] for one in plans] == list(range(logs.partitions))


def test_logs_that_do_not_fit_together_rehearse_nothing() -> None:
    """Given a lost decision of the member's partition, then the place is named and verify is recommended."""
    logs = history()
    logs.drop(POINTS_LOG, *index_of(logs, "p1-emma"))

    with pytest.raises(LogsBroken, match="stammgast verify"):
        planned(logs, "poison")


def test_received_is_the_refusals_own_time_where_nobody_knows_better() -> None:
    """Given noise in facts, then its record's time stamp stands for when it was received."""
    logs = history()

    (noise,) = [one for one in found(logs, reasons=("quarantined",)) if not one.told("id")]

    assert noise.received_us == RECORDED_MS * 1_000
