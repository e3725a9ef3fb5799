"""`when` and `unless`, compiled once to closures.

A predicate is either about the whole fact, `(member, fact) -> bool`, or about one line of a purchase,
`(member, fact, line) -> bool`. A rule's closure asks the whole ones first and lines only where it must: a rule that says
nothing about lines costs one list length, a rule without conditions nothing else. Local time is looked up only by rules
that ask for it.
"""

# ruff: noqa: ARG001, ARG005 - predicates of one shape can be put together without asking what each of them reads

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from rules.counting import Conditional, is_moment, nth_counter, streak_counter
from rules.local_time import local_day, to_local_us
from rules.parts import BoughtSku, Condition, CountRange, MoneyRange, NumberRange, Spent
from rules.plan import Counter, Lines, MemberView, Programme
from rules.values import HourMinute, LocalMoment
from schemas.envelope import Fact
from schemas.times import DAY_US

__all__ = ["Check", "MemberView", "OfLine", "check_of", "compile_lines"]

Line = Mapping[str, Any]
Whole = Callable[[MemberView, Fact], bool]
PerLine = Callable[[MemberView, Fact, Line], bool]

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_THURSDAY = 3  # 1970-01-01 was one
_FEW_LINES = tuple(tuple(range(count)) for count in range(257))
_PLAIN_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,15})?", re.ASCII)
_YES: tuple[int, ...] = (0,)
_NO: tuple[int, ...] = ()


class Words(NamedTuple):
    """The commonest condition: the line's ``field`` is one of ``wanted``, or is none of them."""

    field: str
    wanted: frozenset[str]
    among: bool


@dataclass(frozen=True, slots=True)
class OfFact:
    """A compiled condition about the whole fact."""

    holds: Whole


@dataclass(frozen=True, slots=True)
class OfLine:
    """A compiled condition about one line of a purchase; ``words`` where it only looks for words in one field."""

    holds: PerLine
    words: Words | None = None


Check = OfFact | OfLine


def _on_line(check: Check) -> PerLine:
    if isinstance(check, OfLine):
        return check.holds
    whole = check.holds
    return lambda member, fact, line: whole(member, fact)


def _whole_only(checks: Sequence[Check]) -> tuple[Whole, ...]:
    return tuple(check.holds for check in checks if isinstance(check, OfFact))


# ---- a rule ----


def compile_lines(rule: Conditional, zone: ZoneInfo) -> Lines:
    """Compile dates, `when` and `unless` of a rule to the closure that names the eligible lines of a fact."""
    checks = [] if rule.when is None else _checks_of(rule.when, rule.on, zone)
    if rule.unless is not None:
        checks.append(_negated(_all(_checks_of(rule.unless, rule.on, zone))))
    begin, end = getattr(rule, "from_", None), getattr(rule, "until", None)  # a challenge has its window
    if begin is not None or end is not None:
        checks.insert(0, _dates(begin, end, zone))
    whole, of_lines = _whole_only(checks), [check for check in checks if isinstance(check, OfLine)]
    return _lines_of_purchase(whole, of_lines) if rule.on == "purchase" else _without_lines(whole)


def _without_lines(tests: tuple[Whole, ...]) -> Lines:
    if not tests:
        return lambda member, fact, programme: _YES
    whole = _all_whole(tests)
    return lambda member, fact, programme: _YES if whole(member, fact) else _NO


def _lines_of_purchase(whole_tests: tuple[Whole, ...], checks: Sequence[OfLine]) -> Lines:
    if not checks:
        return _all_lines_if(whole_tests)
    whole = _all_whole(whole_tests) if whole_tests else None
    words = checks[0].words if len(checks) == 1 else None
    if words is not None:
        return _lines_by_words(whole, words)
    eligible = _all_per_line(tuple(check.holds for check in checks))

    def lines(member: MemberView, fact: Fact, programme: Programme) -> tuple[int, ...]:
        if whole is not None and not whole(member, fact):
            return _NO
        return tuple([index for index, line in enumerate(fact.data["lines"]) if eligible(member, fact, line)])

    return lines


