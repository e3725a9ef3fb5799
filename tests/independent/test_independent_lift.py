"""Lift computed a second time, in plain Python with SciPy's own intervals, over invented moments."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from math import sqrt
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from scipy.stats import binomtest
from scipy.stats.contingency import relative_risk

from tests.projections import given

ZONE = ZoneInfo("Europe/London")
SEED = 20261123
BEGAN = datetime(2026, 3, 20, tzinfo=UTC)
DAY, WINDOW_DAYS, POINT_MINOR = date(2026, 4, 20), 10, 1.25

Note = dict[str, Any]
Row = dict[str, Any]


def written(moment: datetime) -> str:
    """A moment as a note has it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def invented(chance: random.Random) -> list[Note]:
    """A month of moments over the change to summer time, with purchases and visits after them and between."""
    notes: list[Note] = []
    for number in range(160):
        member = f"m{number}"
        for turn in range(chance.choice((1, 1, 2))):
            at = BEGAN + timedelta(minutes=chance.randrange(28 * 24 * 60))
            state = chance.choice(("made", "made", "made", "held_out", "held_out", "quiet", "expired", "no_consent"))
            notice: Note = {
                "id": f"{number}-{turn}", "rule_id": chance.choice(("back", "top")), "rule_version": chance.choice((1, 1, 2)),
                "moment": "silence", "template": "t", "state": "made" if state == "made" else "suppressed",
                "channel": chance.choice(("mail", "push")),
            }  # fmt: skip
            if state != "made":
                notice["reason"] = state
            if state == "no_consent":
                del notice["channel"]
            if chance.random() < 0.3:
                notice["not_before"] = written(at + timedelta(hours=9))
            if state == "made" and chance.random() < 0.5:
                notice["effects"] = [{"kind": "points", "points": chance.randrange(1, 90)}]
            notes.append(fact("review", f"r{number}-{turn}", member, at, {"sku": "tea", "rating": 5}, [notice]))
            for kind, share in (("purchase", 0.6), ("visit", 0.4)):
                for again in range(2):
                    if chance.random() < share:
                        later = at + timedelta(minutes=chance.randrange(-2 * 24 * 60, 20 * 24 * 60))
                        data: Note = (
                            {"store": "mitte"} if kind == "visit" else {"total_minor": chance.randrange(100, 9_000)}
                        )
                        if kind == "purchase" and chance.random() < 0.1:
                            data["currency"] = "EUR"
                        notes.append(fact(kind, f"{kind[0]}{number}-{turn}-{again}", member, later, data))
    notes.append(fact("review", "last", "nobody", datetime(2026, 5, 1, tzinfo=UTC), {"sku": "tea", "rating": 1}))
    return sorted(notes, key=lambda note: note["time"])


def fact(kind: str, name: str, member: str, at: datetime, data: Note, notices: list[Note] | None = None) -> Note:
    """A decided fact."""
    return {
        "type": kind,
        "id": name,
        "subject": member,
        "time": written(at),
        "data": data,
        "decision": {"notices": notices or []},
    }


def moment_of(text: str) -> datetime:
    """A note's moment."""
    return datetime.fromisoformat(text)


def met(notes: list[Note]) -> dict[tuple[str, int], dict[str, tuple[Note, datetime, datetime]]]:
    """Per rule and version the first moment of each member who consents to a channel, where its window is over."""
    found: dict[tuple[str, int], dict[str, tuple[Note, datetime, datetime]]] = {}
    for note in notes:
        for one in note["decision"]["notices"]:
            if "channel" not in one:
                continue
            at = moment_of(note["time"])
            began = max(at, moment_of(one["not_before"])) if "not_before" in one else at
            found.setdefault((one["rule_id"], one["rule_version"]), {}).setdefault(
                note["subject"], (one, began, began + timedelta(days=WINDOW_DAYS))
            )
    return {
        key: {who: one for who, one in members.items() if one[2].astimezone(ZONE).date() <= DAY}
        for key, members in found.items()
    }


def until_day(notes: list[Note], kind: str) -> dict[str, list[Note]]:
    """Facts of a kind by member, as far as the day asked for."""
    found: dict[str, list[Note]] = {}
    for note in notes:
        if note["type"] == kind and (kind == "visit" or moment_of(note["time"]).astimezone(ZONE).date() <= DAY):
            found.setdefault(note["subject"], []).append(note)
    return found


def expected(notes: list[Note]) -> Iterator[Row]:
    """The rows that `lift_as_of` must give."""
    facts = {"purchase": until_day(notes, "purchase"), "visit": until_day(notes, "visit")}
    for (rule, version), members in met(notes).items():
        for channel in ("all", "mail", "push"):
            chosen = {who: one for who, one in members.items() if channel in ("all", one[0]["channel"])}
            for goal in ("purchase", "visit"):
                yield from row_of(rule, version, channel, goal, chosen, facts)


