"""Which part of an order came back: what a refund says, laid on the lines of the order, never more than was bought."""

from __future__ import annotations

from collections.abc import Sequence

from engine.ledger.member import quantity_milli
from engine.ledger.orders import Order, Returned
from schemas import facts
from schemas.decisions import Decision, Note
from schemas.money import allot, half_up


class OrderLines:
    """An order's lines with what came back of them so far, this refund included; made for one refund, then dropped."""

    def __init__(self, order: Order) -> None:
        before = order.returned or Returned()
        numbers = range(1, len(order.lines) + 1)
        self.skus = [sku for sku, _, _ in order.lines]
        self.milli = [quantity_milli(quantity) for _, quantity, _ in order.lines]
        self.minor = [amount for _, _, amount in order.lines]
        self.back_milli = [before.milli.get(number, 0) for number in numbers]
        self.back_minor = [before.minor.get(number, 0) for number in numbers]
        self._before = before

    def take_goods(self, index: int, milli: int) -> int:
        """Take back at most what is left of a line's quantity; return how much."""
        take = min(milli, self.milli[index] - self.back_milli[index])
        self.back_milli[index] += take
        return take

    def take_money(self, index: int, minor: int) -> int:
        """Take back at most what is left of a line's amount; return how much."""
        take = min(minor, self.minor[index] - self.back_minor[index])
        self.back_minor[index] += take
        return take

    def money_follows(self, index: int) -> None:
        """Let the money of a line follow its quantity, cumulatively: half_up(amount x returned / quantity)."""
        target = half_up(self.minor[index] * self.back_milli[index], self.milli[index])
        self.back_minor[index] = max(self.back_minor[index], target)

    def returned(self) -> list[tuple[int, int, int]]:
        """Return (line from 1, thousandths, minor units) of what this refund took."""
        before = self._before
        lines = (
            (number, milli - before.milli.get(number, 0), minor - before.minor.get(number, 0))
            for number, (milli, minor) in enumerate(zip(self.back_milli, self.back_minor, strict=True), 1)
        )
        return [line for line in lines if line[1] or line[2]]

    def target(self, granted: int, number: int) -> int:
        """Return how much of what was granted on a line is to be back now: by money, by quantity where the line was free."""
        index = number - 1
        if self.minor[index]:
            return half_up(granted * self.back_minor[index], self.minor[index])
        return half_up(granted * self.back_milli[index], self.milli[index])

    def target_before(self, granted: int, number: int) -> int:
        """Return how much of it was to be back before this refund."""
        index = number - 1
        if self.minor[index]:
            return half_up(granted * self._before.minor.get(number, 0), self.minor[index])
        return half_up(granted * self._before.milli.get(number, 0), self.milli[index])

    def parts(self, numbers: Sequence[int]) -> tuple[int, int, int]:
        """Return which part of some lines (none: of all) came back before, with this refund, and the whole of them."""
        indexes = [number - 1 for number in numbers] or range(len(self.minor))
        before = self._before.minor
        now, whole = self.back_minor, sum([self.minor[index] for index in indexes])
        if not whole:
            before, now, whole = self._before.milli, self.back_milli, sum([self.milli[index] for index in indexes])
        return sum([before.get(index + 1, 0) for index in indexes]), sum([now[index] for index in indexes]), whole

    def whole_share(self) -> tuple[int, int]:
        """Return the part of the whole order that came back, as a fraction."""
        whole = sum(self.minor)
        return (sum(self.back_minor), whole) if whole else (sum(self.back_milli), sum(self.milli))


def lay(lines: OrderLines, data: facts.RefundForm, decision: Decision) -> None:
    """Take back what a refund says; what it says too much is noted in the decision."""
    if data["lines"] is None:
        _by_amount(lines, data["amount_minor"] or 0, decision)
    else:
        _by_lines(lines, data["lines"], decision)


def note(decision: Decision, code: str, text: str) -> None:
    decision.notes = [*decision.notes, Note(code, None, text)]


def _more(decision: Decision, text: str) -> None:
    note(decision, "more_than_bought", f"{text}: the rest moves nothing")


def _by_amount(lines: OrderLines, asked: int, decision: Decision) -> None:
    """Spread an amount over what is not yet refunded of each line, by amount."""
    left = [amount - back for amount, back in zip(lines.minor, lines.back_minor, strict=True)]
    amount = min(asked, sum(left))
    if amount < asked:
        _more(decision, f"{asked} asked back, {amount} were left of the order")
    if amount:
        for index, part in enumerate(allot(amount, left)):
            lines.take_money(index, part)


def _by_lines(lines: OrderLines, refund_lines: list[facts.RefundLineForm], decision: Decision) -> None:
    for line in refund_lines:
        found = _indexes(lines, line)
        if not found:
            note(decision, "unknown_line", f"the order has no line {line['line'] or line['sku']}")
        elif line["quantity"] is None:
            _return_money(lines, found, line["amount_minor"] or 0, decision)
        else:
            _return_goods(lines, found, quantity_milli(line["quantity"]), line["amount_minor"], decision)


def _indexes(lines: OrderLines, line: facts.RefundLineForm) -> list[int]:
    """Return which order lines (from 0) a refund line means, in line order."""
    number = line["line"]
    if number is not None:
        fits = number <= len(lines.skus) and line["sku"] in (None, lines.skus[number - 1])
        return [number - 1] if fits else []
    return [index for index, sku in enumerate(lines.skus) if sku == line["sku"]]


def _return_goods(lines: OrderLines, found: list[int], milli: int, amount: int | None, decision: Decision) -> None:
    """Return a quantity, from the first line on that has some left; money follows the quantity unless it is said."""
    left = milli
    touched = []
    for index in found:
        take = lines.take_goods(index, left)
        if take:
            left -= take
            touched.append(index)
            if amount is None:
                lines.money_follows(index)
    if left:
        _more(decision, f"a quantity of {milli / 1000:g} came back, {(milli - left) / 1000:g} was left")
    if amount is not None and touched:
        _return_money(lines, touched, amount, decision)


def _return_money(lines: OrderLines, found: list[int], amount: int, decision: Decision) -> None:
    left = amount
    for index in found:
        left -= lines.take_money(index, left)
    if left:
        _more(decision, f"{amount} paid back, {amount - left} was left of the line")
