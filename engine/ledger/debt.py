"""Points are taken back: from which lots, and what happens where they are gone.

First the lots of the order that could not be spent yet, then its others, then whatever the member can spend, in burn order. What
is then missing goes by ``negative_balance``: ``within_balance`` leaves it to the member and says so, ``allow`` lets him owe it;
``only_pending`` takes nothing that could be spent already. Points that time took from a lot are not taken a second time.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.ledger.lots import Lot, open_lots
from engine.ledger.member import Member
from rules.book import Programme
from schemas.decisions import Entry
from schemas.envelope import Fact
from schemas.ids import hash_id

Burns = list[tuple[str, int]]


class Purse:
    """What can be taken from a member now, lot by lot; made for one decision, then dropped."""

    def __init__(
        self, member: Member, own: Sequence[Lot], programme: Programme | None, now_us: int, *, staff: bool = False
    ) -> None:
        """Look at a member; ``own`` are the lots of the order whose goods come back, ``staff``: it is staff that takes."""
        self._member, self._now_us = member, now_us
        self._policy = "within_balance" if programme is None else programme.negative_balance
        if staff and self._policy == "only_pending":  # it is about goods that come back
            self._policy = "within_balance"
        self._left = {lot.id: lot.left for lot in own}
        self._pending = [lot.id for lot in own if not lot.active(now_us)]
        active = [lot.id for lot in own if lot.active(now_us)]
        self._active = active if self._policy != "only_pending" else []

    def take(self, claims: Sequence[tuple[str, int]]) -> list[tuple[Burns, int]]:
        """Return for each claim, a lot's id and how much to take for it, from which lots it is taken, and what is owed then.

        A claim looks into its own lot first, then into those beside it.
        """
        burns: list[dict[str, int]] = [{} for _ in claims]
        missing = [points for _, points in claims]
        for group in (self._pending, self._active):
            for own in (True, False):
                for index, (lot_id, _) in enumerate(claims):
                    found = [lot_id] if own and lot_id in group else [] if own else group
                    missing[index] = self._burn(found, missing[index], burns[index])
        if sum(missing) and self._policy != "only_pending":
            others = self._others()
            missing = [self._burn(others, points, burn) for points, burn in zip(missing, burns, strict=True)]
        owed = missing if self._policy == "allow" else [0] * len(missing)
        return [(list(burn.items()), rest) for burn, rest in zip(burns, owed, strict=True)]

    def _others(self) -> list[str]:
        own = set(self._left)
        lots = [lot for lot in open_lots(self._member) if lot.active(self._now_us) and lot.id not in own]
        self._left |= {lot.id: lot.left for lot in lots}
        return [lot.id for lot in lots]

    def _burn(self, lots: Sequence[str], points: int, burns: dict[str, int]) -> int:
        for lot_id in lots:
            take = min(points, self._left[lot_id])
            if take:
                self._left[lot_id] -= take
                burns[lot_id] = burns.get(lot_id, 0) + take
                points -= take
        return points


def taken_back(member: Member, fact: Fact, award: tuple[str, str, int], points: int, burns: Burns) -> Entry:
    """Return the entry that takes back points of an award: its entry's id, rule and version."""
    entry_id, rule_id, rule_version = award
    return Entry(
        entry_id=hash_id(fact.source, fact.id, member.key, "clawback", rule_id, str(rule_version), entry_id),
        member_id=member.key,
        kind="clawback",
        points=-points,
        rule_id=rule_id,
        rule_version=rule_version,
        source=fact.source,
        fact_id=fact.id,
        occurred_at=fact.time,
        caused_by=entry_id,
        burns=burns,
    )
