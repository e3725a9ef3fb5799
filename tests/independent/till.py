"""The till's CSV read once more, simply: all of it in memory, sums as decimals, one plain search per returned line."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

LONDON = ZoneInfo("Europe/London")
PENNY = Decimal("0.01")
NOT_GOODS = {"POST", "DOT", "C2", "M", "D", "S", "B", "BANK CHARGES", "AMAZONFEE", "CRUK", "PADS"}


@dataclass
class BoughtLine:
    """A line of a sale; ``price`` is of a piece, ``pennies`` its amount, ``unreturned`` what the customer still has."""

    sku: str
    quantity: Decimal
    price: Decimal
    pennies: int
    is_goods: bool
    unreturned: Decimal


@dataclass
class Sale:
    """An invoice; ``member`` is None for an anonymous sale."""

    id: str
    member: str | None
    when: datetime
    lines: list[BoughtLine] = field(default_factory=list)


@dataclass
class Return:
    """A part of a sale's line that came back (``sale`` None: nobody knows of which); ``pennies`` were paid back."""

    id: str
    member: str | None
    when: datetime
    sale: str | None
    line: int | None
    quantity: Decimal
    pennies: int


def read(path: Path) -> list[Sale | Return]:
    """Everything that happened at the till, by (time, id)."""
    with gzip.open(path, "rt", encoding="utf-8", errors="replace", newline="") as file:
        invoices: dict[str, list[dict[str, str]]] = defaultdict(list)
        for row in csv.DictReader(file):
            invoices[row["InvoiceNo"]].append(row)
    happened: list[Sale | Return] = []
    sales: list[Sale] = []
    for _, number in sorted((when_of(rows), number) for number, rows in invoices.items()):
        rows = invoices[number]
        if number.startswith("A"):
            continue
        if number.startswith("C"):
            happened += returns_of(number, rows, sales)
        elif any(Decimal(row["Quantity"]) > 0 for row in rows):
            sales.append(sale_of(number, rows))
            happened.append(sales[-1])
    return sorted(happened, key=lambda thing: (thing.when, thing.id))


def when_of(rows: list[dict[str, str]]) -> datetime:
    """The earliest time on an invoice, in UTC."""
    earliest = min(row["InvoiceDate"] for row in rows)
    return datetime.fromisoformat(earliest).replace(tzinfo=LONDON).astimezone(UTC)


def member_of(rows: list[dict[str, str]]) -> str | None:
    """The customer number without its `.0`."""
    named = [row["CustomerID"] for row in rows if row["CustomerID"]]
    return named[0].split(".")[0] if named else None


def pennies_of(quantity: Decimal, price: Decimal) -> int:
    """What a line comes to, half a penny counting as one."""
    return int((quantity * price).quantize(PENNY, ROUND_HALF_UP) * 100)


def sale_of(number: str, rows: list[dict[str, str]]) -> Sale:
    """An invoice with every line of a positive quantity, in line order."""
    sale = Sale(number, member_of(rows), when_of(rows))
    for row in rows:
        quantity = Decimal(row["Quantity"])
        if quantity > 0:
            code = row["StockCode"]
            is_goods = code.upper() not in NOT_GOODS and not code.lower().startswith("gift_")
            price = Decimal(row["UnitPrice"])
            pennies = pennies_of(quantity, price)
            sale.lines.append(BoughtLine(code, quantity, price, pennies, is_goods, unreturned=quantity))
    return sale


def returns_of(number: str, rows: list[dict[str, str]], sales: list[Sale]) -> list[Return]:
    """A cancellation: each of its lines looked for among what this customer bought so far, newest first."""
    member, when = member_of(rows), when_of(rows)
    found: list[Return] = []
    for row in rows:
        wanted, price = -Decimal(row["Quantity"]), Decimal(row["UnitPrice"])
        paid_so_far, seen = 0, Decimal(0)
        for sale, line, quantity in matches(member, row["StockCode"], wanted, sales):
            seen += quantity
            paid = pennies_of(seen, price) - paid_so_far
            paid_so_far += paid
            found.append(Return(f"{number}:{len(found) + 1}", member, when, sale, line, quantity, paid))
    return found


def matches(
    member: str | None, sku: str, wanted: Decimal, sales: list[Sale]
) -> list[tuple[str | None, int | None, Decimal]]:
    """(sale, line number, quantity) of what comes back; the sale is None for what nobody bought."""
    candidates = [
        (sale, number, line)
        for sale in reversed(sales)
        if member is not None and sale.member == member
        for number, line in reversed(list(enumerate(sale.lines, start=1)))
        if line.sku == sku and line.unreturned > 0
    ]
    exact = [candidate for candidate in candidates if candidate[2].unreturned == wanted]
    taken: list[tuple[str | None, int | None, Decimal]] = []
    for sale, number, line in exact[:1] or candidates:
        if wanted == 0:
            break
        quantity = min(wanted, line.unreturned)
        line.unreturned -= quantity
        wanted -= quantity
        taken.append((sale.id, number, quantity))
    return [*taken, (None, None, wanted)] if wanted else taken