def row_of(
    rule: str, version: int, channel: str, goal: str, chosen: dict[str, Any], facts: dict[str, dict[str, list[Note]]]
) -> Iterator[Row]:
    """One row, or none where nobody met the moment."""
    groups: dict[bool, list[tuple[bool, int, Note]]] = {True: [], False: []}
    for who, (notice, began, ends) in chosen.items():
        inside = {
            kind: [one for one in facts[kind].get(who, ()) if began < moment_of(one["time"]) <= ends] for kind in facts
        }
        money = sum(one["data"]["total_minor"] for one in inside["purchase"] if "currency" not in one["data"])
        groups[notice.get("reason") == "held_out"].append((bool(inside[goal]), money, notice))
    treated, held = groups[False], groups[True]
    if not treated:
        return
    hits, others = sum(one[0] for one in treated), sum(one[0] for one in held)
    points = sum(sum(e["points"] for e in one[2].get("effects", ())) for one in treated)
    row: Row = {
        "rule_id": rule, "rule_version": version, "channel": channel, "goal": goal, "members": len(treated),
        "reached": sum(one[2]["state"] == "made" for one in treated), "converted": hits, "rate": hits / len(treated),
        "held_out_members": len(held), "held_out_converted": others, "points": points,
        "points_cost_minor": points * POINT_MINOR, "net_per_member_minor": sum(one[1] for one in treated) / len(treated),
    }  # fmt: skip
    if held:
        row |= compared(hits, len(treated), others, len(held))
        row["net_per_held_out_minor"] = sum(one[1] for one in held) / len(held)
        row["regained"] = row["lift"] * len(treated)
        if row["lift"] > 0:
            row["cost_per_regained_minor"] = points * POINT_MINOR / row["regained"]
    yield row


def compared(hits: int, trials: int, others: int, held: int) -> Row:
    """Difference with Newcombe's interval out of SciPy's Wilson intervals, ratio with SciPy's Katz interval."""
    one = binomtest(hits, trials).proportion_ci(method="wilson")
    other = binomtest(others, held).proportion_ci(method="wilson")
    rate, base = hits / trials, others / held
    row: Row = {
        "held_out_rate": base,
        "lift": rate - base,
        "lift_low": rate - base - sqrt((rate - one.low) ** 2 + (other.high - base) ** 2),
        "lift_high": rate - base + sqrt((one.high - rate) ** 2 + (base - other.low) ** 2),
    }
    if hits and others:
        risk = relative_risk(hits, trials, others, held)
        interval = risk.confidence_interval(0.95)
        row |= {"ratio": risk.relative_risk, "ratio_low": interval.low, "ratio_high": interval.high}
    return row


def name(row: Row) -> tuple[Any, ...]:
    """The grain."""
    return row["rule_id"], row["rule_version"], row["channel"], row["goal"]


def test_lift_is_what_plain_python_makes_of_the_same_moments() -> None:
    """Every row and every number of it."""
    print(f"seed {SEED}")
    notes = invented(random.Random(SEED))
    with given.warehouse(notes) as warehouse:
        found = given.rows(warehouse, f"from lift_as_of(date '{DAY}', {WINDOW_DAYS}, {POINT_MINOR})")
    wanted = list(expected(notes))
    by_name = {name(row): row for row in found}
    assert len(wanted) == len(found) == len(by_name) == 24
    for row in wanted:
        told = by_name[name(row)]
        for column, value in row.items():
            slack = 0.0051 if "minor" in column else 0.0
            same = value if isinstance(value, str) else pytest.approx(value, rel=1e-9, abs=slack)
            assert told[column] == same, (name(row), column)
        assert all(told[column] is None for column in ("ratio", "lift", "cost_per_regained_minor") if column not in row)


def test_newcombe_and_katz_as_printed() -> None:
    """Newcombe's own example (1998, table II, (a) 56/70 against 48/80, method 10) is 0.0524 to 0.3339; the risk ratio of
    SciPy's documentation, 27/122 against 44/487, is 1.5837 to 3.7887."""
    with given.warehouse(()) as warehouse:
        (told,) = given.rows(
            warehouse,
            "select newcombe_low(56, 70, 48, 80) as low, newcombe_high(56, 70, 48, 80) as high, "
            "katz_bound(27, 122, 44, 487, -1) as ratio_low, katz_bound(27, 122, 44, 487, 1) as ratio_high, "
            "wilson_low(0, 10) as none_low, wilson_high(10, 10) as all_high, katz_bound(0, 9, 1, 9, 1) as nothing, "
            "newcombe_low(1, 2, 0, 0) as nobody",
        )
    assert (round(told["low"], 4), round(told["high"], 4)) == (0.0524, 0.3339)
    assert (round(told["ratio_low"], 4), round(told["ratio_high"], 4)) == (1.5837, 3.7887)
    assert (told["none_low"], told["all_high"]) == (0.0, 1.0)
    assert told["nothing"] is None
    assert told["nobody"] is None
