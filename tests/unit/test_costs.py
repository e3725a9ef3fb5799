"""Costs: a CSV becomes events, each counts once, moves nothing and no time, and the tables say what the logs say."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

from engine.cli import main
from engine.ledger.engine_facts import programme_fact, tick_fact
from engine.ledger.partition import Partition
from schemas.decisions import parse_decision
from schemas.envelope import Fact
from schemas.normalise import Policy, normalise
from schemas.rejects import Rejected
from schemas.times import to_us
from tests.unit.ledger import programme
from tests.unit.verify_history import RECORDED, buy, event, found
from tests.unit.written_logs import WrittenLogs

BODY = (
    "points: {expire: {inactivity: 6 months}}\nearn: [{id: spend, on: purchase, award: {points: 1, per: 1.00 EUR}}]\n"
)
GOOD = """day,kind,foreseen,amount,rule
2026-02-12,printing,yes,120.00,
2026-02-12,printing,yes,30.00,
2026-02-15,goodwill,no,15.50,gone-quiet

2026-03-01,printing,yes,-20.00,
"""
GIFT_SHOP = Path(__file__).parents[2] / "rules" / "programmes" / "gift-shop"


def run(*arguments: str | Path) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def told(path: Path, text: str, *more: str) -> Result:
    """Convert a CSV of this text."""
    path.write_text(text, encoding="utf-8")
    return run("import", path, "--preset", "costs", "--check", "--show", "10", *more)


def cost(event_id: str, day: str, amount: str, when: str | None = None, **more: object) -> Fact:
    """As intake writes it."""
    data = {"day": day, "kind": "printing", "foreseen": True, "amount": amount, "currency": "EUR", **more}
    return event(event_id, "cost", None, data, when or f"{day}T00:00:00Z")


# ---- the CSV ----


def test_a_csv_becomes_events_with_ids_that_stay(tmp_path: Path) -> None:
    """The same file gives the same ids; two alike on one day are told apart; the account is even to the cent."""
    done = told(tmp_path / "costs.csv", GOOD, "--currency", "EUR", "--json")
    said = json.loads(done.output)

    assert done.exit_code == 0, done.output
    assert [one["id"] for one in said["first"]] == [
        "2026-02-12-printing-foreseen-1",
        "2026-02-12-printing-foreseen-2",
        "2026-02-15-goodwill-unforeseen-1",
        "2026-03-01-printing-foreseen-1",
    ]
    assert {one["time"] for one in said["first"]} == {f"2026-{day}T00:00:00Z" for day in ("02-12", "02-15", "03-01")}
    assert said["first"][2]["data"] == {
        "day": "2026-02-15", "kind": "goodwill", "foreseen": False, "amount": "15.50", "currency": "EUR", "rule": "gone-quiet",
    }  # fmt: skip
    assert said["read"] == {"lines": 4, "money_minor": 14_550}
    assert said["used"] == {
        "foreseen cost": {"lines": 3, "money_minor": 13_000},
        "unforeseen cost": {"lines": 1, "money_minor": 1_550},
    }
    assert said["notes"] == {"corrections, with a negative amount": 1}


def test_every_bad_line_is_told_with_column_and_remedy(tmp_path: Path) -> None:
    """All at once, and nothing is written."""
    bad = (
        "day,kind,foreseen,amount\n2026-13-12,printing,yes,3\n2026-01-12,Printing Press,yes,3\n2026-01-12,printing,perhaps,3\n"
        '2026-01-12,printing,yes,"12,50"\n2026-01-12,printing,yes,1.234\n2026-01-12,printing\n2999-01-01,x,no,3\n2026-01-01,x,no,0\n'
    )
    done = told(tmp_path / "costs.csv", bad, "--currency", "EUR")

    assert done.exit_code == 1
    for line, said in (
        (2, "day: '2026-13-12' is no day: write it like 2026-03-31"),
        (3, "kind: 'Printing Press' is no word of small letters, digits, _ . -: write printing_press"),
        (4, "foreseen: 'perhaps' is neither yes nor no"),
        (5, "amount: '12,50' is no amount: write it like 1250.00"),
        (6, "amount: 1.234 has more than 2 decimals"),
        (7, "line: 2 fields where the header has 4"),
        (8, "day: 2999-01-01 lies in the future"),
        (9, "amount: nought costs nothing"),
    ):
        assert f"costs.csv:{line}: {said}" in done.output, done.output
    assert "Nothing was written" in done.output


def test_only_the_first_bad_lines_are_told_of_many(tmp_path: Path) -> None:
    """Somebody who exported the wrong column does not need a thousand lines to see it."""
    done = told(tmp_path / "c.csv", "day,kind,foreseen,amount\n" + "x,y,yes,1\n" * 30, "--currency", "EUR")

    assert done.exit_code == 1
    assert done.output.count("is no day") == 20
    assert "and more" in done.output


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        (GOOD, (), "in which currency? Say --currency EUR"),
        (GOOD, ("--currency", "Euro"), "'Euro' is no currency of ISO 4217"),
        ("day,kind,amount\n", ("--currency", "EUR"), "the columns foreseen are missing"),
        ("day,kind,foreseen,amount,why\n", ("--currency", "EUR"), "nobody reads the columns why"),
        ("day,kind,foreseen,amount,day\n", ("--currency", "EUR"), "a column stands twice"),
        (
            "day,kind,foreseen,amount,currency\n2026-01-01,x,no,1,USD\n",
            ("--currency", "EUR"),
            "EUR, USD in one account",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, text: str, more: tuple[str, ...], said: str) -> None:
    """Exit code 2: what is wrong with the whole, and how to mend it."""
    done = told(tmp_path / "costs.csv", text, *more)

    assert done.exit_code == 2
    assert said in done.output


def test_the_currency_goes_with_this_preset_alone(tmp_path: Path) -> None:
    """A till's preset knows its own."""
    done = run("import", tmp_path / "x", "--preset", "cdnow", "--currency", "EUR", "--check")

    assert done.exit_code == 2
    assert "--currency goes with --preset costs" in done.output