def _lines_by_words(whole: Whole | None, words: Words) -> Lines:
    """Look for words without a call per line: most rules that ask about lines ask only this."""
    field, wanted, among = words

    def lines(member: MemberView, fact: Fact, programme: Programme) -> tuple[int, ...]:
        if whole is not None and not whole(member, fact):
            return _NO
        if among:
            return tuple([index for index, line in enumerate(fact.data["lines"]) if line[field] in wanted])
        return tuple([index for index, line in enumerate(fact.data["lines"]) if line[field] not in wanted])

    return lines


def _all_lines_if(tests: tuple[Whole, ...]) -> Lines:
    def every_line(member: MemberView, fact: Fact, programme: Programme) -> tuple[int, ...]:
        count = len(fact.data["lines"])
        return _FEW_LINES[count] if count < 257 else tuple(range(count))

    if not tests:
        return every_line
    whole = _all_whole(tests)

    def every_line_if(member: MemberView, fact: Fact, programme: Programme) -> tuple[int, ...]:
        return every_line(member, fact, programme) if whole(member, fact) else _NO

    return every_line_if


# ---- all, any, not ----


def _all_whole(tests: tuple[Whole, ...]) -> Whole:
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:
        first, second = tests
        return lambda member, fact: first(member, fact) and second(member, fact)

    def every(member: MemberView, fact: Fact) -> bool:
        for test in tests:  # noqa: SIM110 - a loop is a third faster than all() over a generator
            if not test(member, fact):
                return False
        return True

    return every


def _all_per_line(tests: tuple[PerLine, ...]) -> PerLine:
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:
        first, second = tests
        return lambda member, fact, line: first(member, fact, line) and second(member, fact, line)

    def every(member: MemberView, fact: Fact, line: Line) -> bool:
        for test in tests:  # noqa: SIM110 - as above
            if not test(member, fact, line):
                return False
        return True

    return every


def _all(checks: Sequence[Check]) -> Check:
    if len(checks) == 1:
        return checks[0]
    whole = _whole_only(checks)
    if len(whole) == len(checks):
        return OfFact(_all_whole(whole))
    return OfLine(_all_per_line(tuple(_on_line(check) for check in checks)))


def _any(checks: Sequence[Check]) -> Check:
    whole = _whole_only(checks)
    if len(whole) == len(checks):
        return OfFact(lambda member, fact: any(test(member, fact) for test in whole))
    lines = tuple(_on_line(check) for check in checks)
    return OfLine(lambda member, fact, line: any(test(member, fact, line) for test in lines))


def _negated(check: Check) -> Check:
    if isinstance(check, OfFact):
        whole = check.holds
        return OfFact(lambda member, fact: not whole(member, fact))
    per_line, words = check.holds, check.words
    turned = None if words is None else words._replace(among=not words.among)
    return OfLine(lambda member, fact, line: not per_line(member, fact, line), turned)


def _checks_of(condition: Condition, on: str, zone: ZoneInfo) -> list[Check]:
    """Return one check per thing the condition says; all of them must hold."""
    found = [compiler(value) for name, compiler in _ABOUT[on].items() if (value := _said(condition, name)) is not None]
    if condition.every_nth is not None:
        found.append(_counter(on, nth_counter(condition.every_nth), zone))
    if condition.streak is not None:
        found.append(_counter(on, streak_counter(condition.streak), zone))
    found += [
        compiler(value, zone) for name, compiler in _ANYWHERE.items() if (value := _said(condition, name)) is not None
    ]
    if condition.from_ is not None or condition.until is not None:
        found.append(_dates(condition.from_, condition.until, zone))
    if condition.all is not None:
        found += [check for part in condition.all for check in _checks_of(part, on, zone)]
    if condition.any is not None:
        found.append(_any([_all(_checks_of(part, on, zone)) for part in condition.any]))
    if condition.not_ is not None:
        found.append(_negated(_all(_checks_of(condition.not_, on, zone))))
    return found


def check_of(condition: Condition, on: str, zone: ZoneInfo) -> Check:
    """Compile a condition by itself, for whoever wants to say whether a part of a rule holds."""
    return _all(_checks_of(condition, on, zone))


def _said(condition: Condition, name: str) -> Any:
    return getattr(condition, name)


