"""The Online Retail preset: every trap of the published data as a small example."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.imports.account import Account
from engine.imports.errors import BadLineError, WrongFileError
from engine.imports.online_retail import convert

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
Converted = tuple[list[dict[str, Any]], Account]


def till(folder: Path, lines: Sequence[str]) -> Path:
    """A CSV of lines written `invoice,sku,quantity,time,price,customer`."""
    path = folder / "till.csv"
    rows = [HEADER]
    for line in lines:
        invoice, sku, quantity, time, price, customer = line.split(",")
        rows.append(f'{invoice},{sku},"A MUG, ""BLUE""",{quantity},{time}:00,{price},{customer},United Kingdom')
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def converted(folder: Path, *lines: str) -> Converted:
    """The events and the account of such a till; the account always balances."""
    account = Account("GBP")
    events = list(convert(till(folder, lines), account))
    assert account.balances
    return events, account


def returned(event: dict[str, Any]) -> tuple[str, str, int | None, str, str]:
    """What a refund says: (id, order, line, quantity, amount)."""
    (line,) = event["data"]["lines"]
    return event["id"], event["data"]["order_id"], line.get("line"), line["quantity"], line["amount"]


def test_an_invoice_is_a_purchase_of_its_customer(tmp_path: Path) -> None:
    """An invoice becomes one purchase: subject without .0, source, id, channel, currency, lines and their sum."""
    events, _ = converted(
        tmp_path, "536365,85123A,6,2010-12-01 08:26,2.55,17850.0", "536365,71053,2,2010-12-01 08:26,3.39,17850.0"
    )

    assert events == [
        {
            "specversion": "1.0",
            "id": "536365",
            "source": "urn:online-retail",
            "type": "stammgast.purchase.v1",
            "subject": "17850",
            "time": "2010-12-01T08:26:00+00:00",
            "data": {
                "order_id": "536365",
                "lines": [
                    {"sku": "85123A", "category": "goods", "quantity": "6", "unit_price": "2.55"},
                    {"sku": "71053", "category": "goods", "quantity": "2", "unit_price": "3.39"},
                ],
                "total": "22.08",
                "currency": "GBP",
                "channel": "web",
                "store": None,
            },
        }
    ]


def test_local_time_carries_the_offset_of_its_day(tmp_path: Path) -> None:
    """Times are London's: one hour ahead of UTC in summer."""
    events, _ = converted(tmp_path, "1,A,1,2011-03-26 12:00,1,7", "2,A,1,2011-03-28 12:00,1,7")

    assert [event["time"] for event in events] == ["2011-03-26T12:00:00+00:00", "2011-03-28T12:00:00+01:00"]


def test_an_invoice_without_a_customer_is_an_anonymous_sale(tmp_path: Path) -> None:
    """No customer: a purchase without a subject."""
    events, account = converted(tmp_path, "1,A,1,2010-12-01 08:26,2.00,")

    assert "subject" not in events[0]
    assert account.events == {"anonymous purchase": 1}


def test_duplicate_lines_and_zero_prices_stay(tmp_path: Path) -> None:
    """Exact duplicates were bought twice, and a gift of price zero was handed over."""
    line = "1,A,2,2010-12-01 08:26,1.50,7.0"
    events, account = converted(tmp_path, line, line, "1,B,1,2010-12-01 08:26,0,7.0")

    assert [entry["sku"] for entry in events[0]["data"]["lines"]] == ["A", "A", "B"]
    assert events[0]["data"]["lines"][2]["unit_price"] == "0"
    assert account.used["purchase"].lines == 3


NON_GOODS = ["POST", "DOT", "M", "m", "D", "S", "C2", "B", "CRUK", "PADS", "AMAZONFEE", "BANK CHARGES", "gift_0001_40"]


@pytest.mark.parametrize(
    ("sku", "category"),
    [("85123A", "goods"), ("DCGS0076", "goods"), *[(code, "non_goods") for code in NON_GOODS]],
)
def test_category_tells_goods_from_the_rest(tmp_path: Path, sku: str, category: str) -> None:
    """Postage, fees, vouchers and corrections are no goods, in either case of letters."""
    events, _ = converted(tmp_path, f"1,{sku},1,2010-12-01 08:26,2.00,7.0")

    assert events[0]["data"]["lines"][0]["category"] == category


def test_several_time_stamps_are_one_order_at_the_earliest(tmp_path: Path) -> None:
    """An invoice whose lines were keyed in over two minutes is one order, also when another lies between its lines."""
    events, account = converted(
        tmp_path,
        "1,A,1,2010-12-01 08:27,2.00,7.0",
        "2,A,1,2010-12-01 08:26,2.00,8.0",
        "1,B,1,2010-12-01 08:25,2.00,7.0",
    )

    assert [(event["id"], event["time"][11:16]) for event in events] == [("1", "08:25"), ("2", "08:26")]
    assert account.notes == {"invoices of several time stamps, taken at the earliest": 1}


