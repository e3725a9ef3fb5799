"""The rest of the customer picture of a till's file, in plain Python: groups of churn, flags, movements, values, tiers, tables.

Each function gives the rows of one table or metric in the order of the columns that COLUMNS names for it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property
from itertools import zip_longest
from math import exp, log
from pathlib import Path
from statistics import median
from typing import Any

from tests.independent.compare import books
from tests.independent.points import Books, Entry, Member
from tests.independent.shop import Order, Rows, Shop, active, month_end, scores
from tests.independent.till import LONDON, Return, Sale, read

HORIZON, THRESHOLD = 90, 0.5
# Rows are recency 1 to 5, columns frequency 1 to 5, as the page on segments draws them.
GRID = {
    1: "hibernating hibernating at_risk at_risk cant_lose",
    2: "hibernating hibernating at_risk at_risk cant_lose",
    3: "about_to_sleep about_to_sleep need_attention loyal loyal",
    4: "promising potential_loyalist potential_loyalist loyal loyal",
    5: "new potential_loyalist potential_loyalist champions champions",
}
COLUMNS = {
    "purchases": "fact_id, order_id, member_id, occurred_at, total_minor, currency, channel, store, reason",
    "purchase_lines": "fact_id, order_id, line, sku, category, quantity, unit_price, discount_minor, amount_minor",
    "refunds": "fact_id, order_id, member_id, occurred_at, refunded_minor, quantity, paid_back_minor, currency, reason",
    "members": "member_id, joined_at, left_at, referrer, tier, orders, first_purchase_at, last_purchase_at",
    "tier_history": "member_id, tier, from_at, to_at",
    "tier_movements": "month, from_tier, to_tier, moves, members",
    "tier_distribution": "tier, members, share, orders, net_minor, net_per_member_minor, tier_points",
    "rfm_segments": "member_id, recency_days, frequency, monetary_minor, r, f, m, segment, as_of",
    "rfm_movements": "from_segment, to_segment, members, monetary_minor, from_day, as_of",
    "churn_flags": "member_id, as_of, horizon_days, p_no_purchase, flagged, threshold, usual_gap_days, silent_days, reason",
    "churn_reasons": "member_id, p_no_purchase, silent_days, usual_gap_days, reason, signs, yearly_minor, at_stake_minor",
    "churn_by": "dimension, value, members, stayed, churned, churn, net_minor, churned_net_minor, began_on, horizon_days, as_of",
    "unhappy_members": "member_id, sign, times, last_on",
    "plain_value": "months, order_value_minor, orders_per_month, monthly_churn, lifetime_months, value_minor, as_of",
    "engagement": "member_id, score, purchase_days, visits, reviews, referrals, activities, redemptions",
    "rule_results": "rule_id, rule_version, members, awards, points, taken_back, held_out_members, lift_minor, lift_low_minor",
    "breakage": "cohort_month, issued, redeemed, expired, taken_back, points_left, redeemed_share, breakage_share, "
    "expected_redeemed",
    "liability_by_expiry": "expires_month, lots, members, points, pending, redeemed_share, expected_points",
    "leaderboards": "month, measure, place, member_id, amount",
    "journey": "path, step, name, members, share_of_all, share_of_before, dropped, median_days",
}


@dataclass
class Kept:
    """A purchase rhythm: purchase days after the first, days silent, days since the first, and days of either half of them."""

    after: int
    silent: int
    since: int
    early: int
    late: int


@dataclass
class Picture:
    """A till's file and its books under the gift shop's programme, and all that is asked of both."""

    csv: Path
    shop: Shop = field(init=False)
    books: Books = field(init=False)

    def __post_init__(self) -> None:
        """Read the file."""
        self.shop, self.books = Shop(self.csv), books(self.csv)

    @cached_property
    def happened(self) -> list[Sale | Return]:
        """Everything at the till once more, in order."""
        return read(self.csv)

    @cached_property
    def entries(self) -> list[Entry]:
        """Every movement of points."""
        return [entry for member in self.books.members.values() for entry in member.entries]

    def rows(self) -> dict[str, Rows]:
        """Table or metric -> its rows."""
        return {name: getattr(self, name)() for name in COLUMNS}

    # ------------------------------------------------------------------------------------------------------- tables

    def purchases(self) -> Rows:
        """Every sale once."""
        rows: Rows = []
        for one in self._sales():
            total = sum(line.pennies for line in one.lines)
            rows.append((one.id, one.id, one.member, one.when, total, "GBP", "web", None, None))
        return rows

    def _sales(self) -> Iterator[Sale]:
        return (thing for thing in self.happened if isinstance(thing, Sale))

    def purchase_lines(self) -> Rows:
        """Every line of every sale."""
        rows: Rows = []
        for one in self._sales():
            for number, line in enumerate(one.lines, start=1):
                kind = "goods" if line.is_goods else "non_goods"
                rows.append((one.id, one.id, number, line.sku, kind, line.quantity, line.price, 0, line.pennies))
        return rows

    def refunds(self) -> Rows:
        """Every part of what came back: what its line still had, at most."""
        left: dict[tuple[str | None, int | None], int] = {
            (one.id, number): line.pennies for one in self._sales() for number, line in enumerate(one.lines, start=1)
        }
        rows: Rows = []
        for one in self.happened:
            if isinstance(one, Return) and (one.sale is None or one.line is None):
                order = f"unknown:{one.id.partition(':')[0]}"
                rows.append((one.id, order, one.member, one.when, one.pennies, 0, one.pennies, "GBP", "unknown_order"))
            elif isinstance(one, Return):
                lost = min(one.pennies, left[one.sale, one.line])
                left[one.sale, one.line] -= lost
                rows.append((one.id, one.sale, one.member, one.when, lost, one.quantity, one.pennies, "GBP", None))
        return rows

    def members(self) -> Rows:
        """Everybody from his first fact on; nobody leaves and nobody was brought."""
        first: dict[str, datetime] = {}
        bought: dict[str, list[datetime]] = defaultdict(list)
        for thing in self.happened:
            if thing.member is not None:
                first.setdefault(thing.member, thing.when)
                if isinstance(thing, Sale):
                    bought[thing.member].append(thing.when)
        rows: Rows = []
        for key, joined in first.items():
            standing, days = self.books.members[key].standing, bought[key]
            ends = (min(days), max(days)) if days else (None, None)
            rows.append((key, joined, None, None, standing and standing.tier, len(days), *ends))
        return rows

    # -------------------------------------------------------------------------------------------------------- tiers

    def tier_history(self) -> Rows:
        """Spans of one tier."""
        rows: Rows = []
        for member in self.books.members.values():
            spans = self._stood(member)
            ends = [since for _, since in spans[1:]]
            rows += [(member.key, *span, until) for span, until in zip_longest(spans, ends)]
        return rows

    def _stood(self, member: Member) -> list[tuple[str, datetime]]:
        """(tier, since) of a member; what another tier followed in the same moment was never held."""
        by_moment = {since: tier for tier, since in member.stood}
        return [(tier, since) for since, tier in by_moment.items()]

    def tier_on(self, day: date) -> dict[str, str]:
        """Member -> tier on the evening of a day."""
        held: dict[str, str] = {}
        for member in self.books.members.values():
            for tier, since in member.stood:
                if since.astimezone(LONDON).date() <= day:
                    held[member.key] = tier
        return held

    def tier_movements(self) -> Rows:
        """Changes by month and pair of tiers."""
        moved: dict[tuple[date, str | None, str], list[str]] = defaultdict(list)
        for member in self.books.members.values():
            before: str | None = None
            for tier, since in self._stood(member):
                moved[since.astimezone(LONDON).date().replace(day=1), before, tier].append(member.key)
                before = tier
        return [(*key, len(people), len(set(people))) for key, people in moved.items()]

    def tier_distribution(self) -> Rows:
        """Members by tier, their orders and money of a year, and the points of the tier itself."""
        last, held = self.shop.last, self.tier_on(self.shop.last)
        rows: Rows = []
        for tier in set(held.values()):
            people = {member for member, name in held.items() if name == tier}
            orders = [one for one in self.shop.until(last) if one.member in people and (last - one.day).days < 365]
            money = sum(one.net(last) for one in orders)
            points = sum(
                entry.points
                for entry in self.entries
                if entry.member in people and entry.rule.startswith("tier:") and (last - day_of(entry)).days < 365
            )
            rows.append((tier, len(people), len(people) / len(held), len(orders), money, money / len(people), points))
        return rows

    # ----------------------------------------------------------------------------------------- recency, frequency, money

    def rfm(self, day: date) -> dict[str, tuple[Any, ...]]:
        """Member -> (days since, orders kept, money, three scores, segment)."""
        of: dict[str, list[Order]] = defaultdict(list)
        for order in self.shop.until(day):
            if order.member is not None:
                of[order.member].append(order)
        recency = {member: (day - max(one.day for one in orders)).days for member, orders in of.items()}
        frequency = {member: sum(not one.whole_back(day) for one in orders) for member, orders in of.items()}
        money = {member: sum(one.net(day) for one in orders) for member, orders in of.items()}
        r = scores({member: -days for member, days in recency.items()})
        f, m = scores(frequency), scores(money)
        return {
            one: (recency[one], frequency[one], money[one], r[one], f[one], m[one], GRID[r[one]].split()[f[one] - 1])
            for one in of
        }

    def rfm_segments(self) -> Rows:
        """Everybody as of the last day."""
        return [(member, *told, self.shop.last) for member, told in self.rfm(self.shop.last).items()]

    def rfm_movements(self) -> Rows:
        """From which segment to which in thirty days."""
        then = self.shop.last - timedelta(30)
        before, after = self.rfm(then), self.rfm(self.shop.last)
        moved: dict[tuple[str | None, str], list[int]] = defaultdict(list)
        for member, told in after.items():
            moved[before[member][6] if member in before else None, told[6]].append(told[2])
        return [(*pair, len(money), sum(money), then, self.shop.last) for pair, money in moved.items()]

    # -------------------------------------------------------------------------------------------------------- churn

    def _rhythm(self, days: list[date]) -> Kept:
        """How often and how long ago; the first half of a member's time ends in the middle, the middle included."""
        since = (self.shop.last - days[0]).days
        places = [(day - days[0]).days for day in days]
        early = sum(0 < 2 * place <= since for place in places)
        late = sum(2 * place > since for place in places)
        return Kept(len(days) - 1, (self.shop.last - days[-1]).days, since, early, late)

    def chances(self, horizon: int) -> dict[str, float]:
        """Member -> chance of no purchase within the horizon, by the formulas at the head of macros/churn_as_of.sql."""
        people = {member: self._rhythm(days) for member, days in self.shop.days(self.shop.last).items()}
        all_of = list(people.values())
        total = sum(one.since for one in all_of)
        n1, n2 = sum(one.early for one in all_of), sum(one.late for one in all_of)
        mean = max(total / len(all_of), 1)
        # Each purchase sees its own member's time: half of that, on the mean over purchases, lies between the halves.
        between = max(sum((one.early + one.late) * one.since for one in all_of) / max(n1 + n2, 1) / 2, 1)
        mu = min(max(log((n1 + 1) / (min(n1, n2) + 1)) / between, 0.0001), 0.05)
        there = (1 - exp(-mu * mean)) / (mu * mean)
        m = (sum(one.after for one in all_of) + 1) / (total + 100) / there
        q = sum(one.after * (one.after - 1) for one in all_of) / max(sum(one.since**2 for one in all_of), 1) / there
        r = min(max(1 / (q / m**2 - 1), 0.1), 50) if q > 1.02 * m * m else 50
        alpha, told = r / m, {}
        for member, one in people.items():
            shape = r + one.after
            rate = shape / (alpha + one.since)
            alive = 1 / (1 + mu / (rate + mu) * ((1 + (rate + mu) * one.silent / shape) ** shape - 1))
            reach = (1 - exp(-mu * horizon)) / mu
            told[member] = 1 - alive * (1 - ((alpha + one.since) / (alpha + one.since + reach)) ** shape)
        return told

    def churn_flags(self) -> Rows:
        """Everybody who bought, and why."""
        chances, rows = self.chances(HORIZON), []
        for member, days in self.shop.days(self.shop.last).items():
            one, chance = self._rhythm(days), round(chances[member], 6)
            gap = half_up(Decimal((days[-1] - days[0]).days) / one.after, "0.1") if one.after else None
            flagged = chance > THRESHOLD
            rows.append(
                (member, self.shop.last, HORIZON, chance, flagged, THRESHOLD, gap, one.silent, words(gap, one.silent))
            )
        return rows

    def churn_reasons(self) -> Rows:
        """Who is flagged, with signs and what is at stake."""
        signs = {member: f"['{sign}']" for member, sign, _, _ in self.unhappy_members()}
        rows: Rows = []
        for member, _, _, chance, flagged, _, gap, silent, reason in self.churn_flags():
            if flagged:
                yearly = self._yearly[member]
                at_stake = half_up(Decimal(yearly) * Decimal(chance), "1")
                rows.append((member, chance, silent, gap, reason, signs.get(member, "[]"), yearly, at_stake))
        return rows

    @cached_property
    def _yearly(self) -> dict[str, int]:
        """Member -> money of the 365 days up to his last purchase."""
        newest = {member: days[-1] for member, days in self.shop.days(self.shop.last).items()}
        sums: Counter[str] = Counter()
        for order in self.shop.until(self.shop.last):
            if order.member is not None and (newest[order.member] - order.day).days < 365:
                sums[order.member] += order.net(self.shop.last)
        return sums

    def unhappy_members(self) -> Rows:
        """Goods of two orders or more came back within 180 days; no other sign is told at a till."""
        came: dict[str, list[tuple[str, date]]] = defaultdict(list)
        for thing in self.happened:
            if isinstance(thing, Return) and thing.sale is not None and thing.member is not None:
                day = thing.when.astimezone(LONDON).date()
                if (self.shop.last - day).days < 180:
                    came[thing.member].append((thing.sale, day))
        return [
            (member, "repeated_returns", 1, max(day for _, day in some))
            for member, some in came.items()
            if len({order for order, _ in some}) > 1
        ]

    def churn_by(self, horizon: int = HORIZON) -> Rows:
        """Who was active at the beginning of the horizon, by what was known of them on that evening."""
        last, began = self.shop.last, self.shop.last - timedelta(horizon)
        people = {member: days for member, days in self.shop.days(last).items() if active(days, began, horizon)}
        money: Counter[str] = Counter()
        for order in self.shop.until(began):
            if order.member in people and (began - order.day).days < horizon:
                money[order.member] += order.net(last)
        kinds, segments, tiers = self._categories(began), self.rfm(began), self.tier_on(began)
        groups: dict[tuple[str, str], list[str]] = defaultdict(list)
        for member in people:
            known = {
                "all": "all", "store": "none", "channel": "web", "category": kinds[member], "segment": segments[member][6],
                "tier": tiers[member],
            }  # fmt: skip
            for dimension, value in known.items():
                groups[dimension, value].append(member)
        rows: Rows = []
        for key, some in groups.items():
            lost = [member for member in some if people[member][-1] <= began]
            counts = (len(some), len(some) - len(lost), len(lost), len(lost) / len(some))
            sums = (sum(money[member] for member in some), sum(money[member] for member in lost))
            rows.append((*key, *counts, *sums, began, horizon, last))
        return rows

    def _categories(self, day: date) -> dict[str, str]:
        """Member -> the category of most of his money until the evening of a day, less what had come back by then."""
        sums: dict[str, Counter[str]] = defaultdict(Counter)
        for order in self.shop.until(day):
            back: Counter[int] = Counter()
            for when, line, pennies in order.returns:
                if when <= day:
                    back[line] += pennies
            for number, line in enumerate(order.lines, start=1):
                if order.member is not None:
                    kind = "goods" if line.is_goods else "non_goods"
                    sums[order.member][kind] += line.pennies - min(line.pennies, back[number])
        return {member: max(money, key=lambda kind: (money[kind], kind)) for member, money in sums.items()}

    # ------------------------------------------------------------------------------------------------------- values

    def plain_value(self) -> Rows:
        """Order value times orders a month over the churn of a month, of the last twelve months that are over."""
        over = [row for row in self.shop.retention(HORIZON) if month_end(row[0]) <= self.shop.last][-12:]
        sales = {row[0]: row for row in self.shop.sales_months()}
        chosen = [sales[row[0]] for row in over if row[0] in sales]
        orders, money = sum(row[2] for row in chosen), sum(row[5] for row in chosen)
        start, lost = sum(row[1] for row in over), sum(row[3] for row in over)
        each, often, churn = share(money, orders), share(orders, start), share(lost, start)
        value = each * often / churn if each is not None and often is not None and churn else None
        return [(len(over), each, often, churn, 1 / churn if churn else None, value, self.shop.last)]

    def engagement(self) -> Rows:
        """Purchase days of ninety days, each worth five, halved every thirty days; a till tells nothing else."""
        bought, rows = self.shop.days(self.shop.last), []
        for member in self.books.members:
            ages = [(self.shop.last - day).days for day in bought.get(member, ()) if (self.shop.last - day).days < 90]
            weight = sum(5 * 0.5 ** (age / 30) for age in ages)
            rows.append((member, round(100 * (1 - exp(-weight / 15)), 1), len(ages), 0, 0, 0, 0, 0))
        return rows

    def rule_results(self) -> Rows:
        """What each rule gave and what was taken back; nobody is held out here."""
        moved: dict[tuple[str, int], list[Entry]] = defaultdict(list)
        for entry in self.entries:
            moved[entry.rule, entry.version].append(entry)
        rows: Rows = []
        for key, some in moved.items():
            given = [entry for entry in some if entry.kind == "earn"]
            points, back = sum(one.points for one in given), -sum(one.points for one in some if one.kind != "earn")
            rows.append((*key, len({one.member for one in given}), len(given), points, back, 0, None, None))
        return rows

    def breakage(self) -> Rows:
        """Points by the month they were earned in; none is spent here and none expires."""
        sums: dict[date, list[int]] = defaultdict(lambda: [0, 0])
        for entry in self.entries:
            month = day_of(entry.of or entry).replace(day=1)
            sums[month][entry.kind != "earn"] += abs(entry.points)
        return [
            (month, issued, 0, 0, back, issued - back, *((0, 0) if issued > back else (None, None)), 0)
            for month, (issued, back) in sums.items()
        ]

    def liability_by_expiry(self) -> Rows:
        """Points that never expire, whole lots and rests; with none ended, all are expected to be spent."""
        left: Counter[int] = Counter()
        owner = {id(entry): entry.member for entry in self.entries if entry.kind == "earn"}
        for entry in self.entries:
            left[id(entry.of or entry)] += entry.points
        lots = {lot: points for lot, points in left.items() if points}
        return [(None, len(lots), len({owner[lot] for lot in lots}), sum(lots.values()), 0, None, sum(lots.values()))]

    def leaderboards(self) -> Rows:
        """The first hundred of each month by money and by points."""
        points: dict[date, Counter[str]] = defaultdict(Counter)
        for entry in self.entries:
            points[day_of(entry).replace(day=1)][entry.member] += entry.points
        rows: Rows = [(month, "money", place, member, amount) for month, place, member, amount in self.shop.leaders()]
        for month, sums in points.items():
            amounts = sorted(sums.values(), reverse=True)
            for member, amount in sums.items():
                place = 1 + amounts.index(amount)
                if amount > 0 and place <= 100:
                    rows.append((month, "points", place, member, amount))
        return rows

    def journey(self) -> Rows:
        """How far members come, by their own days."""
        joined = {row[0]: row[1].astimezone(LONDON).date() for row in self.members()}
        bought = self.shop.days(self.shop.last)
        earned: dict[str, date] = {}
        for entry in self.entries:
            if entry.kind == "earn":
                earned[entry.member] = min(day_of(entry), earned.get(entry.member, date.max))
        buying, rewards = [], []
        for member, day in joined.items():
            days = bought.get(member, [])
            buying.append([day, *(days[nth - 1] if len(days) >= nth else None for nth in (1, 2, 3, 10))])
            rewards.append([day, earned.get(member), None])
        names = ["account", "first purchase", "second purchase day", "third purchase day", "tenth purchase day"]
        return [
            *steps("buying", names, buying),
            *steps("rewards", ["account", "first points", "first reward"], rewards),
        ]