def test_a_spreadsheet_with_semicolons_is_read(tmp_path: Path) -> None:
    """As spreadsheets of some countries write a CSV, with a currency of its own."""
    text = "Day;Kind;Foreseen;Amount;Currency\n2026-02-12;printing;no;120.00;EUR\n"

    assert "unforeseen cost" in told(tmp_path / "costs.csv", text).output


# ---- what a cost is ----


@pytest.mark.parametrize(
    ("change", "subject", "said"),
    [
        ({"amount": 0}, None, "says nothing"),
        ({"kind": "Some text"}, None, "pattern"),
        ({"day": "2026-02-30"}, None, "day"),
        ({"amount": "1.234"}, None, "more than 2 decimals"),
        ({"currency": "Taler"}, None, "no ISO 4217 code"),
        ({}, "anna", "it has no subject"),
    ],
)
def test_a_wrong_cost_is_refused(change: dict[str, object], subject: str | None, said: str) -> None:
    """By whatever way it comes in."""
    data = {"day": "2026-02-01", "kind": "printing", "foreseen": True, "amount": "3.00", "currency": "EUR"} | change
    with pytest.raises(Rejected, match=said):
        event("k", "cost", subject, data, "2026-02-01T00:00:00Z")


def test_tills_tell_no_costs() -> None:
    """`staff-events` carries them, the others do not; and nobody's key looks like a day of costs."""
    from engine.stream.topics import default_inbound

    kind = "stammgast.cost.v1"
    assert [topic for topic, one in default_inbound().items() if kind in one.types] == ["staff-events"]
    value = {
        "specversion": "1.0", "id": "k", "source": "urn:till", "type": "stammgast.visit.v2", "subject": "cost:2026-02-01",
        "time": "2026-02-01T00:00:00Z", "data": {"store": "a"},
    }  # fmt: skip
    with pytest.raises(Rejected, match="belong to costs"):
        normalise(
            json.dumps(value).encode(),
            RECORDED,
            to_us("2026-03-01T00:00:00Z"),
            Policy("x", frozenset({"stammgast.visit.v2"})),
        )


def test_costs_count_once_move_nothing_and_verify_proves_it() -> None:
    """Told twice, told otherwise under the same id, of long ago and long after: nobody's points expire by it."""
    one = programme(BODY)
    logs = WrittenLogs({one.hash: one}, 3)
    logs.tell([programme_fact(one, RECORDED), buy("b1", "anna", "25.00")])
    logs.tell([cost("k1", "2031-01-01", "10.00"), cost("k1", "2031-01-01", "10.00"), cost("k1", "2031-01-01", "11.00")])
    logs.tell([cost("k2", "2019-01-01", "-5.00"), cost("k3", "2031-01-01", "1.00", when="2019-01-01T00:00:00Z")])
    logs.tell([cost("k4", "2031-01-01", "1.00", currency="USD"), buy("b2", "anna", "3.00", "2026-03-02T10:00:00Z")])
    logs.tell([tick_fact(number, to_us("2026-04-01T00:00:00Z"), RECORDED) for number in range(3)])
    report = found(logs)
    decided = [parse_decision(value) for partition in range(3) for value in logs.values(partition)]
    costs = [decision for decision in decided if decision.type == "stammgast.cost.v1"]

    assert report.findings.first == []
    assert report.proven(strict=True)
    assert [one.outcome for one in costs if one.fact_id == "k1"] == ["decided", "duplicate", "rejected"]
    assert {one.outcome for one in costs if one.fact_id != "k1"} == {"decided"}
    assert all(one.member_id is None and not (one.entries or one.tiers or one.states or one.derived) for one in costs)
    assert [entry.kind for one in decided for entry in one.entries] == ["earn", "earn"]


