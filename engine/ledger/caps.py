"""Caps: what a window still leaves of them, what they cut, and what goods that come back give back to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.ledger.member import Member
from engine.ledger.orders import Grant, Order
from rules.book import Book, Cap, Programme
from schemas.decisions import Entry, Note
from schemas.envelope import Fact
from schemas.money import allot


@dataclass(slots=True, init=False)
class Share:
    """Points one rule gives before its entry is made; ``parts`` of them fall on ``lines`` (none for facts without lines)."""

    rule_id: str
    cap: Cap | None
    points: int
    lines: Sequence[int]
    parts: Sequence[int]

    # Written out for mypyc, as all that is made for every purchase (see `engine.ledger.earning.Unit`).
    def __init__(
        self, rule_id: str, cap: Cap | None, points: int, lines: Sequence[int] = (), parts: Sequence[int] = ()
    ) -> None:
        self.rule_id = rule_id
        self.cap = cap
        self.points = points
        self.lines = lines
        self.parts = parts


class Clipper:
    """Clips shares to what caps leave, and writes down what was cut; what each cap granted is counted at the end."""

    def __init__(self, member: Member, fact: Fact, programme: Programme) -> None:
        self._member, self._fact, self._programme = member, fact, programme
        self._used: list[tuple[str, list[Share]]] = []
        self.notes: list[Note] = []

    def clip(self, shares: list[Share], rule_id: str, cap: Cap) -> None:
        """Clip ``shares``, filled in their order, to what ``cap`` leaves in its window."""
        wanted = sum(share.points for share in shares)
        if wanted == 0:
            return
        key, left = cap_left(self._member, self._fact, self._programme, rule_id, cap)
        self._used.append((key, shares))
        granted = 0
        for share in shares:
            take = share.points if left is None else min(share.points, left - granted)
            _cut(share, take)
            granted += take
        if granted < wanted:
            self.notes.append(capped(rule_id, cap, wanted, granted))

    def counts(self) -> list[tuple[str, int, int]]:
        """Return (cap key, points, times) of what was granted in the end: a later limit may have cut a share again."""
        granted = [(key, sum(share.points for share in shares)) for key, shares in self._used]
        return [(key, points, 1) for key, points in granted if points]


def cap_left(member: Member, fact: Fact, programme: Programme, rule_id: str, cap: Cap) -> tuple[str, int | None]:
    """Return the cap's key in the window of the fact's time, and the points it leaves; None means no bound."""
    where = place(fact.data) if cap.per_place else ""
    key = f"{rule_id}|{where}|{cap.window(fact.time_us, programme.time_zone)}"
    points, times = member.caps.get(key, (0, 0))
    if cap.times is not None and times >= cap.times:
        return key, 0
    return key, None if cap.points is None else max(0, cap.points - points)


def capped(rule_id: str, cap: Cap, wanted: int, granted: int) -> Note:
    """Return the note that says by which cap points were cut."""
    return Note("capped", rule_id, f"{cap.text}: {wanted} due, {granted} granted")


def place(data: Any) -> str:
    """Return where a fact happened, or what it is about: store, place or SKU; empty if it does not say."""
    return data.get("store") or data.get("place") or data.get("sku") or ""


def _cut(share: Share, points: int) -> None:
    if points == share.points:
        return
    if share.parts:
        share.parts = allot(points, share.parts) if points else [0] * len(share.parts)
    share.points = points


def caps_given_back(order: Order, entries: Sequence[Entry], book: Book) -> list[tuple[str, int, int]]:
    """Return (cap key, points, times), negative, of what entries that take back points of an order give back to its caps.

    A cap gets the points back that were really taken, and the time back once all points that it counted are taken.
    """
    taken = {entry.caused_by: -entry.points for entry in entries}
    before = order.returned.points if order.returned is not None else {}
    given = []
    for key, granted in order.counts:
        covered = {entry_id for entry_id, *_ in _covered(key.partition("|")[0], order.grants, book)}
        now = sum(points for entry_id, points in taken.items() if entry_id in covered)
        earlier = sum(points for (entry_id, _), points in before.items() if entry_id in covered)
        if now:
            given.append((key, -now, -1 if earlier + now >= granted else 0))
    return given


def _covered(rule_id: str, grants: Sequence[Grant], book: Book) -> list[Grant]:
    """Return the grants that a rule's cap counts: the rule's own, or those that a limit clips."""
    own = [grant for grant in grants if grant[1] == rule_id]
    if own or not grants:
        return own
    programme = book.of_number(grants[0][2])
    rule = None if programme is None else programme.rule("purchase", rule_id)
    only = None if rule is None or rule.limit is None else rule.limit.only
    return [grant for grant in grants if only is None or grant[1] in only]
