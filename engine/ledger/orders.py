"""What is kept of an order that counted: enough to take points back for what is returned, and to look at what was bought."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Any, Protocol

import orjson

from engine.ledger.compact import pack_list, plain, read_list
from rules.local_time import day_date
from schemas import facts
from schemas.decisions import Decision, Entry
from schemas.ids import Ids
from schemas.times import DAY_US

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
#: SKU, quantity as decimal text, amount in minor units.
OrderLine = tuple[str, str, int]
#: entry id, rule id, rule version, [order line from 1, points] pairs of an earn entry.
Grant = tuple[str, str, int, Sequence[tuple[int, int]]]
#: cap key and points that it used, once.
Count = tuple[str, int]
#: counter key, by how much the order moved it, of how many awards it was the moment, lines (none for the whole order).
Counted = tuple[str, int, int, Sequence[int]]
# What an order says in one bit each: the total is that of its lines, it moved progress, by its total.
_SUM, _PROGRESS, _BY_TOTAL = 1, 2, 4
# How far its local day is from the day in UTC: -1 to 1, plus 1, above the bits before; 3: the day is written out.
_DAY_BITS, _DAY_FAR = 8, 3
# Above that: what it used of caps and moved of counters.
_COUNTED, _DAY_STEPS = 32, 4
# What a grant says in one bit each, above its rule: the id is written out, the lines are written out.
_NAMED, _SOME_LINES, _RULE_BITS = 1, 2, 4


class Numbered(Protocol):
    """Who gives numbers to texts."""

    def text(self, value: str) -> int:
        """Return the number of a text."""
        ...


@dataclass(slots=True)
class Returned:
    """What came back of an order so far, by line from 1: thousandths of quantity, minor units; and what that took.

    ``points`` is by (earn entry, line), ``progress`` is the tier progress taken back.
    """

    milli: dict[int, int] = field(default_factory=dict)
    minor: dict[int, int] = field(default_factory=dict)
    points: dict[tuple[str, int], int] = field(default_factory=dict)
    progress: int = 0


@dataclass(slots=True)
class Order:
    """An order that counted once; ``progress`` is [local day, amount] towards tiers, None without.

    ``counts`` is what it used of caps, ``counters`` what it moved of counters.

    A member keeps it packed: most orders are never looked at again.
    """

    at_us: int
    currency: str
    total_minor: int
    lines: Sequence[OrderLine]
    progress: tuple[str, int] | None = None
    grants: Sequence[Grant] = ()
    counts: Sequence[Count] = ()
    counters: Sequence[Counted] = ()
    returned: Returned | None = None


def keep_order(data: facts.PurchaseForm, decision: Decision, ids: Ids | None) -> bytes:
    """Return an order that counted as JSON, for `pack_order`: made in a moment, and one object.

    Args:
        data: of the purchase.
        decision: on it; the lines of its entries ascend.
        ids: names the entries of the order's fact; a grant of that name is not written out. None: every grant has it.
    """
    order = f"{data['order_source']}|{data['order_id']}"
    lines = [(line["sku"], line["quantity"], line["amount_minor"]) for line in data["lines"]]
    grants = [
        (entry.rule_id, entry.rule_version, entry.lines, _other_name(entry, ids))
        for entry in decision.entries
        if entry.points > 0 and entry.order == order and entry.lines
    ]
    used = _used(decision) if decision.counts or decision.counters else ()
    kept = orjson.dumps((data["currency"], data["total_minor"], lines, decision.progress[:1], grants, used))
    # A copy of its own size: orjson's buffer begins at 1 KB, and what is cut off it stays with the heap.
    return bytes(memoryview(kept))


def keep_again(order: Order) -> list[Any]:
    """Return an unpacked order as the JSON of `keep_order`, every grant with its name: for another member to keep."""
    grants = [(rule_id, version, [*shares], entry_id) for entry_id, rule_id, version, shares in order.grants]
    progress = [] if order.progress is None else [order.progress]
    used = _flat(order.counts, order.counters) if order.counts or order.counters else ()
    return [order.currency, order.total_minor, [*order.lines], progress, grants, used]


def _used(decision: Decision) -> list[int | str]:
    """What an order used of caps and moved of counters."""
    counts = [(key, points) for key, points, _ in decision.counts if points > 0 and not of_referral(key)]
    return _flat(counts, [counted for counted in decision.counters if counted[1] >= 0 and counted[2] >= 0])


def _flat(counts: Sequence[Count], counters: Sequence[Counted]) -> list[int | str]:
    """How many caps, [key, points] of each, then the counters."""
    used: list[int | str] = [len(counts)]
    for count in counts:
        used += count
    for key, number, moments, lines in counters:
        used += (key, number, moments, len(lines), *lines)
    return used if len(used) > 1 else []


def _read_used(used: Sequence[Any]) -> tuple[list[Count], list[Counted]]:
    if not used:
        return [], []
    values = iter(used)
    counts: list[Count] = [(str(next(values)), next(values)) for _ in range(next(values))]
    counters: list[Counted] = [
        (str(key), next(values), next(values), [next(values) for _ in range(next(values))]) for key in values
    ]
    return counts, counters


def of_referral(name: str) -> bool:
    """Tell whether a rule id or a cap key is about a referral, whose awards have ways of their own to come back."""
    return name.partition(":")[0] == "refer"


def _other_name(entry: Entry, ids: Ids | None) -> str | None:
    return None if ids is None or ids.id(entry.rule_id, str(entry.rule_version)) == entry.entry_id else entry.entry_id


def pack_order(kept: bytes, at_us: int, texts: Numbered) -> bytes:
    """Return an order as few bytes, without its time.

    Args:
        kept: see `keep_order`.
        at_us: when it was paid.
        texts: gives numbers to the texts that many orders share (currency, rules).
    """
    currency, total, lines, progress, grants, used = orjson.loads(kept)
    says, extra = _head(total, lines, progress, at_us)
    if used:
        says += _COUNTED
    flat: list[int | str] = [texts.text(currency), says, *extra, len(lines)]
    for sku, quantity, amount in lines:
        flat += (plain(sku), plain(quantity), amount)
    if used:
        flat += (len(used), *used)
    for rule_id, version, shares, other_name in grants:
        says = _RULE_BITS * texts.text(_rule(rule_id, version))
        if other_name is not None:
            says |= _NAMED
        if len(shares) != len(lines):
            says |= _SOME_LINES
        flat.append(says)
        if other_name is not None:
            flat.append(other_name)
        if says & _SOME_LINES:
            flat.append(len(shares))
            flat += [line for line, _ in shares]
        flat += [points for _, points in shares]
    return pack_list(flat)


def _head(total: int, lines: Sequence[Any], progress: Sequence[Any], at_us: int) -> tuple[int, list[int]]:
    """Which of total and progress follow from the rest, and those that do not."""
    says = 0
    extra: list[int] = []
    if total == sum([line[2] for line in lines]):
        says = _SUM
    else:
        extra.append(total)
    if progress:
        day, amount = progress[0]
        if amount == total:
            says |= _BY_TOTAL
        else:
            extra.append(amount)
        step = day_number(day) - at_us // DAY_US + 1
        if not 0 <= step < _DAY_FAR:
            extra.append(day_number(day))
            step = _DAY_FAR
        says += _PROGRESS + _DAY_BITS * step
    return says, extra


@lru_cache(maxsize=1 << 12)
def _rule(rule_id: str, version: int) -> str:
    """A rule of a version, as one text."""
    return f"{version} {rule_id}"


def read_order(packed: bytes, at_us: int, texts: Sequence[str], ids: Ids) -> Order:
    """Return the order that `pack_order` wrote.

    Args:
        packed: the bytes.
        at_us: when it was paid.
        texts: by their numbers.
        ids: names the entries of the order's fact.
    """
    flat = read_list(packed)
    values = iter(flat)
    currency, says = texts[next(values)], next(values)
    total = None if says & _SUM else next(values)
    amount = next(values) if says & _PROGRESS and not says & _BY_TOTAL else None
    step = says // _DAY_BITS % _DAY_STEPS
    day = next(values) if step == _DAY_FAR else at_us // DAY_US + step - 1
    lines = [(str(next(values)), str(next(values)), next(values)) for _ in range(next(values))]
    if total is None:
        total = sum([line[2] for line in lines])
    progress = (day_text(day), total if amount is None else amount) if says & _PROGRESS else None
    counts, counters = _read_used([next(values) for _ in range(next(values))] if says & _COUNTED else ())
    grants = [_read_grant(first, values, len(lines), texts, ids) for first in values]
    return Order(at_us, currency, total, lines, progress, grants, counts, counters)


def paid_packed(packed: bytes, texts: Sequence[str]) -> tuple[str, int]:
    """Return currency and total, minor units, of the order that `pack_order` wrote; nothing else of it is made."""
    flat = read_list(packed)
    currency, says = texts[flat[0]], flat[1]
    if not says & _SUM:
        return currency, flat[2]
    place = 2 + bool(says & _PROGRESS and not says & _BY_TOTAL) + (says // _DAY_BITS % _DAY_STEPS == _DAY_FAR)
    return currency, sum(flat[place + 3 : place + 1 + 3 * flat[place] : 3])


def paid_kept(kept: bytes) -> tuple[str, int]:
    """Return the same of one that `keep_order` made."""
    currency, total, *_ = orjson.loads(kept)
    return currency, total


def _read_grant(says: int, values: Iterator[Any], lines: int, texts: Sequence[str], ids: Ids) -> Grant:
    version, _, rule_id = texts[says // _RULE_BITS].partition(" ")
    entry_id = next(values) if says & _NAMED else ids.id(rule_id, version)
    on_lines: Sequence[int] = range(1, lines + 1)
    if says & _SOME_LINES:
        on_lines = [next(values) for _ in range(next(values))]
    return entry_id, rule_id, int(version), [(line, next(values)) for line in on_lines]


@lru_cache(maxsize=1 << 14)
def day_number(day: str) -> int:
    """Return days since 1970-01-01 of an ISO date."""
    return date.fromisoformat(day).toordinal() - _EPOCH_ORDINAL


@lru_cache(maxsize=1 << 14)
def day_text(day: int) -> str:
    """Return the ISO date of a number of days since 1970-01-01."""
    return day_date(day).isoformat()