def test_a_day_keeps_what_was_told_through_a_snapshot() -> None:
    """A copy that comes after a restart is still known as one."""
    one = programme(BODY)
    ledger = Partition(0, {one.hash: one})
    for offset, fact in enumerate([programme_fact(one, RECORDED), cost("k1", "2026-02-01", "3.00")]):
        ledger.answer(fact, offset)
    offset, packed = ledger.snapshot("cost:2026-02-01")
    other = Partition(0, {one.hash: one})
    other.restore("cost:2026-02-01", offset, packed)
    other.restore_outline(ledger.outline())

    assert other.answer(cost("k1", "2026-02-01", "3.00"), 2).decisions[0].outcome == "duplicate"
    assert other.answer(cost("k2", "2026-02-01", "3.00"), 3).decisions[0].outcome == "decided"
    assert ledger.newest_us is None


def test_costs_reach_the_tables_by_a_replay(tmp_path: Path) -> None:
    """Import, replay twice the same file: the rows of the CSV, once, and the day of the tables is not moved by them."""
    csv, events, db = tmp_path / "costs.csv", tmp_path / "events.jsonl", tmp_path / "costs.duckdb"
    csv.write_text(GOOD, encoding="utf-8")
    assert run("import", csv, "--preset", "costs", "--currency", "GBP", "--out", events).exit_code == 0
    sale = {
        "specversion": "1.0", "id": "v1", "source": "urn:till", "type": "stammgast.visit.v2", "subject": "anna",
        "time": "2026-01-05T12:00:00Z", "data": {"store": "a"},
    }  # fmt: skip
    events.write_bytes(json.dumps(sale).encode() + b"\n" + events.read_bytes() * 2)
    done = run("replay", events, "--programme", GIFT_SHOP, "--db", db)

    assert done.exit_code == 0, done.output
    with duckdb.connect(str(db), read_only=True) as connection:
        rows = connection.execute(
            "select spent_on::varchar, kind, foreseen, amount_minor, currency, rule_id from costs order by all"
        ).fetchall()
        ((day,),) = connection.execute("select as_of::varchar from meta").fetchall()
    assert rows == [
        ("2026-02-12", "printing", True, 3_000, "GBP", None),
        ("2026-02-12", "printing", True, 12_000, "GBP", None),
        ("2026-02-15", "goodwill", False, 1_550, "GBP", "gone-quiet"),
        ("2026-03-01", "printing", True, -2_000, "GBP", None),
    ]
    assert day == "2026-01-05"


def test_what_if_is_settled_by_what_members_do(tmp_path: Path) -> None:
    """A cost of February lets no time pass on members of January."""
    line = {"sku": "x", "category": "coffee", "quantity": "1", "unit_price": "10.00"}
    order = {"order_id": "o1", "lines": [line], "total": "10.00", "currency": "EUR", "channel": "pos"}
    spent = {"day": "2026-02-05", "kind": "printing", "foreseen": True, "amount": "12.00", "currency": "EUR"}
    head = {"specversion": "1.0", "source": "urn:x"}
    told = (
        {"id": "p", "type": "stammgast.purchase.v1", "time": "2026-01-06T10:00:00Z", "subject": "anna", "data": order},
        {"id": "k", "type": "stammgast.cost.v1", "time": "2026-02-05T00:00:00Z", "data": spent},
    )
    events = tmp_path / "events.jsonl"
    events.write_text("".join(json.dumps(head | one) + "\n" for one in told), encoding="utf-8")
    bar = GIFT_SHOP.parent / "coffee-bar"
    done = run("whatif", bar, "--events", events, "--programme", bar, "--since", "2026-01-02")

    assert done.exit_code == 0, done.output
    assert "settled to 2026-01-05 23:00 UTC" in " ".join(done.output.split())