def test_events_are_sorted_by_time_and_id(tmp_path: Path) -> None:
    """A file in any order gives events in the order of (time, id); ids sort as text."""
    events, _ = converted(
        tmp_path,
        *[f"C9,S{number},-1,2010-12-02 09:00,1.00,7.0" for number in range(1, 12)],
        "8,A,1,2010-12-02 09:00,1.00,7.0",
        "10,A,1,2010-12-02 09:00,1.00,7.0",
        "11,A,1,2010-12-01 09:00,1.00,7.0",
    )

    ids = [event["id"] for event in events]
    assert ids == ["11", "10", "8", *sorted(f"C9:{number}" for number in range(1, 12))]


def test_a_cancelled_line_takes_the_newest_line_of_exactly_that_quantity(tmp_path: Path) -> None:
    """Of three purchases the newest one with exactly the cancelled quantity unreturned is taken, not the newest."""
    events, _ = converted(
        tmp_path,
        "1,A,6,2010-12-01 09:00,2.00,7.0",
        "2,X,1,2010-12-02 09:00,2.00,7.0",
        "2,A,6,2010-12-02 09:00,2.00,7.0",
        "3,A,9,2010-12-03 09:00,2.00,7.0",
        "C4,A,-6,2010-12-04 09:00,2.00,7.0",
        "5,A,6,2010-12-05 09:00,2.00,7.0",
    )

    assert returned(events[3]) == ("C4:1", "2", 2, "6", "12.00")


def test_a_cancelled_line_is_split_over_the_newest_lines(tmp_path: Path) -> None:
    """Without an exact quantity the newest lines are taken one after the other, what is over has no known order."""
    events, account = converted(
        tmp_path,
        "1,A,5,2010-12-01 09:00,2.00,7.0",
        "2,A,3,2010-12-02 09:00,2.00,7.0",
        "C3,A,-10,2010-12-03 09:00,0.33,7.0",
    )

    assert [returned(event) for event in events[2:]] == [
        ("C3:1", "2", 1, "3", "0.99"),
        ("C3:2", "1", 1, "5", "1.65"),
        ("C3:3", "unknown:C3", None, "2", "0.66"),
    ]
    assert sum(tally.lines for name, tally in account.used.items() if name.startswith("refund")) == 1


def test_what_was_returned_is_not_returned_again(tmp_path: Path) -> None:
    """A line gives back what is left of it: the second cancellation finds less."""
    events, _ = converted(
        tmp_path,
        "1,A,4,2010-12-01 09:00,2.00,7.0",
        "C2,A,-1,2010-12-02 09:00,2.00,7.0",
        "C3,A,-3,2010-12-03 09:00,2.00,7.0",
        "C4,A,-1,2010-12-04 09:00,2.00,7.0",
    )

    assert [returned(event)[1:4] for event in events[1:]] == [("1", 1, "1"), ("1", 1, "3"), ("unknown:C4", None, "1")]


def test_refunds_are_numbered_in_line_order(tmp_path: Path) -> None:
    """The n of <C-invoice>:<n> counts the refunds in the order of the cancelled lines."""
    events, _ = converted(
        tmp_path,
        "1,A,1,2010-12-01 09:00,2.00,7.0",
        "1,B,1,2010-12-01 09:00,3.00,7.0",
        "C2,B,-1,2010-12-02 09:00,3.00,7.0",
        "C2,A,-1,2010-12-02 09:00,2.00,7.0",
    )

    assert [returned(event)[:3] for event in events[1:]] == [("C2:1", "1", 2), ("C2:2", "1", 1)]


def test_only_earlier_purchases_of_the_same_customer_count(tmp_path: Path) -> None:
    """Another customer's purchase and a later one are no origin; one of the same minute is."""
    events, _ = converted(
        tmp_path,
        "1,A,1,2010-12-01 09:00,2.00,8.0",
        "C2,A,-1,2010-12-02 09:00,2.00,7.0",
        "3,A,1,2010-12-03 09:00,2.00,7.0",
        "C4,A,-1,2010-12-03 09:00,2.00,7.0",
    )

    assert [returned(event)[1] for event in events if ":" in event["id"]] == ["unknown:C2", "3"]


def test_a_cancellation_without_a_customer_has_no_subject(tmp_path: Path) -> None:
    """Nobody is named: a refund of an unknown order, without a subject."""
    events, _ = converted(tmp_path, "1,A,1,2010-12-01 09:00,2.00,", "C2,A,-1,2010-12-02 09:00,2.00,")

    assert "subject" not in events[1]
    assert returned(events[1]) == ("C2:1", "unknown:C2", None, "1", "2.00")