def steps(path: str, names: list[str], reached: list[list[date | None]]) -> Rows:
    """How many came to each step of a path, and how long it took."""
    counts = [sum(days[number] is not None for days in reached) for number in range(len(names))]
    rows: Rows = []
    for number, name in enumerate(names):
        if number == 0:
            rows.append((path, 1, name, counts[0], 1.0, None, None, None))
            continue
        took = [
            (now - before).days
            for days in reached
            if (now := days[number]) is not None and (before := days[number - 1]) is not None
        ]
        before_count = counts[number - 1]
        shares = (counts[number] / counts[0], share(counts[number], before_count), before_count - counts[number])
        rows.append((path, number + 1, name, counts[number], *shares, median(took) if took else None))
    return rows


def day_of(entry: Entry) -> date:
    """The shop's day of a movement."""
    return entry.when.astimezone(LONDON).date()


def share(part: float, whole: float) -> float | None:
    """A part of a whole, None of nothing."""
    return part / whole if whole else None


def half_up(value: Decimal, to: str) -> Decimal:
    """A decimal of so many places, a half counting as one."""
    return value.quantize(Decimal(to), ROUND_HALF_UP)


def words(gap: Decimal | None, silent: int) -> str:
    """The reason of a flag."""
    if gap is None:
        return f"bought once, silent for {silent} {'day' if silent == 1 else 'days'}"
    if gap < Decimal("1.5"):
        return f"usually every day, silent for {silent}"
    return f"usually every {half_up(gap, '1')} days, silent for {silent}"
