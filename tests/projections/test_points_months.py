"""Points kept at month ends change no balance: with them and without, in both times, balances are those of plain Python."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from projections.months import Months
from projections.warehouse import Warehouse
from tests.projections import given as notes_of
from tests.projections.test_months import (
    BEGIN,
    DAYS,
    EXAMPLES,
    HOURS,
    answer,
    emptied,
    keep_all,
    kept,
    logs_of,
    moment,
)

MEMBERS = ("anna", "bert", "carl")
CREDITS = ("earn", "adjust", "transfer", "reinstate")
#: The columns of `balances` that sum entries of some kinds, and with which sign.
SUMS = (
    (("earn",), 1),
    (("redeem", "restore"), -1),
    (("expire", "reinstate"), -1),
    (("clawback",), -1),
    (("cancel",), -1),
    (("adjust",), 1),
    (("transfer",), 1),
)


@dataclass
class Lot:
    """What is left of a credit, while a history is made."""

    name: str
    left: int
    waits: bool
    spent: list[int] = field(default_factory=list)


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """What a ledger can answer to facts, some told late: credits that wait or not, and what takes from them or gives back."""
    told: list[dict[str, Any]] = []
    lots: dict[str, list[Lot]] = defaultdict(list)
    recorded = BEGIN
    for number in range(draw(st.integers(1, 30))):
        recorded += timedelta(days=draw(st.sampled_from((0, 1, 3, 8))), minutes=draw(st.integers(1, 90)))
        happened = recorded - timedelta(days=draw(st.sampled_from((0, 0, 0, 1, 9, 40))))
        member = draw(st.sampled_from(MEMBERS))
        entry, kind = _entry(draw, f"e{number}", happened, lots[member])
        told.append(
            {
                "type": "purchase" if kind == "earn" else "visit",
                "id": f"f{number}",
                "subject": member,
                "time": moment(happened),
                "recorded": moment(recorded),
                "decision": {"entries": [{"entry_id": f"e{number}", "kind": kind, "rule_id": "base", **entry}]},
            }
        )
    return told


def _entry(draw: st.DrawFn, name: str, happened: datetime, lots: list[Lot]) -> tuple[dict[str, Any], str]:
    """One entry that these lots allow, and its kind; the lots are what they are after it."""
    waiting = [lot for lot in lots if lot.waits and lot.left]
    spendable = [lot for lot in lots if not lot.waits and lot.left]
    spent = [lot for lot in lots if lot.spent]
    kinds = {
        "redeem": spendable,
        "expire": spendable,
        "clawback": spendable + waiting,
        "cancel": waiting,
        "release": waiting,
        "restore": spent,
    }
    kind = draw(st.sampled_from(("earn", *CREDITS, *(kind for kind, allowed in kinds.items() if allowed))))
    if kind in CREDITS:
        return _credit(draw, name, happened, lots), kind
    lot = draw(st.sampled_from(kinds[kind]))
    if kind == "restore":
        points = lot.spent.pop()
        lot.left += points
        return {"points": points, "burns": [[lot.name, -points]]}, kind
    if kind == "release":
        lot.waits = False
        paid = draw(st.integers(0, lot.left))
        lot.left -= paid
        return {"points": 0, "burns": [[lot.name, paid]], "active_from": notes_of.canonical(moment(happened))}, kind
    points = lot.left if kind == "cancel" else draw(st.integers(1, lot.left))
    lot.left -= points
    if kind == "redeem":
        lot.spent.append(points)
    owed = draw(st.sampled_from((0, 7))) if kind == "clawback" else 0
    return {"points": -points - owed, "burns": [[lot.name, points]]}, kind


def _credit(draw: st.DrawFn, name: str, happened: datetime, lots: list[Lot]) -> dict[str, Any]:
    points = draw(st.integers(1, 50))
    paid = draw(st.sampled_from((0, 0, points)))
    waits = draw(st.sampled_from((None, None, "days", "delivered")))
    lots.append(Lot(name, points - paid, waits == "delivered"))
    return {
        "points": points,
        "burns": [[name, paid]] if paid else [],
        "waits_for": "delivered" if waits == "delivered" else None,
        "active_from": notes_of.canonical(moment(happened + timedelta(20))) if waits == "days" else None,
    }


def balances_in_plain_python(
    told: Sequence[dict[str, Any]], at: datetime, known_at: datetime | None
) -> list[tuple[Any, ...]]:
    """Rows of `balances` as of a moment, from everything that was told of that time, or was known of it at a moment."""
    entries: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for note in told:
        known = known_at is None or datetime.fromisoformat(note["recorded"]) <= known_at
        if known and datetime.fromisoformat(note["time"]) <= at:
            entries[note["subject"]] += note["decision"]["entries"]
    return sorted((member, *_balance(of_member, at)) for member, of_member in entries.items())


def _balance(entries: Sequence[dict[str, Any]], at: datetime) -> tuple[int, ...]:
    burnt: dict[str, int] = defaultdict(int)
    for entry in entries:
        for lot, points in entry["burns"]:
            burnt[lot] += points
    released = {lot for entry in entries if entry["kind"] == "release" for lot, _ in entry["burns"]}
    available = pending = 0
    for entry in entries:
        if entry["points"] > 0 and entry["kind"] != "restore":
            begins = entry.get("active_from")
            later = entry["waits_for"] is not None or (begins is not None and datetime.fromisoformat(begins) > at)
            left = entry["points"] - burnt[entry["entry_id"]]
            if later and entry["entry_id"] not in released:
                pending += left
            else:
                available += left
    debt = available + pending - sum(entry["points"] for entry in entries)
    sums = [sign * sum(one["points"] for one in entries if one["kind"] in kinds) for kinds, sign in SUMS]
    return available, pending, debt, *sums


@settings(
    max_examples=int(os.environ.get(EXAMPLES, "8")), deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
@given(told=histories(), data=st.data())
def test_both_times_agree_with_plain_python(told: list[dict[str, Any]], data: st.DataObject) -> None:
    """Decisions come in pieces, months are kept now and then; a rebuild that takes all at once keeps the same."""
    warehouse = emptied()
    pieces = logs_of(told)
    while any(facts for facts, _ in pieces):
        number = data.draw(st.sampled_from([n for n, (facts, _) in enumerate(pieces) if facts]), label="partition")
        facts, decisions = pieces[number]
        count = data.draw(st.integers(2, 9), label="records")
        warehouse.apply(facts[:count], decisions[:count])
        pieces[number] = (facts[count:], decisions[count:])
        if data.draw(st.booleans(), label="keep"):
            keep_all(warehouse)
    # As on the next day: a partition that was behind is looked at again.
    warehouse._months = Months(warehouse.connection)
    keep_all(warehouse)
    moments = data.draw(st.lists(st.tuples(_moments(), st.none() | _moments()), min_size=4, max_size=4), label="asked")
    check(warehouse, told, moments)
    step_by_step = kept(warehouse)
    event(f"months of points kept: {len(answer(warehouse, 'points_ends'))}")

    again = emptied()
    for facts, decisions in logs_of(told):
        again.apply(facts, decisions)
    check(again, told, moments)
    keep_all(again)
    assert kept(again) == step_by_step


def _moments() -> st.SearchStrategy[datetime]:
    """Some around month ends, in the zone of the programme, and one that is a fact's own time."""
    days = st.sampled_from((*range(0, DAYS + 120, 9), 10, 11, 12, 39, 40, 70, 71))
    return st.builds(lambda day, hour: BEGIN + timedelta(day, hours=hour), days, st.sampled_from((0, *HOURS)))


