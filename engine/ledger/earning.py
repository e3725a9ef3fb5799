"""What a fact earns: applicable rules in their total order, exact fractions, one rounding, caps, and points per line.

A unit is what is rounded once: a whole order, or one line of it. Its running total is the rounded product of its amount and
the factors so far; every rule's entry is the difference it makes to that total.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.ledger.caps import Clipper, Share
from engine.ledger.member import Member
from engine.ledger.orders import Counted
from rules.book import Award, Brackets, Cap, Programme, Rule
from schemas import facts
from schemas.decisions import Decision, Entry, Note
from schemas.envelope import Fact
from schemas.ids import Ids, hash_id
from schemas.money import allot, round_ratio
from schemas.rounding import Rounding

Applicable = tuple[Rule, tuple[int, ...]]


@dataclass(slots=True, init=False)
class Unit:
    """An exact amount of points ``num/den`` over some lines (indexes from 0), and its rounded running total.

    ``weights`` are the lines' amounts, by which its points fall on them; empty for facts without lines.
    """

    rule: Rule
    lines: Sequence[int]
    weights: Sequence[int]
    num: int
    den: int
    rounding: Rounding
    running: int

    # Written out, because mypyc compiles this and leaves the one that dataclass makes to the interpreter.
    def __init__(
        self,
        rule: Rule,
        lines: Sequence[int],
        weights: Sequence[int],
        num: int,
        den: int,
        rounding: Rounding,
        running: int,
    ) -> None:
        self.rule = rule
        self.lines = lines
        self.weights = weights
        self.num = num
        self.den = den
        self.rounding = rounding
        self.running = running


class Earned:
    """What a fact earned: entries in rule order, caps used up, money counted by brackets, what was clipped, in words; and the
    rules that give a reward."""

    __slots__ = ("counters", "counts", "entries", "given", "notes")

    def __init__(self) -> None:
        """Begin with nothing."""
        self.entries: Sequence[Entry] = ()
        self.counts: Sequence[tuple[str, int, int]] = ()
        self.counters: Sequence[Counted] = ()
        self.notes: Sequence[Note] = ()
        self.given: Sequence[Applicable] = ()

    def into(self, decision: Decision) -> None:
        """Put what was earned into a decision that has nothing yet; empty stays as it is."""
        if self.entries:
            decision.entries = self.entries
        if self.counts:
            decision.counts = self.counts
        if self.counters:
            decision.counters = self.counters
        if self.notes:
            decision.notes = self.notes


def earn(member: Member, fact: Fact, programme: Programme, order: str | None = None) -> Earned:
    """Return what ``fact`` earns for ``member`` under ``programme``; nothing is changed.

    Args:
        member: as he stood before the fact.
        order: name of the order that a purchase is.
    """
    rules = programme.rules_on.get(facts.SHORT_NAMES[fact.type])
    if not rules:
        return Earned()
    amounts = Amounts(member, fact, programme) if fact.type == facts.PURCHASE else None
    earned = Earned()
    applicable = _applicable(rules, member, fact, programme, amounts, earned)
    if not applicable:
        return earned
    shares = _shares(applicable, amounts, member, programme)
    if amounts is not None and amounts.counted:
        earned.counters = amounts.counted
    for rule, _ in applicable:
        if rule.clips:
            clipper = Clipper(member, fact, programme)
            _clip(shares, applicable, clipper)
            earned.counts, earned.notes = clipper.counts(), [*earned.notes, *clipper.notes]
            break
    if programme.gives:
        earned.given = [found for found in applicable if found[0].gives]
    ids = entry_ids(member, fact)
    earned.entries = [make_entry(member, fact, programme, share, order, ids) for share in shares if share.points]
    return earned


def _clip(shares: list[Share], applicable: list[Applicable], clipper: Clipper) -> None:
    """Clip every share by its own rule's cap, then all of them by the limits."""
    for share in shares:
        if share.cap is not None:
            clipper.clip([share], share.rule_id, share.cap)
    for rule, _ in applicable:
        if rule.limit is not None:
            only = rule.limit.only
            clipper.clip([share for share in shares if only is None or share.rule_id in only], rule.id, rule.limit)


