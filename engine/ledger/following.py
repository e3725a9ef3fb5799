"""Facts that follow from a decision: for another key, or for the same one later; written with it, in one transaction."""

from __future__ import annotations

from typing import Any

from schemas.decisions import Decision, Derived
from schemas.envelope import Fact, make_fact


def follow(
    decision: Decision,
    fact: Fact,
    subject: str | None,
    *,
    source: str,
    fact_id: str,
    kind: str,
    data: Any,
    time_us: int | None = None,
) -> Fact:
    """Return a fact that follows from ``fact``, and announce it in the decision on that one.

    Args:
        decision: on ``fact``.
        fact: the cause.
        subject: whose it is; None where its data name its key (an order, a stock).
        source, fact_id, kind, data: what it says.
        time_us: when it happens, default: when its cause did.
    """
    derived = make_fact(
        id=fact_id,
        source=source,
        type=kind,
        subject=subject,
        time_us=fact.time_us if time_us is None else time_us,
        recorded_at=fact.recorded_at,
        data=data,
    )
    key = derived.key
    assert key is not None
    decision.derived = [*decision.derived, Derived(source, fact_id, kind, key)]
    return derived
