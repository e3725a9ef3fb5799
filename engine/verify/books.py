"""What the points log itself says every member has: sums of entries, what is left of lots, the newest tier.

Numbers only: the log is read once, and a member takes a few hundred bytes however long his history is. Lots are kept as a
sum of (points left x number made of the lot's id), which differs as soon as any lot does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from schemas.facts import ALIASING

#: Hex digits of a lot's id that make its number; 60 bits of a hash.
LOT_DIGITS = 15
#: Stands for a moment that is not known yet: behind every one that is.
WAITING = "~"


class Account:
    """Sums over one member's entries.

    Attributes:
        entries: how many. points: their sum. left: points left in lots. lots: weighted sum of what is left, see above.
        earned, spent, expired, clawed: as the table `balances` counts them, positive.
        cancelled, adjusted, moved: as the table counts cancelled_ever, adjusted_ever and transferred_ever.
        lots_made: how many.
        later: (active from, points left) of lots that become active after they were earned, None without one; `WAITING` where
            nobody knows when.
        tier: (tier, since, until, projected) as the newest change says, None before the first.
    """

    __slots__ = (
        "adjusted", "cancelled", "clawed", "earned", "entries", "expired", "later", "left", "lots", "lots_made", "moved",
        "points", "spent", "tier",
    )  # fmt: skip

    def __init__(self) -> None:
        self.entries = self.points = self.left = self.lots = self.earned = self.spent = self.expired = self.clawed = 0
        self.cancelled = self.adjusted = self.moved = self.lots_made = 0
        self.later: dict[str, tuple[str, int]] | None = None
        self.tier: tuple[str, str, str | None, str | None] | None = None

    def pending(self, at: str | None) -> int:
        """Points left in lots that become active behind a moment (canonical text)."""
        if not self.later or at is None:
            return 0
        return sum(points for active_from, points in self.later.values() if active_from > at)


def lot_number(lot_id: str) -> int:
    """The number by which a lot's points are weighted; 0 for an id that is none of ours."""
    try:
        return int(lot_id[:LOT_DIGITS], 16)
    except ValueError:
        return 0


class Books:
    """Accounts by member of one partition, filled decision by decision."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.entries = 0

    def account(self, member: str) -> Account:
        """The member's account."""
        account = self.accounts.get(member)
        if account is None:
            account = self.accounts[member] = Account()
        return account

    def take(self, raw: dict[str, Any]) -> Iterator[str]:
        """Book one record of the points log; yield what cannot be, in words."""
        try:
            yield from self._take(raw)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            yield f"the decision cannot be read ({type(error).__name__}: {error})"

    def _take(self, raw: dict[str, Any]) -> Iterator[str]:
        if raw.get("outcome") != "decided":
            return
        for change in raw.get("tiers", ()):
            member = change.get("member_id", raw["member_id"])
            self.account(member).tier = (
                change["tier"],
                change["since"],
                change.get("until"),
                change.get("projected"),
            )
        if raw.get("type") in ALIASING and raw.get("reason") is None:
            self._becomes_alias(raw["member_id"])
        for entry in raw.get("entries", ()):
            self.entries += 1
            account = self.account(entry.get("member_id", raw["member_id"]))
            account.entries += 1
            problem = _book(account, entry, raw["occurred_at"])
            if problem:
                yield problem

    def _becomes_alias(self, member: str) -> None:
        """An alias holds no tier; one that never had points is nobody in the tables."""
        account = self.accounts.get(member)
        if account is not None:
            account.tier = None
            if not account.entries:
                del self.accounts[member]


def _book(account: Account, entry: dict[str, Any], decided_at: str) -> str | None:
    points, kind, lot = entry["points"], entry["kind"], entry["entry_id"]
    burns: Sequence[tuple[str, int]] = entry.get("burns", ())
    burnt = sum(taken for _, taken in burns)
    account.points += points
    account.left -= burnt
    if points > 0 and kind != "restore":
        _new_lot(account, entry, decided_at)
    for burnt_lot, taken in burns:
        account.lots -= taken * lot_number(burnt_lot)
        if account.later and burnt_lot in account.later:
            active_from, left = account.later[burnt_lot]
            active_from = str(entry.get("active_from")) if kind == "release" else active_from
            account.later[burnt_lot] = (active_from, left - taken)
    _count(account, kind, points)
    return None if _fits(points, kind, lot, burns) else f"entry {lot} moves {points} points and its lots give {burnt}"


def _new_lot(account: Account, entry: dict[str, Any], decided_at: str) -> None:
    points, lot = entry["points"], entry["entry_id"]
    account.left += points
    account.lots += points * lot_number(lot)
    account.lots_made += 1
    active_from = WAITING if "waits_for" in entry else entry.get("active_from", "")
    if active_from > entry.get("occurred_at", decided_at):
        account.later = (account.later or {}) | {lot: (active_from, points)}


def _count(account: Account, kind: str, points: int) -> None:
    match kind:
        case "earn":
            account.earned += points
        case "redeem" | "restore":
            account.spent -= points
        case "expire" | "reinstate":
            account.expired -= points
        case "clawback":
            account.clawed -= points
        case "cancel":
            account.cancelled -= points
        case "adjust":
            account.adjusted += points
        case "transfer":
            account.moved += points


def _fits(points: int, kind: str, lot: str, burns: Sequence[tuple[str, int]]) -> bool:
    """Tell whether an entry and its burns fit: only debts stand between them."""
    burnt = sum(taken for _, taken in burns)
    if kind == "restore":
        return points > 0 and 0 <= -burnt <= points and all(taken <= 0 for _, taken in burns)
    if any(taken < 0 for _, taken in burns):
        return False
    if kind == "release":
        return points == 0
    if points > 0:
        return burnt <= points and all(burnt_lot == lot or not taken for burnt_lot, taken in burns)
    return kind != "earn" and burnt <= -points and all(taken > 0 for _, taken in burns)
