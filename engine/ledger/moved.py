"""What one step of a member's timeline moved, before it stands in a decision."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.ledger.member import Spent
from schemas.decisions import Decision, Derived, Entry, StateChange, TierChange
from schemas.envelope import Fact
from schemas.notices import Notice


@dataclass(slots=True)
class Moved:
    """Entries, changes of tier and of states, and notices, each in the order in which they happen; pieces of stocks that lapsed,
    by the name of their redemption, with the moment; and facts for others that follow, with what announces them."""

    entries: list[Entry] = field(default_factory=list)
    tiers: list[TierChange] = field(default_factory=list)
    states: list[StateChange] = field(default_factory=list)
    lapsed: list[tuple[str, Spent, int]] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    follows: list[Fact] = field(default_factory=list)
    derived: list[Derived] = field(default_factory=list)

    def add(self, later: Moved) -> None:
        """Append what happened after it."""
        self.entries += later.entries
        self.tiers += later.tiers
        self.states += later.states
        self.lapsed += later.lapsed
        self.notices += later.notices
        self.follows += later.follows
        self.derived += later.derived

    def precede(self, decision: Decision) -> None:
        """Put everything before what the decision holds; what is empty there stays as it is."""
        if self.entries:
            decision.entries = [*self.entries, *decision.entries]
        if self.tiers:
            decision.tiers = [*self.tiers, *decision.tiers]
        if self.states:
            decision.states = [*self.states, *decision.states]
        if self.notices:
            decision.notices = [*self.notices, *decision.notices]
        if self.derived:
            decision.derived = [*self.derived, *decision.derived]


def by_member(decision: Decision) -> dict[str, Moved]:
    """Return what a tick's decision moved, by member, in the order in which they stand there."""
    found: dict[str, Moved] = {}
    for entry in decision.entries:
        found.setdefault(entry.member_id, Moved()).entries.append(entry)
    for tier in decision.tiers:
        found.setdefault(tier.member_id, Moved()).tiers.append(tier)
    for state in decision.states:
        found.setdefault(state.member_id, Moved()).states.append(state)
    for notice in decision.notices:
        found.setdefault(notice.member_id, Moved()).notices.append(notice)
    return found
