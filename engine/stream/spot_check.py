"""Holds the members of a running worker against the invariants of the ledger: a few at each look, round and round.

What a member has (points left in lots, less what he owes) must be his balance, which is kept beside them. A state that
broke it was damaged in memory, or folded by an engine with a mistake: nobody should have to wait for `stammgast verify`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import structlog

from engine.ledger.member import Member
from engine.ledger.packing import UnknownStateFormat
from engine.telemetry import Metrics

#: Members per look, and a look is taken every second: a million members are through in 14 hours. More hold the event loop
#: longer (30 us each, 0.3 ms for one with hundreds of orders); fewer notice later.
MEMBERS_PER_LOOK = 20

log = structlog.get_logger(__name__)


class SpotCheck:
    """One round after another over every member of every open keeper. Belongs to the event loop of the keepers."""

    def __init__(
        self,
        metrics: Metrics,
        keepers: Callable[[], Iterable[Any]],
        members_per_look: int = MEMBERS_PER_LOOK,
        *,
        wall: bool = False,
    ) -> None:
        """Args: wall: every partition with members is to tick at every midnight, so its newest tick is told."""
        metrics.tell_members()
        self._metrics = metrics
        self._keepers = keepers
        self._per_look = members_per_look
        self._wall = wall
        self._round: Iterator[tuple[Any, str]] = iter(())

    def look(self) -> None:
        """Tell how many members and keepers there are, who is overdue, and look at the next few members."""
        keepers = list(self._keepers())
        working = [keeper for keeper in keepers if keeper.state == "open"]
        ledgers = [keeper.ledger for keeper in working]
        for state in ("opening", "open", "closed"):
            self._metrics.keepers.labels(state).set(sum(keeper.state == state for keeper in keepers))
        self._metrics.members.set(sum(len(ledger.members) for ledger in ledgers))
        self._metrics.overdue_members.set(sum(one.ledger.overdue(one.last_tick_us) for one in working))
        ticks = [one.last_tick_us for one in working if one.ledger.newest_us is not None] if self._wall else []
        self._metrics.newest_tick.set(min(ticks, default=0) / 1_000_000)
        for _ in range(self._per_look):
            place = next(self._round, None)
            if place is None:
                self._round = _places(ledgers)
                return
            self._check(*place)

    def _check(self, ledger: Any, key: str) -> None:
        self._metrics.audited_members.inc()
        try:
            member = ledger.members.peek(key)
        except UnknownStateFormat as error:
            self._found("unreadable", str(error))
            return
        if member is not None:
            for check, points in broken(member):
                self._metrics.ledger_gap.inc(points)
                self._found(check, f"{points} points")

    def _found(self, check: str, how: str) -> None:
        self._metrics.ledger_violations.labels(check).inc()
        # Not whose it is: `stammgast verify` names members to those who may know.
        log.error("a member's state breaks an invariant: run `stammgast verify`", check=check, how=how)


def _places(ledgers: Iterable[Any]) -> Iterator[tuple[Any, str]]:
    """Every member there is now; those who come later are in the next round."""
    for ledger in ledgers:
        for key in list(ledger.members.keys()):
            yield ledger, key


def broken(member: Member) -> Iterator[tuple[str, int]]:
    """Yield (check, points it is off by) for every invariant of design rule 4 that this state breaks."""
    left = member.lots.values()
    gap = sum(left) - member.debt - member.balance
    if gap:
        yield "balance", abs(gap)
    least = min(left, default=0)
    if least < 0:
        yield "lot_below_zero", -least
    if member.debt < 0:
        yield "debt_below_zero", -member.debt
