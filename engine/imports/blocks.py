"""A mapping made ready for an export: every row becomes a line of an event, is left out with its reason, or is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from engine.imports.expressions import (
    Moment,
    Number,
    Row,
    Wrong,
    columns_of,
    moment_of,
    number_of,
    test_of,
    text_of,
    whole_of,
)
from engine.imports.fields import casts, check_fields, values_of
from engine.imports.mapping import EventOf, LineOf, Mapping, Table, TimeOf
from rules.draft import Draft
from rules.draft import Path as Place
from rules.errors import did_you_mean
from schemas.facts import QUANTITY_DECIMALS, UNIT_PRICE_DECIMALS
from schemas.money import TooManyDecimals, half_up, minor_digits, to_minor
from schemas.normalise import plain

NOBODY_TAKES_IT = "no event of the mapping takes it"
_PRICE_UNIT = 10**UNIT_PRICE_DECIMALS
_QUANTITY_UNIT = 10**QUANTITY_DECIMALS


class Goods(NamedTuple):
    """A row as a line of a receipt; numbers as plain text, money in minor units, of a refund without sign."""

    sku: str | None
    category: str | None
    quantity: str
    unit_price: str
    discount_minor: int
    amount_minor: int
    line: int | None


class Taken(NamedTuple):
    """A row that is (a part of) an event; ``block`` says which of the mapping's, ``money_minor`` what it is worth."""

    block: int
    source: str
    id: str
    moment: Moment
    member: str | None
    data: dict[str, Any]
    goods: Goods | None
    money_minor: int


class Left(NamedTuple):
    """A row that is in no event."""

    reason: str
    money_minor: int


class _Block(NamedTuple):
    takes: Callable[[Row], bool]
    id: Callable[[Row], str | None]
    source: Callable[[Row], str | None]
    member: Callable[[Row], str | None]
    moment: Callable[[Row], Moment]
    data: Callable[[Row], dict[str, Any]]
    goods: Callable[[Row], Goods] | None
    event: EventOf


class Blocks:
    """A mapping, compiled."""

    def __init__(self, mapping: Mapping) -> None:
        file = mapping.file
        self._left = [
            (left.reason, test_of(left.when, file), None if left.worth is None else number_of(left.worth, file))
            for left in mapping.leave_out
        ]
        self._blocks = [_block(event, mapping) for event in mapping.events]
        self._digits = minor_digits(mapping.currency)
        lines = [block.goods for block in self._blocks if block.goods is not None]
        self._goods = lines[0] if lines else None

    def read(self, row: Row) -> Taken | Left:
        """Return what becomes of a row. Raises Wrong."""
        for reason, holds, worth in self._left:
            if holds(row):
                return Left(reason, self._worth_of(row, worth))
        for number, block in enumerate(self._blocks):
            if block.takes(row):
                return self._taken(number, block, row)
        return Left(NOBODY_TAKES_IT, self._worth_of(row))

    def _taken(self, number: int, block: _Block, row: Row) -> Taken:
        event = block.event
        event_id, source = block.id(row), block.source(row)
        if event_id is None:
            raise Wrong(columns_of(event.id.from_), "there is no id: leave such rows out, or build it of other columns")
        if source is None:
            raise Wrong([], "there is no source: build it of other columns")
        goods = block.goods(row) if block.goods is not None else None
        data = block.data(row)
        return Taken(
            number, source, event_id, block.moment(row), block.member(row), data, goods, self._money(event, goods, data)
        )

    def _money(self, event: EventOf, goods: Goods | None, data: dict[str, Any]) -> int:
        """What a row is worth; a refund that names an amount alone is worth that, as far as it can be read."""
        if goods is not None:
            return goods.amount_minor if event.type == "purchase" else -goods.amount_minor
        try:
            return -to_minor(Decimal(data["amount"]), self._digits) if event.type == "refund" else 0
        except (KeyError, TypeError, InvalidOperation, TooManyDecimals, OverflowError):
            return 0  # what is wrong with it is told when the event is examined

    def _worth_of(self, row: Row, worth: Number | None = None) -> int:
        """What a row that is left out is worth, as far as it can be read: nobody needs it."""
        try:
            if worth is not None:
                return to_minor(worth(row) or Decimal(0), self._digits)
            return self._goods(row).amount_minor if self._goods is not None else 0
        except (Wrong, TooManyDecimals, OverflowError):
            return 0


def _block(event: EventOf, mapping: Mapping) -> _Block:
    file = mapping.file
    return _Block(
        takes=test_of(event.when, file),
        id=text_of(event.id),
        source=text_of(event.source or mapping.source),
        member=text_of(event.member) if event.member is not None else lambda _row: None,
        moment=moment_of(event.time or mapping.time),
        data=casts(event, file),
        goods=None if event.line is None else _goods_of(event, event.line, file, minor_digits(mapping.currency)),
        event=event,
    )