class Amounts:
    """What points of a purchase are counted from: minor units per line, less what points paid.

    ``counted`` is what brackets count of it.
    """

    __slots__ = ("_data", "_fact", "_member", "_programme", "counted", "net")

    def __init__(self, member: Member, fact: Fact, programme: Programme) -> None:
        self._member, self._fact, self._programme = member, fact, programme
        self._data: facts.PurchaseForm = fact.data
        self.net = self._less_paid([line["amount_minor"] for line in self._data["lines"]])
        self.counted: Sequence[Counted] = ()

    def in_brackets(self, brackets: Brackets, amount: int) -> int:
        """Return the points, over the brackets' ``den``, for an amount behind what was spent in its window before."""
        key = brackets.key(self._fact.time_us, self._programme.time_zone)
        return brackets.points(self._member.counted(key)[0], amount)

    def count(self, brackets: Brackets, unit: Unit) -> None:
        """Count what a rule with brackets gave points for."""
        amount = sum(unit.weights)
        if amount:
            key = brackets.key(self._fact.time_us, self._programme.time_zone)
            self.counted = [*self.counted, (key, amount, 0, [line + 1 for line in unit.lines])]

    @property
    def gross(self) -> list[int]:
        """Before the lines' discounts."""
        return self._less_paid([line["amount_minor"] + line["discount_minor"] for line in self._data["lines"]])

    def _less_paid(self, amounts: list[int]) -> list[int]:
        paid = self._data["paid_with_points_minor"]
        if not paid or self._programme.paid_earns:
            return amounts
        parts = allot(min(paid, sum(amounts)), amounts)
        return [max(0, amount - part) for amount, part in zip(amounts, parts, strict=True)]


def _applicable(
    rules: Sequence[Rule], member: Member, fact: Fact, programme: Programme, amounts: Amounts | None, earned: Earned
) -> list[Applicable]:
    """Return the rules that apply, with their lines: hold-outs first, exclusive groups, then what a ``stop`` leaves over."""
    found = []
    selective = False
    for rule in rules:
        lines = rule.lines(member, fact, programme)
        if lines:
            found.append((rule, lines))
            selective = selective or rule.selective
    if not selective:
        return found
    found = _winners(_not_held_out(found, member, earned), amounts)
    for index, (rule, _) in enumerate(found):
        if rule.stop:
            return found[: index + 1] + [later for later in found[index + 1 :] if later[0].phase == "limit"]
    return found


def _not_held_out(found: list[Applicable], member: Member, earned: Earned) -> list[Applicable]:
    """Leave out rules from which the member is held out, and note it: without that nobody could tell what they change."""
    left = []
    for rule, lines in found:
        if rule.hold_out is not None and member_number(member.key, rule.id) < rule.hold_out:
            text = f"this member is one of {rule.hold_out_text} who are held out"
            earned.notes = [*earned.notes, Note("hold_out", rule.id, text)]
        else:
            left.append((rule, lines))
    return left


def member_number(key: str, rule_id: str) -> int:
    """Return a member's number of 32 bits for a rule: by chance, and the same for ever."""
    return int(hash_id("hold_out", rule_id, key)[:8], 16)


def _winners(found: list[Applicable], amounts: Amounts | None) -> list[Applicable]:
    best: dict[tuple[str, str], tuple[int, int, str]] = {}
    for rule, lines in found:
        if rule.exclusive is None:
            continue
        num, den = _worth(rule, lines, amounts)
        group = (rule.phase, rule.exclusive)
        held = best.get(group)
        if held is None or num * held[1] > held[0] * den:
            best[group] = (num, den, rule.id)
    return [
        (rule, lines)
        for rule, lines in found
        if rule.exclusive is None or best[rule.phase, rule.exclusive][2] == rule.id
    ]


def _worth(rule: Rule, lines: tuple[int, ...], amounts: Amounts | None) -> tuple[int, int]:
    """Return what a rule of an exclusive group would give, as a fraction: points, or the factor of a multiplier."""
    if rule.multiply is not None:
        return rule.multiply.num, rule.multiply.den
    if rule.award is None:
        return 0, 1
    units = _units(rule, rule.award, lines, amounts)
    return sum(unit.num for unit in units), units[0].den


