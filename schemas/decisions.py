"""What the engine answers: one decision per fact, with its entries, tier changes and reasons.

A decision holds outcomes, not copies of facts, and nothing that depends on a clock: the same facts give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import TypeAdapter

from schemas.decision_forms import DecisionForm, EntryForm, EntryKind, Outcome, StateChangeForm, TierChangeForm
from schemas.notices import Notice, NoticeForm

FORMAT = 1


@dataclass(slots=True, init=False)
class Entry:
    """One movement of points.

    Attributes:
        entry_id: deterministic; a credit that is no ``restore`` makes a lot, and gives it its id.
        points: credit positive, debit negative.
        source, fact_id, occurred_at: what moved the points: usually the decided fact, a timer where time did.
        caused_by: entry that this one follows from: a clawback names the earn it takes back.
        order: ``<order_source>|<order_id>`` where an order moved them.
        lines: [order line from 1, points] pairs, as allotted.
        burns: [lot_id, points] pairs: positive, what a debit takes from a lot (a credit from its own: it pays a debt); negative,
            what a ``restore`` gives back to it; 0, the lot that a ``release`` makes spendable from ``active_from`` on.
        earned_at: of a lot that came from another member: when it was earned there.
        waits_for: of a lot that cannot be spent yet: the fact that will make it so.
        cancel_at: when such a lot is taken if that fact has not come.
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
    lines: Sequence[tuple[int, int]] = ()
    burns: Sequence[tuple[str, int]] = ()
    earned_at: str | None = None
    waits_for: str | None = None
    cancel_at: str | None = None

    # Written out, because mypyc compiles this and leaves the one that dataclass makes to the interpreter.
    def __init__(
        self,
        entry_id: str,
        member_id: str,
        kind: EntryKind,
        points: int,
        rule_id: str,
        rule_version: int,
        source: str,
        fact_id: str,
        occurred_at: str,
        caused_by: str | None = None,
        active_from: str | None = None,
        expires_at: str | None = None,
        order: str | None = None,
        lines: Sequence[tuple[int, int]] = (),
        burns: Sequence[tuple[str, int]] = (),
        earned_at: str | None = None,
        waits_for: str | None = None,
        cancel_at: str | None = None,
    ) -> None:
        self.entry_id = entry_id
        self.member_id = member_id
        self.kind = kind
        self.points = points
        self.rule_id = rule_id
        self.rule_version = rule_version
        self.source = source
        self.fact_id = fact_id
        self.occurred_at = occurred_at
        self.caused_by = caused_by
        self.active_from = active_from
        self.expires_at = expires_at
        self.order = order
        self.lines = lines
        self.burns = burns
        self.earned_at = earned_at
        self.waits_for = waits_for
        self.cancel_at = cancel_at

    @property
    def makes_lot(self) -> bool:
        """Tell whether this is a credit with a lot of its own."""
        return self.points > 0 and self.kind != "restore"


@dataclass(slots=True)
class TierChange:
    """A member's tier, the moment until which it holds if nothing more happens, or the tier then, is now this."""

    member_id: str
    tier: str
    previous: str | None
    since: str
    until: str | None
    source: str
    fact_id: str
    occurred_at: str
    projected: str | None = None


@dataclass(slots=True)
class StateChange:
    """Something that has states of its own (a redemption, a transfer, an alias) is now in this one.

    Attributes:
        what: its kind.
        id: its name among those of its kind and member: usually the id of the fact that began it.
        state: a word of its kind.
    """

    member_id: str
    what: str
    id: str
    state: str
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