# ---- about a line ----


def _line_words(field: str) -> Callable[[tuple[str, ...]], Check]:
    def compiler(words: tuple[str, ...]) -> Check:
        wanted = frozenset(words)
        return OfLine(lambda member, fact, line: line[field] in wanted, Words(field, wanted, among=True))

    return compiler


def _quantity(wanted: NumberRange) -> Check:
    low, high = wanted.at_least, wanted.below

    def holds(member: MemberView, fact: Fact, line: Line) -> bool:
        quantity = _decimal(line["quantity"])
        return (low is None or quantity >= low) and (high is None or quantity < high)

    return OfLine(holds)


@lru_cache(maxsize=4096)
def _decimal(text: str) -> Decimal:
    return Decimal(text)


# ---- about the whole fact ----


def _data_words(field: str) -> Callable[[tuple[str, ...]], Check]:
    def compiler(words: tuple[str, ...]) -> Check:
        wanted = frozenset(words)
        return OfFact(lambda member, fact: fact.data[field] in wanted)

    return compiler


def _amount(wanted: MoneyRange) -> Check:
    low = None if wanted.at_least is None else wanted.at_least.minor
    high = None if wanted.below is None else wanted.below.minor

    def holds(member: MemberView, fact: Fact) -> bool:
        total: int = fact.data["total_minor"]
        return (low is None or total >= low) and (high is None or total < high)

    return OfFact(holds)


def _in_range(number: int | None, low: int | None, high: int | None) -> bool:
    return number is not None and (low is None or number >= low) and (high is None or number < high)


def _rating(wanted: CountRange) -> Check:
    low, high = wanted.at_least, wanted.below
    return OfFact(lambda member, fact: _in_range(fact.data["rating"], low, high))


def _verified(wanted: bool) -> Check:
    return OfFact(lambda member, fact: bool(fact.data["verified"]) is wanted)


def _first_purchase(wanted: bool) -> Check:
    return OfFact(lambda member, fact: (member.orders_counted == 0) is wanted)


def _counter(on: str, counter: Counter, zone: ZoneInfo) -> Check:
    return OfFact(lambda member, fact: is_moment(counter, on, member, fact, zone))


def _bought_sku(wanted: BoughtSku) -> Check:
    within_us = wanted.within.length_us

    def holds(member: MemberView, fact: Fact) -> bool:
        sku: str | None = fact.data["sku"]
        return sku is not None and member.bought_since(sku, fact.time_us - within_us)

    return OfFact(holds)


def _attributes(wanted: Mapping[str, NumberRange | tuple[str | int | bool, ...]]) -> Check:
    tests = [(name, _attribute(value)) for name, value in wanted.items()]

    def holds(member: MemberView, fact: Fact) -> bool:
        given = fact.data["attributes"]
        return all(name in given and test(given[name]) for name, test in tests)

    return OfFact(holds)


def _attribute(wanted: NumberRange | tuple[str | int | bool, ...]) -> Callable[[Any], bool]:
    if isinstance(wanted, NumberRange):
        low, high = wanted.at_least, wanted.below

        def in_range(value: Any) -> bool:
            number = _number(value)
            return number is not None and (low is None or number >= low) and (high is None or number < high)

        return in_range
    # By kind first: true is not 1, and the word "30" is not the number 30.
    kinds = frozenset((type(value), value) for value in wanted)
    return lambda value: (type(value), value) in kinds


