"""The state of a partition put down and taken up again: members packed, restored, and refused where they do not belong."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

import orjson
import pytest

from engine.ledger.compact import name, read_name
from engine.ledger.engine_facts import midnight_before, programme_fact
from engine.ledger.member import quantity_milli
from engine.ledger.members import Members
from engine.ledger.packing import STATE_FORMAT, UnknownStateFormat, pack, unpack
from engine.ledger.partition import FoldFailed, Partition, UnknownProgramme
from rules.book import OverlapError
from schemas import facts
from schemas.normalise import normalise
from schemas.times import to_us
from tests.unit.ledger import RECORDED, Stage, points, programme
from tests.unit.test_ledger_examples import SPEND, TIERS


def stage_with_orders() -> Stage:
    """Anna bought twice and Ben once."""
    stage = Stage(programme(SPEND + TIERS))
    stage.buy("2026-03-02T10:00:00Z", ("mug", "60.00"), ("bean", "5.99"), order="a1")
    stage.buy("2026-03-03T10:00:00Z", ("mug", "60.00"), order="a2")
    stage.buy("2026-03-04T10:00:00Z", ("bean", "9.99"), member="ben")
    return stage


def restored(stage: Stage, *keys: str) -> Stage:
    """Another worker's stage: the outline and the snapshots of some members."""
    versions = stage.partition.book.versions
    other = copy(stage)
    other.decisions = []
    other.partition = Partition(0, {version.hash: version for version in versions}, live_members=2)
    other.partition.restore_outline(stage.partition.outline())
    for key in keys:
        other.partition.restore(key, *stage.partition.snapshot(key))
    return other


def test_a_restored_member_is_decided_upon_as_before() -> None:
    """Given Anna's snapshot, when she returns a mug, then its points go back out of the lot they came from."""
    stage = stage_with_orders()
    other = restored(stage, "anna", "ben")

    before, after = (each.refund("2026-03-05T10:00:00Z", "a1", lines=[{"line": 1, "quantity": "1"}])
                     for each in (stage, other))  # fmt: skip
    assert points(after) == points(before) == [("spend", -59)]
    assert other.partition.snapshot("anna") == stage.partition.snapshot("anna")


def test_the_next_timer_is_known_without_unpacking_anybody() -> None:
    """Given members with a tier until the end of next year, when they are restored, then a tick finds them."""
    stage = stage_with_orders()
    other = restored(stage, "anna", "ben")

    assert other.partition.members.live == 0
    assert other.partition.next_due_us == stage.partition.next_due_us is not None
    assert [change.member_id for change in other.tick("2028-01-01T00:00:00+01:00")[0].tiers] == ["anna"]


def test_of_two_snapshots_of_a_member_the_newest_counts() -> None:
    """Given an old snapshot that was not cleaned up yet, when it is read after the new one, then it is ignored."""
    stage = stage_with_orders()
    old = stage.partition.snapshot("anna")
    stage.buy("2026-03-05T10:00:00Z", ("mug", "500.00"))
    other = restored(stage, "anna")
    other.partition.restore("anna", *old)

    assert other.partition.snapshot("anna") == stage.partition.snapshot("anna") != old
    assert other.partition.next_due_us == stage.partition.next_due_us


def test_only_what_changes_a_member_moves_his_offset() -> None:
    """A duplicate, a rejected and a quarantined fact leave his snapshot, and whether it is due, alone."""
    stage = stage_with_orders()
    assert stage.partition.changed() == ["anna", "ben"]
    before = stage.partition.snapshot("anna")
    stage.say(facts.VISIT, "anna", "2020-01-01T10:00:00Z", {"store": "s1"})
    assert stage.decisions[-1].outcome == "rejected"

    assert stage.partition.snapshot("anna") == before
    assert stage.partition.changed() == []
    assert stage.partition.next_offset == stage.decisions[-1].offset + 1


@pytest.mark.parametrize("packed", [b"", bytes([STATE_FORMAT + 1, 0, 0]), bytes([STATE_FORMAT])])
def test_another_format_is_refused(packed: bytes) -> None:
    """Given bytes of another engine, or a piece of ours, when they are restored, then the message says what they are."""
    with pytest.raises(UnknownStateFormat):
        Partition(0, {}).restore("anna", 0, packed)