@dataclass(slots=True, init=False)
class Decision:
    """The answer to one fact; a long answer to a tick comes in parts.

    Attributes:
        offset: of the fact in its partition; with ``part`` and ``last`` it says how far rewards has come.
        programme: hash of the version it was decided under, if any.
        progress: [local day of the purchase it belongs to, amount] pairs towards tiers: ``["2026-03-01", 1250]``.
        counts: [cap key, points, times] triples used up.
        counters: [counter key, by how much it moved, of how many awards it was the moment, order lines, none for all of them].
        returned: [order line from 1, quantity in thousandths, minor units] triples that a refund took back.
        notices: made or suppressed, in the order of their moments.
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
    entries: Sequence[Entry] = ()
    tiers: Sequence[TierChange] = ()
    states: Sequence[StateChange] = ()
    progress: Sequence[tuple[str, int]] = ()
    counts: Sequence[tuple[str, int, int]] = ()
    counters: Sequence[tuple[str, int, int, Sequence[int]]] = ()
    returned: Sequence[tuple[int, int, int]] = ()
    notes: Sequence[Note] = ()
    derived: Sequence[Derived] = ()
    notices: Sequence[Notice] = ()

    # Written out, because mypyc compiles this and leaves the one that dataclass makes to the interpreter.
    def __init__(
        self,
        source: str,
        fact_id: str,
        type: str,  # noqa: A002 - the field's name
        member_id: str | None,
        outcome: Outcome,
        reason: str | None,
        programme: str | None,
        occurred_at: str,
        offset: int,
        format: int = FORMAT,  # noqa: A002 - the field's name
        part: int = 0,
        last: bool = True,
        entries: Sequence[Entry] = (),
        tiers: Sequence[TierChange] = (),
        states: Sequence[StateChange] = (),
        progress: Sequence[tuple[str, int]] = (),
        counts: Sequence[tuple[str, int, int]] = (),
        counters: Sequence[tuple[str, int, int, Sequence[int]]] = (),
        returned: Sequence[tuple[int, int, int]] = (),
        notes: Sequence[Note] = (),
        derived: Sequence[Derived] = (),
        notices: Sequence[Notice] = (),
    ) -> None:
        self.source = source
        self.fact_id = fact_id
        self.type = type
        self.member_id = member_id
        self.outcome = outcome
        self.reason = reason
        self.programme = programme
        self.occurred_at = occurred_at
        self.offset = offset
        self.format = format
        self.part = part
        self.last = last
        self.entries = entries
        self.tiers = tiers
        self.states = states
        self.progress = progress
        self.counts = counts
        self.counters = counters
        self.returned = returned
        self.notes = notes
        self.derived = derived
        self.notices = notices


_FORM = TypeAdapter(DecisionForm)


def encode_decision(decision: Decision) -> bytes:
    """Return the value of a ``points-log`` record; fields that are null or empty are left out.

    The log is kept for ever, so an entry does not repeat what its decision says: member, source, fact and time stand in it
    only where they differ (a tick moves many members, a timer is another cause).
    """
    record: dict[str, Any] = {
        "format": decision.format,
        "source": decision.source,
        "fact_id": decision.fact_id,
        "type": decision.type,
        "member_id": decision.member_id,
        "outcome": decision.outcome,
        "reason": decision.reason,
        "programme": decision.programme,
        "occurred_at": decision.occurred_at,
        "offset": decision.offset,
        "part": decision.part,
        "last": decision.last,
    }
    if decision.entries:
        record["entries"] = [_entry(entry, decision) for entry in decision.entries]
    if decision.tiers:
        record["tiers"] = [_tier(change, decision) for change in decision.tiers]
    if decision.states:
        record["states"] = [_state(change, decision) for change in decision.states]
    for name in ("progress", "counts", "counters", "returned", "notes", "derived"):
        if values := getattr(decision, name):
            record[name] = values
    if decision.notices:
        record["notices"] = [_notice(notice, decision) for notice in decision.notices]
    return orjson.dumps(record)


def _entry(entry: Entry, decision: Decision) -> dict[str, Any]:
    record: dict[str, Any] = {
        "entry_id": entry.entry_id,
        "kind": entry.kind,
        "points": entry.points,
        "rule_id": entry.rule_id,
        "rule_version": entry.rule_version,
    }
    _add_cause(record, entry, decision)
    if entry.caused_by is not None:
        record["caused_by"] = entry.caused_by
    if entry.active_from is not None:
        record["active_from"] = entry.active_from
    if entry.expires_at is not None:
        record["expires_at"] = entry.expires_at
    if entry.order is not None:
        record["order"] = entry.order
    if entry.lines:
        record["lines"] = entry.lines
    if entry.burns:
        record["burns"] = entry.burns
    if entry.earned_at is not None:
        record["earned_at"] = entry.earned_at
    if entry.waits_for is not None:
        record["waits_for"] = entry.waits_for
    if entry.cancel_at is not None:
        record["cancel_at"] = entry.cancel_at
    return record


def _tier(change: TierChange, decision: Decision) -> dict[str, Any]:
    record: dict[str, Any] = {"tier": change.tier, "since": change.since}
    if change.previous is not None:
        record["previous"] = change.previous
    if change.until is not None:
        record["until"] = change.until
    if change.projected is not None:
        record["projected"] = change.projected
    _add_cause(record, change, decision)
    return record


def _state(change: StateChange, decision: Decision) -> dict[str, Any]:
    record: dict[str, Any] = {"what": change.what, "id": change.id, "state": change.state}
    _add_cause(record, change, decision)
    return record


def _notice(notice: Notice, decision: Decision) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": notice.id,
        "rule_id": notice.rule_id,
        "rule_version": notice.rule_version,
        "moment": notice.moment,
        "state": notice.state,
        "template": notice.template,
    }
    if notice.programme != decision.programme:
        record["programme"] = notice.programme
    for name in ("reason", "channel", "language", "values", "because", "not_before", "expires_at", "effects"):
        if value := getattr(notice, name):
            record[name] = value
    _add_cause(record, notice, decision)
    return record


def _add_cause(record: dict[str, Any], item: Entry | TierChange | StateChange | Notice, decision: Decision) -> None:
    if item.member_id != decision.member_id:
        record["member_id"] = item.member_id
    if item.fact_id != decision.fact_id or item.source != decision.source:
        record["source"], record["fact_id"] = item.source, item.fact_id
    if item.occurred_at != decision.occurred_at:
        record["occurred_at"] = item.occurred_at


def parse_decision(value: bytes) -> Decision:
    """Return the decision of a ``points-log`` record.

    Raises:
        ValueError: this is not a decision of a format this engine knows (pydantic's errors are ValueErrors).
    """
    return _decision(_FORM.validate_json(value))


def decision_of(record: Any) -> Decision:
    """Return the decision of a ``points-log`` record that was read as JSON already. Errors: as `parse_decision`."""
    return _decision(_FORM.validate_python(record))


def _decision(record: DecisionForm) -> Decision:
    return Decision(
        record["source"],
        record["fact_id"],
        record["type"],
        record["member_id"],
        record["outcome"],
        record["reason"],
        record["programme"],
        record["occurred_at"],
        record["offset"],
        record["format"],
        record["part"],
        record["last"],
        [_parsed_entry(item, record) for item in record.get("entries", ())],
        [_parsed_tier(item, record) for item in record.get("tiers", ())],
        [_parsed_state(item, record) for item in record.get("states", ())],
        record.get("progress", ()),
        record.get("counts", ()),
        record.get("counters", ()),
        record.get("returned", ()),
        [Note(note["code"], note["rule_id"], note["text"]) for note in record.get("notes", ())],
        [
            Derived(derived["source"], derived["id"], derived["type"], derived["subject"])
            for derived in record.get("derived", ())
        ],
        [_parsed_notice(item, record) for item in record.get("notices", ())],
    )


def _parsed_entry(item: EntryForm, decision: DecisionForm) -> Entry:
    return Entry(
        item["entry_id"],
        _member_of(item, decision),
        item["kind"],
        item["points"],
        item["rule_id"],
        item["rule_version"],
        item.get("source", decision["source"]),
        item.get("fact_id", decision["fact_id"]),
        item.get("occurred_at", decision["occurred_at"]),
        item.get("caused_by"),
        item.get("active_from"),
        item.get("expires_at"),
        item.get("order"),
        item.get("lines", ()),
        item.get("burns", ()),
        item.get("earned_at"),
        item.get("waits_for"),
        item.get("cancel_at"),
    )


def _parsed_tier(item: TierChangeForm, decision: DecisionForm) -> TierChange:
    return TierChange(
        _member_of(item, decision),
        item["tier"],
        item.get("previous"),
        item["since"],
        item.get("until"),
        item.get("source", decision["source"]),
        item.get("fact_id", decision["fact_id"]),
        item.get("occurred_at", decision["occurred_at"]),
        item.get("projected"),
    )


def _parsed_state(item: StateChangeForm, decision: DecisionForm) -> StateChange:
    return StateChange(
        _member_of(item, decision),
        item["what"],
        item["id"],
        item["state"],
        item.get("source", decision["source"]),
        item.get("fact_id", decision["fact_id"]),
        item.get("occurred_at", decision["occurred_at"]),
    )


def _parsed_notice(item: NoticeForm, decision: DecisionForm) -> Notice:
    return Notice(
        item["id"],
        _member_of(item, decision),
        item["rule_id"],
        item["rule_version"],
        item.get("programme", decision["programme"]),
        item["moment"],
        item["state"],
        item.get("reason"),
        item["template"],
        item.get("source", decision["source"]),
        item.get("fact_id", decision["fact_id"]),
        item.get("occurred_at", decision["occurred_at"]),
        item.get("channel"),
        item.get("language"),
        item.get("values"),
        item.get("because"),
        item.get("not_before"),
        item.get("expires_at"),
        item.get("effects", ()),
    )


def _member_of(item: EntryForm | TierChangeForm | StateChangeForm | NoticeForm, decision: DecisionForm) -> str:
    member_id = item.get("member_id", decision["member_id"])
    if member_id is None:
        raise ValueError(f"the Decision on {decision['fact_id']} moves points or a tier of nobody, or writes to nobody")
    return member_id