def _number(value: Any) -> Decimal | None:
    """Return a number of a fact's attributes, which are whole numbers or decimals as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    if isinstance(value, int):
        return Decimal(value)
    return _decimal(value) if _PLAIN_NUMBER.fullmatch(value) else None


# ---- about any fact: the member, the calendar ----


def _dates(begin: LocalMoment | None, end: LocalMoment | None, zone: ZoneInfo) -> Check:
    begin_us = None if begin is None else begin.begins_us(zone)
    end_us = None if end is None else end.ends_us(zone)
    return OfFact(lambda member, fact: _in_range(fact.time_us, begin_us, end_us))


def _weekday(wanted: tuple[str, ...], zone: ZoneInfo) -> Check:
    days = frozenset(_WEEKDAYS.index(day) for day in wanted)
    return OfFact(lambda member, fact: (local_day(fact.time_us, zone) + _THURSDAY) % 7 in days)


def _between(wanted: tuple[HourMinute, HourMinute], zone: ZoneInfo) -> Check:
    begin, end = wanted[0].day_us, wanted[1].day_us
    if begin < end:
        return OfFact(lambda member, fact: begin <= to_local_us(fact.time_us, zone) % DAY_US < end)
    return OfFact(lambda member, fact: not end <= to_local_us(fact.time_us, zone) % DAY_US < begin)


def _spent(wanted: Spent, zone: ZoneInfo) -> Check:
    at_least, within_us = wanted.at_least.minor, wanted.within.length_us
    return OfFact(lambda member, fact: member.spent_since(fact.time_us - within_us) >= at_least)


def _tier(wanted: tuple[str, ...], zone: ZoneInfo) -> Check:
    tiers = frozenset(wanted)
    return OfFact(lambda member, fact: member.tier in tiers)


def _segment(wanted: tuple[str, ...], zone: ZoneInfo) -> Check:
    return OfFact(lambda member, fact: any(member.in_segment(segment) for segment in wanted))


def _profile(wanted: Mapping[str, NumberRange | tuple[str | int | bool, ...]], zone: ZoneInfo) -> Check:
    tests = [(name, _attribute(value)) for name, value in wanted.items()]

    def holds(member: MemberView, fact: Fact) -> bool:
        profile = member.profile
        if profile is None:
            return False
        said = [(profile.said(name), test) for name, test in tests]
        return all(value is not None and test(value) for value, test in said)

    return OfFact(holds)


def _consent(wanted: tuple[str, ...], zone: ZoneInfo) -> Check:
    channels = frozenset(wanted)

    def holds(member: MemberView, fact: Fact) -> bool:
        profile = member.profile
        return profile is not None and not channels.isdisjoint(profile.consents)

    return OfFact(holds)


def _days_since_joined(wanted: CountRange, zone: ZoneInfo) -> Check:
    low, high = wanted.at_least, wanted.below

    def holds(member: MemberView, fact: Fact) -> bool:
        # The first fact opens the account: it happens on day 0, as does what is told late about the time before.
        joined_us = fact.time_us if member.joined_us is None else min(member.joined_us, fact.time_us)
        return _in_range(local_day(fact.time_us, zone) - local_day(joined_us, zone), low, high)

    return OfFact(holds)


def _days_since_last_purchase(wanted: CountRange, zone: ZoneInfo) -> Check:
    low, high = wanted.at_least, wanted.below

    def holds(member: MemberView, fact: Fact) -> bool:
        if member.last_purchase_us is None:
            return False
        last_us = min(member.last_purchase_us, fact.time_us)
        return _in_range(local_day(fact.time_us, zone) - local_day(last_us, zone), low, high)

    return OfFact(holds)


_STORE = _data_words("store")

# What a condition can say about one kind of fact; `rules.checks` refuses the rest by name.
_ABOUT: dict[str, dict[str, Callable[[Any], Check]]] = {
    "purchase": {
        "channel": _data_words("channel"),
        "store": _STORE,
        "amount": _amount,
        "first_purchase": _first_purchase,
        "category": _line_words("category"),
        "sku": _line_words("sku"),
        "quantity": _quantity,
    },
    "visit": {"store": _STORE},
    "review": {
        "verified": _verified,
        "rating": _rating,
        "sku": _data_words("sku"),
        "place": _data_words("place"),
        "bought_sku": _bought_sku,
    },
    "activity": {"name": _data_words("name"), "attributes": _attributes},
    "joined": {"via": _data_words("via")},
    "referral": {},
}

# What a condition can say about any fact.
_ANYWHERE: dict[str, Callable[[Any, ZoneInfo], Check]] = {
    "tier": _tier,
    "segment": _segment,
    "profile": _profile,
    "consent": _consent,
    "weekday": _weekday,
    "between": _between,
    "days_since_joined": _days_since_joined,
    "days_since_last_purchase": _days_since_last_purchase,
    "spent": _spent,
}
