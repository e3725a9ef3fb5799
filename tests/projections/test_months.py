"""Kept months change no answer: what they tell with what came after is what all purchases tell, in both times."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from projections import sql
from projections.months import Months
from projections.warehouse import Record, Warehouse
from tests.console.demo_file import make_month
from tests.projections import given as notes_of

#: How many histories are tried; a whole run tries some hundreds.
EXAMPLES = "STAMMGAST_TEST_MONTHS_EXAMPLES"
BEGIN = datetime(2026, 1, 20, tzinfo=UTC)
#: From January to April, over the change to summer time.
DAYS = 75
#: Late enough that London and UTC disagree in summer; and the hour in which no day has ended anywhere near.
HOURS = (9, 22, 23)
PARTITION = {"anna": 0, "bert": 0, None: 0, "carl": 1, "card": 1}
#: How purchases are answered: most count, some are refused for points and count, some do not count.
ANSWERS: tuple[dict[str, Any], ...] = (
    *({},) * 4,
    {"reason": "no_programme"},
    {"reason": "order_already_counted"},
    {"outcome": "duplicate"},
    {"outcome": "quarantined"},
)
#: What a refund pays back, and how it is answered: all of the order, a part of it, all its money but no piece.
BACK: tuple[tuple[int | None, dict[str, Any]], ...] = (
    (1000, {"returned": [[1, 2000, 1000]]}),
    (None, {"returned": [[1, 1000, 500]]}),
    (1200, {"returned": [[1, 0, 1000]]}),
)
#: The tables of what is kept, each asked for in one order.
KEPT = ("month_ends", "member_months", "month_turns", "points_ends", "member_points", "waiting_lots")
PLACES = ("schema", "log_positions", "identity", "metric_versions", "settings")


@cache
def asked() -> dict[str, str]:
    """The questions of months.sql by name."""
    parts = Path(__file__).with_name("months.sql").read_text(encoding="utf-8").split("-- statement: ")[1:]
    return {name.strip(): query for name, _, query in (part.partition("\n") for part in parts)}


def answer(warehouse: Warehouse, name: str, *values: object) -> list[tuple[Any, ...]]:
    return warehouse.connection.execute(asked()[name], values or None).fetchall()


def moment(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}Z"


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Purchases at once, late and by clocks that disagree, refunds, refusals, and a card that becomes somebody's."""
    told: list[tuple[datetime, dict[str, Any]]] = []
    bought: list[tuple[str, str, str]] = []
    for number in range(draw(st.integers(1, 25))):
        happened = BEGIN + timedelta(days=draw(st.integers(0, DAYS)), hours=draw(st.sampled_from(HOURS)))
        late = draw(st.sampled_from((0, 0, 0, 0, 1, 9, 40)))
        recorded = happened + timedelta(days=late, minutes=draw(st.integers(0, 90)))
        head: dict[str, Any] = {"time": moment(happened), "recorded": moment(recorded)}
        kind = draw(st.sampled_from(("purchase",) * 8 + ("refund", "link")))
        if kind == "purchase" or (kind == "refund" and not bought):
            member = draw(st.sampled_from(("anna", "anna", "bert", "carl", "card", None)))
            said = draw(st.sampled_from(ANSWERS))
            currency = draw(st.sampled_from(("GBP", "GBP", "GBP", "EUR")))
            sale = {"currency": currency}
            note = {"type": "purchase", "id": f"p{number}", "subject": member, "data": sale, "decision": said, **head}
            if member is not None and said == {}:
                bought.append((member, f"p{number}", currency))
        elif kind == "refund":
            member, order, currency = draw(st.sampled_from(bought))
            paid_back, again = draw(st.sampled_from(BACK))
            back = {"order_id": order, "total_minor": paid_back, "currency": currency}
            note = {"type": "refund", "id": f"r{number}", "subject": member, "data": back, "decision": again, **head}
        else:
            note = {
                "type": "link",
                "id": f"l{number}",
                "subject": "card",
                "data": {"member": "anna", "operator": "op"},
                **head,
            }
        told.append((recorded, note))
    if draw(st.booleans()):
        told.sort(key=lambda one: one[0])
    return as_the_ledger_answers([note for _, note in told])


