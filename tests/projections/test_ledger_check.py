"""The projector holds its tables against the ledger's invariants all the time, and tells Prometheus what it finds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.telemetry import Metrics
from projections.ledger_check import CHECKS, LedgerCheck
from projections.warehouse import Warehouse
from tests.projections import given

PATIENCE_S = 120.0
Notes = Sequence[Mapping[str, Any]]


def earn(fact_id: str, member: str, points: int, when: str = "2026-03-01T10:00:00Z", **more: Any) -> dict[str, Any]:
    """A visit that earned points."""
    entry = {"entry_id": f"e-{fact_id}", "points": points, "rule_id": "visit", **more}
    return {"type": "visit", "id": fact_id, "subject": member, "time": when, "decision": {"entries": [entry]}}


def take(fact_id: str, member: str, points: int, burns: Sequence[Any]) -> dict[str, Any]:
    """A visit whose points were taken back, from these lots."""
    entry = {"entry_id": f"e-{fact_id}", "kind": "clawback", "points": -points, "rule_id": "visit", "burns": burns}
    when = "2026-03-02T10:00:00Z"
    return {"type": "visit", "id": fact_id, "subject": member, "time": when, "decision": {"entries": [entry]}}


TICK = {"type": "tick", "id": "t", "subject": None, "time": "2026-04-01T00:00:00Z", "source": "urn:stammgast:tick"}
EXPIRES = "2026-03-20T00:00:00.000000Z"


@contextlib.contextmanager
def looking(warehouse: Warehouse) -> Iterator[Metrics]:
    """Metrics as they are after a look at these tables."""
    metrics = Metrics(with_process=False)
    check = LedgerCheck(warehouse, metrics, again_s=0.05)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not value(metrics, "tables_checked_timestamp_seconds"):
            assert time.monotonic() < deadline, "nobody looked"
            time.sleep(0.01)
        yield metrics
    finally:
        check.close()


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """A metric of ours."""
    return metrics.registry.get_sample_value(f"stammgast_{name}", labels)


def opened(path: Path, notes: Notes) -> Warehouse:
    """A file with these facts and decisions."""
    warehouse = Warehouse.open(path / "tables.duckdb", log_id="test", threads=1)
    facts, decisions = given.records(notes)
    warehouse.apply(facts, decisions)
    return warehouse


def test_sound_tables_break_nothing_and_their_sums_are_told(tmp_path: Path) -> None:
    """Lots, debts and a fact not yet decided are all well; entries are lots less debt; room and age are told."""
    notes = [
        earn("a", "anna", 10),
        take("b", "anna", 14, [["e-a", 10]]),
        earn("c", "bert", 7),
        earn("late", "carl", 1) | {"decision": None},
    ]

    # when
    with opened(tmp_path, notes) as warehouse, looking(warehouse) as metrics:
        # then
        assert [value(metrics, "table_violations", check=check) for check in CHECKS] == [0, 0, 0, 0]
        assert [value(metrics, "table_points", part=part) for part in ("entries", "lots", "debt")] == [3, 7, 4]
        assert value(metrics, "table_gap_points") == 0
        assert value(metrics, "tables_settled_timestamp_seconds") == 1_772_445_600
        assert (value(metrics, "projector_file_bytes") or 0) > 0
        assert (value(metrics, "projector_disk_free_bytes") or 0) > 0


@pytest.mark.parametrize(
    ("notes", "check", "gap"),
    [
        ([earn("a", "anna", 10), take("b", "anna", 12, [["e-a", 12]])], "lot_below_zero", 2),
        ([earn("a", "anna", 10), take("b", "anna", 3, [["e-a", 5]])], "debt_below_zero", 2),
        ([earn("a", "anna", 10, expires_at=EXPIRES), TICK], "lot_overdue", 0),
        ([earn("a", "anna", 10) | {"decision": None}, earn("b", "anna", 1)], "fact_without_decision", 0),
    ],
)
def test_what_is_broken_is_counted_by_what_it_breaks(tmp_path: Path, notes: Notes, check: str, gap: int) -> None:
    """Each kind of damage is found by its own check, and by no other."""
    with opened(tmp_path, notes) as warehouse, looking(warehouse) as metrics:
        found = {name: value(metrics, "table_violations", check=name) for name in CHECKS}
        assert {name for name, rows in found.items() if rows} == {check}
        assert value(metrics, "table_gap_points") == gap


def test_who_came_after_the_tick_is_not_overdue(tmp_path: Path) -> None:
    """A late fact whose points are over by now waits for the next tick."""
    with (
        opened(tmp_path, [TICK, earn("late", "anna", 10, expires_at=EXPIRES)]) as warehouse,
        looking(warehouse) as metrics,
    ):
        assert value(metrics, "table_violations", check="lot_overdue") == 0
