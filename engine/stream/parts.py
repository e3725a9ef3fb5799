"""A decision that is too large for one record goes in parts, and comes back as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from schemas.decisions import Decision, encode_decision

#: The lists of a decision, in the order in which they are spread over parts.
LISTS = ("entries", "tiers", "states", "progress", "counts", "returned", "notes", "derived", "notices")


class DecisionTooLargeError(Exception):
    """One item of a decision (an entry, a note ...) is larger than a record may be."""


def records_of(decisions: Sequence[Decision], limit_bytes: int) -> list[bytes]:
    """The values of the `points-log` records that hold one fact's decisions.

    Nearly always one decision, one record. Where a part has to be split, all parts of the fact are numbered anew from 0
    and `last` stands on the final one.

    Errors: DecisionTooLarge when a single item does not fit.
    """
    values = [encode_decision(decision) for decision in decisions]
    if all(len(value) <= limit_bytes for value in values):
        return values
    pieces = [piece for decision in decisions for piece in _split(decision, limit_bytes)]
    last = len(pieces) - 1
    return [encode_decision(replace(piece, part=number, last=number == last)) for number, piece in enumerate(pieces)]


def _split(decision: Decision, limit_bytes: int) -> list[Decision]:
    """The decision in pieces that fit; numbers are given later and may need a few bytes more."""
    if len(encode_decision(decision)) <= limit_bytes - 16:
        return [decision]
    items = [(name, item) for name in LISTS for item in getattr(decision, name)]
    if len(items) < 2:
        raise DecisionTooLargeError(
            f"one item of the decision on {decision.fact_id} is larger than {limit_bytes:,} bytes"
        )
    middle = len(items) // 2
    halves = (_with(decision, items[:middle]), _with(decision, items[middle:]))
    return [piece for half in halves for piece in _split(half, limit_bytes)]


def _with(decision: Decision, items: list[tuple[str, Any]]) -> Decision:
    lists: dict[str, Any] = {name: [] for name in LISTS}
    for name, item in items:
        lists[name].append(item)
    return replace(decision, **lists)


def joined(parts: Sequence[Decision]) -> Decision:
    """One decision out of all its parts, in order: what `evolve` folds at recovery."""
    first = parts[0]
    if len(parts) == 1:
        return first
    lists: dict[str, Any] = {name: [item for part in parts for item in getattr(part, name)] for name in LISTS}
    return replace(first, part=0, last=True, **lists)
