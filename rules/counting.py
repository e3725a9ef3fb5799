"""What `every_nth` and `streak` count, and when a fact is the one that they wait for.

A counter is moved by every fact that it counts, whether a rule answers it or not, so that a rule with more conditions still
speaks of the tenth order and not of the tenth that fits. It knows how often it was the moment for an award, and which periods
made a streak: an order that comes back does not make a later one the tenth again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from rules.local_time import day_date, local_day, window_label
from rules.parts import Condition, EveryNth, Streak
from rules.plan import Counter, MemberView
from schemas.envelope import Fact

_MONTHS = 12
_FIRST_MONDAY = 4  # 1970-01-05
_WEEK = 7


class Conditional(Protocol):
    """A rule as its conditions see it: of earning, of a moment, or a challenge."""

    @property
    def on(self) -> str:
        """The fact that they ask."""

    @property
    def when(self) -> Condition | None:
        """What must hold."""

    @property
    def unless(self) -> Condition | None:
        """What must not."""


class Step(NamedTuple):
    """What a fact does to one counter: a key, by how much, of how many awards it is the moment."""

    key: str
    number: int
    moments: int


def nth_counter(wanted: EveryNth) -> Counter:
    """Return what a condition on every nth order counts."""
    field = "category" if wanted.category else "sku" if wanted.sku else None
    words = wanted.category or wanted.sku or ()
    return Counter(_name(f"nth {wanted.n}", field, words), wanted.n, None, field, frozenset(words))


def streak_counter(wanted: Streak) -> Counter:
    """Return what a condition on a streak counts."""
    field = "name" if wanted.name else None
    words = wanted.name or ()
    return Counter(
        _name(f"streak {wanted.n} {wanted.every}", field, words), wanted.n, wanted.every, field, frozenset(words)
    )


def _name(begin: str, field: str | None, words: tuple[str, ...]) -> str:
    return begin if field is None else f"{begin} {field} {', '.join(sorted(set(words)))}"


def counters_on(rules: Iterable[Conditional]) -> dict[str, tuple[Counter, ...]]:
    """Return by short type name what the conditions of rules count; what several of them count is counted once."""
    found: dict[str, dict[str, Counter]] = {}
    for rule in rules:
        for condition in (rule.when, rule.unless):
            for counter in () if condition is None else _counters(condition):
                found.setdefault(rule.on, {})[f"{rule.on} {counter.name}"] = counter
    return {on: tuple(counters.values()) for on, counters in found.items()}


def _counters(condition: Condition) -> Iterator[Counter]:
    if condition.every_nth is not None:
        yield nth_counter(condition.every_nth)
    if condition.streak is not None:
        yield streak_counter(condition.streak)
    inner = [*(condition.all or ()), *(condition.any or ())]
    for part in inner if condition.not_ is None else [*inner, condition.not_]:
        yield from _counters(part)


def lines_counted(counter: Counter, fact: Fact) -> list[int] | None:
    """Return the lines, from 1, for which a fact counts, [] for the whole of it; None where it does not count."""
    if counter.field is None:
        return []
    if counter.field == "name":
        return [] if fact.data["name"] in counter.words else None
    lines = [number for number, line in enumerate(fact.data["lines"], 1) if line[counter.field] in counter.words]
    return lines or None


def steps(counter: Counter, on: str, member: MemberView, fact: Fact, zone: ZoneInfo) -> list[Step]:
    """Return what a fact that counts does to a counter: its own step first, then the periods that its streak claims."""
    name = f"{on} {counter.name}"
    if counter.every is None:
        number, moments = member.counted(name)
        return [Step(name, 1, 1 if (number + 1) // counter.n > moments else 0)]
    here = _period(local_day(fact.time_us, zone), counter.every)
    key = _key(name, here, counter.every)
    if member.counted(key) != (0, 0):
        return [Step(key, 1, 0)]
    before, after = _free(counter, name, member, here, -1), _free(counter, name, member, here, 1)
    if len(before) + 1 + len(after) < counter.n:
        return [Step(key, 1, 0)]
    return [Step(key, 1, 1), *[Step(other, 0, 1) for other in (*reversed(before), *after)]]


def is_moment(counter: Counter, on: str, member: MemberView, fact: Fact, zone: ZoneInfo) -> bool:
    """Tell whether a fact is the one that a counter waits for."""
    if lines_counted(counter, fact) is None:
        return False
    return steps(counter, on, member, fact, zone)[0].moments > 0


def _free(counter: Counter, name: str, member: MemberView, here: int, way: int) -> list[str]:
    """Return the keys of the periods in a row beside ``here`` in which something counted and that no award has claimed."""
    every = counter.every or "day"
    keys: list[str] = []
    while len(keys) < counter.n - 1:
        key = _key(name, here + way * (len(keys) + 1), every)
        number, moments = member.counted(key)
        if number <= 0 or moments > 0:
            break
        keys.append(key)
    return keys


def _period(day: int, every: str) -> int:
    """Return the number of the day, week or month that a local day falls into."""
    if every == "day":
        return day
    if every == "week":
        return (day - _FIRST_MONDAY) // _WEEK
    when = day_date(day)
    return when.year * _MONTHS + when.month - 1


def _key(name: str, period: int, every: str) -> str:
    if every == "month":
        first = date(period // _MONTHS, period % _MONTHS + 1, 1)
        return f"{name}|{first:%Y-%m}"
    return f"{name}|{window_label(period if every == 'day' else period * _WEEK + _FIRST_MONDAY, every)}"
