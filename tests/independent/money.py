"""Goals, costs, return and what is owed of a till's file, in plain Python: under a programme with a margin, and made-up costs."""

from __future__ import annotations

import csv
import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from engine.imports.online_retail import category
from tests.independent.points import Books, Level, Rule, Version
from tests.independent.shop import Shop, active, month_end
from tests.independent.till import LONDON, read

SEED, BEGINS = 20261123, date(2010, 12, 1)
WORTH, KEPT, KEPT_OF = 3, 0.6, {"non_goods": 0.25}
ACTIVE_DAYS = 90
# goal: (metric, baseline, target, last day); money in pennies
GOALS = {
    "more": ("revenue", 50_000_000, 70_000_000, date(2011, 3, 1)),
    "stay": ("repeat_purchase_rate", 0.1, 0.3, date(2010, 12, 31)),
    "dear": ("programme_cost", 500_000, 100_000, date(2011, 6, 30)),
    "many": ("active_members", 500, 1_500, date(2011, 12, 31)),
    "keep": ("retention", 0.5, 0.6, date(2011, 9, 30)),
    "lose": ("churn", 0.5, 0.4, date(2011, 9, 30)),
    "ours": ("member_revenue", 40_000_000, 60_000_000, date(2011, 4, 30)),
    "part": ("members_share", 0.6, 0.9, date(2011, 8, 31)),
    "basket": ("order_value", 30_000, 50_000, date(2011, 12, 31)),
    "often": ("orders_per_member", 1, 2, date(2012, 6, 30)),
    "each": ("revenue_per_member", 50_000, 80_000, date(2011, 12, 31)),
    "owed": ("points_owed", 2_000_000, 100_000, date(2011, 12, 31)),
}
VERSION = Version(
    1,
    datetime(2010, 12, 1, tzinfo=UTC),
    (Rule("spend", "base", points=1, per=100, takes=lambda _line: True),),
    (Level("member", 0, Fraction(1)),),
    0,
    LONDON,
)


def programme() -> str:
    """The programme that these sums restate, as its file says it."""
    said = "\n".join(
        f"  - {{id: {goal}, metric: {metric}, baseline: {_written(metric, low)}, target: {_written(metric, high)}, by: {by}}}"
        for goal, (metric, low, high, by) in GOALS.items()
    )
    return f"""programme: plain
version: 1
valid: {{from: {BEGINS}}}
time_zone: Europe/London
currency: GBP
points: {{worth: 0.03 GBP, expire: {{after: 6 months, at: end_of_month}}}}
earn: [{{id: spend, on: purchase, award: {{points: 1, per: 1.00 GBP, of: net_after_discounts, round: floor}}}}]
margin: {{share: 60 %, categories: {{non_goods: 25 %}}}}
goals:
{said}
"""


def _written(metric: str, value: float) -> str:
    if metric in ("repeat_purchase_rate", "retention", "churn", "members_share"):
        return f"{100 * value:g} %"
    return str(value) if metric in ("active_members", "orders_per_member") else f"{Decimal(value).scaleb(-2)} GBP"


def bookkeeping(path: Path, days: int) -> list[dict[str, Any]]:
    """A made-up list of costs of so many days from 20 November 2010 on, written as CSV; what it says, in pennies."""
    chance = random.Random(SEED)
    rows: list[dict[str, Any]] = []
    for _ in range(5 * days):
        pennies = chance.randrange(50, 20_000) * (-1 if chance.random() < 0.15 else 1)
        day = date(2010, 11, 20) + timedelta(chance.randrange(days))
        kind, foreseen = chance.choice(("printing", "postage", "goodwill")), chance.random() < 0.7
        rows.append({"day": day, "kind": kind, "foreseen": foreseen, "pennies": pennies})
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["day", "kind", "foreseen", "amount"])
        for row in rows:
            amount = Decimal(row["pennies"]).scaleb(-2)
            out.writerow([row["day"], row["kind"], "yes" if row["foreseen"] else "no", amount])
    return rows


def kept(shop: Shop) -> float:
    """The share of members' sales that is kept: of what is left of each line, by its category."""
    left: Counter[str] = Counter()
    for order in shop.until(shop.last):
        for number, line in enumerate(order.lines, start=1):
            if order.member is not None:
                left[category(line.sku)] += line.pennies - min(line.pennies, order.pennies_back[number])
    return sum(KEPT_OF.get(name, KEPT) * pennies for name, pennies in left.items()) / left.total()


def owed(csv_file: Path) -> tuple[dict[date, int], dict[date, int]]:
    """(pennies owed by month of expiry, points given by month); points go when the month half a year later is over."""
    books = Books((VERSION,))
    books.enter_all(read(csv_file))
    left: Counter[date] = Counter()
    given: Counter[date] = Counter()
    for member in books.members.values():
        for entry in member.entries:
            earned = (entry.of or entry).when.astimezone(LONDON).date()
            month = earned.year * 12 + earned.month - 1 + 7
            left[date(month // 12, month % 12 + 1, 1)] += entry.points * WORTH
            if entry.kind == "earn":
                given[earned.replace(day=1)] += entry.points
    return {month: pennies for month, pennies in left.items() if pennies}, dict(given)


def shop_of(csv_file: Path) -> Shop:
    """The shop at the end of its last month."""
    shop = Shop(csv_file)
    shop.last = month_end(shop.last)
    return shop


def goal_values(csv_file: Path, costs: list[dict[str, Any]]) -> dict[str, float]:
    """Metric -> value at the end of the shop's last month."""
    shop = shop_of(csv_file)
    month = shop.last.replace(day=1)
    (sales,) = [row for row in shop.sales_months() if row[0] == month]
    _, orders, member_orders, members, net, members_net = sales
    _, buyers, again = shop.repeat_purchases()[-1]
    values = {
        "revenue": net,
        "member_revenue": members_net,
        "members_share": members_net / net,
        "order_value": net / orders,
        "orders_per_member": member_orders / members,
        "revenue_per_member": members_net / members,
        "repeat_purchase_rate": again / buyers,
        "active_members": sum(active(days, shop.last, ACTIVE_DAYS) for days in shop.days(shop.last).values()),
        "programme_cost": sum(row["pennies"] for row in costs if row["day"].replace(day=1) == month),
        "points_owed": sum(owed(csv_file)[0].values()),
    }
    (counts,) = [row for row in shop.retention(ACTIVE_DAYS) if row[0] == month]
    if counts[1]:
        values |= {"retention": counts[2] / counts[1], "churn": counts[3] / counts[1]}
    return values


def progress(value: float | None, goal: str, day: date) -> tuple[float | None, float, str]:
    """(share of the way, share of the time, state)."""
    _, baseline, target, ends = GOALS[goal]
    time = min(1.0, (day - BEGINS).days / (ends - BEGINS).days)
    if value is None:
        return None, time, "not_known"
    way = (value - baseline) / (target - baseline)
    if way >= 1:
        return way, time, "reached"
    if day > ends:
        return way, time, "missed"
    return way, time, "on_track" if way >= time else "behind"