def check(
    warehouse: Warehouse, told: Sequence[dict[str, Any]], moments: Sequence[tuple[datetime, datetime | None]]
) -> None:
    for at, known_at in moments:
        said = f"{at}, known at {known_at}, kept {answer(warehouse, 'points_ends')}"
        assert answer(warehouse, "balances", at, known_at) == balances_in_plain_python(told, at, known_at), said


def test_what_waits_at_a_months_end_is_kept_until_it_does_not() -> None:
    """By hand: a lot that waits for a fact and is released late, one that waits for days, one that waited in vain."""

    def credit(number: int, **said: object) -> dict[str, Any]:
        return {"entries": [{"entry_id": f"e{number}", "points": 10 * number, "rule_id": "base", **said}]}

    def told(number: int, kind: str, day: str, recorded: str, decision: dict[str, Any]) -> dict[str, Any]:
        head = {"time": f"{day}T10:00:00Z", "recorded": f"{recorded}T10:00:00Z"}
        return {"type": kind, "id": f"f{number}", "subject": "anna", "decision": decision, **head}

    cancel = {"entry_id": "x3", "kind": "cancel", "points": -30, "rule_id": "pending", "burns": [["e3", 30]]}
    released = "2026-01-28T10:00:00.000000Z"
    release = {"entry_id": "x1", "kind": "release", "points": 0, "rule_id": "base", "active_from": released}
    facts, decisions = notes_of.records(
        [
            told(1, "purchase", "2026-01-20", "2026-01-20", credit(1, waits_for="delivered")),
            told(2, "purchase", "2026-01-21", "2026-01-21", credit(2, active_from="2026-02-10T10:00:00.000000Z")),
            told(3, "purchase", "2026-01-22", "2026-01-22", credit(3, waits_for="delivered")),
            told(4, "visit", "2026-01-25", "2026-01-25", {"entries": [cancel]}),
            told(5, "purchase", "2026-02-05", "2026-02-05", credit(4)),
            told(6, "visit", "2026-01-28", "2026-02-06", {"entries": [{**release, "burns": [["e1", 0]]}]}),
            told(7, "purchase", "2026-03-05", "2026-03-05", credit(5)),
        ]
    )
    january, february = date(2026, 1, 31), date(2026, 2, 28)
    with Warehouse.open(":memory:", log_id="test") as warehouse:
        warehouse.apply(facts, decisions)
        keep_all(warehouse)

        assert [row[:3] for row in answer(warehouse, "points_ends")] == [(0, january, 4), (0, february, 6)]
        assert [(end, lot, left) for _, end, lot, _, left, _ in answer(warehouse, "waiting_lots")] == [
            (january, "e1", 10),
            (january, "e2", 20),
        ]
        end = datetime(2026, 2, 1, tzinfo=UTC)
        for known_at, spendable in ((None, 10), (end + timedelta(5, hours=12), 10), (end + timedelta(5), 0)):
            balance = answer(warehouse, "balances", end, known_at)
            assert balance == [("anna", spendable, 30 - spendable, 0, 60, 0, 0, 0, 30, 0, 0)], known_at
        assert answer(warehouse, "balances", end + timedelta(10), None)[0][1:3] == (70, 0)
