"""Verify: a good log is proven, and each promise, broken by hand, is found as what it is and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cache

import orjson
import pytest

from engine.ledger.engine_facts import programme_fact, tick_fact
from engine.ledger.partition import TICK_PART_MEMBERS
from engine.stream.chain import CHAIN_HEADER
from engine.stream.clients import partition_for
from engine.verify.findings import KINDS
from engine.verify.scope import Scope
from schemas.envelope import encode_fact
from schemas.times import to_us
from tests.unit.verify_history import (
    MEMBERS,
    RECORDED,
    between,
    buy,
    event,
    found,
    history,
    index_of,
    refer,
    refund,
    versions,
)
from tests.unit.written_logs import FACTS, POINTS_LOG, REJECTS, WrittenLogs

Damage = Callable[[WrittenLogs], None]


@pytest.mark.parametrize("hole", [0, 1, 3])
@pytest.mark.parametrize("partitions", [2, 5])
def test_a_good_log_is_proven(partitions: int, hole: int) -> None:
    """Given a history with everything in it, holes between its records too, then nothing is found and all is counted."""
    # given
    logs = history(partitions=partitions, hole=hole)

    # when
    report = found(logs)

    # then
    assert report.findings.first == []
    assert report.proven(strict=True)
    assert report.facts == sum(map(len, logs.topics[FACTS]))
    assert report.decisions == sum(map(len, logs.topics[POINTS_LOG])) == report.linked
    assert report.compared == report.facts
    assert (report.undecided, report.unchained) == (0, 0)
    assert report.quarantined == 2
    assert report.derived == 2
    assert report.refused == sum(map(len, logs.topics[REJECTS])) == 4
    assert report.members == 6
    assert report.points > 500
    assert {number: at for number, (at, _) in report.heads.items()} == {
        number: log[-1].offset for number, log in enumerate(logs.topics[POINTS_LOG]) if log
    }


def test_facts_behind_the_last_decision_are_undecided() -> None:
    """Given facts that nobody decided yet, then they are counted, and nothing is wrong."""
    logs = history()
    logs.tell([buy("new1", "anna"), buy("new2", "ben")], decide=False)

    report = found(logs)

    assert report.proven(strict=True), report.findings.first
    assert report.undecided == 2


# --------------------------------------------------------------------------------------------------- one thing broken


def missing(logs: WrittenLogs) -> None:
    """A decision is gone, and the chain was written anew."""
    partition, index = index_of(logs, "p2-ben")
    values = logs.values(partition)
    logs.rewrite(partition, values[:index] + values[index + 1 :])


def doubled(logs: WrittenLogs) -> None:
    """A decision stands in the log again, at its end, with a good link."""
    partition, index = index_of(logs, "p1-dirk")
    record = logs.topics[POINTS_LOG][partition][index]
    logs.write_decision(partition, record.key, record.value or b"")


def doubled_at_once(logs: WrittenLogs) -> None:
    """A decision stands in the log twice in a row."""
    partition, index = index_of(logs, "p0-anna")
    values = logs.values(partition)
    logs.rewrite(partition, [*values[: index + 1], *values[index:]])


def swapped(logs: WrittenLogs) -> None:
    """Two decisions of one member changed places."""
    partition, index = index_of(logs, "p2-ben")
    values = logs.values(partition)
    values[index], values[index + 1] = values[index + 1], values[index]
    keys = [record.key for record in logs.topics[POINTS_LOG][partition]]
    keys[index], keys[index + 1] = keys[index + 1], keys[index]
    logs.topics[POINTS_LOG][partition] = []
    for key, value in zip(keys, values, strict=True):
        logs.write_decision(partition, key, value)


def fact_lost(logs: WrittenLogs) -> None:
    """A fact whose decision moved nothing is gone from the facts log: the duplicate."""
    partition, index = index_of(logs, "p0-anna", FACTS)
    log = logs.topics[FACTS][partition]
    again = next(n for n in range(index + 1, len(log)) if b'"id":"p0-anna"' in (log[n].value or b""))
    logs.drop(FACTS, partition, again)


def points_changed(logs: WrittenLogs) -> None:
    """Somebody gave a member ten points more, and wrote the chain anew."""
    partition, index = index_of(logs, "p3-emma")
    raw = orjson.loads(logs.values(partition)[index])
    raw["entries"][0]["points"] += 10
    logs.change(partition, index, orjson.dumps(raw))


def not_json(logs: WrittenLogs) -> None:
    """A decision was overwritten by noise."""
    partition, index = index_of(logs, "p3-emma")
    logs.change(partition, index, b"\xff\xff")


def offset_changed(logs: WrittenLogs) -> None:
    """A decision says to answer the fact behind its own."""
    partition, index = index_of(logs, "p1-finn")
    raw = orjson.loads(logs.values(partition)[index])
    raw["offset"] += 1
    logs.change(partition, index, orjson.dumps(raw))


def other_key(logs: WrittenLogs) -> None:
    """A decision carries another key than its fact."""
    logs.replace(POINTS_LOG, *index_of(logs, "p1-finn"), key=b"somebody")


def other_stamp(logs: WrittenLogs) -> None:
    """A decision carries another time stamp than its fact."""
    logs.replace(POINTS_LOG, *index_of(logs, "p1-finn"), timestamp=17)


def fact_elsewhere(logs: WrittenLogs) -> None:
    """Somebody wrote a member's fact into the wrong partition, where it was decided."""
    partition, _ = index_of(logs, "p0-anna", FACTS)
    logs.write_fact(1 - partition, b"anna", encode_fact(buy("astray", "anna")))
    while logs._step():
        pass


