"""Points that wait, that go by time, and what is owed: the parts that a story does not show."""

from __future__ import annotations

from engine.ledger.packing import pack, unpack
from schemas import facts
from schemas.decisions import Decision
from tests.unit.ledger import Stage, points, programme

WEB = """
points:
  name: points
  negative_balance: {policy}
  pending: {{for: 14 days, channels: [web]}}
earn:
  - id: spend
    on: purchase
    award: {{points: 1, per: 1.00 EUR}}
"""


def web(policy: str = "within_balance") -> Stage:
    """A shop whose web orders wait."""
    return Stage(programme(WEB.format(policy=policy)))


def spent(stage: Stage, lot: str, left: int) -> None:
    """Pretend that points of a lot were spent."""
    anna = stage.partition.members["anna"]
    anna.set_apart([lot], None)
    held = anna.lots_apart[lot]
    anna.balance -= held.left - left
    anna.lots_apart[lot] = held._replace(left=left)
    stage.partition.members.put(anna)


def test_within_balance_takes_what_is_there_and_says_what_it_left() -> None:
    """Given points that were spent, when the goods come back, then other points are taken, and the rest is told."""
    stage = web()
    first = stage.buy("2026-03-02T10:00:00Z", ("mug", "10.00"), order="a1")
    spent(stage, first.entries[0].entry_id, 0)
    stage.buy("2026-03-03T10:00:00Z", ("mug", "4.00"), order="a2")
    back = stage.refund("2026-03-04T10:00:00Z", "a1", amount="10.00")

    assert points(back) == [("spend", -4)]
    assert [note.code for note in back.notes] == ["not_taken"]
    assert (stage.balance(), stage.partition.members["anna"].debt) == (0, 0)
    # and what was left to the member is not asked for again
    stage.buy("2026-03-05T10:00:00Z", ("mug", "9.00"), order="a3")
    assert points(stage.refund("2026-03-06T10:00:00Z", "a1", amount="10.00")) == []


def test_what_is_owed_is_paid_by_the_next_points() -> None:
    """Given a debt, when points come, then they pay it first; those of the web shop when they may be spent."""
    stage = web("allow")
    first = stage.buy("2026-03-02T10:00:00Z", ("mug", "10.00"), order="a1")
    spent(stage, first.entries[0].entry_id, 3)
    back = stage.refund("2026-03-04T10:00:00Z", "a1", amount="10.00")
    assert (points(back), back.entries[0].burns) == ([("spend", -10)], [(first.entries[0].entry_id, 3)])
    assert (stage.balance(), stage.partition.members["anna"].debt) == (-7, 7)

    later = stage.buy("2026-03-05T10:00:00Z", ("mug", "5.00"), channel="web", order="a2")
    assert (later.entries[0].burns, stage.balance()) == ((), -2)
    paying = stage.buy("2026-03-06T10:00:00Z", ("mug", "4.00"), order="a3")
    assert paying.entries[0].burns == [(paying.entries[0].entry_id, 4)]
    anna = stage.partition.members["anna"]
    assert (anna.balance, anna.debt) == (2, 3)
    assert unpack("anna", pack(anna)) == anna

    (released,) = stage.tick("2026-03-20T10:00:00Z")[0].entries
    assert (released.kind, released.burns) == ("release", [(later.entries[0].entry_id, 3)])
    assert (stage.balance(), stage.partition.members["anna"].debt) == (2, 0)


SLIDING = """
points:
  name: points
  expire: {inactivity: 6 months}
earn:
  - id: visit
    on: visit
    award: {points: 2}
"""


