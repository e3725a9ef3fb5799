"""`import --mapping`: the shipped examples to the last field, every kind of mistake, and one till in many ways of writing."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.commands.import_ import import_
from engine.imports.account import Account
from engine.imports.mapped import Conversion
from engine.imports.mapping_file import mapping_schema, read_mapping
from schemas.normalise import normalise
from schemas.times import to_text

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "imports"
NOW_US = 1_800_000_000_000_000

SMALL = """
mapping: small
source: urn:small
currency: EUR
time: {from: <when>, zone: Europe/Berlin}
events:
  - type: purchase
    id: <bon>
    member: <card>
    data: {channel: pos}
    line: {sku: <sku>, quantity: <n>, unit_price: <each>}
"""
HEADER = "bon,when,card,sku,n,each"


def run(*arguments: object) -> Result:
    """The command with these arguments."""
    return CliRunner().invoke(import_, [str(argument) for argument in arguments])


def written(folder: Path, mapping: str, *lines: str, header: str = HEADER) -> tuple[Path, Path]:
    """An export and its mapping."""
    export, said = folder / "till.csv", folder / "m.yaml"
    export.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    said.write_text(mapping, encoding="utf-8")
    return export, said


def checked(folder: Path, mapping: str, *lines: str, header: str = HEADER) -> dict[str, Any]:
    """What `--check --json` says of an export that is understood."""
    export, said = written(folder, mapping, *lines, header=header)
    result = run(export, "--mapping", said, "--check", "--show", 100, "--json")
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    assert told["balances"] is True
    return told


def refused(folder: Path, mapping: str, *lines: str, header: str = HEADER) -> str:
    """What is said to an export or mapping that is not understood; nothing is written."""
    export, said = written(folder, mapping, *lines, header=header)
    out = folder / "events.jsonl"
    result = run(export, "--mapping", said, "--out", out)
    assert result.exit_code in (1, 2), result.output
    assert not out.exists()
    return result.output


def test_the_bakery_becomes_events(tmp_path: Path) -> None:
    """Semicolons, Windows characters, decimal commas, thousands, two lines above the header, a return without its receipt."""
    out = tmp_path / "events.jsonl"
    result = run(EXAMPLES / "bakery.csv", "--mapping", EXAMPLES / "bakery.yaml", "--out", out)
    assert result.exit_code == 0, result.output
    events = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]

    assert [(event["id"], event["time"], event.get("subject")) for event in events] == [
        ("1-1001", "2026-03-02T07:05:00+01:00", "00004711"),
        ("2-1001", "2026-03-02T07:06:00+01:00", None),
        ("1-1002", "2026-03-02T07:12:00+01:00", "00000012"),
        ("2-1002-R:1", "2026-03-02T16:40:00+01:00", "00004711"),
        ("2-1003", "2026-03-02T17:55:00+01:00", "00000012"),
    ]
    assert events[0]["data"] == {
        "order_id": "1-1001",
        "lines": [
            {"sku": "Roggenbrot", "category": "bread", "quantity": "1", "unit_price": "4.2"},
            {"sku": "Käsekuchen", "category": "cake", "quantity": "2", "unit_price": "3.9", "discount": "0.80"},
        ],
        "total": "11.20",
        "currency": "EUR",
        "channel": "pos",
        "store": "nord",
    }
    # The return at till 2 finds the cake that was bought at till 1.
    assert (events[3]["data"]["order_source"], events[3]["data"]["order_id"]) == ("urn:corner-bakery:till-1", "1-1001")
    assert events[3]["data"]["lines"] == [{"line": 2, "sku": "Käsekuchen", "quantity": "1", "amount": "3.50"}]
    assert events[4]["data"]["total"] == "1240.00"
    assert "columns that the mapping does not read: Kassierer" in result.output
    assert "left out: training mode" in result.output


def test_the_web_shop_becomes_events(tmp_path: Path) -> None:
    """JSON Lines: lists of items, cents, nothing for null, a return that names its order, a review beside them."""
    told = run(EXAMPLES / "webshop.jsonl", "--mapping", EXAMPLES / "webshop.yaml", "--check", "--show", 9, "--json")
    assert told.exit_code == 0, told.output
    account = json.loads(told.stdout)
    events = account["first"]

    assert [(event["type"], event["id"], event.get("subject")) for event in events] == [
        ("stammgast.purchase.v1", "W-501", "c-88"),
        ("stammgast.purchase.v1", "W-502", None),
        ("stammgast.review.v1", "rv-9", "c-88"),
        ("stammgast.refund.v1", "R-77", "c-88"),
    ]
    assert events[0]["data"]["total"] == "56.9"
    assert events[2]["data"] == {"sku": "bean-espresso-1kg", "rating": 5, "verified": True}
    assert events[3]["data"]["order_id"] == "W-501"
    assert account["left_out"] == {"sold in Swiss francs": {"lines": 1, "money_minor": 0}}
    assert account["read"] == {"lines": 6, "money_minor": 5200 + 1950 - 1300}
    assert account["unread_columns"] == ["shipping_cents"]


@pytest.mark.parametrize("name", ["bakery", "webshop"])
def test_shipped_mappings_keep_the_schema(name: str) -> None:
    """What an editor validates them with."""
    text = (EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8")
    jsonschema.Draft202012Validator.check_schema(mapping_schema())
    jsonschema.validate(yaml.safe_load(text), mapping_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text.replace("source:", "sauce:")), mapping_schema())


def test_rows_of_a_receipt_are_one_purchase_wherever_they_stand(tmp_path: Path) -> None:
    """The earliest time and the first member count, what is odd is noted, events are sorted by time."""
    told = checked(
        tmp_path,
        SMALL,
        "2,2026-03-02T10:00:00,,bun,1,1",
        "1,2026-03-02T09:00:00,,bun,1,1",
        "2,2026-03-02T08:00:00,anna,tea,2,3",
        "1,2026-03-02T09:00:00,,bun,1,1",
    )
    assert [(event["id"], event.get("subject"), len(event["data"]["lines"])) for event in told["first"]] == [
        ("2", "anna", 2),
        ("1", None, 2),
    ]
    assert told["first"][0]["time"] == "2026-03-02T08:00:00+01:00"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["1,2026-03-02T09:00:00,anna,bun,x,1"], "till.csv:2: column n: 'x' is no number"),
        (["1,2026-03-02T09:00:00,anna,bun,0,1"], "till.csv:2: column n: a quantity of 0"),
        (["1,2026-03-02T09:00:00,anna,bun,-1,1"], "till.csv:2: column n: below zero in a purchase"),
        (["1,2026-03-02T09:00:00,anna,bun,,1"], "till.csv:2: column n: there is nothing"),
        (["1,02.03.2026,anna,bun,1,1"], "till.csv:2: column when: '02.03.2026' is not the time"),
        ([",2026-03-02T09:00:00,anna,bun,1,1"], "till.csv:2: column bon: there is no id"),
        (["1,2026-03-02T09:00:00,anna,bun,1,1,1"], "till.csv:2: 7 fields where the header has 6"),
        (["1,2026-03-02T09:00:00,anna@example.org,bun,1,1"], "till.csv:2: column card: subject of 1: looks like an e-mail"),
        (["1,2026-03-02T09:00:00,anna,,1,1"], "till.csv:2: column sku: data.lines.0.sku of 1: Field required"),
        (["1,2926-03-02T09:00:00,anna,bun,1,1"], "till.csv:2: column when: time of 1: "),
        (["1,2026-03-02T09:00:00,anna,b\ufffdn,1,1"], "till.csv:2: column sku: 'b\ufffdn' holds bytes that are no text"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_told_by_place_and_column(tmp_path: Path, lines: list[str], says: str) -> None:
    """File, line, column, what is wrong; exit code 1 and nothing is written."""
    assert says in refused(tmp_path, SMALL, *lines)


def test_many_wrong_lines_are_told_at_once_and_no_more_than_twenty(tmp_path: Path) -> None:
    """All of a few; of many the first twenty."""
    bad = [f"{n},2026-03-02T09:00:00,anna,bun,x,1" for n in range(40)]
    assert refused(tmp_path, SMALL, *bad[:3]).count("is no number") == 3
    told = refused(tmp_path, SMALL, *bad)
    assert told.count("is no number") == 20
    assert "and more" in told


@pytest.mark.parametrize(
    ("was", "now", "says"),
    [
        ("currency: EUR", "curency: EUR", "m.yaml:4: curency: there is no key curency - did you mean currency?"),
        ("currency: EUR", "currency: EUX", "no currency has the code 'EUX'"),
        ("Europe/Berlin", "Europe/Berlyn", "m.yaml:5: time.zone: no time zone is called 'Europe/Berlyn'"),
        (", zone: Europe/Berlin", ', format: "%d.%m.%Y"', "m.yaml:5: time: times of this format are local"),
        ("type: purchase", "type: purchse", "an export holds no events of type 'purchse'"),
        ("type: purchase", "type: profile", "an export holds no events of type 'profile'"),
        ("type: purchase", "type: visit", "a visit has no `line`"),
        ("id: <bon>", "id: {bon}", "m.yaml:8: events[1].id.bon: a column is written <bon>, without braces"),
        ("<sku>", "<skuu>", "the export has no column skuu - did you mean sku?"),
        ("channel: pos", "chanel: pos", "a purchase has no chanel - did you mean channel?"),
        ("channel: pos", "store: x", "a purchase needs channel"),
        ("channel: pos", "channel: pos, payment: {pints: 1}", "there is no pints here - did you mean points?"),
        ("channel: pos", "channel: pos, payment: 3", "payment is written another way"),
        ("channel: pos", "channel: pos, lines: 3", "lines comes from the mapping as a whole or its line"),
        ("unit_price: <each>", "price: <each>", "there is no key price"),
        ("unit_price: <each>", "unit_price: <each>, amount: <each>", "a line has either `unit_price` or `amount`"),
        ("mapping: small", "file: {encoding: cp9999}\nmapping: small", "no encoding is called 'cp9999'"),
        ("mapping: small", 'file: {decimal: ",", thousands: ","}\nmapping: small', "are the same character"),
        ("<each>", "{from: <each>, otherwise: 1}", "`otherwise` says what is not in a `table`"),
        ("id: <bon>", "id: <bon>\n    when: {n: {abov: 0}}", "there is no key abov - did you mean above?"),
    ],
)  # fmt: skip
def test_a_wrong_mapping_is_told_by_line_and_field(tmp_path: Path, was: str, now: str, says: str) -> None:
    """Line of the mapping, field, and how to mend it; exit code 2."""
    assert was in SMALL
    assert says in refused(tmp_path, SMALL.replace(was, now), "1,2026-03-02T09:00:00,anna,bun,1,1")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--check"], "--preset online-retail, cdnow or costs, or --mapping"),
        (["--mapping", "no.yaml", "--check"], "no.yaml: cannot be read"),
        (["--mapping", "no.yaml"], "--out EVENTS.jsonl, or --check"),
        (["--mapping", "no.yaml", "--check", "--out", "x"], "--out EVENTS.jsonl, or --check"),
        (["--mapping", "no.yaml", "--preset", "online-retail", "--check"], "take one of them"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], says: str) -> None:
    """Exit code 2."""
    result = run(EXAMPLES / "bakery.csv", *arguments)
    assert (result.exit_code, says in result.output) == (2, True), result.output


def test_two_kinds_of_event_do_not_share_an_id(tmp_path: Path) -> None:
    """A return with its receipt's number would be taken for the receipt: it is refused with a way out."""
    refund = """
  - type: refund
    when: {n: {below: 0}}
    id: <bon>
    member: <card>
    line: {sku: <sku>, quantity: <n>, unit_price: <each>}
"""
    mapping = SMALL.replace("    id: <bon>", "    when: {n: {above: 0}}\n    id: <bon>") + refund
    told = refused(tmp_path, mapping, "1,2026-03-02T09:00:00,anna,bun,2,1", "1,2026-03-02T09:00:00,anna,bun,-1,1")
    assert "till.csv:3: two kinds of event have the id '1'" in told


