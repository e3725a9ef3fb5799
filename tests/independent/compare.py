"""The product's tables beside the independent ones, as ordered rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from tests.independent.points import Books, Entry, Member
from tests.independent.programme import GIFT_SHOP
from tests.independent.till import read

Rows = list[tuple[Any, ...]]
Tables = dict[str, Rows]
SOURCE = "urn:online-retail"
SHOWN = 3


@cache
def books(csv: Path) -> Books:
    """The independent books of a till's file under the gift shop's programme."""
    kept = Books(GIFT_SHOP)
    kept.enter_all(read(csv))
    return kept


def expected(csv: Path) -> Tables:
    """The tables as plain Python has them, rows in order."""
    members = books(csv).members.values()
    return {
        "points_entries": ordered(entry_row(entry) for member in members for entry in member.entries),
        "balances": ordered(balance_row(member) for member in members if member.entries),
        "lots": ordered(
            lot_row(member, entry) for member in members for entry in member.entries if entry.kind == "earn"
        ),
        "tiers": ordered(tier_row(member) for member in members if member.standing),
    }


def entry_row(entry: Entry) -> tuple[Any, ...]:
    """An entry: what moved, by which rule and fact, what caused it, and its points by line."""
    cause = (entry.of.fact, entry.of.rule) if entry.of else (None, None)
    lines = sorted(f"{line}:{points}" for line, points in entry.by_line.items() if points)
    when = microseconds(entry.when)
    head = (entry.member, entry.kind, entry.points, entry.rule, entry.version, SOURCE, entry.fact, when)
    return (*head, *cause, f"[{', '.join(quoted(line) for line in lines)}]")


def quoted(text: str) -> str:
    """A text inside a list, as DuckDB writes it."""
    return f"'{text}'"


def balance_row(member: Member) -> tuple[Any, ...]:
    """A balance: nothing is pending, owed, spent or expired in this shop."""
    earned = sum(entry.points for entry in member.entries if entry.kind == "earn")
    return (member.key, sum(entry.points for entry in member.entries), 0, 0, earned, 0, 0)


def lot_row(member: Member, entry: Entry) -> tuple[Any, ...]:
    """A lot: what was earned, and what returns left of it."""
    left = entry.points + sum(other.points for other in member.entries if other.of is entry)
    when = microseconds(entry.when)
    return (member.key, entry.fact, entry.rule, entry.points, left, when, when, None)


def tier_row(member: Member) -> tuple[Any, ...]:
    """A tier: since when, until when."""
    standing = member.standing
    if standing is None:
        raise ValueError(f"{member.key} has no tier")
    return (member.key, standing.tier, microseconds(standing.since), microseconds(standing.until))


def microseconds(moment: datetime | None) -> int | None:
    """Microseconds since the epoch."""
    return None if moment is None else int(moment.timestamp()) * 1_000_000


def product(db: Path) -> Tables:
    """The same tables out of the product's DuckDB file, rows in order."""
    with duckdb.connect(str(db), read_only=True) as connection:
        return tables_of(connection)


def tables_of(connection: duckdb.DuckDBPyConnection) -> Tables:
    """The same tables over an open connection."""
    parts = Path(__file__).with_name("tables.sql").read_text(encoding="utf-8").split("-- statement: ")[1:]
    named = (part.partition("\n") for part in parts)
    return {name.strip(): ordered(connection.execute(query).fetchall()) for name, _, query in named}


def ordered(rows: Iterable[tuple[Any, ...]]) -> Rows:
    """Rows in one order, whatever order they came in."""
    return sorted(rows, key=repr)


def differences(csv: Path, found: Tables) -> list[str]:
    """What differs between the independent tables and the product's, in words; empty when they are the same."""
    told = []
    for name, rows in expected(csv).items():
        if rows != found[name]:
            missing, surplus = set(rows) - set(found[name]), set(found[name]) - set(rows)
            told.append(
                f"{name}: {len(rows)} rows expected, {len(found[name])} found; "
                f"missing {ordered(missing)[:SHOWN]}, surplus {ordered(surplus)[:SHOWN]}"
            )
    return told
