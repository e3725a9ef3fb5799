"""The preset `cdnow`: the purchases of CDNOW's customers, on which models of buying are compared, become events.

Fader and Hardie, "Forecasting Repeat Sales at CDNOW: A Case Study", Interfaces 31(3), 2001. CDNOW_master.txt has customer,
day, number of CDs and dollars in columns apart by blanks, CDNOW_sample.txt the customer's number in the sample behind the first.
Customers keep the number of the master file in both, so a sample's member is the same as all's.

What the files do not say: the time of day (taken as noon in Pennsylvania, so that a day stays a day in Europe and America alike)
and what a CD cost (taken as equal parts of the order, to a millionth; the order's total is exact). Every line is an order, also
the second one of a customer on the same day.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from engine.imports.account import Account
from engine.imports.errors import BadLineError, WrongFileError
from engine.imports.table import text_lines
from schemas.facts import PURCHASE, UNIT_PRICE_DECIMALS
from schemas.money import half_up

SOURCE = "urn:cdnow"
CURRENCY = "USD"
ZONE = ZoneInfo("America/New_York")
NOON = 12
LINE = re.compile(r"\s*(\d{1,8})(?:\s+\d{1,8})?\s+(\d{8})\s+(\d{1,6})\s+(\d{1,7})\.(\d{2})\s*")

_CENTS = 100
Event = dict[str, Any]
Progress = Callable[[int, int | None], None]


def convert(path: Path, account: Account, progress: Progress = lambda _done, _total: None) -> Iterator[Event]:
    """Yield the events of the file at ``path``, sorted by (time, id), and fill ``account`` on the way.

    All of them are held in memory: the whole file has 69,659 lines.

    Raises:
        WrongFileError: there is no such file, or its first line is none of CDNOW's.
        BadLineError: a line cannot be understood.
    """
    events: list[Event] = []
    orders: Counter[str] = Counter()
    for number, line in text_lines(path):
        if not line.strip():
            continue
        found = LINE.fullmatch(line)
        if found is None and not events:
            raise WrongFileError(
                f"{path}:{number}: this is neither CDNOW_master.txt nor CDNOW_sample.txt: lines read `00001 19970101  1   11.77`."
            )
        if found is None:
            raise BadLineError(path, number, f"{line.strip()[:60]!r} is not customer, day, CDs and dollars.")
        customer, day, cds, dollars, cents = found.groups()
        minor = int(dollars) * _CENTS + int(cents)
        account.read.add(1, minor)
        progress(account.read.lines, None)
        try:
            moment = datetime.strptime(day, "%Y%m%d").replace(hour=NOON, tzinfo=ZONE)
        except ValueError as error:
            raise BadLineError(path, number, f"{day} is no day like 19970101.") from error
        events.append(_purchase(f"{int(customer):05}", moment, int(cds), minor, orders, path, number))
    for event in sorted(events, key=lambda one: (one["time"], one["id"])):
        account.use("purchase", 1, _minor(event))
        yield event


def _purchase(
    customer: str, moment: datetime, cds: int, minor: int, orders: Counter[str], path: Path, number: int
) -> Event:
    if cds == 0:
        raise BadLineError(path, number, "an order of no CDs.")
    day = f"{customer}-{moment:%Y%m%d}"
    orders[day] += 1
    order = f"{day}-{orders[day]}"
    price = half_up(minor * 10**UNIT_PRICE_DECIMALS, cds * _CENTS)
    line = {
        "sku": "cd",
        "category": "goods",
        "quantity": str(cds),
        "unit_price": str(Decimal(price).scaleb(-UNIT_PRICE_DECIMALS)),
    }
    data = {
        "order_id": order, "lines": [line], "total": str(Decimal(minor).scaleb(-2)), "currency": CURRENCY, "channel": "web",
        "store": None,
    }  # fmt: skip
    return {
        "specversion": "1.0", "id": order, "source": SOURCE, "type": PURCHASE, "time": moment.isoformat(), "subject": customer,
        "data": data,
    }  # fmt: skip


def _minor(event: Event) -> int:
    return int(Decimal(event["data"]["total"]).scaleb(2))