def test_returns_find_their_orders(tmp_path: Path) -> None:
    """The newest purchase of the SKU, several where one is not enough, none where nobody bought it; money to the cent."""
    refund = """
  - type: refund
    when: {n: {below: 0}}
    id: <bon>
    member: <card>
    find_order: true
    line: {sku: <sku>, quantity: <n>, unit_price: <each>}
"""
    mapping = SMALL.replace("    id: <bon>", "    when: {n: {above: 0}}\n    id: <bon>") + refund
    told = checked(
        tmp_path,
        mapping,
        "1,2026-03-02T09:00:00,anna,bun,2,1.99",
        "2,2026-03-03T09:00:00,anna,bun,1,1.99",
        "R1,2026-03-04T09:00:00,anna,bun,-3,1.99",
        "R1,2026-03-04T09:00:00,anna,tea,-1,3.33",
    )
    back = [event for event in told["first"] if event["type"] == "stammgast.refund.v1"]
    assert [(event["id"], event["data"]["order_id"], event["data"]["lines"][0]["quantity"]) for event in back] == [
        ("R1:1", "2", "1"),
        ("R1:2", "1", "2"),
        ("R1:3", "unknown:R1", "1"),
    ]
    assert sum(Decimal(event["data"]["total"]) for event in back) == Decimal("9.30")
    assert told["used"]["refund"] == {"lines": 1, "money_minor": -597}


