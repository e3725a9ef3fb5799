"""What refunds of one order come to, folded from the order's first refund every time."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

from tests.properties.naive_earning import share


def half_up(value: Fraction) -> int:
    """Round a fraction that is not negative to the nearest integer, halves up."""
    return floor(value + Fraction(1, 2))


@dataclass
class LineState:
    """How much of an order line has come back."""

    number: int
    sku: str
    quantity: Fraction
    amount: int
    returned: Fraction = Fraction(0)
    refunded: int = 0

    @property
    def left(self) -> int:
        """Money of the line that has not come back."""
        return self.amount - self.refunded

    @property
    def part(self) -> Fraction:
        """Which part of the line has come back: by money, or by quantity where it cost nothing."""
        if self.amount:
            return Fraction(self.refunded, self.amount)
        return self.returned / self.quantity

    def give_back(self, quantity: Fraction | None, money: int | None) -> int:
        """Take a return that fits the unreturned quantity; return the money moved."""
        if quantity is not None:
            self.returned += quantity
        if money is None:
            moved = max(0, half_up(self.amount * self.returned / self.quantity) - self.refunded)
        else:
            moved = min(money, self.left)
        self.refunded += moved
        return moved


class Returned:
    """An order and what has come back of it."""

    def __init__(self, purchase: dict[str, Any], refunds: list[dict[str, Any]]) -> None:
        """Fold the refunds over the purchase, in the order of the log."""
        self.lines = [
            LineState(index + 1, line["sku"], Fraction(line["quantity"]), line["amount_minor"])
            for index, line in enumerate(purchase["lines"])
        ]
        self.too_much = False
        self.no_line = False
        for refund in refunds:
            self.too_much = self.no_line = False
            self.take(refund)

    def take(self, refund: dict[str, Any]) -> None:
        """Take one refund."""
        if refund["lines"] is None:
            self.spread(refund["amount_minor"])
            return
        for part in refund["lines"]:
            found = self.find(part)
            if not found:
                self.no_line = True
            elif part["quantity"] is not None:
                self.take_quantity(found, Fraction(part["quantity"]), part["amount_minor"])
            else:
                self.take_money(found, part["amount_minor"])

    def find(self, part: dict[str, Any]) -> list[LineState]:
        """Return the lines a refund line may take from, in order."""
        if part["line"] is not None:
            return [line for line in self.lines if line.number == part["line"]]
        return [line for line in self.lines if line.sku == part["sku"]]

    def take_quantity(self, lines: list[LineState], quantity: Fraction, money: int | None) -> None:
        """Take pieces back, line after line, until none are left to take."""
        for line in lines:
            fits = min(quantity, line.quantity - line.returned)
            if fits:
                moved = line.give_back(fits, money)
                quantity -= fits
                money = None if money is None else money - moved
        self.too_much |= quantity > 0 or bool(money)

    def take_money(self, lines: list[LineState], money: int) -> None:
        """Take money back, line after line, without counting pieces."""
        for line in lines:
            money -= line.give_back(None, money)
        self.too_much |= money > 0

    def spread(self, money: int) -> None:
        """Take money back from the order as a whole, by what is left of each line."""
        lefts = [line.left for line in self.lines]
        given = min(money, sum(lefts))
        self.too_much |= given < money
        if given:
            for line, part in zip(self.lines, share(given, lefts), strict=True):
                line.refunded += part

    def part_of(self, numbers: tuple[int, ...]) -> Fraction:
        """Return which part of some lines, of all of them if none are named, has come back."""
        lines = [line for line in self.lines if not numbers or line.number in numbers]
        whole = sum(line.amount for line in lines)
        if whole:
            return Fraction(sum(line.refunded for line in lines), whole)
        return sum((line.returned for line in lines), Fraction(0)) / sum((line.quantity for line in lines), Fraction(0))

    def points_taken(self, lines: dict[int, int]) -> dict[int, int]:
        """Return by line how many of the points granted there are taken back so far."""
        return {number: half_up(points * self.lines[number - 1].part) for number, points in lines.items()}

    def progress_taken(self, progress: int) -> int:
        """Return how much of the order's progress is taken back so far."""
        amounts = sum(line.amount for line in self.lines)
        if amounts:
            return half_up(Fraction(progress * sum(line.refunded for line in self.lines), amounts))
        returned = sum((line.returned for line in self.lines), Fraction(0))
        return half_up(progress * returned / sum((line.quantity for line in self.lines), Fraction(0)))
