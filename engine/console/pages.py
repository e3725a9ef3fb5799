"""What stands on each page: its questions, and their answers arranged for its template."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from starlette.datastructures import QueryParams

from engine.console import plots
from engine.console.asking import Asker
from engine.console.words import type_name
from schemas.metrics import GOAL_METRICS, NUMBER
from schemas.money import CURRENCY_DIGITS

PAGE_ROWS = 50
STORY_ROWS = 100
LIFT_ROWS = 40
ENTRY_ROWS = 2_000
# From the best to the poorest, so that pictures and tables agree.
SEGMENTS = (
    "champions loyal potential_loyalist new promising need_attention about_to_sleep cant_lose at_risk hibernating"
).split()
FLOW_DAYS = (28, 90, 180)
LIFT_DAYS = (7, 14, 28, 90)

Context = dict[str, Any]


def whole(text: str | None, low: int, high: int, default: int) -> int:
    """A whole number out of an address, held between two bounds; what is no number is the default."""
    return min(max(int(text), low), high) if text and text.isdecimal() and len(text) < 10 else default


async def overview(ask: Asker, _: QueryParams) -> Context:
    """The first page: how many, how much, and how it went for half a year."""
    numbers, weeks, tiers, days = await asyncio.gather(
        ask.row("overview", "numbers"),
        ask.rows("overview", "weeks"),
        ask.rows("overview", "tiers"),
        ask.rows("overview", "risk_days"),
    )
    horizon = numbers.get("horizon_days") or 90
    risk = await asyncio.gather(*(ask.row("overview", "risk", day=one["day"], horizon_days=horizon) for one in days))
    shares = [one["at_risk"] / one["buyers"] if one["buyers"] else None for one in risk]

    def small(key: str, name: str) -> plots.Chart:
        return plots.spark([float(week[key]) for week in weeks], name)

    labels = [week["week"].isoformat() for week in weeks]
    return {
        "numbers": numbers,
        "weeks": weeks,
        "tiers": tiers,
        "risk": list(zip(risk, shares, strict=True)),
        "risk_share": shares[-1] if shares else None,
        "sparks": {
            "members": small("members", "members, last 26 weeks"),
            "buyers": small("buyers", "members who bought, by week"),
            "outstanding": small("outstanding", "points outstanding, end of week"),
            "given": small("given", "points given, by week"),
            "sales": small("sales_minor", "sales by week"),
            "risk": plots.spark([one or 0.0 for one in shares], "share of buyers at risk, every 28 days"),
        },
        "points": plots.bar(
            labels,
            {
                "given": [float(week["given"]) for week in weeks],
                "taken": [float(week["taken"]) for week in weeks],
            },
        ),
    }


async def cohorts(ask: Asker, _: QueryParams) -> Context:
    """Who came back in which month after the first."""
    rows = await ask.rows("cohorts", "cohorts")
    months = max((row["months_since"] for row in rows), default=0)
    grid: dict[Any, dict[int, Any]] = {}
    for row in rows:
        grid.setdefault(row["cohort_month"], {})[row["months_since"]] = row
    last = max(grid, default=None)
    # A month that has not come yet is empty; one in which nobody came is a nought.
    reach = {
        month: (last.year - month.year) * 12 + last.month - month.month if last is not None else 0 for month in grid
    }
    for row in rows:
        reach[row["cohort_month"]] = max(reach[row["cohort_month"]], row["months_since"])
    return {"grid": grid, "months": range(months + 1), "reach": reach}


async def rfm(ask: Asker, query: QueryParams) -> Context:
    """The grid of recency and frequency, the segments, and the members of one."""
    cells, segments = await asyncio.gather(ask.rows("rfm", "grid"), ask.rows("rfm", "segments"))
    chosen, page = query.get("segment", ""), whole(query.get("page"), 1, 1_000_000, 1)
    members: list[dict[str, Any]] = []
    if chosen:
        members = await ask.rows(
            "rfm", "segment_members", segment=chosen, rows=PAGE_ROWS + 1, skip=PAGE_ROWS * (page - 1)
        )
    return {
        "grid": {(cell["r"], cell["f"]): cell for cell in cells},
        "most": max((cell["members"] for cell in cells), default=1),
        "segments": segments,
        "chosen": chosen,
        "members": members[:PAGE_ROWS],
        "page": page,
        "more": len(members) > PAGE_ROWS,
    }


async def flows(ask: Asker, query: QueryParams) -> Context:
    """Who moved between segments and tiers within so many days."""
    days = whole(query.get("days"), 1, 3_650, FLOW_DAYS[1])
    segments, tiers = await asyncio.gather(
        ask.rows("flows", "segments", days=days), ask.rows("flows", "tiers", days=days)
    )

    def picture(rows: list[dict[str, Any]], order: list[str]) -> plots.Flows:
        return plots.flows([(row["before"], row["after"], row["members"]) for row in rows], order)

    return {
        "days": days,
        "choices": sorted({*FLOW_DAYS, days}),
        "parts": [
            ("segments", "Segments", segments, picture(segments, SEGMENTS)),
            ("tiers", "Tiers", tiers, picture(tiers, [])),
        ],
    }


async def churn(ask: Asker, query: QueryParams) -> Context:
    """Who will probably stay away, with the reason and the money at stake."""
    flagged, by = query.get("all") != "1", "money" if query.get("by") == "money" else "chance"
    page = whole(query.get("page"), 1, 1_000_000, 1)
    told, bands, rows = await asyncio.gather(
        ask.row("churn", "told"),
        ask.rows("churn", "bands"),
        ask.rows("churn", "list", flagged=flagged, by=by, rows=PAGE_ROWS + 1, skip=PAGE_ROWS * (page - 1)),
    )
    counts = {row["band"]: row["members"] for row in bands}
    labels = [f"{band / 10:.1f}-{band / 10 + 0.1:.1f}" for band in range(10)]
    return {
        "told": told,
        "rows": rows[:PAGE_ROWS],
        "page": page,
        "more": len(rows) > PAGE_ROWS,
        "flagged": flagged,
        "by": by,
        "bands": plots.bar(labels, {"members": [float(counts.get(band, 0)) for band in range(10)]}),
    }


async def lift(ask: Asker, query: QueryParams) -> Context:
    """What moments bring against their hold-outs, and what became of their notices."""
    days, channels = whole(query.get("days"), 1, 3_650, LIFT_DAYS[1]), query.get("channels") == "1"
    goal, point = "visit" if query.get("goal") == "visit" else "purchase", _price(query.get("point"))
    rows, funnel = await asyncio.gather(
        ask.rows("lift", "lift", days=days, goal=goal, channels=channels, point=point), ask.rows("lift", "funnel")
    )
    shown = [row for row in rows if row["lift"] is not None]
    return {
        "days": days,
        "choices": sorted({*LIFT_DAYS, days}),
        "goal": goal,
        "channels": channels,
        "point": point,
        "priced": any(row["points_cost_minor"] is not None for row in rows),
        "rows": rows,
        "funnel": funnel,
        "plot": plots.intervals(
            [(_lift_label(row, channels), row["lift_low"], row["lift"], row["lift_high"]) for row in shown[:LIFT_ROWS]]
        ),
    }


def _lift_label(row: dict[str, Any], channels: bool) -> str:
    return f"{row['rule_id']} v{row['rule_version']}" + (f", {row['channel']}" if channels else "")


def _price(text: str | None) -> float | None:
    """What a point costs in minor units, as somebody wrote it; None for what is no price."""
    try:
        price = float((text or "").replace(",", "."))
    except ValueError:
        return None
    return price if 0 <= price < 1e9 else None


async def loyalty(ask: Asker, _: QueryParams) -> Context:
    """Who comes back, who is pleased, which channels and stores do better, and who fell silent."""
    names = ("retention", "repeats", "places", "churn", "satisfaction", "unhappy", "sleepers")
    found = dict(zip(names, await asyncio.gather(*(ask.rows("loyalty", name) for name in names)), strict=True))
    months = found["retention"][::-1]
    whole_months = [month for month in months if month["complete"] and month["retention"] is not None]
    for row in found["repeats"]:
        row["within"] = "ever" if row["within_days"] is None else f"{row['within_days']} days"
    series = {key: [float(month[key]) for month in months] for key in ("kept", "lost", "new_members", "returned")}
    return {
        **found,
        "last": whole_months[-1] if whole_months else None,
        "ever": next((row for row in found["repeats"] if row["within_days"] is None), None),
        "retention_line": plots.spark([month["retention"] for month in whole_months], "retention by month"),
        "moves": plots.bar([f"{month['month']:%Y-%m}" for month in months], _named(series)),
    }


async def points(ask: Asker, _: QueryParams) -> Context:
    """What becomes of points, what is owed, what rewards and tiers do and cost."""
    names = ("months", "breakage", "liability", "uptake", "tiers", "moves")
    found = dict(zip(names, await asyncio.gather(*(ask.rows("points", name) for name in names)), strict=True))
    months = found["months"][::-1]
    for row in found["liability"]:
        row["expires"] = "never, or not known yet" if row["expires_month"] is None else f"{row['expires_month']:%Y-%m}"
    # Spending and expiring are below zero in the table; beside what was earned they are compared by their size.
    series = {key: [abs(float(month[key])) for month in months] for key in ("earned", "redeemed", "expired")}
    return {
        **found,
        "tier_moves": found["moves"],
        "moves": plots.bar([f"{month['month']:%Y-%m}" for month in months], _named(series)),
    }


async def play(ask: Asker, _: QueryParams) -> Context:
    """Who is under way in which challenge, who met it, and which badges are had."""
    names = ("challenges", "badges")
    return dict(zip(names, await asyncio.gather(*(ask.rows("play", name) for name in names)), strict=True))


async def money(ask: Asker, _: QueryParams) -> Context:
    """How far the goals are, what the programme costs and brings, and what is owed in money."""
    names = ("goals", "costs", "kinds", "roi", "liability", "currency")
    found = dict(zip(names, await asyncio.gather(*(ask.rows("money", name) for name in names)), strict=True))
    for row in found["goals"]:
        metric = GOAL_METRICS.get(row["metric"])
        row["unit"], row["explained"] = (NUMBER, "") if metric is None else (metric.unit, metric.says)
    for row in found["liability"]:
        row["expires"] = "never, or not known yet" if row["expires_month"] is None else f"{row['expires_month']:%Y-%m}"
    held = [row for row in found["roi"] if row["basis"] == "hold_out"]
    drawn = [row for row in held if row["margin_low_minor"] is not None][:LIFT_ROWS]
    unit = 10 ** CURRENCY_DIGITS.get(next((row["currency"] for row in found["currency"]), None) or "", 2)
    priced = [row for row in found["liability"] if row["owed_minor"] is not None]
    return {
        **found,
        "held": held,
        "gross": next((row for row in found["roi"] if row["basis"] == "gross"), None),
        "owed_minor": sum(row["owed_minor"] for row in priced) if priced else None,
        "expected_minor": sum(row["expected_minor"] for row in priced) if priced else None,
        "spending": _spending(found["costs"][::-1], unit),
        "plot": plots.intervals([_gain(row, unit) for row in drawn], written=lambda value: f"{value:+,.6g}"),
    }


def _gain(row: dict[str, Any], unit: int) -> tuple[str, float, float, float]:
    """What a moment brought after its cost, with its interval, in whole units of the currency."""
    low, at, high = (
        (row[key] - row["cost_minor"]) / unit for key in ("margin_low_minor", "margin_minor", "margin_high_minor")
    )
    return f"{row['rule_id']} v{row['rule_version']}", low, at, high


def _spending(months: list[dict[str, Any]], unit: int) -> plots.Chart:
    """Bars of what each month cost, in whole units of the currency."""
    keys = {"foreseen": "foreseen_minor", "unforeseen": "unforeseen_minor", "points spent": "spent_minor"}
    labels = [f"{month['month']:%Y-%m}" for month in months]
    return plots.bar(labels, {name: [(month[key] or 0) / unit for month in months] for name, key in keys.items()})


def _named(series: dict[str, list[float]]) -> dict[str, list[float]]:
    """Series as a legend names them."""
    return {{"new_members": "new", "redeemed": "spent"}.get(key, key): values for key, values in series.items()}


async def members(ask: Asker, query: QueryParams) -> Context:
    """Look a member up by the beginning of a key."""
    text = query.get("q", "").strip()[:200]
    return {"text": text, "rows": await ask.rows("member", "find", text=text, rows=PAGE_ROWS)}


async def member(ask: Asker, query: QueryParams, key: str) -> Context | None:
    """One member's story, newest first; None where nobody is known by the key."""
    who = await ask.row("member", "who", member=key)
    if not who:
        return None
    page, name = whole(query.get("page"), 1, 1_000_000, 1), who["member_id"]
    facts, entries, lots, tiers, redemptions, challenges, badges = await asyncio.gather(
        ask.rows("member", "facts", member=name, rows=STORY_ROWS + 1, skip=STORY_ROWS * (page - 1)),
        ask.rows("member", "entries", keys=[name, *(who["keys"] or ())], rows=ENTRY_ROWS),
        ask.rows("member", "lots", member=name, rows=PAGE_ROWS),
        ask.rows("member", "tier_history", member=name),
        ask.rows("member", "redemptions", member=name, rows=PAGE_ROWS),
        ask.rows("member", "challenges", member=name, rows=PAGE_ROWS),
        ask.rows("member", "badges", member=name, rows=PAGE_ROWS),
    )
    over_time = list(reversed(entries))
    balances = [float(entry["balance_after"]) for entry in over_time]
    days = [entry["occurred_at"].date().isoformat() for entry in over_time]
    return {
        "who": who,
        "asked": key,
        "story": _story(facts[:STORY_ROWS], entries, tiers, newest=page == 1),
        "lots": lots,
        "tiers": tiers,
        "redemptions": redemptions,
        "challenges": challenges,
        "badges": badges,
        "entries_cut": len(entries) == ENTRY_ROWS,
        "balance": plots.line(days, {"points": balances}) if len(balances) > 1 else None,
        "page": page,
        "more": len(facts) > STORY_ROWS,
    }