@pytest.mark.parametrize("harm", [lambda packed: packed[:-20], lambda packed: packed[:-1] + bytes([packed[-1] ^ 1])])
def test_a_damaged_state_is_refused(harm: Callable[[bytes], bytes]) -> None:
    """Given a state cut off, or with one bit turned, when it is restored, then it is refused, and nobody is quarantined later."""
    stage = stage_with_orders()
    offset, packed = stage.partition.snapshot("anna")

    with pytest.raises(UnknownStateFormat, match="damaged"):
        restored(stage).partition.restore("anna", offset, harm(packed))


def test_an_offset_that_is_not_the_states_own_is_refused() -> None:
    """Given a record whose header names another offset, when it is restored, then it is no snapshot of ours."""
    stage = stage_with_orders()
    offset, packed = stage.partition.snapshot("anna")

    with pytest.raises(UnknownStateFormat, match=f"ends at offset {offset}, its record says {offset + 1}"):
        restored(stage).partition.restore("anna", offset + 1, packed)


def test_a_snapshot_of_a_longer_log_is_not_built_upon() -> None:
    """Given logs that lost their end and snapshots that did not, when the member's next fact comes, then the fold fails."""
    stage = stage_with_orders()
    short = stage.partition.outline() | {"next_offset": 2}
    other = restored(stage, "anna", "ben")
    other.partition.restore_outline(short)

    with pytest.raises(FoldFailed, match="the log ends before"):
        other.buy("2026-03-05T10:00:00Z", ("mug", "5.00"))


def test_a_fact_is_not_decided_twice() -> None:
    """Given a partition at some offset, when an older fact is handed to it, then it does not answer."""
    stage = stage_with_orders()

    with pytest.raises(FoldFailed, match="decided already"):
        stage.partition.answer(programme_fact(programme(SPEND), RECORDED), 0)


def test_an_outline_with_an_unknown_version_changes_nothing() -> None:
    """The worker can fetch the version and restore again."""
    stage = stage_with_orders()
    partition = Partition(0, {})
    with pytest.raises(UnknownProgramme):
        partition.restore_outline(stage.partition.outline())

    assert partition.outline() == Partition(0, {}).outline()


def test_a_version_that_overlaps_another_can_be_quarantined() -> None:
    """Two versions that begin together: the second fact cannot be decided, and the partition goes on under the first."""
    first, second = programme(SPEND), programme(SPEND + TIERS, version=2)
    stage = Stage(first)
    stage.partition._programmes = {first.hash: first, second.hash: second}
    offset = stage.partition.next_offset

    with pytest.raises(OverlapError):
        stage.partition.answer(programme_fact(second, RECORDED), offset)
    stage.partition.quarantine(programme_fact(second, RECORDED), offset, "OverlapError")
    assert points(stage.buy("2026-03-02T10:00:00Z", ("mug", "5.00"))) == [("spend", 5)]


def test_members_asked_for_last_stay_unpacked() -> None:
    """Given room for four, when others come and one is asked for again and again, then that one is the same object."""
    stage = stage_with_orders()
    anna, members = stage.partition.members["anna"], Members(4)
    members.put(anna)
    for number in range(20):
        members.put(unpack(f"m{number}", pack(anna)))
        assert members.get("anna") is anna

    assert (len(members), members.live <= 4) == (21, True)
    assert members["m3"].balance == anna.balance
    with pytest.raises(KeyError):
        members["nobody"]


def test_nobody_is_packed_while_there_is_room() -> None:
    """Given as many members as are kept as objects, then each stays the same object, however often and in whichever order."""
    anna, members = stage_with_orders().partition.members["anna"], Members(4)
    kept = {key: unpack(key, pack(anna)) for key in ("m0", "m1", "m2", "m3")}
    for member in kept.values():
        members.put(member)
    for key in ("m3", "m0", "m0", "m2", "m1", "m3", "m1", "m0", "m2", "m3") * 3:
        assert members.get(key) is kept[key]
        members.put(kept[key])

    assert members.live == 4


def test_who_was_not_asked_for_the_longest_makes_room() -> None:
    """Given all places taken, when others come, then those leave to whom nothing happened since; they come back as they were."""
    anna, members = stage_with_orders().partition.members["anna"], Members(4)
    kept = {key: unpack(key, pack(anna)) for key in ("m0", "m1", "m2", "m3", "m4", "m5")}
    for key in ("m0", "m1", "m2", "m3", "m4"):
        members.put(kept[key])
    assert [members.peek(key) is kept[key] for key in kept] == [False, True, True, True, True, False]

    assert members.get("m1") is kept["m1"]
    assert members.get("m2") is kept["m2"]
    members.put(kept["m5"])
    assert [members.peek(key) is kept[key] for key in kept] == [False, True, True, False, True, True]
    back = members["m3"]
    assert (back is kept["m3"], back) == (False, kept["m3"])


