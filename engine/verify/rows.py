"""The rows that a record of the logs must have in the tables: written down apart from the SQL that makes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.stream.turn import UNREADABLE
from engine.verify.pairing import raw_of
from schemas.envelope import UNREADABLE_SOURCE
from schemas.facts import PROFILE, TAKEOVER
from schemas.times import to_us

Row = dict[str, Any]


def fact_row(record: Any) -> Row:
    """The row of `facts`."""
    raw = raw_of(record.value)
    named = {name: raw.get(name) for name in ("source", "id", "type")}
    occurred, recorded = _moment(raw.get("time")), _moment(raw.get("recordedat"))
    if None in named.values() or occurred is None or recorded is None:
        return {
            "position": record.offset,
            "source": UNREADABLE_SOURCE,
            "fact_id": f"{record.partition}:{record.offset}",
            "type": UNREADABLE,
            "member_id": None,
            "occurred_at": 0,
            "recorded_at": record.timestamp * 1_000,
            "payload": None,
        }
    return {
        "position": record.offset,
        "source": named["source"],
        "fact_id": named["id"],
        "type": named["type"],
        "member_id": raw.get("subject"),
        "occurred_at": occurred,
        "recorded_at": recorded,
        "payload": _payload(raw),
    }


def _payload(raw: Row) -> Any:
    """What `facts` holds of the data: nothing of a profile."""
    data = raw.get("data")
    if raw.get("type") == PROFILE:
        return None
    if raw.get("type") == TAKEOVER and isinstance(data, dict):
        return {name: value for name, value in data.items() if name != "profile"}
    return data


def decision_row(record: Any, raw: Row) -> Row:
    """The row of `decisions`."""
    return {
        "position": record.offset,
        "fact_position": raw.get("offset"),
        **{
            name: raw.get(name)
            for name in ("part", "last", "source", "fact_id", "type", "member_id", "outcome", "reason")
        },
        "programme_hash": raw.get("programme"),
        "occurred_at": _moment(raw.get("occurred_at")),
        "recorded_at": record.timestamp * 1_000,
        "notes": raw.get("notes"),
    }


def entry_rows(record: Any, raw: Row) -> Iterator[Row]:
    """The rows of `points_entries`, in the order of their ids."""
    for entry in sorted(raw.get("entries", ()), key=lambda one: str(one["entry_id"])):
        source, _, order = entry.get("order", "").partition("|")
        yield {
            "position": record.offset,
            "entry_id": entry["entry_id"],
            "member_id": entry.get("member_id", raw.get("member_id")),
            "kind": entry.get("kind"),
            "points": entry.get("points"),
            "source": entry.get("source", raw.get("source")),
            "fact_id": entry.get("fact_id", raw.get("fact_id")),
            "rule_id": entry.get("rule_id"),
            "rule_version": entry.get("rule_version"),
            "occurred_at": _moment(entry.get("occurred_at", raw.get("occurred_at"))),
            "recorded_at": record.timestamp * 1_000,
            "caused_by": entry.get("caused_by"),
            "active_from": _moment(entry.get("active_from")),
            "expires_at": _moment(entry.get("expires_at")),
            "earned_at": _moment(entry.get("earned_at")),
            "waits_for": entry.get("waits_for"),
            "cancel_at": _moment(entry.get("cancel_at")),
            "order_source": source or None,
            "order_id": order or None,
            "lines": [{"line": line, "points": points} for line, points in entry.get("lines", ())] or None,
        }


def _moment(text: object) -> int | None:
    try:
        return to_us(text) if isinstance(text, str) else None
    except ValueError:
        return None
