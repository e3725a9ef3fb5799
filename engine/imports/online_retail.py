"""The preset `online-retail`: a gift shop's till as published by the UCI Machine Learning Repository becomes events.

Source: "Online Retail", Daqing Chen, 2015, UCI Machine Learning Repository, CC BY 4.0. Columns InvoiceNo, StockCode,
Description, Quantity, InvoiceDate (local time in the United Kingdom), UnitPrice (GBP), CustomerID, Country.

What the till does not say outright, and how it is read here:

- An invoice is one order, at the earliest of its time stamps; its id is the invoice number. Every line with a positive
  quantity stays, exact duplicates and zero prices included. Without a customer it is an anonymous sale.
- An invoice that begins with C is a cancellation; it does not name the invoice that it takes back. Each of its lines
  takes the newest earlier purchase line of that customer and stock code (returns.py); earlier means: before it in the
  order of events, so a purchase of the same minute counts. Each piece found is one refund, numbered
  ``<C-invoice>:<n>`` in line order; what no purchase covers is a refund of the order ``unknown:<C-invoice>``.
- A refund says the line, the quantity and what the till paid back for it (the cancelled line's own price, which may be
  another than the price paid). Whether that is more than was paid is for the engine to judge, not for the import.
- Invoices that begin with A adjust bad debts; a negative quantity without a C is stock that was lost: both are no
  business with a customer. They are left out and reported.
- A local time that the clock shows twice is the earlier one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from engine.imports.account import Account
from engine.imports.errors import BadLineError
from engine.imports.gathering import Receipts
from engine.imports.returns import Piece, Shelf, shares
from engine.imports.table import Row, rows
from schemas.facts import PURCHASE, QUANTITY_DECIMALS, REFUND, UNIT_PRICE_DECIMALS
from schemas.money import half_up, to_minor
from schemas.times import from_datetime

SOURCE = "urn:online-retail"
CURRENCY = "GBP"
ZONE = ZoneInfo("Europe/London")
COLUMNS = ("InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID")
# Postage, carriage, fees, discounts, samples, corrections by hand, donations, padding; upper case, as `m` is `M` too.
NON_GOODS = frozenset(
    ["POST", "DOT", "C2", "M", "D", "S", "B", "BANK CHARGES", "AMAZONFEE", "CRUK", "PADS"],
)
# A voucher is money in another form: points come when it is spent.
NON_GOODS_PREFIX = "GIFT_"
# The repository's CSV, then the form that spreadsheets of the same data are often saved in.
TIME_FORMS = ("%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M")

_PENNIES = 100
_QUANTITY_UNIT = 10**QUANTITY_DECIMALS
_PRICE_UNIT = 10**UNIT_PRICE_DECIMALS
_LIMIT = 10**9
_LONGEST = 128

Event = dict[str, Any]
# Told (lines read, lines in the file or None while they are counted).
Progress = Callable[[int, int | None], None]


class Line(NamedTuple):
    """One line of the till: quantity in thousandths, unit price in millionths of a pound, amount in pence."""

    invoice: str
    sku: str
    quantity: int
    time_us: int
    time: str
    unit_price: int
    customer: str | None
    amount_minor: int


def convert(path: Path, account: Account, progress: Progress = lambda _done, _total: None) -> Iterator[Event]:
    """Yield the events of the export at ``path``, sorted by (time, id), and fill ``account`` on the way.

    The file is read twice (see gathering.py); memory also holds what may still be returned.

    Args:
        progress: told how far each of the two readings is.

    Raises:
        ExportError: the file is not this export, or a line cannot be understood.
    """
    invoices = _survey(path, account, progress)
    writer = _Writer(account)
    for invoice, time, lines in invoices.whole(_counted(path, account, progress), _sort_id):
        yield from writer.events(invoice, time, lines)


def _survey(path: Path, account: Account, progress: Progress) -> Receipts[str]:
    """Read the file once: what came in, and per invoice its earliest time and number of lines."""
    invoices: Receipts[str] = Receipts()
    for line in _lines(path):
        account.read.add(1, line.amount_minor)
        invoices.add(line.invoice, line.time_us, line.time)
        progress(account.read.lines, None)
    return invoices


def _counted(path: Path, account: Account, progress: Progress) -> Iterator[tuple[str, Line]]:
    """The lines a second time, each under its invoice."""
    for count, line in enumerate(_lines(path), start=1):
        yield line.invoice, line
        progress(count, account.read.lines)


def _sort_id(invoice: str) -> str:
    """What the ids of an invoice's events begin with, so that invoices sort as their events do."""
    return f"{invoice}:" if _is_cancellation(invoice) else invoice


