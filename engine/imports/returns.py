"""Which earlier purchase a cancelled line gives back, for tills that do not say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.money import half_up


@dataclass(slots=True)
class BoughtLine:
    """One line of an order of which ``unreturned`` (thousandths of a piece) has not come back yet."""

    order_id: str
    line: int
    unreturned: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a cancelled line: ``quantity`` (thousandths) of an order's line, or of no order that is known."""

    order_id: str | None
    line: int | None
    quantity: int


class Shelf:
    """What each customer bought of each SKU and did not bring back yet, oldest first.

    Memory is one small object per purchase line of a known customer that was not returned in full: the least that
    matching needs, since a line may come back at any later time.
    """

    def __init__(self) -> None:
        self._bought: dict[tuple[str, str], list[BoughtLine]] = {}

    def put(self, customer: str, sku: str, order_id: str, line: int, quantity: int) -> None:
        """A line was bought; calls come in the order of events, lines of an order in line order."""
        self._bought.setdefault((customer, sku), []).append(BoughtLine(order_id, line, quantity))

    def take_of(self, customer: str, sku: str, order_id: str, quantity: int) -> int | None:
        """``quantity`` came back of an order that is named; return the number of its line, None where it is not known."""
        lines = self._bought.get((customer, sku), [])
        found = next((bought for bought in lines if bought.order_id == order_id), None)
        if found is None:
            return None
        found.unreturned -= min(quantity, found.unreturned)
        self._bought[customer, sku] = [bought for bought in lines if bought.unreturned]
        return found.line

    def take(self, customer: str, sku: str, quantity: int) -> list[Piece]:
        """Return the pieces of which ``quantity`` came back; they sum to it.

        The newest line with exactly this quantity unreturned is taken; without one, the newest lines one after the
        other until the quantity is reached. What no line covers is a last piece of no known order.
        """
        lines = self._bought.get((customer, sku), [])
        exact = next((bought for bought in reversed(lines) if bought.unreturned == quantity), None)
        pieces: list[Piece] = []
        for bought in [exact] if exact else reversed(lines):
            taken = min(quantity, bought.unreturned)
            bought.unreturned -= taken
            quantity -= taken
            pieces.append(Piece(bought.order_id, bought.line, taken))
            if quantity == 0:
                break
        if pieces:
            self._bought[customer, sku] = [bought for bought in lines if bought.unreturned]
        if quantity:
            pieces.append(Piece(None, None, quantity))
        return pieces


def shares(amount_minor: int, pieces: Sequence[Piece]) -> list[int]:
    """Split what the till paid back over the pieces: half_up of each running sum, so that the parts make the whole."""
    whole = sum(piece.quantity for piece in pieces)
    amounts: list[int] = []
    returned = paid = 0
    for piece in pieces:
        returned += piece.quantity
        until_here = half_up(amount_minor * returned, whole)
        amounts.append(until_here - paid)
        paid = until_here
    return amounts