def _story(
    facts: list[dict[str, Any]], entries: list[dict[str, Any]], tiers: list[dict[str, Any]], *, newest: bool
) -> list[Context]:
    """One item per fact with its entries and the tiers that began then; what time did stands on its own."""
    by_fact: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in entries:
        by_fact.setdefault((entry["source"], entry["fact_id"]), []).append(entry)
    items = [
        _item(
            fact["occurred_at"],
            "fact",
            type_name(fact["type"]),
            by_fact.pop((fact["source"], fact["fact_id"]), []),
            fact=fact,
        )
        for fact in facts
    ]
    first = min((item["at"] for item in items), default=None)

    def shown(at: datetime) -> bool:
        return first is None or at >= first

    if newest:
        left = [entries for entries in by_fact.values() if shown(entries[0]["occurred_at"])]
        items += [_item(one[0]["occurred_at"], "time", "time passed", one) for one in left]
        items += [_item(tier["from_at"], "tier", "tier", [], tier=tier) for tier in tiers if shown(tier["from_at"])]
    return sorted(items, key=lambda item: (item["at"], item["kind"] == "tier"), reverse=True)


def _item(at: datetime, kind: str, what: str, entries: list[dict[str, Any]], **more: Any) -> Context:
    """One item of a story; what it does not have is None."""
    return {"at": at, "kind": kind, "what": what, "entries": entries, "fact": None, "tier": None, **more}