def test_a_whole_receipt_that_is_cancelled_counts_with_its_money(tmp_path: Path) -> None:
    """Given a till that writes a cancelled receipt as one row with its sum and the receipt it takes back, and a second one that
    takes back nothing, then each is a refund by amount, and the account holds the money."""
    header = "bon,when,card,kind,sku,n,each,sum,of"
    lines = [
        "1,2026-03-01T10:00:00+01:00,anna,sale,bread,2,3.50,,",
        "1,2026-03-01T10:00:00+01:00,anna,sale,cake,1,4.00,,",
        "2,2026-03-01T11:00:00+01:00,anna,cancel,,,,-11.00,1",
        "3,2026-03-01T12:00:00+01:00,,cancel,,,,0.00,1",
    ]
    mapping = SMALL.replace("    id: <bon>\n", "    when: {kind: sale}\n    id: <bon>\n")
    mapping = (
        mapping.replace("events:", "leave_out: [{reason: of nothing, when: {kind: cancel, sum: '0.00'}}]\nevents:")
        + """
  - type: refund
    when: {kind: cancel}
    id: <bon>-R
    member: <card>
    data: {order_id: <of>, amount: {from: <sum>, without_sign: true}}
"""
    )
    told = checked(tmp_path, mapping, *lines, header=header)
    refund = told["first"][-1]
    assert refund["data"] == {"order_id": "1", "currency": "EUR", "amount": "11"}
    assert told["used"]["refund"] == {"lines": 1, "money_minor": -1100}
    assert told["read"] == {"lines": 4, "money_minor": 0}


