"""A comparison on a terminal: what it comes to in a sentence or two, then its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rich.markup import escape
from rich.table import Table

from engine.whatif.tables import Rows

#: Tables in their order: name, title, and what their columns are called here; a column that is not named is not shown.
SHOWN: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    (
        "months",
        "Month by month",
        {
            "month": "month",
            "reached": "reached",
            "earned_now": "earned now",
            "earned_new": "new",
            "points_now": "in all now",
            "points_new": "new",
            "points_more": "more",
            "cost_minor": "cost",
        },
    ),
    (
        "rules",
        "Rule by rule",
        {
            "rule_id": "rule",
            "members_now": "members now",
            "members_new": "new",
            "points_now": "points now",
            "points_new": "new",
            "points_more": "more",
            "cost_minor": "cost",
        },
    ),
    (
        "tiers",
        "Tiers at the end",
        {
            "tier": "tier",
            "members_now": "members now",
            "members_new": "new",
            "members_more": "more",
            "outstanding_now": "owed now",
            "outstanding_new": "new",
        },
    ),
    (
        "tier_moves",
        "Whose tier differs",
        {
            "tier_now": "tier now",
            "tier_new": "new",
            "members": "members",
            "points_more": "points more",
            "cost_minor": "cost",
        },
    ),
    (
        "segments",
        "Segments",
        {
            "segment": "segment",
            "members": "members",
            "reached": "reached",
            "kept_now": "points now",
            "kept_new": "new",
            "points_more": "more",
            "cost_minor": "cost",
        },
    ),
    (
        "notices",
        "Notices",
        {
            "month": "month",
            "rule_id": "rule",
            "channel": "channel",
            "state": "state",
            "reason": "reason",
            "notices_now": "now",
            "notices_new": "new",
        },
    ),
    (
        "members",
        "Members with the largest differences",
        {
            "member_id": "member",
            "segment": "segment",
            "tier_now": "tier now",
            "tier_new": "new",
            "balance_now": "balance now",
            "balance_new": "new",
            "balance_more": "more",
            "cost_minor": "cost",
        },
    ),
)


class Grid(NamedTuple):
    """A table as people read it: headings, which of them are over numbers, and the cells as text."""

    title: str
    columns: list[tuple[str, bool]]
    rows: list[list[str]]


def sentences(found: Mapping[str, Rows]) -> Iterator[str]:
    """What it comes to, in words."""
    run, total = found["run"][0], found["summary"][0]
    points = run["points_name"]
    yield (
        f"{run['programme']} from {run['since_at']:%Y-%m-%d %H:%M} UTC on, settled to {run['settled_at']:%Y-%m-%d %H:%M} UTC: "
        f"{run['facts_compared']:,} of {run['facts']:,} facts decided on both sides."
    )
    yield (
        f"{total['reached']:,} of {total['members']:,} members reached: {total['gained']:,} have more {points}, "
        f"{total['lost']:,} fewer, "
        f"{total['other_tier']:,} another tier."
    )
    cost = "" if total["cost_minor"] is None else f", {money(total['cost_minor'], run, signed=True)}"
    yield f"Given and kept: {total['kept_now']:,} -> {total['kept_new']:,} {points} ({total['points_more']:+,}{cost})."
    owed = f"Outstanding at the end: {total['outstanding_now']:,} -> {total['outstanding_new']:,} {points}"
    if total["liability_now_minor"] is not None and total["liability_new_minor"] is not None:
        owed += f", {money(total['liability_now_minor'], run)} -> {money(total['liability_new_minor'], run)}"
    yield f"{owed}."
    if run["point_value_new_minor"] is None or run["point_value_now_minor"] is None:
        yield "A programme does not say what a point is worth (`points: {worth: 0.01 EUR}`): there is no cost in money."
    yield from cautions(run)


def cautions(run: Mapping[str, Any]) -> Iterator[str]:
    """What a reader must know about how it was decided; nothing where nothing is unusual."""
    if run["undecidable"]:
        yield f"{run['undecidable']:,} decisions could not be made and moved nothing, as a worker would quarantine them."
    if run["refused"]:
        yield f"{run['refused']:,} lines are no events and were left out: `stammgast conform` says why."
    if run["followed_left_out"] or run["followed_anew"]:
        yield (
            f"Of the facts that follow from others {run['followed_left_out']:,} of the log do not follow under the new "
            f"programme, {run['followed_anew']:,} others do."
        )


def grids(found: Mapping[str, Rows]) -> Iterator[Grid]:
    """The tables that have rows."""
    run = found["run"][0]
    for name, title, columns in SHOWN:
        rows = found[name]
        if rows:
            names = [one for one in columns if one != "cost_minor" or any(row[one] is not None for row in rows)]
            heads = [
                (f"{columns[one]}, {run['currency']}" if one == "cost_minor" else columns[one], _numeric(rows, one))
                for one in names
            ]
            yield Grid(title, heads, [[text(one, row[one], run) for one in names] for row in rows])


def shown(found: Mapping[str, Rows]) -> Iterator[Table]:
    """The same for a terminal."""
    for grid in grids(found):
        table = Table(title=grid.title, title_justify="left", title_style="bold")
        for name, numeric in grid.columns:
            table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row in grid.rows:
            table.add_row(*map(escape, row))
        yield table


def _numeric(rows: Rows, name: str) -> bool:
    return any(isinstance(row[name], int) for row in rows)


def text(name: str, value: Any, run: Mapping[str, Any]) -> str:
    """A cell as people read it; months without their day, money without its currency, which stands over the column."""
    if value is None:
        return ""
    if name.endswith("_minor"):
        return amount(value, run["minor_digits"], signed=True)
    if name == "month":
        return f"{value:%Y-%m}"
    if isinstance(value, int):
        return f"{value:+,}" if value and name.endswith("_more") else f"{value:,}"
    return str(value).replace("_", " ") if name == "segment" else str(value)


def money(minor: int, run: Mapping[str, Any], *, signed: bool = False) -> str:
    """Minor units as money of the programme's currency."""
    return f"{amount(minor, run['minor_digits'], signed=signed)} {run['currency']}"


def amount(minor: int, digits: int, *, signed: bool = False) -> str:
    """Minor units as an amount."""
    whole, rest = divmod(abs(minor), 10**digits)
    sign = "-" if minor < 0 else "+" if signed and minor else ""
    return f"{sign}{whole:,}.{rest:0{digits}d}" if digits else f"{sign}{whole:,}"
