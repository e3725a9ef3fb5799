"""Decisions as a record of the points log holds them; what is null or empty there may be missing.

An entry or a change of tier does not repeat what its decision says: member, source, fact and time.
"""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict  # pydantic reads this one on Python 3.11

from schemas.notices import NoticeForm

Outcome = Literal["decided", "duplicate", "forwarded", "rejected", "quarantined"]
#: ``earn`` gives by a rule, ``adjust`` by staff, ``transfer`` between members; ``expire`` and ``cancel`` take what time took: a
#: lot whose days are over, a pending one whose condition never came; ``reinstate`` gives back what had expired; ``clawback``
#: takes what goods that came back had earned; ``redeem`` spends, ``restore`` gives spent points back to their lots;
#: ``release`` moves none: a pending lot may be spent now.
EntryKind = Literal[
    "earn", "adjust", "transfer", "expire", "cancel", "clawback", "redeem", "restore", "release", "reinstate"
]


class EntryForm(TypedDict):
    """One movement of points.

    Attributes:
        entry_id: deterministic; a credit that is no ``restore`` makes a lot, and gives it its id.
        points: credit positive, debit negative.
        source, fact_id, occurred_at: what moved the points; missing where it is the decided fact.
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
    kind: EntryKind
    points: int
    rule_id: str
    rule_version: int
    member_id: NotRequired[str]
    source: NotRequired[str]
    fact_id: NotRequired[str]
    occurred_at: NotRequired[str]
    caused_by: NotRequired[str]
    active_from: NotRequired[str]
    expires_at: NotRequired[str]
    order: NotRequired[str]
    lines: NotRequired[list[tuple[int, int]]]
    burns: NotRequired[list[tuple[str, int]]]
    earned_at: NotRequired[str]
    waits_for: NotRequired[str]
    cancel_at: NotRequired[str]


class TierChangeForm(TypedDict):
    """A member's tier, the moment until which it holds if nothing more happens, or the tier then, is now this."""

    tier: str
    since: str
    previous: NotRequired[str]
    until: NotRequired[str]
    projected: NotRequired[str]
    member_id: NotRequired[str]
    source: NotRequired[str]
    fact_id: NotRequired[str]
    occurred_at: NotRequired[str]


class NoteForm(TypedDict):
    """One reason in words: why points are fewer than a reader would expect, or none."""

    code: str
    rule_id: str | None
    text: str


class DerivedForm(TypedDict):
    """A fact that follows from this decision and was written to another subject's partition with it."""

    source: str
    id: str
    type: str
    subject: str


class StateChangeForm(TypedDict):
    """Something that has states of its own (a redemption, a transfer, an alias) is now in this one."""

    what: str
    id: str
    state: str
    member_id: NotRequired[str]
    source: NotRequired[str]
    fact_id: NotRequired[str]
    occurred_at: NotRequired[str]


class DecisionForm(TypedDict):
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

    format: int
    source: str
    fact_id: str
    type: str
    member_id: str | None
    outcome: Outcome
    reason: str | None
    programme: str | None
    occurred_at: str
    offset: int
    part: int
    last: bool
    entries: NotRequired[list[EntryForm]]
    tiers: NotRequired[list[TierChangeForm]]
    states: NotRequired[list[StateChangeForm]]
    progress: NotRequired[list[tuple[str, int]]]
    counts: NotRequired[list[tuple[str, int, int]]]
    counters: NotRequired[list[tuple[str, int, int, list[int]]]]
    returned: NotRequired[list[tuple[int, int, int]]]
    notes: NotRequired[list[NoteForm]]
    derived: NotRequired[list[DerivedForm]]
    notices: NotRequired[list[NoticeForm]]
