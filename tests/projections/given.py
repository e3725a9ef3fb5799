"""Log records out of short notes, such as those beside the marts: what is not said has one default."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from projections.warehouse import Record, Reject, Warehouse

RECORDED_MS = 1_772_000_000_000
LINE = {
    "sku": "tea",
    "category": None,
    "quantity": "2",
    "unit_price": "5.00",
    "discount_minor": 0,
    "amount_minor": 1000,
}
PROGRAMME: Mapping[str, Any] = {
    "type": "programme",
    "source": "urn:stammgast:programme",
    "id": "4e1f",
    "subject": None,
    "time": "2030-01-01T00:00:00Z",
    "data": {
        "hash": "4e1f",
        "programme": "test",
        "version": 1,
        "valid_from": "2020-01-01T00:00:00.000000Z",
        "time_zone": "Europe/London",
        "currency": "GBP",
        "base_tier": "guest",
    },
}


def _full(kind: str) -> str:
    """`visit` is the first version of its type; others are said: `visit.v2`."""
    return f"stammgast.{kind}" if ".v" in kind else f"stammgast.{kind}.v1"


DATA: Mapping[str, Mapping[str, Any]] = {
    "purchase": {
        "order_source": "urn:shop",
        "lines": [LINE],
        "total_minor": 1000,
        "currency": "GBP",
        "channel": "web",
        "store": None,
        "paid_with_points_minor": 0,
        "paid_with_voucher_minor": 0,
    },
    "refund": {
        "order_source": "urn:shop",
        "lines": [],
        "amount_minor": None,
        "total_minor": None,
        "currency": "GBP",
        "channel": None,
        "store": None,
    },
}


def canonical(time: str) -> str:
    """A short UTC time as the logs write it: 27 characters."""
    return time if len(time) == 27 else f"{time.removesuffix('Z')}.000000Z"


def fact_value(note: Mapping[str, Any]) -> bytes:
    """The value of a facts record."""
    data = {**DATA.get(note["type"], {}), **note.get("data", {})}
    if note["type"] in DATA:
        data.setdefault("order_id", note["id"])
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": note["id"],
            "source": note.get("source", "urn:shop"),
            "type": _full(note["type"]),
            "subject": note["subject"],
            "time": canonical(note["time"]),
            "recordedat": canonical(note.get("recorded", "2026-02-25T06:13:20Z")),
            "bodyhash": "0" * 32,
            "data": data,
        }
    )


def decision_value(note: Mapping[str, Any], offset: int) -> bytes:
    """The value of the points-log record that answers it."""
    said = note.get("decision", {})
    about = {"source": note.get("source", "urn:shop"), "fact_id": note["id"], "occurred_at": canonical(note["time"])}
    entry = {
        "member_id": note["subject"],
        "kind": "earn",
        "rule_version": 1,
        "caused_by": None,
        "active_from": None,
        "expires_at": None,
        "order": None,
        "lines": [],
        "burns": [],
    }
    tier = {"member_id": note["subject"], "previous": None, "until": None}
    return orjson.dumps(
        {
            "format": 1,
            **about,
            "type": _full(note["type"]),
            "member_id": note["subject"],
            "outcome": said.get("outcome", "decided"),
            "reason": said.get("reason"),
            "programme": "4e1f",
            "offset": offset,
            "part": said.get("part", 0),
            "last": said.get("last", True),
            "entries": [{**entry, **about, **one} for one in said.get("entries", ())],
            "tiers": [{**tier, **about, **one} for one in said.get("tiers", ())],
            "states": [{**about, "member_id": note["subject"], **one} for one in said.get("states", ())],
            "notices": [{**about, "member_id": note["subject"], **one} for one in said.get("notices", ())],
            "progress": said.get("progress", []),
            "counters": said.get("counters", []),
            "counts": [],
            "returned": said.get("returned", []),
            "notes": said.get("notes", []),
            "derived": [],
        }
    )


def records(notes: Iterable[Mapping[str, Any]], partition: int = 0) -> tuple[list[Record], list[Record]]:
    """(facts, decisions) of one partition, the programme fact first; `decision: null` is a fact not yet decided."""
    facts: list[Record] = []
    decisions: list[Record] = []
    for offset, note in enumerate([PROGRAMME, *notes]):
        recorded = datetime.fromisoformat(canonical(note["recorded"])) if "recorded" in note else None
        stamp_ms = RECORDED_MS if recorded is None else round(recorded.timestamp() * 1_000)
        facts.append(Record(partition, offset, stamp_ms, fact_value(note)))
        if note.get("decision", {}) is not None:
            decisions.append(Record(partition, len(decisions), stamp_ms, decision_value(note, offset)))
    return facts, decisions


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Where the files of `warehouse` lie until the tests end."""
    return tempfile.TemporaryDirectory(prefix="stammgast-given-")


@cache
def _empty() -> Path:
    """A file with all tables and views and no rows: making it takes twenty times as long as copying it."""
    path = Path(_folder().name) / "empty.duckdb"
    Warehouse.open(path, log_id="test", threads=1).close()
    return path


def warehouse(notes: Iterable[Mapping[str, Any]], rejects: Iterable[Iterable[Any]] = ()) -> Warehouse:
    """A warehouse with these facts and the answers to them, in a file of its own that goes when the tests end."""
    path = Path(tempfile.mkstemp(suffix=".duckdb", dir=_folder().name)[1])
    shutil.copyfile(_empty(), path)
    opened = Warehouse.open(path, log_id="test", threads=1)
    facts, decisions = records(notes)
    opened.apply(facts, decisions, [Reject(*reject) for reject in rejects])
    return opened


def plain(value: Any) -> Any:
    """A value as a note would write it: times and decimals as text."""
    match value:
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case Decimal():
            return str(value)
        case _:
            return value


def rows(warehouse: Warehouse, statement: str) -> list[dict[str, Any]]:
    """The rows of a statement as notes, in the order of all columns."""
    result = warehouse.connection.execute(statement)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, map(plain, row), strict=True)) for row in result.fetchall()]
