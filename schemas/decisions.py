"""What the engine answers: one decision per fact, with its entries, tier changes and reasons.

A decision holds outcomes, not copies of facts, and nothing that depends on a clock: the same facts give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import orjson
from pydantic import TypeAdapter

FORMAT = 1
Outcome = Literal["decided", "duplicate", "forwarded", "rejected", "quarantined"]
EntryKind = Literal["earn", "clawback"]


@dataclass(slots=True)
class Entry:
    """One movement of points.

    Attributes:
        entry_id: deterministic; the id of an ``earn`` entry is also the id of the lot it makes.
        points: credit positive, debit negative.
        source, fact_id, occurred_at: what moved the points: usually the decided fact, a timer where time did.
        caused_by: entry that this one follows from: a clawback names the earn it takes back.
        order: ``<order_source>|<order_id>`` where an order moved them.
        lines: [order line from 1, points] pairs, as allotted.
        burns: [lot_id, points] pairs, positive: the lots a debit takes from.
    """

    entry_id: str
    member_id: str
    kind: EntryKind
    points: int
    rule_id: str
    rule_version: int
    source: str
    fact_id: str
    occurred_at: str
    caused_by: str | None = None
    active_from: str | None = None
    expires_at: str | None = None
    order: str | None = None
    lines: list[tuple[int, int]] = field(default_factory=list)
    burns: list[tuple[str, int]] = field(default_factory=list)


@dataclass(slots=True)
class TierChange:
    """A member's tier, or the moment until which it holds, is now this."""

    member_id: str
    tier: str
    previous: str | None
    since: str
    until: str | None
    source: str
    fact_id: str
    occurred_at: str


@dataclass(slots=True)
class Note:
    """One reason in words: why points are fewer than a reader would expect, or none."""

    code: str
    rule_id: str | None
    text: str


@dataclass(slots=True)
class Derived:
    """A fact that follows from this decision and was written to another subject's partition with it."""

    source: str
    id: str
    type: str
    subject: str


@dataclass(slots=True)
class Decision:
    """The answer to one fact; a long answer to a tick comes in parts.

    Attributes:
        offset: of the fact in its partition; with ``part`` and ``last`` it says how far rewards has come.
        programme: hash of the version it was decided under, if any.
        progress: [local day of the purchase it belongs to, amount] pairs towards tiers: ``["2026-03-01", 1250]``.
        counts: [cap key, points, times] triples used up.
        returned: [order line from 1, quantity in thousandths, minor units] triples that a refund took back.
    """

    source: str
    fact_id: str
    type: str
    member_id: str | None
    outcome: Outcome
    reason: str | None
    programme: str | None
    occurred_at: str
    offset: int
    format: int = FORMAT
    part: int = 0
    last: bool = True
    entries: list[Entry] = field(default_factory=list)
    tiers: list[TierChange] = field(default_factory=list)
    progress: list[tuple[str, int]] = field(default_factory=list)
    counts: list[tuple[str, int, int]] = field(default_factory=list)
    returned: list[tuple[int, int, int]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    derived: list[Derived] = field(default_factory=list)


_ADAPTER = TypeAdapter(Decision)


def encode_decision(decision: Decision) -> bytes:
    """Return the value of a ``points-log`` record."""
    return orjson.dumps(decision)


def parse_decision(value: bytes) -> Decision:
    """Return the decision of a ``points-log`` record.

    Raises:
        pydantic.ValidationError: this is not a decision of a format this engine knows.
    """
    return _ADAPTER.validate_json(value)