def link_changed(logs: WrittenLogs) -> None:
    """One byte of one link is another one."""
    partition, index = index_of(logs, "p1-finn")
    logs.replace(POINTS_LOG, partition, index, headers=[(CHAIN_HEADER, bytes(16))])


def link_gone(logs: WrittenLogs) -> None:
    """A record behind the first link has none."""
    logs.replace(POINTS_LOG, *index_of(logs, "p1-finn"), headers=[])


def reject_gone(logs: WrittenLogs) -> None:
    """A refused record is not in rejects."""
    partition = next(number for number, log in enumerate(logs.topics[REJECTS]) if log)
    logs.drop(REJECTS, partition, 0)


def reject_changed(logs: WrittenLogs) -> None:
    """A refused record has other bytes in rejects."""
    partition = next(number for number, log in enumerate(logs.topics[REJECTS]) if log)
    logs.replace(REJECTS, partition, 0, value=b"{}")


def reject_twice(logs: WrittenLogs) -> None:
    """A refused record stands in rejects twice."""
    partition = next(number for number, log in enumerate(logs.topics[REJECTS]) if log)
    log = logs.topics[REJECTS][partition]
    log.insert(1, log[0])


def reject_invented(logs: WrittenLogs) -> None:
    """A fact that was decided stands in rejects."""
    partition = next(number for number, log in enumerate(logs.topics[REJECTS]) if log)
    record = logs.topics[REJECTS][partition][0]
    headers = [(name, b"0" if name == "stammgast-offset" else value) for name, value in record.headers]
    logs.topics[REJECTS][partition].insert(0, record)
    logs.replace(REJECTS, partition, 0, headers=headers)


def award(logs: WrittenLogs) -> tuple[int, int]:
    """Where a referrer's award stands in facts."""
    for partition, log in enumerate(logs.topics[FACTS]):
        for index, record in enumerate(log):
            if b"referral_award" in (record.value or b""):
                return partition, index
    raise LookupError


def derived_lost(logs: WrittenLogs) -> None:
    """The referrer's award never came to facts: neither it nor its decision is there, as after a torn write."""
    partition, index = award(logs)
    record = logs.drop(FACTS, partition, index)
    name = orjson.loads(record.value or b"")["id"]
    _, at = index_of(logs, name)
    values = logs.values(partition)
    logs.rewrite(partition, values[:at] + values[at + 1 :])