def test_a_member_who_comes_keeps_what_has_no_date() -> None:
    """Given points that go by inactivity, when he comes, then every visit puts it off, a late one does not bring it nearer."""
    stage = Stage(programme(SLIDING))
    first = stage.say(facts.VISIT, "anna", "2026-01-10T10:00:00Z", {"store": "s1"})
    assert [change.state for change in first.states] == ["2026-07-10T22:00:00.000000Z"]
    again = stage.say(facts.VISIT, "anna", "2026-01-10T18:00:00Z", {"store": "s1"})
    assert again.states == ()
    stage.say(facts.VISIT, "anna", "2026-07-10T10:00:00Z", {"store": "s1"})
    late = stage.say(facts.VISIT, "anna", "2026-05-10T10:00:00Z", {"store": "s1"})
    assert late.states == ()

    gone = stage.tick("2027-02-01T00:00:00Z")[0]
    assert [(entry.kind, entry.points, entry.occurred_at) for entry in gone.entries] == [
        ("expire", -8, "2027-01-10T23:00:00.000000Z")
    ]
    assert [change.state for change in gone.states] == ["none"]
    assert stage.partition.next_due_us is None


EXPIRING = """
points:
  name: points
  expire: {after: 1 month}
earn:
  - id: visit
    on: visit
    award: {points: 2}
"""


def adjust(stage: Stage, time: str, **said: object) -> Decision:
    """Publish an adjustment by staff."""
    data = {"operator": "op-1", "reason": "goodwill", **said}
    return stage.say(facts.ADJUSTMENT, "anna", time, data)


def test_staff_gives_back_what_expired_once() -> None:
    """Given points that expired, when staff names that entry, then they come back with dates of now, and not a second time."""
    stage = Stage(programme(EXPIRING))
    stage.say(facts.VISIT, "anna", "2026-01-10T10:00:00Z", {"store": "s1"})
    stage.say(facts.VISIT, "anna", "2026-01-10T12:00:00Z", {"store": "s1"})
    (gone,) = stage.tick("2026-03-01T00:00:00Z")[0].entries
    assert (gone.points, stage.balance()) == (-4, 0)

    back = adjust(stage, "2026-03-05T10:00:00Z", reinstate=gone.entry_id)
    assert [(entry.kind, entry.points, entry.caused_by) for entry in back.entries] == [("reinstate", 4, gone.entry_id)]
    assert stage.balance() == 4
    again = adjust(stage, "2026-03-06T10:00:00Z", reinstate=gone.entry_id)
    assert (again.reason, again.entries) == ("nothing_to_reinstate", ())
    anna = stage.partition.members["anna"]
    assert unpack("anna", pack(anna)) == anna


def test_points_that_came_too_late_can_be_given_back_too() -> None:
    """Given an award that expired in its own decision, when staff names that expiry, then it comes back."""
    stage = Stage(programme(EXPIRING))
    stage.say(facts.VISIT, "anna", "2026-05-10T10:00:00Z", {"store": "s1"})
    late = stage.say(facts.VISIT, "anna", "2026-01-10T10:00:00Z", {"store": "s2"})
    assert [entry.kind for entry in late.entries] == ["earn", "expire"]

    back = adjust(stage, "2026-05-11T10:00:00Z", reinstate=late.entries[1].entry_id)
    assert [(entry.kind, entry.points) for entry in back.entries] == [("reinstate", 2)]


def test_what_time_takes_names_the_version_in_force() -> None:
    """Given points of version 1, when they expire or their parcel never came under version 2, then the entries say 2."""
    terms = "points: {expire: {after: 30 days}, pending: {until: delivered, cancel_after: 40 days, channels: [web]}}\n"
    body = terms + "earn: [{id: spend, on: purchase, award: {points: 1, per: 1.00 EUR}}]\n"
    stage = Stage(programme(body), programme(body, version=2, start="2026-03-20"))
    stage.buy("2026-03-02T10:00:00Z", ("mug", "10.00"), order="a1")
    stage.buy("2026-03-02T10:00:00Z", ("mug", "4.00"), order="a2", channel="web")
    taken = [entry for decision in stage.tick("2026-06-01T00:00:00Z") for entry in decision.entries]

    assert [(entry.kind, entry.rule_id, entry.points, entry.rule_version) for entry in taken] == [
        ("expire", "expiry", -10, 2), ("cancel", "pending", -4, 2),
    ]  # fmt: skip
    assert len({entry.entry_id for entry in taken}) == len({entry.fact_id for entry in taken}) == 2