def test_the_clock_that_is_set_back_and_forth(tmp_path: Path) -> None:
    """A time that is shown twice is the earlier one unless told otherwise, one that was skipped an hour later; both are noted."""
    lines = ["1,2026-10-25T02:30:00,anna,bun,1,1", "2,2026-03-29T02:30:00,anna,bun,1,1"]
    told = checked(tmp_path, SMALL, *lines)
    assert {event["id"]: event["time"] for event in told["first"]} == {
        "1": "2026-10-25T02:30:00+02:00",
        "2": "2026-03-29T03:30:00+02:00",
    }
    assert sorted(told["notes"]) == [
        "times that the clock shows twice, taken as the earlier",
        "times that the clock skipped, taken an hour later",
    ]
    later = checked(tmp_path, SMALL.replace("Europe/Berlin}", "Europe/Berlin, twice: later}"), *lines)
    assert next(event["time"] for event in later["first"] if event["id"] == "1") == "2026-10-25T02:30:00+01:00"


OTHERS = """
mapping: others
source: urn:others
currency: EUR
time: {from: <when>, format: milliseconds}
events:
  - type: activity
    when: {what: game}
    id: <id>
    member: <who>
    data:
      name: game
      attributes: {score: {from: <n>, is: whole}, level: <level>, won: {from: <won>, is: truth, table: {J: true, N: no}}}
  - type: visit
    when: {what: [visit, beacon], who: {empty: false}}
    id: <id>
    member: {from: <who>, case: lower, cut_begin: "ID "}
    data: {store: <level>, seen_by: {from: <what>, table: {visit: check_in}, otherwise: beacon}}
"""


def test_other_types_take_their_fields_in_their_kinds(tmp_path: Path) -> None:
    """Whole numbers, truth by a table, text; the same row again is left out, and what nobody takes is counted."""
    told = checked(
        tmp_path,
        OTHERS,
        "1,game,1772442000000,anna,12,hard,J",
        "2,visit,1772442000000,ID ANNA,60,nord,",
        "2,visit,1772442000000,ID ANNA,60,nord,",
        "3,visit,1772442000000,,60,nord,",
        "4,beacon,1772442001000,ID BEN,,süd,",
        header="id,what,when,who,n,level,won",
    )
    assert [(event["id"], event["subject"], event["data"]) for event in told["first"]] == [
        ("1", "anna", {"name": "game", "attributes": {"score": 12, "level": "hard", "won": True}}),
        ("2", "anna", {"store": "nord", "seen_by": "check_in"}),
        ("4", "ben", {"store": "süd", "seen_by": "beacon"}),
    ]
    assert told["left_out"] == {
        "no event of the mapping takes it": {"lines": 1, "money_minor": 0},
        "the same again": {"lines": 1, "money_minor": 0},
    }
    said = refused(
        tmp_path, OTHERS, "2,visit,1,anna,60,nord,", "2,visit,1,ben,60,nord,", header="id,what,when,who,n,level,won"
    )
    assert "till.csv:2: column id: line 3 has this id, too" in said