def derived_again(logs: WrittenLogs) -> None:
    """The referrer's award was written twice, as a crash without transactions can do; the second is a duplicate."""
    partition, index = award(logs)
    record = logs.topics[FACTS][partition][index]
    logs.write_fact(partition, record.key, record.value or b"")
    while logs._step():
        pass


def derived_invented(logs: WrittenLogs) -> None:
    """Somebody wrote an award of the engine's own kind that no decision announces."""
    partition, index = award(logs)
    record = logs.topics[FACTS][partition][index]
    raw = orjson.loads(record.value or b"")
    logs.write_fact(partition, record.key, orjson.dumps(raw | {"id": "f" * 32}))
    while logs._step():
        pass


def derived_changed(logs: WrittenLogs) -> None:
    """An award says another member was brought than the one whose decision announces it, and was decided so."""
    fresh = history_without_decisions(logs)
    logs.topics = fresh.topics


def history_without_decisions(logs: WrittenLogs) -> WrittenLogs:
    """Write everything anew, the first award with another body."""
    fresh = WrittenLogs(logs.programmes, logs.partitions, poisoned=logs.poisoned)
    original = fresh.write_fact
    changed: list[bool] = []

    def forged(partition: int, key: bytes | None, value: bytes) -> object:
        if b"referral_award" in value and not changed:
            changed.append(True)
            raw = orjson.loads(value)
            value = orjson.dumps(raw | {"bodyhash": "0" * 32, "data": raw["data"] | {"cause_id": "other"}})
        return original(partition, key, value)

    fresh.write_fact = forged  # type: ignore[method-assign,assignment]
    first = [record for log in logs.topics[FACTS] for record in log if record.key is None]
    for record in first:
        original(record.partition, None, record.value or b"")
    while fresh._step():
        pass
    fresh.tell([refer("r-ben", "ben", "anna"), buy("p0-ben", "ben", "20.00")])
    return fresh


