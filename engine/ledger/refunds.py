"""Goods came back: the points of the returned part go back, cumulatively and pro rata per order line.

target = half_up(granted x refunded so far / line amount); the difference to what was taken so far is posted. So halves never
take more than the whole, and a full return takes everything.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.ledger.member import Grant, Member, Order, OrderLine, order_ref, quantity_milli
from schemas import facts
from schemas.decisions import Decision, Entry, Note
from schemas.envelope import Fact
from schemas.ids import hash_id
from schemas.money import allot, half_up


@dataclass(slots=True)
class Returned:
    """What one refund takes back of one line: thousandths of quantity and minor units."""

    milli: int = 0
    minor: int = 0


Returns = dict[int, Returned]


def decide_refund(member: Member, fact: Fact, decision: Decision) -> list[Fact]:
    """Fill ``decision`` with what a refund takes back."""
    data: facts.RefundForm = fact.data
    ref = order_ref(data)
    order = member.orders.get(ref)
    if order is None:
        decision.reason = "unknown_order"
        decision.notes.append(Note("unknown_order", None, f"no order {data['order_id']} is known here: nothing moves"))
        return []
    if order.currency != data["currency"]:
        decision.reason = "other_currency"
        text = f"the order was paid in {order.currency}, the refund is in {data['currency']}"
        decision.notes.append(Note("other_currency", None, text))
        return []
    returns = (
        _by_lines(order, data["lines"], decision) if data["lines"] is not None else _by_amount(order, data, decision)
    )
    decision.returned = [(number, back.milli, back.minor) for number, back in sorted(returns.items())]
    for grant in order.grants:
        entry = _claw_back(member, fact, ref, order, grant, returns)
        if entry is not None:
            decision.entries.append(entry)
    _take_progress(order, returns, decision)
    return []


def _by_amount(order: Order, data: facts.RefundForm, decision: Decision) -> Returns:
    """Spread an amount over what is not yet refunded of each line, by amount."""
    left = [line.amount_minor - line.refunded_minor for line in order.lines]
    asked = data["amount_minor"] or 0
    amount = min(asked, sum(left))
    if amount < asked:
        decision.notes.append(_more(f"{asked} asked back, {amount} were left of the order"))
    if amount == 0:
        return {}
    parts = allot(amount, left)
    return {number: Returned(0, part) for number, part in enumerate(parts, 1) if part}


def _by_lines(order: Order, lines: list[facts.RefundLineForm], decision: Decision) -> Returns:
    returns: Returns = {}
    for line in lines:
        numbers = _numbers(order, line)
        if not numbers:
            decision.notes.append(Note("unknown_line", None, f"the order has no line {line['line'] or line['sku']}"))
        elif line["quantity"] is None:
            _return_money(order, numbers, line["amount_minor"] or 0, returns, decision)
        else:
            _return_goods(order, numbers, quantity_milli(line["quantity"]), line["amount_minor"], returns, decision)
    return {number: back for number, back in returns.items() if back.milli or back.minor}


def _numbers(order: Order, line: facts.RefundLineForm) -> list[int]:
    """Return the numbers of the order lines a refund line means, in line order."""
    number = line["line"]
    if number is not None:
        fits = number <= len(order.lines) and line["sku"] in (None, order.lines[number - 1].sku)
        return [number] if fits else []
    return [number for number, held in enumerate(order.lines, 1) if held.sku == line["sku"]]


def _left(order: Order, number: int, returns: Returns) -> tuple[OrderLine, Returned, int, int]:
    """Return a line, what this refund took of it so far, and what is left of it: thousandths, minor units."""
    line = order.lines[number - 1]
    back = returns.setdefault(number, Returned())
    milli = line.quantity_milli - line.returned_milli - back.milli
    return line, back, milli, line.amount_minor - line.refunded_minor - back.minor


def _return_goods(
    order: Order, numbers: list[int], milli: int, amount: int | None, returns: Returns, decision: Decision
) -> None:
    """Return a quantity, from the first line on that has some left; money follows the quantity unless it is said."""
    touched = []
    asked = milli
    for number in numbers:
        line, back, milli_left, _ = _left(order, number, returns)
        take = min(milli, milli_left)
        if take == 0:
            continue
        back.milli += take
        milli -= take
        touched.append(number)
        if amount is None:
            so_far = line.returned_milli + back.milli
            target = half_up(line.amount_minor * so_far, line.quantity_milli)
            back.minor = max(back.minor, target - line.refunded_minor)
    if milli:
        decision.notes.append(_more(f"a quantity of {asked / 1000:g} came back, {(asked - milli) / 1000:g} was left"))
    if amount is not None and touched:
        _return_money(order, touched, amount, returns, decision)


def _return_money(order: Order, numbers: list[int], amount: int, returns: Returns, decision: Decision) -> None:
    asked = amount
    for number in numbers:
        _, back, _, minor_left = _left(order, number, returns)
        take = min(amount, minor_left)
        back.minor += take
        amount -= take
    if amount:
        decision.notes.append(_more(f"{asked} paid back, {asked - amount} was left of the line"))


def _more(text: str) -> Note:
    return Note("more_than_bought", None, f"{text}: the rest moves nothing")


def _share(line: OrderLine, back: Returned) -> tuple[int, int]:
    """Return the part of a line that is refunded, this refund included, as a fraction."""
    if line.amount_minor:
        return line.refunded_minor + back.minor, line.amount_minor
    return line.returned_milli + back.milli, line.quantity_milli


def _claw_back(member: Member, fact: Fact, ref: str, order: Order, grant: Grant, returns: Returns) -> Entry | None:
    """Return the entry that takes back one grant's points for the returned lines, None if that is nothing."""
    lines = []
    for number, granted in grant.lines:
        back = returns.get(number)
        if back is None:
            continue
        refunded, whole = _share(order.lines[number - 1], back)
        points = half_up(granted * refunded, whole) - grant.taken.get(number, 0)
        if points:
            lines.append((number, -points))
    taken = -sum(points for _, points in lines)
    if taken == 0:
        return None
    return Entry(
        entry_id=hash_id(
            fact.source, fact.id, member.key, "clawback", grant.rule_id, str(grant.rule_version), grant.entry_id
        ),
        member_id=member.key,
        kind="clawback",
        points=-taken,
        rule_id=grant.rule_id,
        rule_version=grant.rule_version,
        source=fact.source,
        fact_id=fact.id,
        occurred_at=fact.time,
        caused_by=grant.entry_id,
        order=ref,
        lines=lines,
        burns=[(grant.entry_id, taken)],
    )


def _take_progress(order: Order, returns: Returns, decision: Decision) -> None:
    """Take back tier progress in the window of the purchase, by the part of the whole order that is refunded."""
    if order.progress_day is None or not returns:
        return
    whole = order.amount_minor
    refunded = sum(line.refunded_minor for line in order.lines) + sum(back.minor for back in returns.values())
    if whole == 0:
        whole = sum(line.quantity_milli for line in order.lines)
        refunded = sum(line.returned_milli for line in order.lines) + sum(back.milli for back in returns.values())
    taken = half_up(order.progress * refunded, whole) - order.progress_taken
    if taken:
        decision.progress.append((order.progress_day, -taken))
