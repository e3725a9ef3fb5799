"""CDNOW's purchases (tests/data/README.md), as customers' days and as a warehouse."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from datetime import date
from functools import cache
from pathlib import Path

from projections.models.history import History, history
from projections.warehouse import Warehouse
from tests.projections import given

FILE = Path(__file__).parents[1] / "data" / "cdnow.csv.gz"
#: The papers learn from the first 39 weeks and look at the 39 after them.
CUT = date(1997, 9, 30)
END = date(1998, 6, 30)
Days = dict[date, int]


@cache
def customers(*, sample: bool) -> dict[str, Days]:
    """Customer -> day -> cents; of the one-in-ten sample, or of all."""
    found: dict[str, Days] = defaultdict(lambda: defaultdict(int))
    with gzip.open(FILE, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if not sample or row["in_sample"] == "1":
                text = row["day"]
                day = date(int(text[:4]), int(text[4:6]), int(text[6:]))
                found[row["customer"]][day] += round(float(row["dollars"]) * 100)
    return dict(found)


def learnt(*, sample: bool, end: date = CUT) -> History:
    """What is known of the customers on the evening of `end`; spend in dollars."""
    rows = []
    for days in customers(sample=sample).values():
        known = sorted(day for day in days if day <= end)
        later = [days[day] for day in known[1:]]
        spend = sum(later) / len(later) / 100 if later else 0.0
        rows.append((len(known) - 1, (known[-1] - known[0]).days, (end - known[0]).days, spend))
    return history(*zip(*rows, strict=True))


def notes(*, sample: bool, count: int | None = None) -> list[dict[str, object]]:
    """A purchase for every customer and day, of the first `count` customers, and a tick at the end of the data."""
    chosen = list(customers(sample=sample).items())[:count]
    bought: list[dict[str, object]] = [
        {"type": "purchase", "id": f"{customer}-{day}", "subject": f"c{customer}", "time": f"{day}T12:00:00Z",
         "data": {"total_minor": cents, "lines": []}}
        for customer, days in chosen for day, cents in days.items()
    ]  # fmt: skip
    tick: dict[str, object] = {"type": "tick", "source": "urn:stammgast:clock", "id": "end", "subject": None}
    return [*bought, {**tick, "time": f"{END}T22:00:00Z"}]


def warehouse(path: Path | str, *, sample: bool, score_every_days: int = 0) -> Warehouse:
    """Tables with a purchase for every customer and day, settled at the end of the data."""
    opened = Warehouse.open(path, log_id="cdnow", threads=1, score_every_days=score_every_days)
    opened.apply(*given.records(notes(sample=sample)))
    return opened
