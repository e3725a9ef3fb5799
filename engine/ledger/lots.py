"""Lots: which points a member has, which of them can be spent, in which order they go.

Every credit that is no ``restore`` makes a lot with the entry's id. Lots that are whole and have no date follow from the
member's orders and are not kept a second time (`Member.order_lots`); all others stand in `Member.lots_apart`.

Whoever makes a credit makes a plain entry (`engine.ledger.earning.make_entry`) and puts it into his decision or `Moved`: its
dates, and what it pays of a debt, are added by `engine.ledger.crediting.finish`, once, for everything that a fact or timer gave.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.ledger.member import NOT_YET, Lot, Member
from engine.ledger.orders import Order

__all__ = ["NOT_YET", "Lot", "available", "burn", "burn_from", "lots_of", "open_lots"]


def open_lots(member: Member, *, named: bool = False) -> list[Lot]:
    """Return the lots with points left, in the order in which they are spent: soonest expiry, then oldest, never-expiring last.

    ``named``: with the names of the orders that earned them.
    """
    apart = member.lots_apart
    lots = [lot for lot in apart.values() if lot.left]
    if named or sum([lot.left for lot in lots]) != member.balance + member.debt:
        for lot in member.order_lots(named=named):
            held = apart.get(lot.id)
            if held is None:
                lots.append(lot)
            elif held.left and named:
                lots[lots.index(held)] = held._replace(order=lot.order)
    return sorted(lots, key=_burn_order)


def _burn_order(lot: Lot) -> tuple[bool, int, int, str]:
    return lot.expires_us is None, lot.expires_us or 0, lot.earned_us, lot.id


def lots_of(member: Member, order: Order) -> list[Lot]:
    """Return the lots that an order of his made, as they are now."""
    lots = []
    for entry_id, _, _, shares in order.grants:
        lot = member.lots_apart.get(entry_id)
        lots.append(Lot(entry_id, sum([points for _, points in shares]), order.at_us) if lot is None else lot)
    return lots


def available(member: Member, now_us: int) -> int:
    """Return the points the member can spend at ``now_us``, to which he must be settled."""
    return (
        member.balance + member.debt - sum([lot.left for lot in member.lots_apart.values() if not lot.active(now_us)])
    )


def burn(member: Member, points: int, now_us: int) -> list[tuple[str, int]]:
    """Return from which lots ``points`` are taken at ``now_us``; fewer where fewer can be spent. The member is not changed."""
    return burn_from([lot for lot in open_lots(member) if lot.active(now_us)], points)


def burn_from(lots: Sequence[Lot], points: int) -> list[tuple[str, int]]:
    """Return how much each of ``lots``, in their order, gives towards ``points``."""
    burns = []
    for lot in lots:
        if points <= 0:
            break
        take = min(points, lot.left)
        if take:
            burns.append((lot.id, take))
            points -= take
    return burns
