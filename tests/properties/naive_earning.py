"""What one fact earns, the slow way: exact fractions, one rule after the other, no short cuts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from math import ceil, floor
from typing import Any

from schemas.ids import hash_id
from tests.properties.naive_conditions import Asked, Before
from tests.properties.naive_counters import Moved, all_moves
from tests.properties.plans import Bracket, Earn, Limit, Plan, Points, Step, window


def rounded(value: Fraction, mode: str) -> int:
    """Round a fraction that is not negative."""
    if mode == "floor":
        return floor(value)
    if mode == "ceil":
        return ceil(value)
    if mode == "half_up":
        return floor(value + Fraction(1, 2))
    assert mode == "half_even"
    return round(value)


def share(total: int, weights: list[int]) -> list[int]:
    """Hand out ``total`` by weight: floors first, then one each to the largest remainders, the earlier first."""
    weights = weights if sum(weights) else [1] * len(weights)
    exact = [Fraction(total * weight, sum(weights)) for weight in weights]
    parts = [floor(part) for part in exact]
    while sum(parts) < total:
        rests = [part - given for part, given in zip(exact, parts, strict=True)]
        parts[rests.index(max(rests))] += 1
    return parts


def in_brackets(brackets: tuple[Bracket, ...], spent: int) -> Fraction:
    """Return the exact points for what was spent since the window began, cent by bracket."""
    points, begin = Fraction(0), 0
    for bracket in brackets:
        end = spent if bracket.to is None else min(spent, bracket.to)
        points += Fraction(max(0, end - begin) * bracket.points, bracket.per_minor)
        begin = bracket.to or begin
    return points


@dataclass
class Unit:
    """What is rounded as one: an order or a line, its exact points and the factor so far."""

    exact: Fraction
    lines: list[int]
    weights: list[int]
    rounding: str
    factor: Fraction = Fraction(1)

    @property
    def total(self) -> int:
        """The rounded running total."""
        return rounded(self.exact * self.factor, self.rounding)


@dataclass
class Grant:
    """One entry in the making."""

    rule: str
    points: int
    lines: dict[int, int]
    cap: Limit | None = None

    def cut(self, points: int) -> None:
        """Leave only ``points``; the lines are shared out anew when the entry is written."""
        self.points = points

    def final_lines(self) -> dict[int, int]:
        """Points by line after all cuts; lines without points are left out."""
        numbers = sorted(self.lines)
        if numbers and self.points != sum(self.lines.values()):
            parts = share(self.points, [self.lines[number] for number in numbers])
            return {number: part for number, part in zip(numbers, parts, strict=True) if part}
        return {number: part for number, part in self.lines.items() if part}


@dataclass
class Earned:
    """What a fact earned and which caps it used."""

    grants: list[Grant]
    counts: list[tuple[str, int, int]] = field(default_factory=list)
    capped: set[str] = field(default_factory=set)
    held_out: set[str] = field(default_factory=set)
    moved: list[Moved] = field(default_factory=list)


class Earning:
    """One fact, one programme version, one member."""

    def __init__(self, plan: Plan, kind: str, data: dict[str, Any], moment: datetime, before: Before) -> None:
        """Look at the fact; nothing is decided yet."""
        self.plan, self.kind, self.data, self.moment, self.before = plan, kind, data, moment, before
        self.local = plan.local(moment)
        self.lines: list[dict[str, Any]] = data["lines"] if kind == "purchase" else []
        paid = data["paid_with_points_minor"] if self.lines else 0
        self.net = self.after_points([line["amount_minor"] for line in self.lines], paid)
        self.gross = self.after_points([line["amount_minor"] + line["discount_minor"] for line in self.lines], paid)

    @staticmethod
    def after_points(base: list[int], paid: int) -> list[int]:
        """Take what was paid with points off the base of each line, by base; no line below zero."""
        taken = share(paid, base) if base else []
        return [max(0, amount - part) for amount, part in zip(base, taken, strict=True)]

    def eligible(self, rule: Earn) -> list[int] | None:
        """Return the indexes of the lines a rule speaks of; None where it does not apply."""
        asked = Asked(self.plan, self.kind, self.data, self.moment, self.before)
        if not self.lines:
            return [] if asked.applies(rule, None) else None
        return [i for i, line in enumerate(self.lines) if asked.applies(rule, line)] or None

    def units(self, rule: Earn, found: list[int]) -> list[Unit]:
        """Return the units of an award."""
        award = rule.award
        assert award is not None
        if not self.lines:
            return [self.unit(award, [], [])]
        base = self.gross if award.gross else self.net
        if award.brackets:
            amount, spent = sum(base[i] for i in found), self.before.counted(self.spent_key(rule))[0]
            exact = in_brackets(award.brackets, spent + amount) - in_brackets(award.brackets, spent)
            if award.round_before:
                exact = Fraction(rounded(exact, award.rounding))
            return [Unit(exact, [i + 1 for i in found], [base[i] for i in found], award.rounding)]
        groups = [[index] for index in found] if award.each_line else [found]
        return [self.unit(award, [i + 1 for i in group], [base[i] for i in group]) for group in groups]

    def spent_key(self, rule: Earn) -> str:
        """Return the name of what was spent under a rule with brackets."""
        assert rule.award is not None
        labels = {
            "calendar_year": f"{self.local.year}",
            "quarter": f"{self.local:%Y}-Q{(self.local.month - 1) // 3 + 1}",
            "month": f"{self.local:%Y-%m}",
            "lifetime": "ever",
        }
        return f"purchase spent {rule.id}|{labels[rule.award.over]}"

    @staticmethod
    def unit(award: Points, lines: list[int], weights: list[int]) -> Unit:
        """Make one unit."""
        exact = Fraction(award.points)
        if award.per_minor is not None:
            exact = Fraction(award.points * sum(weights), award.per_minor)
        if award.round_before:
            exact = Fraction(rounded(exact, award.rounding))
        return Unit(exact, lines, weights, award.rounding)

    def applicable(self) -> list[Earn]:
        """Return the rules that take part, in total order, after groups and stops; limits are never stopped."""
        chosen: list[Earn] = []
        for phase in ("base", "bonus", "multiply"):
            rules = [r for r in self.plan.rules_on(self.kind) if r.phase == phase and self.eligible(r) is not None]
            rules = [rule for rule in rules if not self.is_held_out(rule)]
            chosen += [rule for rule in rules if self.wins(rule, rules)]
        stops = [index for index, rule in enumerate(chosen) if rule.stop]
        return chosen[: stops[0] + 1] if stops else chosen

    def is_held_out(self, rule: Earn) -> bool:
        """Tell whether the member is one of those who get nothing from a rule."""
        if rule.held_out is None:
            return False
        number = int(hash_id("hold_out", rule.id, self.before.key)[:8], 16)
        return Fraction(number, 2**32) < Fraction(rule.held_out.removesuffix(" %")) / 100

    def is_missed(self, rule: Earn) -> bool:
        """Tell whether a rule would speak of the fact, were the member not held out."""
        return self.is_held_out(rule) and self.eligible(rule) is not None

    def wins(self, rule: Earn, rivals: list[Earn]) -> bool:
        """Tell whether a rule is the best of its group: the first of those with the largest worth."""
        if rule.exclusive is None:
            return True
        group = [rival for rival in rivals if rival.exclusive == rule.exclusive]
        return max(group, key=self.worth) is rule

    def worth(self, rule: Earn) -> Fraction:
        """What a rule is compared by: its factor, or its exact points."""
        found = self.eligible(rule)
        assert found is not None
        return rule.by if rule.by is not None else sum((u.exact for u in self.units(rule, found)), Fraction(0))

    def earn(self, tier: Step | None) -> Earned:
        """Return everything the fact earns."""
        rules = self.applicable()
        units = {r.id: self.units(r, self.eligible(r) or []) for r in rules if r.award}
        base = [r.id for r in rules if r.phase == "base"]
        grants = [self.grant(rule.id, [(u, u.total) for u in units[rule.id]], rule.cap) for rule in rules if rule.award]
        for rule in rules:
            if rule.by is not None:
                targets = [u for name in units for u in units[name] if name in (rule.only or base)]
                grants.append(self.grant(rule.id, self.multiply(targets, rule.by), rule.cap))
        if tier is not None:
            targets = [u for name in base for u in units[name]]
            grants.append(self.grant(f"tier:{tier.id}", self.multiply(targets, tier.by), None))
        earned = self.cap(grants)
        asked = Asked(self.plan, self.kind, self.data, self.moment, self.before)
        earned.moved = all_moves(asked, self.plan.rules_on(self.kind))
        for rule in rules:
            if rule.award is not None and rule.award.brackets and sum(units[rule.id][0].weights):
                unit = units[rule.id][0]
                earned.moved.append((self.spent_key(rule), sum(unit.weights), 0, tuple(unit.lines)))
        earned.held_out = {rule.id for rule in self.plan.rules_on(self.kind) if self.is_missed(rule)}
        return earned

    @staticmethod
    def multiply(units: list[Unit], by: Fraction) -> list[tuple[Unit, int]]:
        """Raise the factor of units and return what each gains."""
        gains = []
        for unit in units:
            old = unit.total
            unit.factor *= by
            gains.append((unit, unit.total - old))
        return gains

    @staticmethod
    def grant(rule: str, gains: list[tuple[Unit, int]], cap: Limit | None) -> Grant:
        """Make an entry of what units gain."""
        lines: dict[int, int] = {}
        for unit, gain in gains:
            for number, part in zip(unit.lines, share(gain, unit.weights) if unit.lines else [], strict=True):
                lines[number] = lines.get(number, 0) + part
        return Grant(rule, sum(gain for _, gain in gains), lines, cap)

    def cap(self, grants: list[Grant]) -> Earned:
        """Clip each entry by its own cap, then all by the limits; say what was used."""
        earned = Earned(grants)
        for grant in grants:
            if grant.cap is not None:
                self.clip(earned, grant.rule, grant.cap, [grant])
        limits = [r for r in self.plan.rules_on(self.kind) if r.limit is not None and self.eligible(r) is not None]
        for rule in limits:
            assert rule.limit is not None
            self.clip(earned, rule.id, rule.limit, [g for g in grants if not rule.only or g.rule in rule.only])
        for grant in grants:
            if grant.cap is not None:
                self.count(earned, grant.rule, grant.cap, grant.points)
        for rule in limits:
            assert rule.limit is not None
            self.count(
                earned, rule.id, rule.limit, sum(g.points for g in grants if not rule.only or g.rule in rule.only)
            )
        earned.grants = [grant for grant in grants if grant.points]
        return earned

    def clip(self, earned: Earned, rule: str, cap: Limit, grants: list[Grant]) -> None:
        """Fill the entries in order with what the cap leaves."""
        left = self.allowed(rule, cap)
        for grant in grants:
            given = grant.points if left is None else min(grant.points, left)
            if given < grant.points:
                earned.capped.add(rule)
            grant.cut(given)
            left = None if left is None else left - given

    def allowed(self, rule: str, cap: Limit) -> int | None:
        """Return how many points the cap leaves; None where it counts times and one is left."""
        points, times = self.before.used(self.key(rule, cap))
        if cap.times is not None and times >= cap.times:
            return 0
        return None if cap.points is None else max(0, cap.points - points)

    def key(self, rule: str, cap: Limit) -> str:
        """Return the key a cap is counted under."""
        place = self.data.get("place") or self.data.get("sku") if self.kind == "review" else self.data.get("store")
        return f"{rule}|{place or '' if cap.per_place else ''}|{window(cap, self.local)}"

    def count(self, earned: Earned, rule: str, cap: Limit, points: int) -> None:
        """Note what a cap was used for."""
        if points:
            earned.counts.append((self.key(rule, cap), points, 1))