def test_the_refund_says_what_the_till_paid_back(tmp_path: Path) -> None:
    """The cancelled line's own price counts, not the price that was paid, and it is the refund's total."""
    events, _ = converted(tmp_path, "1,A,2,2010-12-01 09:00,2.00,7.0", "C2,A,-2,2010-12-02 09:00,2.50,7.0")

    assert (events[1]["data"]["total"], returned(events[1])[4]) == ("5.00", "5.00")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("A1,B,1,2010-12-01 09:00,-11062.06,", "bad-debt adjustment (A-invoice)"),
        ("A1,B,1,2010-12-01 09:00,11062.06,", "bad-debt adjustment (A-invoice)"),
        ("1,A,-5,2010-12-01 09:00,0,", "negative quantity without a cancellation"),
        ("1,A,0,2010-12-01 09:00,2.00,7.0", "quantity zero"),
        ("1,A,1,2010-12-01 09:00,-2.00,7.0", "negative price"),
        ("C1,A,1,2010-12-01 09:00,2.00,7.0", "cancellation that returns nothing"),
    ],
)
def test_what_is_no_business_is_left_out_and_reported(tmp_path: Path, line: str, reason: str) -> None:
    """A line without business makes no event; the account names the reason and the money."""
    events, account = converted(tmp_path, line)

    assert events == []
    assert list(account.left_out) == [reason]
    assert account.left_out[reason] == account.read


def test_an_invoice_of_several_customers_is_the_first_ones(tmp_path: Path) -> None:
    """One order has one member; the oddity is counted in the account."""
    events, account = converted(tmp_path, "1,A,1,2010-12-01 09:00,2.00,7.0", "1,B,1,2010-12-01 09:00,2.00,8.0")

    assert [event["subject"] for event in events] == ["7"]
    assert account.notes == {"invoices of several customers, taken as the first one's": 1}


def test_prices_have_up_to_six_decimals(tmp_path: Path) -> None:
    """A tenth of a penny stays exact in the line and rounds half up in the money."""
    events, account = converted(tmp_path, "1,PADS,5,2010-12-01 09:00,0.001,7.0")

    assert events[0]["data"]["lines"][0]["unit_price"] == "0.001"
    assert (events[0]["data"]["total"], account.read.money_minor) == ("0.01", 1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,A,six,2010-12-01 09:00,2.00,7.0", "'six' is not a number"),
        ("1,A,1,2010-12-01 09:00,2.1234567,7.0", "more than 6 decimals"),
        ("1,A,1.2345,2010-12-01 09:00,2,7.0", "more than 3 decimals"),
        ("1,A,1,yesterday,2.00,7.0", "is not a time like 2010-12-01 08:26:00"),
        ("1,A,1,2010-12-01 09:00,2.00,Mrs Smith", "is not a customer number like 17850.0"),
        ("1,,1,2010-12-01 09:00,2.00,7.0", "StockCode '' is not a name"),
        ("1,A,NaN,2010-12-01 09:00,2.00,7.0", "'NaN' is not a number"),
    ],
)
def test_a_bad_line_is_named_with_its_place(tmp_path: Path, line: str, message: str) -> None:
    """The error names file, line and what is wrong."""
    with pytest.raises(BadLineError) as caught:
        converted(tmp_path, "1,A,1,2010-12-01 09:00,2.00,7.0", line)

    assert str(caught.value).startswith(f"{tmp_path / 'till.csv'}:3: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\x00\x01\x02\x03 not text\n", "this is not a CSV"),
        (b"PK\x03\x04 a workbook", "save the sheet as CSV first"),
        (b"\x1f\x8b\x08\x00damaged", "the gzip file is damaged"),
        (b"id,what\n1,2\n", "this is not a CSV with the columns InvoiceNo, StockCode"),
        (b"InvoiceNo,StockCode,Quantity,When,UnitPrice\n", "the columns InvoiceDate, CustomerID are missing"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """A file that is not the export is refused by saying what it is or lacks."""
    path = tmp_path / "till.csv"
    path.write_bytes(content)

    with pytest.raises(WrongFileError, match=message):
        list(convert(path, Account("GBP")))


def test_a_row_of_another_length_is_a_bad_line(tmp_path: Path) -> None:
    """A row that lost a field is not guessed at."""
    path = tmp_path / "till.csv"
    path.write_text(f"{HEADER}\n1,A,MUG,1,2010-12-01 09:00:00,2.00,7.0\n", encoding="utf-8")

    with pytest.raises(BadLineError, match=r"till\.csv:2: 7 fields where the header has 8"):
        list(convert(path, Account("GBP")))


def test_old_encodings_and_spreadsheet_times_are_read(tmp_path: Path) -> None:
    """A Latin-1 pound sign in a description, a byte-order mark and a time of the American kind do no harm."""
    path = tmp_path / "till.csv"
    row = "1,A,VOUCHER \xa310,1,12/1/2010 8:26,2.00,17850,United Kingdom\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\n{row}".encode("latin-1"))

    events = list(convert(path, Account("GBP")))

    assert (events[0]["subject"], events[0]["time"]) == ("17850", "2010-12-01T08:26:00+00:00")


def test_progress_counts_both_readings(tmp_path: Path) -> None:
    """The listener hears of every line twice: while they are counted and while they are converted."""
    heard: list[tuple[int, int | None]] = []
    path = till(tmp_path, ["1,A,1,2010-12-01 09:00,2.00,7.0", "2,A,1,2010-12-01 09:01,2.00,7.0"])

    list(convert(path, Account("GBP"), lambda done, total: heard.append((done, total))))

    assert heard == [(1, None), (2, None), (1, 2), (2, 2)]