def as_the_ledger_answers(told: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A refund that is told before its purchase waits for it, and moves nothing."""
    known = set()
    answered = []
    for note in told:
        known.add(note["id"])
        waits = note["type"] == "refund" and note["data"]["order_id"] not in known
        answered.append({**note, "decision": {"reason": "unknown_order"}} if waits else note)
    return answered


def days_in_plain_python(told: Sequence[dict[str, Any]], day: date, known_at: datetime | None) -> list[tuple[Any, ...]]:
    """Members with their first day, their last and how many, until `day`, as it is known now or was at a moment."""
    linked = any(note["type"] == "link" for note in told)
    days: dict[str, set[date]] = {}
    for note in told:
        counts = note["type"] == "purchase" and note["decision"] in ({}, {"reason": "no_programme"})
        on = datetime.fromisoformat(note["time"]).astimezone(ZoneInfo("Europe/London")).date()
        known = known_at is None or datetime.fromisoformat(note["recorded"]) <= known_at
        if counts and known and on <= day and note["subject"] is not None:
            member = "anna" if linked and note["subject"] == "card" else note["subject"]
            days.setdefault(member, set()).add(on)
    return sorted((member, min(found), max(found), len(found)) for member, found in days.items())


@cache
def empty() -> Warehouse:
    """One warehouse for all examples: its tables are emptied, which takes a tenth of making them."""
    return Warehouse.open(":memory:", log_id="months", threads=1)


def emptied() -> Warehouse:
    warehouse = empty()
    for name in sql.statements("staging/tables"):
        if name not in PLACES:
            warehouse.connection.execute(f"delete from staging.{name}")  # noqa: S608 - names of our own file
    warehouse.connection.execute("delete from log_positions")
    warehouse._read_positions()
    warehouse._months = Months(warehouse.connection)
    return warehouse


def logs_of(told: Sequence[dict[str, Any]]) -> list[tuple[list[Record], list[Record]]]:
    return [
        notes_of.records([note for note in told if PARTITION[note["subject"]] == partition], partition=partition)
        for partition in (0, 1)
    ]


def keep_all(warehouse: Warehouse) -> None:
    for _ in range(100):
        if not warehouse.keep_month_if_due():
            return
    raise AssertionError(f"months without end: {answer(warehouse, 'month_ends')}")


def kept(warehouse: Warehouse) -> list[list[tuple[Any, ...]]]:
    return [answer(warehouse, name) for name in KEPT]


@settings(
    max_examples=int(os.environ.get(EXAMPLES, "8")), deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
@given(told=histories(), data=st.data())
def test_both_times_agree_with_all_purchases_and_plain_python(told: list[dict[str, Any]], data: st.DataObject) -> None:
    """Facts and decisions come in pieces, months are kept now and then; a rebuild that takes all at once keeps the same."""
    warehouse = emptied()
    pieces = [[*log] for log in logs_of(told)]
    while any(facts or decisions for facts, decisions in pieces):
        number = data.draw(st.sampled_from([n for n, log in enumerate(pieces) if log[0] or log[1]]), label="partition")
        facts, decisions = pieces[number]
        count = data.draw(st.integers(2, 9), label="records")
        ahead = count + data.draw(st.sampled_from((0, 0, 3)), label="facts ahead of decisions")
        warehouse.apply(facts[:ahead], decisions[:count])
        pieces[number] = [facts[ahead:], decisions[count:]]
        if data.draw(st.booleans(), label="keep"):
            keep_all(warehouse)
        check(warehouse, told, data, complete=False)
    warehouse._months = Months(
        warehouse.connection
    )  # as on the next day: a partition that was behind is looked at again
    keep_all(warehouse)
    check(warehouse, told, data, complete=True)
    assert answer(warehouse, "member_month_twice") == []
    step_by_step, churn = kept(warehouse), answer(warehouse, "churn_now")
    event(f"months kept: {len(step_by_step[0])}")

    again = emptied()
    for facts, decisions in logs_of(told):
        again.apply(facts, decisions)
    without = answer(again, "churn_now")
    keep_all(again)
    assert kept(again) == step_by_step
    assert churn == without == answer(again, "churn_now")


def check(warehouse: Warehouse, told: Sequence[dict[str, Any]], data: st.DataObject, *, complete: bool) -> None:
    """The kept way against the plain one, on a day and as it was known at some moment; and against plain Python."""
    day = (
        BEGIN + timedelta(data.draw(st.sampled_from((*range(0, DAYS + 3, 7), 10, 11, 12, 39, 40, 70, 71)), label="day"))
    ).date()
    known = data.draw(st.sampled_from((None, None, 11, 12, 40, 45, 71, 74)), label="known")
    known_at = None if known is None else BEGIN + timedelta(known)
    said = f"{day}, known at {known_at}, kept {answer(warehouse, 'month_ends')}"
    assert answer(warehouse, "kept", day, known_at) == answer(warehouse, "plain", day, known_at), said
    assert answer(warehouse, "kept_turned", day, known_at) == answer(warehouse, "plain_turned", day, known_at), said
    assert answer(warehouse, "kept_spent", day, known_at) == answer(warehouse, "plain_spent", day, known_at), said
    histories_told = warehouse.connection.execute(
        sql.statements("staging/scoring")["histories"], [day, known_at]
    ).fetchall()
    assert histories_told == answer(warehouse, "plain_histories", day, known_at), said
    if complete:
        assert answer(warehouse, "kept", day, known_at) == days_in_plain_python(told, day, known_at), said


def sold(number: int, time: str, subject: str = "anna") -> dict[str, Any]:
    return {"type": "purchase", "id": f"p{number}", "subject": subject, "time": time, "recorded": time}


def test_a_month_is_kept_three_days_after_its_end_and_never_changed() -> None:
    """The month end, what is kept of the member, and that a late purchase changes neither but the answer."""
    late = {**sold(5, "2026-01-02T10:00:00Z"), "recorded": "2026-02-05T10:00:00Z"}
    days = ("2026-01-05", "2026-01-25", "2026-02-01", "2026-02-04")
    notes = [*(sold(number, f"{day}T10:00:00Z") for number, day in enumerate(days, 1)), late]
    facts, decisions = notes_of.records(notes)
    january = date(2026, 1, 31)
    with Warehouse.open(":memory:", log_id="test") as warehouse:
        warehouse.apply(facts[:4], decisions[:4])
        assert not warehouse.keep_month_if_due(), "other partitions have three days"
        warehouse.apply(facts[4:5], decisions[4:5])
        assert warehouse.keep_month_if_due()
        assert not warehouse.keep_month_if_due()
        before = kept(warehouse)
        warehouse.apply(facts[5:], decisions[5:])
        keep_all(warehouse)

        assert before[1] == [(0, january, "anna", date(2026, 1, 5), date(2026, 1, 25), 2, 2, 2000)]
        assert kept(warehouse) == before
        assert answer(warehouse, "kept", january, None) == [("anna", date(2026, 1, 2), date(2026, 1, 25), 3)]
        then = datetime(2026, 2, 4, 12, tzinfo=UTC)
        assert answer(warehouse, "kept", january, then) == [("anna", date(2026, 1, 5), date(2026, 1, 25), 2)]


def test_another_time_zone_makes_the_months_anew() -> None:
    """A version of the programme that tells the time in another zone: no day of the zone before is left."""
    facts, decisions = notes_of.records(
        [sold(1, "2026-01-31T23:30:00Z"), sold(2, "2026-02-10T10:00:00Z"), sold(3, "2026-03-10T10:00:00Z")]
    )
    moved = {**notes_of.PROGRAMME, "id": "5f", "data": {**notes_of.PROGRAMME["data"], "hash": "5f", "version": 2,
             "valid_from": "2026-01-01T00:00:00.000000Z", "time_zone": "Europe/Berlin"}}  # fmt: skip
    with Warehouse.open(":memory:", log_id="test") as warehouse:
        warehouse.apply(facts, decisions)
        keep_all(warehouse)
        london = answer(warehouse, "month_ends")
        place = len(facts)
        warehouse.apply(
            [Record(0, place, notes_of.RECORDED_MS, notes_of.fact_value(moved))],
            [Record(0, place, notes_of.RECORDED_MS, notes_of.decision_value(moved, place))],
        )
        day = date(2026, 2, 28)
        stale = answer(warehouse, "kept", day, None)
        keep_all(warehouse)

        assert [(end, zone) for _, end, _, _, zone, _ in london] == [
            (date(2026, 1, 31), "Europe/London"),
            (day, "Europe/London"),
        ]
        assert [(end, zone) for _, end, _, _, zone, _ in answer(warehouse, "month_ends")] == [(day, "Europe/Berlin")]
        assert stale == answer(warehouse, "kept", day, None) == [("anna", date(2026, 2, 1), date(2026, 2, 10), 2)]


def test_another_currency_makes_the_months_anew() -> None:
    """A version of the programme that counts in euros: what was sold in pounds is worth nothing to it, also before."""
    facts, decisions = notes_of.records(
        [sold(1, "2026-01-31T10:00:00Z"), sold(2, "2026-02-10T10:00:00Z"), sold(3, "2026-03-10T10:00:00Z")]
    )
    euros = {**notes_of.PROGRAMME, "id": "5f", "data": {**notes_of.PROGRAMME["data"], "hash": "5f", "version": 2,
             "valid_from": "2026-01-01T00:00:00.000000Z", "currency": "EUR"}}  # fmt: skip
    day = date(2026, 3, 9)
    with Warehouse.open(":memory:", log_id="test") as warehouse:
        warehouse.apply(facts, decisions)
        keep_all(warehouse)
        pounds = answer(warehouse, "kept_spent", day, None)
        place = len(facts)
        warehouse.apply(
            [Record(0, place, notes_of.RECORDED_MS, notes_of.fact_value(euros))],
            [Record(0, place, notes_of.RECORDED_MS, notes_of.decision_value(euros, place))],
        )
        stale = answer(warehouse, "kept_spent", day, None)
        keep_all(warehouse)

        assert pounds == [("anna", date(2026, 2, 10), 2, 2000)]
        assert stale == answer(warehouse, "kept_spent", day, None) == [("anna", date(2026, 2, 10), 2, 0)]
        assert [row[-1] for row in answer(warehouse, "member_months")] == [0, 0]


@pytest.mark.parametrize("values", [(7,), (1, 1, 1, 2), (0, 1, 2, 3, 4), (3, 3, 1, 9, 9, 9, 9, 2, 5, 0)])
def test_scores_are_fifths_by_the_middle_of_ties(values: tuple[int, ...]) -> None:
    """The score of each value against its definition in plain Python: the middle of its ties, in fifths, rounded up."""
    begins = empty().connection.execute(asked()["begins"], [list(values)]).fetchone()
    assert begins is not None
    for one in values:
        middle = sum(other < one for other in values) + sum(other <= one for other in values)
        assert 1 + sum(one >= least for least in begins[0]) == -(-5 * middle // (2 * len(values)))


def test_a_month_that_cannot_be_kept_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows go with the transaction, and the next attempt keeps it once."""
    facts, decisions = notes_of.records([sold(1, "2026-01-05T10:00:00Z"), sold(2, "2026-02-10T10:00:00Z")])
    with Warehouse.open(":memory:", log_id="test") as warehouse:
        warehouse.apply(facts, decisions)
        with monkeypatch.context() as patched:
            whole = Months.keep

            def fails(months: Months, month_end: date) -> None:
                whole(months, month_end)
                raise duckdb.IOException("no room")

            patched.setattr(Months, "keep", fails)
            with pytest.raises(duckdb.IOException):
                warehouse.keep_month_if_due()
        assert not any(kept(warehouse))
        assert warehouse.keep_month_if_due()
        assert len(answer(warehouse, "member_months")) == 1


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled month of real sales and returns, kept by the replay that made it as far as it goes."""
    return make_month(tmp_path_factory.mktemp("months"), "month.duckdb")


def test_real_sales_agree_on_every_day(month: Path) -> None:
    """The month of the gift shop, on each day: as known then and as known now, as counted from all purchases."""
    with Warehouse.open(month) as warehouse:
        keep_all(warehouse)
        ((first, last),) = warehouse.connection.execute(
            "select min(occurred_at)::date, max(occurred_at)::date from purchases"
        ).fetchall()
        days = [first + timedelta(number) for number in range((last - first).days + 1)]
        assert len(days) >= 18
        for day in days:
            for known_at in (None, datetime(day.year, day.month, day.day, 12, tzinfo=UTC)):
                assert answer(warehouse, "kept", day, known_at) == answer(warehouse, "plain", day, known_at), day
                for kept_way, plain in (("kept_turned", "plain_turned"), ("kept_spent", "plain_spent")):
                    assert answer(warehouse, kept_way, day, known_at) == answer(warehouse, plain, day, known_at), day