def _units(rule: Rule, award: Award, lines: tuple[int, ...], amounts: Amounts | None) -> list[Unit]:
    """Return the units of an award: one for the order, or one per line."""
    if amounts is None:
        return [_unit(rule, award, lines, ())]
    base = amounts.gross if award.gross else amounts.net
    if award.each_line:
        return [_unit(rule, award, (line,), (base[line],)) for line in lines]
    weights = base if len(lines) == len(base) else [base[line] for line in lines]
    if award.brackets is not None:
        num = amounts.in_brackets(award.brackets, sum(weights))
        return [_rounded_unit(rule, award, lines, weights, num, award.brackets.den)]
    return [_unit(rule, award, lines, weights)]


def _unit(rule: Rule, award: Award, lines: tuple[int, ...], weights: Sequence[int]) -> Unit:
    per = award.per_minor
    num, den = (award.points, 1) if per is None else (award.points * sum(weights), per)
    rounded = round_ratio(num, den, award.rounding)  # as below: a call for every award costs more than two lines
    if award.round_before:
        num, den = rounded, 1
    return Unit(rule, lines, weights, num, den, award.rounding, rounded)


def _rounded_unit(rule: Rule, award: Award, lines: Sequence[int], weights: Sequence[int], num: int, den: int) -> Unit:
    rounded = round_ratio(num, den, award.rounding)
    if award.round_before:
        num, den = rounded, 1
    return Unit(rule, lines, weights, num, den, award.rounding, rounded)


def _shares(applicable: list[Applicable], amounts: Amounts | None, member: Member, programme: Programme) -> list[Share]:
    """Run the chain: base and bonus awards, then the rules' multipliers, then the tier's."""
    units: list[Unit] = []
    shares: list[Share] = []
    for rule, lines in applicable:
        if rule.award is not None:
            mine = _units(rule, rule.award, lines, amounts)
            if rule.award.brackets is not None and amounts is not None:
                amounts.count(rule.award.brackets, mine[0])
            units += mine
            shares.append(_share(rule.id, rule.cap, mine, [unit.running for unit in mine]))
    for rule, _ in applicable:
        if rule.multiply is not None:
            only = rule.multiply.only
            targets = [u for u in units if (u.rule.phase == "base" if only is None else u.rule.id in only)]
            steps = [_multiply(unit, rule.multiply.num, rule.multiply.den) for unit in targets]
            shares.append(_share(rule.id, rule.cap, targets, steps))
    if programme.tiers is not None and units:
        level = programme.tiers.level(member.tier)
        if level.num != level.den:
            targets = [unit for unit in units if unit.rule.phase == "base"]
            steps = [_multiply(unit, level.num, level.den) for unit in targets]
            shares.append(_share(f"tier:{level.id}", None, targets, steps))
    return shares


def _multiply(unit: Unit, num: int, den: int) -> int:
    """Multiply a unit and return by how much its rounded total rose."""
    unit.num *= num
    unit.den *= den
    before, unit.running = unit.running, round_ratio(unit.num, unit.den, unit.rounding)
    return unit.running - before


def _share(rule_id: str, cap: Cap | None, units: Sequence[Unit], steps: Sequence[int]) -> Share:
    """Sum the steps of one rule's units, each allotted to its lines by their amounts."""
    if len(units) == 1:
        unit, step = units[0], steps[0]
        if step and unit.weights:
            return Share(rule_id, cap, step, unit.lines, allot(step, unit.weights))
        return Share(rule_id, cap, step)
    by_line: dict[int, int] = {}
    for unit, step in zip(units, steps, strict=True):
        if step and unit.weights:
            for line, points in zip(unit.lines, allot(step, unit.weights), strict=True):
                by_line[line] = by_line.get(line, 0) + points
    lines = sorted(by_line)
    return Share(rule_id, cap, sum(steps), lines, [by_line[line] for line in lines])


def entry_ids(member: Member, fact: Fact) -> Ids:
    """Return what names a fact's entries: every earn entry is (source, id, member, "earn", rule, version)."""
    return Ids(fact.source, fact.id, member.key, "earn")


def make_entry(member: Member, fact: Fact, programme: Programme, share: Share, order: str | None, ids: Ids) -> Entry:
    """Return the earn entry of a share."""
    # Positional: this is made for every credit, and keywords cost more than the rest of the call.
    return Entry(
        ids.id(share.rule_id, str(programme.version)),
        member.key,
        "earn",
        share.points,
        share.rule_id,
        programme.version,
        fact.source,
        fact.id,
        fact.time,
        None,
        fact.time,
        None,
        order,
        [(line + 1, points) for line, points in zip(share.lines, share.parts, strict=True) if points] or (),
    )