DAMAGES: dict[str, tuple[Damage, list[str]]] = {
    "missing": (missing, ["decision_missing"]),
    "doubled": (doubled, ["decision_doubled"]),
    "doubled at once": (doubled_at_once, ["decision_doubled"]),
    "swapped": (swapped, ["decision_out_of_order"]),
    "fact lost": (fact_lost, ["decision_without_fact"]),
    "points changed": (points_changed, ["decision_differs"]),
    "not JSON": (not_json, ["decision_differs"]),
    "offset changed": (offset_changed, ["decision_differs"]),
    "other key": (other_key, ["decision_misplaced"]),
    "other stamp": (other_stamp, ["decision_misplaced"]),
    "fact elsewhere": (fact_elsewhere, ["fact_misplaced"]),
    "link changed": (link_changed, ["chain_broken"]),
    "link gone": (link_gone, ["chain_broken"]),
    "reject gone": (reject_gone, ["reject_missing"]),
    "reject changed": (reject_changed, ["reject_differs"]),
    "reject twice": (reject_twice, ["reject_doubled"]),
    "reject invented": (reject_invented, ["reject_without_decision"]),
    "derived lost": (derived_lost, ["derived_missing"]),
    "derived again": (derived_again, ["derived_repeated"]),
    "derived invented": (derived_invented, ["derived_unannounced"]),
    "derived changed": (derived_changed, ["derived_differs"]),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_each_broken_promise_is_found_as_what_it_is(name: str) -> None:
    """Given good logs with one thing broken, then exactly that is found, with its place, what it means and how to go on."""
    # given
    damage, kinds = DAMAGES[name]
    logs = history()
    damage(logs)

    # when
    report = found(logs)

    # then
    assert [one.kind for one in report.findings.first] == kinds, report.findings.first
    (one,) = report.findings.first
    assert report.proven() == (one.severity == "warning")
    assert not report.proven(strict=True)
    told = one.as_json()
    assert told["says"]
    assert told["go_on"]
    assert told["topic"] in (FACTS, POINTS_LOG, REJECTS)
    assert told["partition"] in (0, 1)
    assert told["offset"] is not None


def test_a_changed_decision_shows_what_was_expected_and_what_stands_there() -> None:
    """Given changed points, then both decisions are shown in full, with the fact and the member."""
    logs = history()
    partition, index = index_of(logs, "p3-emma")
    before = logs.values(partition)[index]
    points_changed(logs)

    (one,) = found(logs).findings.first

    assert (one.expected, one.found) == (before.decode(), logs.values(partition)[index].decode())
    assert one.says.endswith("differs in entries.0.points (expected 23, found 33)"), one.says
    assert (one.fact, one.member) == ("urn:test p3-emma", "emma")
    assert (one.topic, one.partition, one.offset) == (POINTS_LOG, partition, index)


def test_a_missing_programme_stops_the_comparison_and_says_so() -> None:
    """Given a version whose text is not published, then it is named, and nothing behind it is called different."""
    logs = history()
    one = next(iter(logs.programmes.values()))

    report = found(logs, programmes={key: value for key, value in versions().items() if key != one.hash})

    assert set(report.findings.counts) == {"programme_missing"}
    assert one.hash in report.findings.first[0].says


def test_an_alias_is_no_second_member() -> None:
    """Given a card and an account that became another's, with facts for both afterwards, then everything is proven: the same fact
    stands in two partitions, and that is what the alias's decision says."""
    logs = history(partitions=5)
    staff = {"operator": "op-3", "reason": "lost_card"}
    logs.tell([event("l1", "link", "card", {"member": "ben", **staff}, "2028-01-04T10:00:00Z")])
    logs.tell([event("l2", "merge", "ben", {"into": "anna", **staff}, "2028-01-04T11:00:00Z")])
    logs.tell([buy("c1", "card", when="2028-01-05T10:00:00Z"), buy("c1", "card", when="2028-01-05T10:00:00Z")])
    logs.tell([refund("b2", "ben", "p2-ben", "2028-01-06T10:00:00Z")])

    report = found(logs)

    assert report.findings.first == []
    assert report.proven(strict=True)


def test_what_an_alias_has_not_passed_on_yet_is_judged_when_it_has() -> None:
    """Given logs that were read while an alias was behind: the member's partition has decided what an alias passes on, and the
    alias's decision came after the end that was read, then its copies are undecided here, and nobody calls them doubled."""
    logs = between()
    home = partition_for(b"card", logs.partitions)
    log = logs.topics[POINTS_LOG][home]
    first = next(n for n, record in enumerate(log) if b'"outcome":"forwarded"' in (record.value or b""))
    del log[first:]

    report = found(logs)

    assert report.undecided >= 2
    assert report.findings.first == []
    assert report.proven(strict=True)


def test_claims_and_transfers_are_proven() -> None:
    """Given business in two partitions, a sale that a member claimed and points that went and came back, then all is proven."""
    logs = between()

    report = found(logs)

    assert report.findings.first == []
    assert report.proven(strict=True)


def test_a_forwarded_fact_that_is_nowhere_is_missing() -> None:
    """Given a fact that an alias passed on, taken out of the log it was written to, then it is found as missing."""
    logs = history(partitions=5)
    staff = {"operator": "op-3", "reason": "lost_card"}
    logs.tell([event("l1", "link", "card", {"member": "ben", **staff}, "2028-01-04T10:00:00Z")])
    logs.tell([buy("c1", "card", when="2028-01-05T10:00:00Z")])
    home = partition_for(b"ben", 5)
    for topic in (FACTS, POINTS_LOG):
        logs.topics[topic][home].pop()

    assert set(found(logs).findings.counts) == {"derived_missing"}


def test_an_id_that_two_members_share_is_a_warning() -> None:
    """Given one id for purchases of two members in different partitions, then both places are named; no promise is broken."""
    logs = history()
    homes = {partition_for(name.encode(), 2): name for name in MEMBERS}
    logs.tell([buy("same", name) for name in ("guest", *homes.values())])
    places = {
        log.partition for records in logs.topics[FACTS] for log in records if b'"id":"same"' in (log.value or b"")
    }
    assert len(places) == 2

    report = found(logs)

    (one,) = report.findings.first
    assert (one.kind, one.fact) == ("id_reused", "urn:test same")
    assert "3 members" in one.says
    assert report.proven()
    assert not report.proven(strict=True)


def test_a_referral_loop_is_a_warning() -> None:
    """Given three who brought each other in a circle before anything was awarded, then the circle is named once."""
    logs = history()
    logs.tell([refer("x1", "xena", "yuri"), refer("x2", "yuri", "zoe"), refer("x3", "zoe", "xena")])

    report = found(logs)

    (one,) = report.findings.first
    assert one.kind == "referral_loop"
    assert one.says == "xena was brought by yuri was brought by zoe was brought by xena"
    assert report.proven()


def test_what_rejects_has_forgotten_is_not_missing() -> None:
    """Given a rejects topic whose old records were deleted, then what is missing at its beginning is counted as expired."""
    logs = history()
    partition = next(number for number, log in enumerate(logs.topics[REJECTS]) if log)
    gone = logs.drop(REJECTS, partition, 0)
    logs.begins[partition] = gone.offset + 1

    report = found(logs)

    assert report.proven(strict=True), report.findings.first
    assert (report.refused, report.refused_expired) == (3, 1)


def test_a_derived_fact_that_came_meanwhile_is_not_missing() -> None:
    """Given a running system whose award came behind the end that was read, then the second look finds it."""
    logs = history()
    partition, index = award(logs)
    record = logs.topics[FACTS][partition][index]
    derived_lost(logs)
    logs.late_facts.append(record)

    assert found(logs).proven(strict=True)


def test_a_log_from_before_the_chain_is_counted_and_not_blamed() -> None:
    """Given records without links before the first one with a link, then they are counted as unchained."""
    logs = history()
    old = [len(records) for records in logs.topics[POINTS_LOG]]
    for partition, records in enumerate(logs.topics[POINTS_LOG]):
        for index in range(len(records)):
            logs.replace(POINTS_LOG, partition, index, headers=[])

    report = found(logs)

    assert report.proven(strict=True)
    assert (report.unchained, report.linked) == (sum(old), 0)


def test_an_anchor_finds_a_log_that_was_written_anew() -> None:
    """Given the heads of an earlier report, when decisions behind it change together with the whole chain, it is found."""
    logs = history()
    heads = found(logs).heads
    assert found(logs, anchors=heads).proven()
    points_changed(logs)

    report = found(logs, anchors=heads)

    assert sorted(report.findings.counts) == ["anchor_differs", "decision_differs"]


def test_an_anchor_finds_a_log_that_was_cut() -> None:
    """Given the heads of an earlier report, when the last decision and its fact are gone, the anchor is not met."""
    logs = history()
    heads = found(logs).heads
    partition, _ = index_of(logs, "last")
    logs.topics[POINTS_LOG][partition].pop()
    logs.topics[FACTS][partition].pop()
    assert found(logs).proven()

    report = found(logs, anchors=heads)

    assert list(report.findings.counts) == ["anchor_differs"]


def test_since_takes_what_is_older_as_given() -> None:
    """Given a change in an old decision and one in a new one, then only the new one is compared."""
    logs = history()
    points_changed(logs)
    newer = [buy("n1", "anna"), buy("n2", "finn")]
    logs.tell(newer)
    for fact in newer:
        for topic in (FACTS, POINTS_LOG):
            logs.replace(topic, *index_of(logs, fact.id, topic), timestamp=1_900_000_000_000)

    report = found(logs, scope=Scope(since_ms=1_900_000_000_000))

    assert report.proven(), report.findings.first
    assert report.compared == 2 + 1  # and the record that is no fact, which costs nothing


@pytest.mark.parametrize("share", [1_000, 3_000, 5_000])
def test_a_sample_of_members_is_proven_like_the_whole(share: int) -> None:
    """Given a share of the members, ticks among their facts, then nothing is found, and fewer decisions are compared."""
    report = found(history(), scope=Scope(share=share))

    assert report.proven(strict=True), report.findings.first
    assert report.compared < found(history()).compared


def test_a_sample_finds_what_is_wrong_with_its_members() -> None:
    """Given a change of a member of the sample, then it is found; of another one, then it is not."""
    logs = history()
    points_changed(logs)

    taken = {share: found(logs, scope=Scope(share=share)).proven() for share in range(0, 10_001, 500)}

    assert taken[0]
    assert not taken[10_000]
    assert sorted(taken.values(), reverse=True) == [taken[share] for share in sorted(taken)]


def test_every_kind_says_what_it_means_and_how_to_go_on() -> None:
    """The table is complete."""
    assert all(kind.means and kind.go_on for kind in KINDS.values())


def ticked() -> WrittenLogs:
    """A tick that many members are due at: its decision comes in parts. A copy, which may be damaged."""
    logs = copy(_ticked())
    logs.topics = {topic: [list(log) for log in partitions] for topic, partitions in logs.topics.items()}
    return logs


@cache
def _ticked() -> WrittenLogs:
    programmes = versions()
    logs = WrittenLogs(programmes, partitions=1)
    logs.tell(programme_fact(one, RECORDED) for one in programmes.values())
    logs.tell(buy(f"p{number}", f"m{number:04d}", "100.00") for number in range(TICK_PART_MEMBERS * 2 + 100))
    logs.tell(
        [tick_fact(0, to_us("2028-01-02T00:00:00Z"), RECORDED), buy("last", "m0000", when="2028-01-03T10:00:00Z")]
    )
    assert [orjson.loads(value)["part"] for value in logs.values(0)[-4:]] == [0, 1, 2, 0]
    return logs


def in_order(logs: WrittenLogs, *places: int) -> None:
    """The last four records stand in another order."""
    logs.rewrite(0, [*logs.values(0)[:-4], *(logs.values(0)[at] for at in places)])


TWO = ["decision_doubled", "decision_differs"]
PARTS: dict[str, tuple[Damage, list[str]]] = {
    "first part gone": (lambda logs: in_order(logs, -3, -2, -1), ["decision_differs"]),
    "last part gone": (lambda logs: in_order(logs, -4, -3, -1), ["decision_differs"]),
    "parts swapped": (lambda logs: in_order(logs, -3, -4, -2, -1), TWO),
    "a part twice": (lambda logs: in_order(logs, -4, -4, -3, -2, -1), TWO),
}


def test_a_decision_in_parts_is_proven_whole_and_in_a_sample() -> None:
    """Given a tick that 1,100 members are due at, then its three parts are one decision; a sample compares its members'."""
    logs = ticked()

    whole, sample = found(logs), found(logs, scope=Scope(share=700))

    assert whole.findings.first == sample.findings.first == []
    assert (whole.compared, whole.decisions) == (whole.facts, whole.facts + 2)
    assert 0 < sample.compared < whole.compared


@pytest.mark.parametrize("name", PARTS)
def test_a_part_out_of_place_is_found(name: str) -> None:
    """Given a tick's decision with a part gone, doubled or displaced, then it is found, and nothing behind it is blamed."""
    damage, kinds = PARTS[name]
    logs = ticked()
    damage(logs)

    report = found(logs)

    assert set(report.findings.counts) <= set(kinds), report.findings.counts
    assert not report.proven()
    assert sum(report.findings.counts.values()) <= 2


def test_parts_that_are_still_being_written_are_no_finding() -> None:
    """Given a log that ends behind the first part of a decision, as without transactions it can, then it is undecided."""
    logs = ticked()
    logs.rewrite(0, logs.values(0)[:-3])
    logs.topics[FACTS][0].pop()

    assert found(logs).proven(strict=True)
