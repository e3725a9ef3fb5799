"""What conditions on every nth order and on streaks count, told from the moves of counters that were decided so far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import Any

Said = dict[str, Any]
#: Key, by how much, how many moments, order lines.
Moved = tuple[str, int, int, tuple[int, ...]]
NEXT = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=31)}


def words(said: Said, key: str) -> list[str]:
    """Return the words behind a key."""
    value = said.get(key, [])
    return list(value) if isinstance(value, list | tuple) else [value]


def lines_of(asked: Any, said: Said) -> tuple[int, ...] | None:
    """Return for which lines (empty: all) a fact counts, None if it does not."""
    for key in ("category", "sku"):
        if wanted := words(said, key):
            return tuple(n for n, line in enumerate(asked.data["lines"], 1) if line[key] in wanted) or None
    if wanted := words(said, "name"):
        return () if asked.data["name"] in wanted else None
    return ()


def name_of(asked: Any, what: str, said: Said) -> str:
    """Return what the log calls a counter."""
    name = f"{asked.kind} nth {said['n']}" if what == "every_nth" else f"{asked.kind} streak {said['n']} {every(said)}"
    for key in ("category", "sku", "name"):
        if wanted := words(said, key):
            name += f" {key} {', '.join(sorted(set(wanted)))}"
    return name


def every(said: Said) -> str:
    """Return the length of a streak's periods."""
    return str(said.get("every", "day"))


def label(day: date, period: str) -> str:
    """Return what a period is called."""
    iso = day.isocalendar()
    return {"day": f"{day}", "week": f"{iso.year}-W{iso.week:02d}", "month": f"{day:%Y-%m}"}[period]


def moves(asked: Any, what: str, said: Said) -> list[Moved]:
    """Return what the fact moves."""
    lines = lines_of(asked, said)
    if lines is None:
        return []
    name = name_of(asked, what, said)
    if what == "every_nth":
        number, moments = asked.before.counted(name)
        return [(name, 1, int((number + 1) // said["n"] > moments), lines)]
    today, period = asked.local.date(), every(said)
    key = f"{name}|{label(today, period)}"
    row = [key, *free(asked, name, today, said, -1), *free(asked, name, today, said, 1)]
    done = asked.before.counted(key) == (0, 0) and len(row) >= said["n"]
    return [(key, 1, int(done), lines)] + [(other, 0, 1, lines) for other in row[1:] if done]


def free(asked: Any, name: str, today: date, said: Said, way: int) -> Iterator[str]:
    """Yield the periods beside today's in which something happened, as long as none has counted for an award."""
    period = every(said)
    for _ in range(said["n"] - 1):
        step = NEXT[period]
        if period == "month":
            today = today.replace(day=1) - timedelta(days=1) if way < 0 else today.replace(day=28) + timedelta(days=4)
        else:
            today += way * step
        key = f"{name}|{label(today, period)}"
        number, moments = asked.before.counted(key)
        if number <= 0 or moments:
            return
        yield key


def is_moment(asked: Any, what: str, said: Said) -> bool:
    """Tell whether this is the fact that a counter waits for."""
    moved = moves(asked, what, said)
    return bool(moved) and moved[0][2] > 0


def said_in(condition: Any) -> Iterator[tuple[str, Said]]:
    """Yield every counter that a condition names."""
    if isinstance(condition, dict):
        for key, value in condition.items():
            if key in ("every_nth", "streak"):
                yield key, value
            elif key in ("all", "any", "not"):
                yield from said_in(value)
    elif isinstance(condition, list | tuple):
        for part in condition:
            yield from said_in(part)


def all_moves(asked: Any, rules: Iterable[Any]) -> list[Moved]:
    """Return what a fact moves of all counters of the rules on its type, each once."""
    found: dict[str, list[Moved]] = {}
    for rule in rules:
        for what, said in [*said_in(rule.when), *said_in(rule.unless)]:
            found[name_of(asked, what, said)] = moves(asked, what, said)
    return [move for moved in found.values() for move in moved]
