"""Facts of older versions in the form of the newest: the core knows that one alone. Pure, and looked at in every fact's way.

The log keeps what was sent, for ever: type, data and body hash of a record never change, and decisions name the type that the
log has. Only what decides and folds reads a fact through `current`. See docs/evolution.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schemas import facts
from schemas.envelope import Fact


def _visit_v1(data: Any) -> Any:
    """Version 1 did not say how a visit was noticed; a store that it did not name stays unknown."""
    return {"store": data.get("store"), "dwell_seconds": data.get("dwell_seconds"), "seen_by": None}


#: Older type -> the next version, and what makes data of one (in normal form) data of the other. A step is never edited.
UPCASTERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    facts.VISIT_V1: (facts.VISIT, _visit_v1),
}


def current(fact: Fact) -> Fact:
    """Return the fact in the newest version of its type: itself where it has that, else a copy with another type and data.

    Identity, time and body hash are those of the record: a copy of the event is still known as one.
    """
    step = UPCASTERS.get(fact.type)
    if step is None:
        return fact
    kind, data = fact.type, fact.data
    while step is not None:
        kind, data = step[0], step[1](data)
        step = UPCASTERS.get(kind)
    return Fact(
        fact.id, fact.source, kind, fact.subject, fact.time, fact.recorded_at, fact.body_hash, data, fact.time_us
    )
