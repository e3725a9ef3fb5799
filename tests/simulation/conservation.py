"""What must be true of all members together: nothing is lost or made between them, and every business is done or undone whole.

It looks at the logs as they stand when everything has converged, and at the auditor's own fold of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from engine.ledger.member import Member
from engine.ledger.partition import Partition
from schemas import facts
from schemas.decisions import Decision
from schemas.envelope import ORDER_KEY, STOCK_KEY, Fact

#: How a transfer may end: what both sides say of it.
ENDS = ({"reserved", "credited", "confirmed"}, {"reserved", "returned"})


@dataclass(slots=True)
class Conservation:
    """Fed with every pair of fact and decision, and with every fold in the end."""

    sums: Counter[str] = field(default_factory=Counter)
    between: int = 0
    restored: Counter[str] = field(default_factory=Counter)
    given: set[str] = field(default_factory=set)
    transfers: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    counted: Counter[tuple[str, str]] = field(default_factory=Counter)

    def take(self, fact: Fact, decision: Decision) -> None:
        """The next pair; parts of a decision come one by one."""
        for entry in decision.entries:
            self.sums[entry.member_id] += entry.points
            if entry.kind == "transfer" and entry.rule_id == "transfer" and entry.points < 0:
                self.given.add(entry.entry_id)
            if entry.kind == "transfer" and not entry.rule_id.startswith("reward:"):
                self.between += entry.points
            elif entry.kind == "restore" and entry.caused_by is not None:
                self.restored[entry.caused_by] += entry.points
        for change in decision.states:
            if change.what == "transfer":
                self.transfers[change.id].add(change.state)
        bought = fact.type == facts.PURCHASE and decision.outcome == "decided" and decision.part == 0
        if bought and decision.reason != "order_already_counted" and not (fact.key or "").startswith(ORDER_KEY):
            self.counted[fact.data["order_source"], fact.data["order_id"]] += 1

    def findings(self, folds: Iterable[Partition]) -> Iterator[str]:
        """Everything that is not as it must be."""
        members = {key: fold.members[key] for fold in folds for key in fold.members}
        made = self.between + sum(points for entry_id, points in self.restored.items() if entry_id in self.given)
        if made:
            yield f"between members {made} points were made"
        for name, states in self.transfers.items():
            if states not in ENDS:
                yield f"transfer {name} is {sorted(states)}"
        for order, times in self.counted.items():
            if times > 1:
                yield f"order {order} counted for {times} members"
        for key, member in members.items():
            yield from self._books(key, member)
        yield from _pieces(members)

    def _books(self, key: str, member: Member) -> Iterator[str]:
        lots = member.lots
        if not member.balance == self.sums[key] == sum(lots.values()) - member.debt:
            yield f"{key}: balance {member.balance}, entries {self.sums[key]}, lots {sum(lots.values())}, debt {member.debt}"
        if min(lots.values(), default=0) < 0 or member.debt < 0:
            yield f"{key}: something is below zero: {lots}, debt {member.debt}"
        if member.alias_of is not None and (member.balance or any(lots.values())):
            yield f"{key} is an alias of {member.alias_of} and has {member.balance} points"
        if not member.anonymous and (
            waiting := [name for name, one in member.spent.items() if one.state == "reserved"]
        ):
            yield f"{key} waits for ever for {waiting}"


def _pieces(members: dict[str, Member]) -> Iterator[str]:
    """Who holds a piece has its reward, and the other way round."""
    stocks = {key: member for key, member in members.items() if key.startswith(STOCK_KEY)}
    held = {name for stock in stocks.values() for name, piece in stock.spent.items() if piece.state == "held"}
    rewarded = {
        name
        for member in members.values()
        if not member.anonymous
        for name, spent in member.spent.items()
        if spent.rule_id == "reward:beans" and spent.state in ("granted", "fulfilled")
    }
    if held != rewarded:
        yield f"pieces without a reward {sorted(held - rewarded)}, rewards without a piece {sorted(rewarded - held)}"
    for key, stock in stocks.items():
        windows = Counter(piece.rule_id for piece in stock.spent.values() if piece.state == "held")
        for window, pieces in windows.items():
            if stock.caps.get(window, (0, 0))[1] != pieces or pieces > 3:
                yield f"{key}: {pieces} pieces held in {window}, {stock.caps.get(window)} counted, 3 there are"