def test_an_uneven_account_is_a_no(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that would lose a line writes nothing."""
    monkeypatch.setattr("engine.imports.mapped._Writer.count", lambda *_all: None)
    told = refused(tmp_path, SMALL, "1,2026-03-02T09:00:00,anna,bun,1,1")
    assert "DOES NOT BALANCE" in told


Receipt = tuple[int, list[tuple[int, int]]]


@settings(max_examples=40, deadline=None)
@given(
    receipts=st.lists(
        st.tuples(
            st.integers(0, 10_000_000),
            st.lists(st.tuples(st.integers(1, 5_000), st.integers(0, 9_999_999)), min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=8,
    ),
    decimal=st.sampled_from([".", ","]),
    delimiter=st.sampled_from([";", "\t", "|"]),
    encoding=st.sampled_from(["utf-8", "utf-16", "cp1252"]),
    grouped=st.booleans(),
    packed=st.booleans(),
)  # fmt: skip
def test_one_till_however_it_is_written_gives_the_same_events(
    tmp_path_factory: pytest.TempPathFactory,
    receipts: list[Receipt],
    decimal: str,
    delimiter: str,
    encoding: str,
    grouped: bool,
    packed: bool,
) -> None:
    """Delimiter, decimals, groups, encoding, gzip: the sums are those of the numbers, worked out apart."""
    folder = tmp_path_factory.mktemp("till")
    group = {".": ",", ",": "."}[decimal] if grouped else ""

    def number(value: Decimal) -> str:
        return f"{value:,}".replace(",", "g").replace(".", decimal).replace("g", group)

    rows = [delimiter.join(["bon", "when", "sku", "n", "each"])]
    expected: dict[str, Decimal] = {}
    for bon, (second, lines) in enumerate(receipts):
        for thousandths, millionths in lines:
            quantity, each = Decimal(thousandths) / 1000, Decimal(millionths) / 1000
            exact = quantity * each
            expected[str(bon)] = expected.get(str(bon), Decimal(0)) + exact.quantize(Decimal("0.01"), "ROUND_HALF_UP")
            rows.append(delimiter.join([str(bon), str(second), "Brötchen", number(quantity), number(each)]))
    raw = ("\n".join(rows) + "\n").encode(encoding)
    export, said = folder / "till.csv", folder / "m.yaml"
    export.write_bytes(gzip.compress(raw) if packed else raw)
    thousands = f', thousands: "{group}"' if group else ""
    said.write_text(
        f'mapping: any\nsource: urn:any\ncurrency: EUR\nfile: {{delimiter: "{delimiter}", encoding: {encoding}, '
        f'decimal: "{decimal}"{thousands}}}\ntime: {{from: <when>, format: seconds}}\nevents:\n'
        "  - {type: purchase, id: <bon>, data: {channel: pos}, line: {sku: <sku>, quantity: <n>, unit_price: <each>}}\n".replace(
            "\t", "\\t"
        ),
        encoding="utf-8",
    )
    mapping, draft = read_mapping(said)
    account = Account("EUR")
    made = list(Conversion(export, mapping, draft, account, NOW_US).events())

    assert account.balances
    assert {one.event["id"]: Decimal(one.event["data"]["total"]) for one in made} == expected
    for one in made:
        normalise(orjson.dumps(one.event), to_text(NOW_US), NOW_US)
    assert [one.event["time"] for one in made] == sorted(one.event["time"] for one in made)


def test_the_account_in_the_docs_is_what_the_bakery_gives() -> None:
    """docs/importing.md shows it as it is printed."""
    printed = run(EXAMPLES / "bakery.csv", "--mapping", EXAMPLES / "bakery.yaml", "--check", "--show", 0).output
    assert printed in (EXAMPLES.parents[1] / "importing.md").read_text(encoding="utf-8")