def _goods_of(event: EventOf, line: LineOf, file: Table, digits: int) -> Callable[[Row], Goods]:
    """Return what reads a row as goods. What it gives raises Wrong."""
    sku, category = (text_of(value) if value is not None else None for value in (line.sku, line.category))
    quantity_of = number_of(line.quantity, file)
    price = line.unit_price or line.amount or line.quantity  # one of the first two is there (LineOf)
    price_of, columns = number_of(price, file), columns_of(price.from_)
    discount_of = number_of(line.discount, file) if line.discount is not None else None
    number = whole_of(line.line, file) if line.line is not None else None
    back = event.type == "refund"

    def read(row: Row) -> Goods:
        quantity, said = quantity_of(row), price_of(row)
        discount = (discount_of(row) if discount_of is not None else None) or Decimal(0)
        if quantity is None or said is None:
            empty = columns_of(line.quantity.from_) if quantity is None else columns
            raise Wrong(empty, "there is nothing: leave such rows out, or take another column")
        if back:
            quantity, said, discount = abs(quantity), abs(said), abs(discount)
        _refuse(event, quantity, said, columns_of(line.quantity.from_), columns)
        try:
            discount_minor = to_minor(discount, digits)
            if line.unit_price is not None:
                unit_price, amount_minor = said, _times(quantity, said, digits) - discount_minor
            else:
                amount_minor = to_minor(said, digits) - discount_minor
                unit_price = _price(to_minor(said, digits), quantity, digits)
        except (TooManyDecimals, OverflowError) as error:
            raise Wrong(columns, f"{error}") from error
        return Goods(
            sku(row) if sku is not None else None,
            category(row) if category is not None else None,
            plain(quantity),
            plain(unit_price),
            discount_minor,
            amount_minor,
            number(row) if number is not None else None,
        )

    return read


def _refuse(
    event: EventOf, quantity: Decimal, price: Decimal, quantity_from: Sequence[str], price_from: Sequence[str]
) -> None:
    if quantity == 0:
        raise Wrong(quantity_from, "a quantity of 0: leave such rows out")
    if event.type == "purchase" and (quantity < 0 or price < 0):
        wrong = quantity_from if quantity < 0 else price_from
        raise Wrong(wrong, "below zero in a purchase: take such rows by a refund, with `when`, or leave them out")
    for number, decimals, columns in (
        (quantity, QUANTITY_DECIMALS, quantity_from),
        (price, UNIT_PRICE_DECIMALS, price_from),
    ):
        if -int(number.as_tuple().exponent) > decimals and number != round(number, decimals):
            raise Wrong(columns, f"{number} has more than {decimals} decimals")


def _times(quantity: Decimal, price: Decimal, digits: int) -> int:
    """Return half_up(quantity x price) in minor units."""
    product = int(quantity * _QUANTITY_UNIT) * int(price * _PRICE_UNIT) * 10**digits
    return half_up(product, _QUANTITY_UNIT * _PRICE_UNIT)


def _price(amount_minor: int, quantity: Decimal, digits: int) -> Decimal:
    """Return a unit price by which the quantity comes to the amount again."""
    units = half_up(amount_minor * _PRICE_UNIT * _QUANTITY_UNIT, int(quantity * _QUANTITY_UNIT) * 10**digits)
    price = Decimal(units).scaleb(-UNIT_PRICE_DECIMALS)
    if _times(quantity, price, digits) != amount_minor:
        raise OverflowError(f"no price of {UNIT_PRICE_DECIMALS} decimals makes this of {quantity}: map quantity as 1")
    return price


def check_against(mapping: Mapping, draft: Draft, columns: Iterable[str] | None) -> None:
    """Report what of a mapping cannot be: fields that a type lacks, and columns that the export lacks, where those are known."""
    for index, event in enumerate(mapping.events):
        check_fields(draft, event, ("events", index))
    if columns is None:
        return
    known = list(columns)
    for place, name in columns_asked(mapping):
        if name not in known:
            draft.report(place, f"the export has no column {name}", did_you_mean(name, known, few=30))
        elif known.count(name) > 1:
            draft.report(place, f"the export has two columns {name}", "name all of them under file.header, with skip")


def columns_asked(mapping: Mapping) -> list[tuple[Place, str]]:
    """Return every column that a mapping names, with the place where it does."""
    asked: list[tuple[Place, str]] = [(("source",), name) for name in columns_of(mapping.source.from_)]
    asked += _of_time(("time",), mapping.time)
    for index, left in enumerate(mapping.leave_out):
        asked += [(("leave_out", index, "when", name), name.strip()) for name in left.when]
        worth = columns_of(left.worth.from_) if left.worth is not None else ()
        asked += [(("leave_out", index, "worth"), name) for name in worth]
    for index, event in enumerate(mapping.events):
        place: Place = ("events", index)
        asked += [((*place, "when", name), name.strip()) for name in event.when]
        for at, value in values_of(event):
            asked += [((*place, *at), name) for name in columns_of(value.from_)]
        if event.time is not None:
            asked += _of_time((*place, "time"), event.time)
    return asked


def _of_time(place: Place, time: TimeOf) -> list[tuple[Place, str]]:
    return [((*place, "from"), name) for name in columns_of(time.from_)]