def _is_cancellation(invoice: str) -> bool:
    return invoice[0] in "Cc"


class _Writer:
    """Turns whole invoices, which come in the order of time, into events."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._shelf = Shelf()

    def events(self, invoice: str, time: str, lines: list[Line]) -> list[Event]:
        """Return the events of one invoice, sorted by id; none when every line is left out."""
        customers = list(dict.fromkeys(line.customer for line in lines if line.customer))
        if len(customers) > 1:
            self._account.note("invoices of several customers, taken as the first one's")
        if any(line.time != time for line in lines):
            self._account.note("invoices of several time stamps, taken at the earliest")
        customer = customers[0] if customers else None
        used = [line for line in lines if self._is_used(line)]
        if not used:
            return []
        if _is_cancellation(invoice):
            return self._refunds(invoice, time, customer, used)
        return [self._purchase(invoice, time, customer, used)]

    def _is_used(self, line: Line) -> bool:
        reason = left_out_because(line)
        if reason:
            self._account.leave_out(reason, line.amount_minor)
        return reason is None

    def _purchase(self, invoice: str, time: str, customer: str | None, lines: list[Line]) -> Event:
        for number, line in enumerate(lines, start=1):
            if customer:
                self._shelf.put(customer, line.sku, invoice, number, line.quantity)
        total_minor = sum(line.amount_minor for line in lines)
        self._account.use("purchase" if customer else "anonymous purchase", len(lines), total_minor)
        data = {
            "order_id": invoice,
            "lines": [_purchase_line(line) for line in lines],
            "total": _pounds(total_minor),
            "currency": CURRENCY,
            "channel": "web",
            "store": None,
        }
        return _event(PURCHASE, invoice, customer, time, data)

    def _refunds(self, invoice: str, time: str, customer: str | None, lines: list[Line]) -> list[Event]:
        events: list[Event] = []
        for line in lines:
            pieces = self._pieces(line, customer)
            for piece, amount_minor in zip(pieces, shares(-line.amount_minor, pieces), strict=True):
                event_id = f"{invoice}:{len(events) + 1}"
                kind = "refund of a known order" if piece.order_id else "refund of an unknown order"
                # The line is counted with the last of its pieces, its money with each.
                self._account.use(kind, int(piece is pieces[-1]), -amount_minor)
                data = _refund_data(invoice, line, piece, amount_minor)
                events.append(_event(REFUND, event_id, customer, time, data))
        return sorted(events, key=_id_of)

    def _pieces(self, line: Line, customer: str | None) -> list[Piece]:
        if customer is None:
            return [Piece(None, None, -line.quantity)]
        return self._shelf.take(customer, line.sku, -line.quantity)


def left_out_because(line: Line) -> str | None:
    """Return why a line is in no event, or None when it is used."""
    if line.invoice[0] in "Aa":
        return "bad-debt adjustment (A-invoice)"
    if line.unit_price < 0:
        return "negative price"
    if _is_cancellation(line.invoice):
        return None if line.quantity < 0 else "cancellation that returns nothing"
    if line.quantity == 0:
        return "quantity zero"
    return None if line.quantity > 0 else "negative quantity without a cancellation"


def category(sku: str) -> str:
    """Return ``non_goods`` for postage, fees, vouchers and the like, else ``goods``."""
    code = sku.upper()
    return "non_goods" if code in NON_GOODS or code.startswith(NON_GOODS_PREFIX) else "goods"


def _event(event_type: str, event_id: str, customer: str | None, time: str, data: dict[str, Any]) -> Event:
    event: Event = {"specversion": "1.0", "id": event_id, "source": SOURCE, "type": event_type, "time": time}
    if customer:
        event["subject"] = customer
    return {**event, "data": data}


def _id_of(event: Event) -> str:
    return str(event["id"])


def _purchase_line(line: Line) -> dict[str, str]:
    return {
        "sku": line.sku,
        "category": category(line.sku),
        "quantity": _decimal(line.quantity, QUANTITY_DECIMALS),
        "unit_price": _decimal(line.unit_price, UNIT_PRICE_DECIMALS),
    }


def _refund_data(invoice: str, line: Line, piece: Piece, amount_minor: int) -> dict[str, Any]:
    amount = _pounds(amount_minor)
    returned: dict[str, str | int] = {
        "sku": line.sku,
        "quantity": _decimal(piece.quantity, QUANTITY_DECIMALS),
        "amount": amount,
    }
    if piece.line is not None:
        returned = {"line": piece.line, **returned}
    return {
        "order_id": piece.order_id or f"unknown:{invoice}",
        "lines": [returned],
        "total": amount,
        "currency": CURRENCY,
        "channel": "web",
        "store": None,
    }


def _lines(path: Path) -> Iterator[Line]:
    for row in rows(path, COLUMNS):
        yield _line(path, row)


def _line(path: Path, row: Row) -> Line:
    number, (invoice, sku, quantity, time, unit_price, customer) = row
    try:
        quantity_units = _units(quantity, QUANTITY_DECIMALS)
        price_units = _units(unit_price, UNIT_PRICE_DECIMALS)
        time_us, time_text = _time(time)
        amount_minor = half_up(quantity_units * price_units * _PENNIES, _QUANTITY_UNIT * _PRICE_UNIT)
        return Line(
            _name("InvoiceNo", invoice),
            _name("StockCode", sku),
            quantity_units,
            time_us,
            time_text,
            price_units,
            _customer(customer),
            amount_minor,
        )
    except ValueError as error:
        raise BadLineError(path, number, str(error)) from error


# Numbers, times and names repeat from line to line: remembering them halves the time of a conversion.
@lru_cache(maxsize=1 << 14)
def _units(text: str, decimals: int) -> int:
    """Return a decimal as an integer of its smallest unit, exactly."""
    try:
        number = Decimal(text.strip())
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is not a number.") from error
    if not number.is_finite() or abs(number) >= _LIMIT:
        raise ValueError(f"{text!r} is not a number below {_LIMIT:,}.")
    return to_minor(number, decimals)


@lru_cache(maxsize=1 << 10)
def _time(text: str) -> tuple[int, str]:
    """Return (microseconds since the epoch, RFC 3339 text with the offset of the United Kingdom at that time)."""
    for form in TIME_FORMS:
        try:
            local = datetime.strptime(text.strip(), form).replace(tzinfo=ZONE)
        except ValueError:
            continue
        return from_datetime(local), local.isoformat()
    raise ValueError(f"{text!r} is not a time like 2010-12-01 08:26:00.")


@lru_cache(maxsize=1 << 14)
def _name(column: str, text: str) -> str:
    """Return an invoice number or stock code as it is written, without space around it."""
    name = text.strip()
    if not name or len(name) > _LONGEST or not name.isprintable() or "|" in name or "�" in name:
        raise ValueError(f"{column} {text!r} is not a name of 1 to {_LONGEST} printable characters (without |).")
    return name


@lru_cache(maxsize=1 << 14)
def _customer(text: str) -> str | None:
    """Return a customer number without the ``.0`` that a column of floats left, None where there is none."""
    number = text.strip().removesuffix(".0")
    if not number:
        return None
    if not (number.isascii() and number.isdigit()):
        raise ValueError(f"CustomerID {text!r} is not a customer number like 17850.0.")
    return number


@lru_cache(maxsize=1 << 14)
def _decimal(units: int, decimals: int) -> str:
    """Return an integer of small units as plain decimal text without trailing zeros."""
    whole, part = divmod(units, 10**decimals)
    return f"{whole}.{part:0{decimals}d}".rstrip("0").rstrip(".")


def _pounds(minor: int) -> str:
    """Return pence (not negative) as pounds with two decimals."""
    return f"{minor // _PENNIES}.{minor % _PENNIES:02d}"
