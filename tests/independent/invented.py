"""Half a year of an invented shop with everything that a till does not tell, as notes, and its metrics in plain Python.

Visits, reviews, surveys, complaints, deliveries, referrals, lots that are spent, given back, expire and are taken back, and rules
with a hold-out. What is asked is what the tables make of decided facts, so what was decided is invented too, lot by lot.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from math import exp, floor, sqrt
from statistics import mean, variance
from typing import Any
from zoneinfo import ZoneInfo

from tests.independent.shop import Rows

ZONE, SEED = ZoneInfo("Europe/London"), 20261123
FIRST, DAYS, MEMBERS = date(2026, 1, 5), 180, 90
NO_SIGN_OF_LIKING = {"delivered", "complaint", "service_contact"}
WEIGHTS = {"purchase": 5, "visit": 1, "review": 4, "referral": 8, "activity": 1, "redemption": 3}
REWARDS = ("coffee", "bag", None)
Note = dict[str, Any]


@dataclass
class Lot:
    """A credit of points and what is left of it."""

    id: str
    member: str
    points: int
    left: int
    day: date
    expires: date


@dataclass
class Move:
    """A movement of points, with the lots it took from (negative: gave back to)."""

    member: str
    kind: str
    points: int
    day: date
    rule: str | None
    burns: list[tuple[Lot, int]] = field(default_factory=list)


@dataclass
class Life:
    """All that happens, told day by day."""

    notes: list[Note] = field(default_factory=list)
    lots: list[Lot] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    sold: list[tuple[str, date, datetime, int]] = field(default_factory=list)
    done: list[tuple[str, str, date]] = field(default_factory=list)
    told: list[tuple[str, datetime, str, dict[str, Any]]] = field(default_factory=list)
    reviews: list[tuple[str, date, str, str, int, bool | None]] = field(default_factory=list)
    brought: list[tuple[str, str, date, bool]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    held_out: dict[str, datetime] = field(default_factory=dict)
    treated: dict[str, datetime] = field(default_factory=dict)
    joined: dict[str, date] = field(default_factory=dict)
    chance: random.Random = field(default_factory=lambda: random.Random(SEED))
    last: date = FIRST + timedelta(DAYS - 1)

    # ------------------------------------------------------------------------------------------------------- telling

    def live(self) -> Life:
        """Let it happen."""
        names = [f"m{number:02d}" for number in range(MEMBERS)]
        keen = {name: self.chance.choice((0.02, 0.05, 0.2)) for name in names}
        for offset in range(DAYS):
            day = FIRST + timedelta(offset)
            self._expire(day)
            for number, name in enumerate(names):
                if offset == number or (offset > number and self.chance.random() < keen[name]):
                    self._visit_of(name, names[:number], day, is_first=offset == number)
        self.note("visit", "m00", datetime(2026, 7, 3, 23, 30, tzinfo=ZONE), {"store": "mitte"})
        return self

    def note(self, kind: str, member: str, at: datetime, data: Note, decision: Note | None = None) -> str:
        """Tell a decided fact; its id."""
        name = f"{kind}-{len(self.notes)}"
        when = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.notes.append(
            {"type": kind, "id": name, "subject": member, "time": when, "data": data, "decision": decision or {}}
        )
        day = at.astimezone(ZONE).date()
        self.joined.setdefault(member, day)
        if kind == "visit":
            self.done.append((member, "visit", day))
        return name

    def _visit_of(self, name: str, others: list[str], day: date, *, is_first: bool) -> None:
        """One member's day: some of everything."""
        at = datetime(day.year, day.month, day.day, self.chance.randrange(24), self.chance.randrange(60), tzinfo=ZONE)
        if is_first:
            self._begin(name, others, at)
            return
        what = self.chance.random()
        if what < 0.5:
            self._buy(name, at)
        elif what < 0.6:
            self.note("visit", name, at, {"store": self.chance.choice(("mitte", "west"))})
        elif what < 0.72:
            self._review(name, at)
        elif what < 0.86:
            self._tell(name, at)
        else:
            self._redeem(name, at)

    def _begin(self, name: str, others: list[str], at: datetime) -> None:
        """Most are brought by somebody who was there before; some referrals are refused."""
        if others and self.chance.random() < 0.7:
            referrer, refused = self.chance.choice(others), self.chance.random() < 0.2
            self.note("referral", name, at, {"referrer": referrer}, {"reason": "referral_loop"} if refused else None)
            self.brought.append((name, referrer, at.date(), not refused))
            if not refused:
                self.done.append((referrer, "referral", at.date()))
        else:
            self.note("visit", name, at, {"store": "mitte"})

    def _buy(self, name: str, at: datetime) -> None:
        total, day = self.chance.randrange(100, 9_000), at.date()
        number = len(self.lots)
        lot = Lot(f"lot-{number}", name, total // 100 + 1, total // 100 + 1, day, day + timedelta(45))
        self.lots.append(lot)
        self.moves.append(Move(name, "earn", lot.points, day, "base"))
        ends = datetime(lot.expires.year, lot.expires.month, lot.expires.day, tzinfo=ZONE).astimezone(UTC)
        entries = [
            {
                "entry_id": lot.id,
                "points": lot.points,
                "rule_id": "base",
                "expires_at": f"{ends:%Y-%m-%dT%H:%M:%S}.000000Z",
            }
        ]
        notes: list[Note] = []
        if self.chance.random() < 0.3:
            self._happy(name, at, lot, entries, notes)
        self.note("purchase", name, at, {"total_minor": total, "lines": []}, {"entries": entries, "notes": notes})
        self.sold.append((name, day, at, total))
        if self.chance.random() < 0.1 and lot.left > 2:
            self._give_back(name, at + timedelta(minutes=1), lot)

    def _happy(self, name: str, at: datetime, lot: Lot, entries: list[Note], notes: list[Note]) -> None:
        """A rule with a hold-out of a third of its members."""
        if int(name[1:]) % 3 == 0:
            self.held_out.setdefault(name, at)
            notes.append({"code": "hold_out", "rule_id": "happy", "text": "held"})
            return
        extra = Lot(f"happy-{len(self.lots)}", name, 7, 7, lot.day, lot.expires)
        self.lots.append(extra)
        self.treated.setdefault(name, at)
        self.moves.append(Move(name, "earn", 7, lot.day, "happy"))
        entries.append({**entries[0], "entry_id": extra.id, "points": 7, "rule_id": "happy"})

    def _give_back(self, name: str, at: datetime, lot: Lot) -> None:
        """A part of an award is taken back by staff's correction of it; the order itself stays."""
        taken = lot.left // 2
        lot.left -= taken
        self._moved(
            Move(name, "clawback", -taken, at.date(), "base", [(lot, taken)]), "activity", at, {"name": "corrected"}
        )
        self.done.append((name, "activity", at.date()))

    def _moved(self, move: Move, kind: str, at: datetime, data: Note, **decision: Any) -> str:
        burns = [[lot.id, points] for lot, points in move.burns]
        entry = {
            "entry_id": f"x{len(self.moves)}", "kind": move.kind, "points": move.points, "rule_id": move.rule, "burns": burns,
            "member_id": move.member,
        }  # fmt: skip
        self.moves.append(move)
        return self.note(kind, move.member, at, data, {"entries": [entry], **decision})

    def _redeem(self, name: str, at: datetime) -> None:
        reward, cost = self.chance.choice(REWARDS), self.chance.choice((5, 20, 60))
        data: Note = {"reward": reward} if reward else {"points": cost}
        mine = sorted(
            (lot for lot in self.lots if lot.member == name and lot.left), key=lambda lot: (lot.expires, lot.id)
        )
        row = {"member": name, "reward": reward or "points", "day": at.date(), "state": "refused", "points": cost}
        self.asked.append(row)
        if sum(lot.left for lot in mine) < cost:
            self.note("redemption", name, at, data, {"reason": "not_enough_points"})
            return
        burns, wanted = [], cost
        for lot in mine:
            taken = min(lot.left, wanted)
            if taken:
                lot.left, wanted = lot.left - taken, wanted - taken
                burns.append((lot, taken))
        self.done.append((name, "redemption", at.date()))
        name_of = f"redemption-{len(self.notes)}"
        state = {"what": "redemption", "id": f"urn:shop|{name_of}", "state": "granted"}
        self._moved(Move(name, "redeem", -cost, at.date(), None, burns), "redemption", at, data, states=[state])
        row["state"] = end = self.chance.choice(("granted", "fulfilled", "cancelled"))
        over = {"redemption": name_of, "redemption_source": "urn:shop"}
        later = at + timedelta(minutes=2)
        if end == "fulfilled":
            self.note("redemption_fulfilled", name, later, over, {"states": [{**state, "state": end}]})
        elif end == "cancelled":
            for lot, taken in burns:
                lot.left += taken
            back = Move(name, "restore", cost, later.date(), None, [(lot, -taken) for lot, taken in burns])
            self._moved(back, "redemption_cancelled", later, over, states=[{**state, "state": end}])

    def _expire(self, day: date) -> None:
        for lot in self.lots:
            if lot.expires == day and lot.left:
                points, lot.left = lot.left, 0
                at = datetime(day.year, day.month, day.day, tzinfo=ZONE)
                data = {"name": "looked_at_points"}
                self._moved(Move(lot.member, "expire", -points, day, "expiry", [(lot, points)]), "activity", at, data)
                self.done.append((lot.member, "activity", day))

    def _review(self, name: str, at: datetime) -> None:
        what, of = self.chance.choice((("product", "tea"), ("product", "cup"), ("place", "mitte")))
        rating, verified = self.chance.randrange(11), self.chance.choice((True, False, None))
        data = {"sku" if what == "product" else "place": of, "rating": rating, "verified": verified}
        self.note("review", name, at, data)
        self.reviews.append((name, at.date(), what, of, rating, verified))
        self.done.append((name, "review", at.date()))

    def _tell(self, name: str, at: datetime) -> None:
        what = self.chance.choice(("nps", "csat", "complaint", "delivered", "newsletter_read"))
        said: dict[str, Any] = {}
        if what in ("nps", "csat"):
            what, kind = "survey_answered", what
            said = {"survey": self.chance.choice(("shop", "visit")), "kind": kind}
            said["score"] = self.chance.randrange(11 if kind == "nps" else 6)
        elif what == "complaint":
            said = {
                "case": f"case-{name}-{self.chance.randrange(2)}",
                "state": self.chance.choice(("opened", "resolved")),
            }
        elif what == "delivered":
            days = self.chance.choice((-1, 0, 1))
            promised = (at + timedelta(days)).astimezone(UTC)
            said = {
                "order_id": "o",
                "promised_at": promised.isoformat(),
                "delivered_at": at.astimezone(UTC).isoformat(),
            }
        self.note("activity", name, at, {"name": what, "attributes": said})
        self.told.append((name, at, what, said))
        if what not in NO_SIGN_OF_LIKING:
            self.done.append((name, "activity", at.date()))

    # ------------------------------------------------------------------------------------------------------- asking

    def _ago(self, day: date) -> int:
        return (self.last - day).days

    def bought(self) -> dict[str, list[date]]:
        """Member -> days with a purchase."""
        found: dict[str, set[date]] = defaultdict(set)
        for member, day, _, _ in self.sold:
            found[member].add(day)
        return {member: sorted(days) for member, days in found.items()}

    def engagement(self) -> Rows:
        """(member, score, and how often each thing was done)."""
        done = [*self.done, *((member, "purchase", day) for member, days in self.bought().items() for day in days)]
        rows: Rows = []
        for member in self.joined:
            mine = [(what, self._ago(day)) for who, what, day in done if who == member and self._ago(day) < 90]
            weight = sum(WEIGHTS[what] * 0.5 ** (age / 30) for what, age in mine)
            counts = Counter(what for what, _ in mine)
            kinds = ("purchase", "visit", "review", "referral", "activity", "redemption")
            rows.append((member, round(100 * (1 - exp(-weight / 15)), 1), *(counts[kind] for kind in kinds)))
        return rows

    def breakage(self) -> Rows:
        """What became of the points of each month, and a chain ladder of what will be redeemed."""
        months = sorted({lot.day.replace(day=1) for lot in self.lots})
        issued = {month: sum(lot.points for lot in self.lots if lot.day.replace(day=1) == month) for month in months}
        triangle: dict[tuple[date, int], int] = Counter()
        ends: dict[str, Counter[date]] = defaultdict(Counter)
        for move in self.moves:
            for lot, points in move.burns:
                month = lot.day.replace(day=1)
                what = {"redeem": "redeemed", "restore": "redeemed", "expire": "expired"}.get(move.kind, "taken")
                ends[what][month] += points
                if what == "redeemed":
                    triangle[month, age(month, move.day)] += points
        rows: Rows = []
        for month in months:
            redeemed, expired, taken = (ends[what][month] for what in ("redeemed", "expired", "taken"))
            could = issued[month] - taken
            grown = redeemed * ladder(triangle, months, age(month, self.last), self.last)
            will = min(floor(grown + 0.5), could - expired)
            left = could - redeemed - expired
            rows.append((month, issued[month], redeemed, expired, taken, left, redeemed / could, expired / could, will))
        return rows

    def rule_results(self) -> Rows:
        """Members, awards, points, taken back; and for the rule with a hold-out the difference of means and its interval."""
        rows: Rows = []
        for rule in ("base", "happy"):
            given = [move for move in self.moves if move.rule == rule and move.kind == "earn"]
            back = -sum(move.points for move in self.moves if move.rule == rule and move.kind == "clawback")
            head = (rule, 1, len({move.member for move in given}), len(given), sum(move.points for move in given), back)
            if rule == "base":
                rows.append((*head, 0, None, None, None, None, None))
                continue
            with_it, without = (self._since(group) for group in (self.treated, self.held_out))
            lift = mean(with_it) - mean(without)
            spread = 1.96 * sqrt(variance(with_it) / len(with_it) + variance(without) / len(without))
            told = (mean(with_it), mean(without), lift, lift - spread, lift + spread)
            rows.append((*head, len(without), *(round(value, 2) for value in told)))
        return rows

    def _since(self, met: dict[str, datetime]) -> list[int]:
        return [
            sum(total for member, _, at, total in self.sold if member == who and at >= when)
            for who, when in met.items()
        ]

    def reward_uptake(self) -> Rows:
        """How often each reward was asked for, and what became of it."""
        earners, rows = {move.member for move in self.moves if move.kind == "earn"}, []
        for reward in {row["reward"] for row in self.asked}:
            mine = [row for row in self.asked if row["reward"] == reward]
            granted = [row for row in mine if row["state"] != "refused"]
            counts = Counter(row["state"] for row in mine)
            people = {row["member"] for row in granted}
            spent = sum(row["points"] for row in granted if row["state"] != "cancelled")
            ends = (counts["refused"], counts["fulfilled"], counts["cancelled"], 0)
            rows.append((reward, len(mine), len(granted), *ends, len(people), len(people) / len(earners), spent))
        return rows

    def ratings(self) -> Rows:
        """Means of reviews by product and place; who does not say whether he bought it has not."""
        groups: dict[tuple[str, str], list[tuple[Any, ...]]] = defaultdict(list)
        for one in self.reviews:
            groups[one[2], one[3]].append(one)
        rows: Rows = []
        for key, some in groups.items():
            recent = [one[4] for one in some if self._ago(one[1]) < 90]
            checked = sum(one[5] is True for one in some) / len(some)
            means = (
                round(mean(one[4] for one in some), 4),
                checked,
                len(recent),
                round(mean(recent), 4) if recent else None,
            )
            rows.append((*key, len(some), len({one[0] for one in some}), *means))
        return rows

    def satisfaction_months(self) -> Rows:
        """CSAT and NPS by month and survey."""
        groups: dict[tuple[date, str, str], list[tuple[str, int]]] = defaultdict(list)
        for member, at, what, said in self.told:
            if what == "survey_answered":
                groups[at.date().replace(day=1), said["survey"], said["kind"]].append((member, said["score"]))
        rows: Rows = []
        for key, some in groups.items():
            marks = [score for _, score in some]
            csat = sum(mark >= 4 for mark in marks) / len(marks) if key[2] == "csat" else None
            fans, foes = (sum(mark >= 9 for mark in marks), sum(mark <= 6 for mark in marks))
            nps = 100 * (fans - foes) / len(marks) if key[2] == "nps" else None
            rows.append((*key, len(some), len({member for member, _ in some}), round(mean(marks), 4), csat, nps))
        return rows

    def unhappy_members(self) -> Rows:
        """(member, sign, times, last day): the newest answer to a survey, low ratings, open cases, late deliveries."""
        answers: dict[tuple[str, str], tuple[datetime, dict[str, Any]]] = {}
        cases: dict[tuple[str, str], list[tuple[datetime, str]]] = defaultdict(list)
        signs: list[tuple[str, str, date]] = []
        for member, at, what, said in sorted(self.told, key=lambda one: one[1]):
            if what == "survey_answered":
                answers[member, said["survey"]] = (at, said)
            elif what == "complaint":
                cases[member, said["case"]].append((at, said["state"]))
            elif what == "delivered" and said["delivered_at"] > said["promised_at"] and self._ago(at.date()) < 180:
                signs.append((member, "late_delivery", at.date()))
        for (member, _), (at, said) in answers.items():
            scale = 10 if said["kind"] == "nps" else 5
            if said["score"] <= 0.6 * scale and self._ago(at.date()) < 180:
                signs.append((member, "low_score", at.date()))
        for (member, _), words in cases.items():
            if words[-1][1] == "opened":
                opened = [at for at, state in words if state == "opened"]
                signs.append((member, "open_complaint", opened[0].date()))
        for member, day, _, _, rating, _ in self.reviews:
            if rating <= 4 and self._ago(day) < 180:
                signs.append((member, "low_rating", day))
        counts = Counter((member, sign) for member, sign, _ in signs)
        return [(*key, times, max(day for *who, day in signs if tuple(who) == key)) for key, times in counts.items()]

    def referral_funnel(self) -> Rows:
        """Referrals of a month, and what became of the new members."""
        rows: Rows = []
        bought = self.bought()
        for month in {day.replace(day=1) for _, _, day, _ in self.brought}:
            mine = [one for one in self.brought if one[2].replace(day=1) == month]
            counted = [one for one in mine if one[3]]
            buyers = [who for who, *_ in counted if who in bought]
            again = [who for who in buyers if len(bought[who]) > 1]
            money = sum(total for who, _, _, total in self.sold if who in buyers)
            head = (month, len(mine), len(counted), len({one[1] for one in counted}), len(buyers), len(again))
            rows.append((*head, len(buyers) / len(counted), money))
        return rows

    def referral_chains(self) -> Rows:
        """(member, referrer, root, depth, brought, brought in all)."""
        above = {who: referrer for who, referrer, _, counts in self.brought if counts}
        rows: Rows = []
        for who in {*above, *above.values()}:
            path = up(who, above)
            below = sum(who in up(other, above)[1:] for other in above)
            rows.append(
                (who, above.get(who), path[-1], len(path) - 1, sum(one == who for one in above.values()), below)
            )
        return rows

    def points_months(self) -> Rows:
        """(month, earned, redeemed, expired, clawed back, net, outstanding, earning members, redeeming members)."""
        rows: Rows = []
        total = 0
        for month in sorted({move.day.replace(day=1) for move in self.moves}):
            mine = [move for move in self.moves if move.day.replace(day=1) == month]
            sums: Counter[str] = Counter()
            for move in mine:
                sums[move.kind] += move.points
            total += sum(sums.values())
            people = [len({move.member for move in mine if move.kind == kind}) for kind in ("earn", "redeem")]
            spent = -(sums["redeem"] + sums["restore"])
            rows.append(
                (month, sums["earn"], spent, -sums["expire"], -sums["clawback"], sum(sums.values()), total, *people)
            )
        return rows

    def liability_by_expiry(self) -> Rows:
        """What is left, by the month in which it expires, and what of it will be spent as points went so far."""
        redeemed = sum(row[2] for row in self.breakage())
        expired = sum(row[3] for row in self.breakage())
        part, rows = redeemed / (redeemed + expired), []
        for month in {lot.expires.replace(day=1) for lot in self.lots if lot.left}:
            mine = [lot for lot in self.lots if lot.left and lot.expires.replace(day=1) == month]
            points = sum(lot.left for lot in mine)
            will = floor(points * part + 0.5)
            rows.append((month, len(mine), len({lot.member for lot in mine}), points, 0, part, will))
        return rows

    def leaderboards(self) -> Rows:
        """(month, measure, place, member, amount) of visits and of members brought."""
        rows: Rows = []
        for what, measure in (("visit", "visits"), ("referral", "referrals")):
            sums: dict[date, Counter[str]] = defaultdict(Counter)
            for member, kind, day in self.done:
                if kind == what:
                    sums[day.replace(day=1)][member] += 1
            for month, counts in sums.items():
                for member, amount in counts.items():
                    place = 1 + sum(other > amount for other in counts.values())
                    rows.append((month, measure, place, member, amount))
        return rows

    def lot_burns(self) -> Rows:
        """(lot, points taken in all) and how often."""
        sums: dict[str, list[int]] = defaultdict(list)
        for move in self.moves:
            for lot, points in move.burns:
                sums[lot.id].append(points)
        return [(lot, points) for lot, some in sums.items() for points in some]


def age(month: date, day: date) -> int:
    """Months from one to another."""
    return (day.year - month.year) * 12 + day.month - month.month


def ladder(triangle: dict[tuple[date, int], int], months: Iterable[date], from_age: int, last: date) -> float:
    """The growth from an age on: at each step that of all older months together, never below one (Mack 1993)."""
    months = list(months)
    growth = 1.0
    for step in range(from_age, max(age(month, last) for month in months)):
        older = [month for month in months if age(month, last) > step]
        before = sum(triangle[month, some] for month in older for some in range(step + 1))
        after = before + sum(triangle[month, step + 1] for month in older)
        growth *= max(after / before, 1) if before else 1
    return growth


def up(who: str, above: dict[str, str]) -> list[str]:
    """A member and everybody above."""
    path = [who]
    while path[-1] in above:
        path.append(above[path[-1]])
    return path


COLUMNS = {
    "engagement": "member_id, score, purchase_days, visits, reviews, referrals, activities, redemptions",
    "breakage": "cohort_month, issued, redeemed, expired, taken_back, points_left, redeemed_share, breakage_share, "
    "expected_redeemed",
    "rule_results": "rule_id, rule_version, members, awards, points, taken_back, held_out_members, net_per_member_minor, "
    "net_per_held_out_minor, lift_minor, lift_low_minor, lift_high_minor",
    "reward_uptake": "reward, asked, granted, refused, fulfilled, cancelled, lapsed, members, members_share, points",
    "ratings": "what, name, reviews, members, mean_rating, verified_share, recent_reviews, recent_mean_rating",
    "satisfaction_months": "month, survey, kind, answers, members, mean_score, csat, nps",
    "unhappy_members": "member_id, sign, times, last_on",
    "referral_funnel": "month, referrals, counted, referrers, bought, bought_again, conversion, net_minor",
    "referral_chains": "member_id, referrer, root, depth, brought, brought_in_all",
    "points_months": "month, earned, redeemed, expired, clawed_back, net, outstanding, earning_members, redeeming_members",
    "liability_by_expiry": "expires_month, lots, members, points, pending, redeemed_share, expected_points",
    "leaderboards": "month, measure, place, member_id, amount",
    "lot_burns": "lot_id, points",
}