def test_a_preview_takes_nothing_in() -> None:
    """Given a purchase that is only asked about, then the answer is the one it will get, and nobody's state has moved."""
    stage = stage_with_orders()
    before = stage.partition.snapshot("anna")
    data = {"order_id": "a3", "lines": [{"sku": "mug", "quantity": "1", "unit_price": "7.00"}], "total": "7.00"}
    event = {"specversion": "1.0", "id": "asked", "source": "urn:till:7", "type": facts.PURCHASE, "subject": "anna"}
    told = {**event, "time": "2026-03-05T10:00:00Z", "data": {**data, "currency": "EUR", "channel": "pos"}}
    fact = normalise(orjson.dumps(told), RECORDED, to_us(RECORDED))

    (seen,) = stage.partition.preview(fact).decisions
    assert points(seen) == [("spend", 7), ("tier:regular", 3)]
    assert stage.partition.snapshot("anna") == before
    (done,) = stage.answer(fact).decisions
    assert done == seen


def test_a_quarantined_fact_says_what_went_wrong() -> None:
    """Given a fact that nobody dares to decide, then its decision names the error, moves nothing, and the next one follows."""
    stage = stage_with_orders()
    before = stage.partition.members["anna"].balance
    answer = stage.partition.quarantine(stage.heard[-1][0], stage.partition.next_offset, "KeyError: x", "attempts")
    (decision,) = answer.decisions

    assert (decision.outcome, decision.reason) == ("quarantined", "attempts")
    assert [(note.code, note.rule_id, note.text) for note in decision.notes] == [("quarantined", None, "KeyError: x")]
    assert answer.reject is not None
    assert (answer.reject.reason, answer.reject.message) == ("quarantined", "KeyError: x")
    assert stage.partition.members["anna"].balance == before
    assert stage.partition.next_offset == decision.offset + 1


@pytest.mark.parametrize(
    "text",
    [
        "a", "", "7", "0", "007", "4711471147114711", "9" * 18, "9" * 40, "x" * 31, "x" * 200, "ü" * 300, "0f" * 16, "0F" * 16,
        "a3bb189e-8bf9-3888-9912-ace4e6543002", "A3BB189E-8bf9-3888-9912-ace4e6543002", "zzbb189e-8bf9-3888-9912-ace4e6543002",
    ],
)  # fmt: skip
def test_ids_are_read_as_they_were_written(text: str) -> None:
    """Given ids of any make, one behind the other, then each is read back, and the place behind it."""
    packed = name("first") + name(text) + name("last")
    first, at = read_name(packed, 0)
    found, behind = read_name(packed, at)

    assert (first, found, read_name(packed, behind)) == ("first", text, ("last", len(packed)))


def test_the_midnight_before_is_the_shops() -> None:
    """Given half past midnight in Berlin, then it is the midnight just gone; at midnight itself it is that one."""
    berlin = programme(SPEND)

    assert midnight_before(to_us("2026-07-01T22:30:00Z"), berlin) == to_us("2026-07-01T22:00:00Z")
    assert midnight_before(to_us("2026-07-01T22:00:00Z"), berlin) == to_us("2026-07-01T22:00:00Z")
    assert midnight_before(to_us("2026-07-01T21:59:00Z"), berlin) == to_us("2026-06-30T22:00:00Z")


def test_bytes_that_are_no_state_are_told_as_such() -> None:
    """Nothing at all, or the bytes of another format: never read as a member."""
    packed = bytes(pack(stage_with_orders().partition.members["anna"]))

    with pytest.raises(UnknownStateFormat, match=f"format {STATE_FORMAT} was expected, this is nothing"):
        unpack("anna", b"")
    with pytest.raises(UnknownStateFormat, match=f"format {STATE_FORMAT} was expected, this is 255"):
        unpack("anna", b"\xff" + packed[1:])
    assert unpack("anna", packed).balance == stage_with_orders().balance()


@pytest.mark.parametrize(
    ("text", "milli"), [("1", 1000), ("2.5", 2500), ("12.05", 12050), ("0.125", 125), ("3.000", 3000)]
)
def test_a_quantity_is_counted_in_thousandths(text: str, milli: int) -> None:
    """With up to three decimals."""
    assert quantity_milli(text) == milli
