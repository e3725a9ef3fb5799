"""Balances, tiers and liability in both times: what was known then is what the tables said then."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.projections import given

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
LEVELS = ("silver", "gold", "guest")
END = "timestamptz '2027-01-01 00:00:00+00'"
TABLES = ("balances_as_of", "tiers_as_of", "liability_as_of")


def history(seed: int, count: int) -> list[dict[str, Any]]:
    """Facts recorded a day apart that happened up to twenty days before: earned, waiting, released, spent, promoted."""
    chance, lots, notes = random.Random(seed), list[tuple[str, str, int]](), list[dict[str, Any]]()
    for number in range(count):
        recorded = BEGIN + timedelta(days=30 + number)
        happened = recorded - timedelta(days=chance.randrange(20), hours=chance.randrange(20))
        member, moment = f"m{chance.randrange(4)}", f"{happened:%Y-%m-%dT%H:%M:%S}Z"
        decision: dict[str, Any] = {"entries": [], "tiers": []}
        own = [lot for lot in lots if lot[0] == member and lot[2] > 0]
        what = chance.random()
        if what < 0.5 or not own:
            points = chance.randrange(1, 100)
            waits = {"waits_for": "delivery"} if chance.random() < 0.3 else {}
            decision["entries"].append({"entry_id": f"e{number}", "points": points, "rule_id": "base", **waits})
            lots.append((member, f"e{number}", points))
        elif what < 0.6:
            lot = chance.choice(own)
            freed = {
                "entry_id": f"r{number}",
                "kind": "release",
                "points": 0,
                "active_from": moment,
                "burns": [[lot[1], 0]],
            }
            decision["entries"].append(freed)
        else:
            lot = chance.choice(own)
            points = chance.randrange(1, lot[2] + 1)
            lots[lots.index(lot)] = (member, lot[1], lot[2] - points)
            kind = chance.choice(("redeem", "clawback", "expire"))
            decision["entries"].append(
                {"entry_id": f"b{number}", "kind": kind, "points": -points, "burns": [[lot[1], points]]}
            )
        if chance.random() < 0.3:
            decision["tiers"].append({"tier": chance.choice(LEVELS), "since": moment})
        notes.append(
            {"type": "visit", "id": f"v{number}", "subject": member, "time": moment, "recorded": f"{recorded:%Y-%m-%dT%H:%M:%S}Z",
             "decision": decision}
        )  # fmt: skip
    return notes


def test_what_was_known_then_is_what_the_tables_said_then() -> None:
    """A file that was filled up to a day, and the whole one asked for what was known on it, say the same at any moment."""
    notes = history(seed=20261123, count=60)
    with given.warehouse(notes) as whole:
        for known in (1, 17, 30, 59, 60):
            known_at = f"timestamptz '{notes[known - 1]['recorded'][:10]} 12:00:00+00'"
            with given.warehouse(notes[:known]) as then:
                for table in TABLES:
                    for moment in (END, "timestamptz '2026-02-05 12:00:00+00'", known_at):
                        said = given.rows(then, f"from {table}({moment}) order by all")
                        asked = given.rows(whole, f"from {table}({moment}, known_at := {known_at}) order by all")
                        assert asked == said, f"{table} at {moment} with {known} facts"


def test_what_came_late_counts_where_it_belongs() -> None:
    """Without `known_at` an old answer can change; with it, it stays."""

    def earned(number: int, points: int, day: int, recorded: int) -> dict[str, Any]:
        entry = {"entry_id": f"e{number}", "points": points, "rule_id": "base"}
        return {"type": "visit", "id": f"v{number}", "subject": "anna", "time": f"2026-01-{day:02}T10:00:00Z",
                "recorded": f"2026-01-{recorded:02}T10:00:00Z", "decision": {"entries": [entry]}}  # fmt: skip

    with given.warehouse([earned(1, 10, 1, 1), earned(2, 5, 3, 20)]) as warehouse:
        at = "timestamptz '2026-01-10 00:00:00+00'"
        now, then = (
            [row["points_outstanding"] for row in given.rows(warehouse, f"from liability_as_of({asked})")]
            for asked in (at, f"{at}, known_at := {at}")
        )
        before = given.rows(warehouse, f"from balances_as_of({at}, known_at := timestamptz '2025-12-31')")

    assert (now, then, before) == ([15], [10], [])
