"""Any till's export becomes events, as a mapping says (mapping.py), with an account of every line and every penny.

- Rows of one block with one (source, id) are one event: a receipt. It happens at the earliest of its rows' times, belongs to
  the first member that they name, and takes what stands outside `line` from its first row.
- A refund says amounts without their sign, however the till writes them.
- With `find_order` each piece that comes back is a refund of its own, ``<id>:<n>`` in the order of rows: of the order that
  the row names, else of the member's newest purchase of that SKU (returns.py), else of the order ``unknown:<id>``.
- Every event is examined as intake will examine it, before it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from engine.imports.account import Account
from engine.imports.blocks import Blocks, Goods, Left, Taken, check_against, columns_asked
from engine.imports.errors import BadLineError, BadLinesError, MappingError, WrongFileError
from engine.imports.expressions import Row, Wrong, columns_of
from engine.imports.fields import columns_behind, example
from engine.imports.gathering import Receipts
from engine.imports.mapping import TYPES, EventOf, Mapping
from engine.imports.returns import Piece, Shelf, shares
from engine.imports.table import csv_header, csv_rows, json_rows
from rules.draft import Draft
from schemas.facts import PURCHASE, QUANTITY_DECIMALS, REFUND
from schemas.money import minor_digits
from schemas.normalise import normalise, plain
from schemas.rejects import Rejected
from schemas.times import to_text

#: So many mistakes are told at once; a file with more has the same few again and again.
MAX_PROBLEMS = 20
_QUANTITY_UNIT = 10**QUANTITY_DECIMALS

Event = dict[str, Any]
Progress = Callable[[int, int | None], None]
Key = tuple[int, str, str]  # block, source, id


class Made(NamedTuple):
    """An event, with the lines of the export that it was made of."""

    event: Event
    lines: tuple[int, ...]


class _Numbered(NamedTuple):
    line: int
    row: Row
    taken: Taken


class _Filled(dict[str, str]):
    """A row of JSON: what it does not say is empty."""

    def __missing__(self, name: str) -> str:
        return ""


class Conversion:
    """One export and its mapping; ``unread`` are columns that nothing asks for, once the file was read."""

    def __init__(self, path: Path, mapping: Mapping, draft: Draft, account: Account, now_us: int) -> None:
        """Prepare it, and hold the mapping against the columns of the file.

        Args:
            path: of the export.
            mapping: with the draft that knows its lines.
            account: filled on the way.
            now_us: events after this moment would be refused.

        Raises:
            WrongFileError: the export cannot be read, or the mapping does not fit it.
        """
        self._path, self._mapping, self._draft, self._account = path, mapping, draft, account
        self._names = self._header()
        check_against(mapping, draft, self._names)
        if draft.problems:
            raise MappingError([str(problem) for problem in sorted(set(draft.problems))])
        self._asked = {name for _place, name in columns_asked(mapping)}
        self._seen: set[str] = set(self._names or ())
        self._blocks = Blocks(mapping)
        self._writer = _Writer(mapping, account)
        self._now = to_text(now_us - now_us % 1_000), now_us
        self._problems: list[str] = []

    @property
    def unread(self) -> list[str]:
        """Columns of the export that the mapping does not ask for, in the order of their names."""
        return sorted(self._seen - self._asked)

    def events(self, progress: Progress = lambda _done, _total: None) -> Iterator[Made]:
        """Yield the events sorted by (time, id). The file is read twice (gathering.py).

        Raises:
            ExportError: the file or its lines cannot be understood; up to 20 of them are told.
        """
        receipts = self._survey(progress)
        self._check_seen()
        for key, time, rows in receipts.whole(self._again(progress), lambda key: (key[2], key[1], key[0])):
            try:
                for made in self._writer.events(self._mapping.events[key[0]], time, rows):
                    if self._is_good(made, rows):
                        yield made
            except Wrong as wrong:
                self._tell(rows[0].line, wrong.columns, str(wrong))
        self._stop_if(bool(self._problems), more=False)

    def _header(self) -> list[str] | None:
        file = self._mapping.file
        if file.format == "jsonl":
            return None
        names = csv_header(self._path, self._encoding, file.delimiter, file.quote, file.skip)
        if not names:
            raise WrongFileError(f"{self._path}: the file is empty, or file.skip leaves nothing of it.")
        if file.header is None:
            return names
        if len(names) != len(file.header):
            raise WrongFileError(
                f"{self._path}: rows have {len(names)} fields and file.header names {len(file.header)}."
            )
        return [name.strip() for name in file.header]

    @property
    def _encoding(self) -> str:
        name = self._mapping.file.encoding
        return "utf-8-sig" if name.lower().replace("_", "-") in ("utf-8", "utf8") else name

    def _rows(self) -> Iterator[tuple[int, Row]]:
        file = self._mapping.file
        if self._names is None:
            for number, said in json_rows(self._path, self._encoding, file.items):
                self._seen.update(said)
                yield number, _Filled(said)
            return
        skip = file.skip if file.header is not None else file.skip + 1
        for number, fields in csv_rows(self._path, self._names, self._encoding, file.delimiter, file.quote, skip):
            yield number, dict(zip(self._names, fields, strict=True))

    def _survey(self, progress: Progress) -> Receipts[Key]:
        """Read the file once: what came in, every mistake in it, and what belongs together."""
        receipts: Receipts[Key] = Receipts()
        kinds: dict[tuple[str, str], int] = {}
        try:
            for number, row in self._rows():
                try:
                    found = self._blocks.read(row)
                except Wrong as wrong:
                    self._tell(number, wrong.columns, str(wrong))
                    continue
                self._account.read.add(1, found.money_minor)
                progress(self._account.read.lines, None)
                if isinstance(found, Left):
                    continue
                if kinds.setdefault((found.source, found.id), found.block) != found.block:
                    self._tell(
                        number, (), f"two kinds of event have the id {found.id!r}: write id: R-<...> in one of them"
                    )
                receipts.add((found.block, found.source, found.id), found.moment.us, found.moment.text)
        except BadLineError as error:
            self._problems.append(str(error))
        self._stop_if(bool(self._problems), more=False)
        return receipts

    def _check_seen(self) -> None:
        """Columns of JSON are known only now."""
        if self._names is None and self._account.read.lines:
            check_against(self._mapping, self._draft, self._seen)
            if self._draft.problems:
                raise MappingError([str(problem) for problem in sorted(set(self._draft.problems))])

    def _again(self, progress: Progress) -> Iterator[tuple[Key, _Numbered]]:
        """The rows a second time: those of events under their keys, the others to the account."""
        for count, (number, row) in enumerate(self._rows(), start=1):
            found = self._blocks.read(row)
            progress(count, self._account.read.lines)
            if isinstance(found, Left):
                self._account.leave_out(found.reason, found.money_minor)
                continue
            if found.moment.note:
                self._account.note(found.moment.note)
            yield (found.block, found.source, found.id), _Numbered(number, row, found)

    def _is_good(self, made: Made, rows: list[_Numbered]) -> bool:
        """Examine an event as intake will, and count what it carries; a mistake is told with the columns it came from."""
        try:
            fact = normalise(orjson.dumps(made.event), *self._now)
        except Rejected as rejected:
            block = self._mapping.events[rows[0].taken.block]
            columns = columns_behind(block, self._mapping.time, rejected.field) if rejected.field else ()
            at = _row_of(rejected.field, rows)
            shown = f" (here: {example(columns, at.row)})" if columns else ""
            where = f"{rejected.field} of {made.event['id']}: " if rejected.field else ""
            self._tell(at.line, columns, f"{where}{rejected.message}{shown}")
            return False
        self._writer.count(fact.type, fact.subject, fact.data, made)
        return True

    def _tell(self, line: int, columns: tuple[str, ...], what: str) -> None:
        names = f"column {', '.join(columns)}: " if columns else ""
        self._problems.append(f"{self._path}:{line}: {names}{what}")
        self._stop_if(len(self._problems) >= MAX_PROBLEMS, more=True)

    def _stop_if(self, stop: bool, more: bool) -> None:
        if stop:
            raise BadLinesError(self._problems, more)


def _row_of(field: str, rows: list[_Numbered]) -> _Numbered:
    """The row that a mistake in ``data.lines.N...`` is of; the first where it is of the whole."""
    steps = field.split(".")
    if steps[:2] == ["data", "lines"] and len(steps) > 2 and steps[2].isdigit() and int(steps[2]) < len(rows):
        return rows[int(steps[2])]
    return rows[0]


class _Writer:
    """Turns whole receipts, which come in the order of time, into events, and counts what these carry."""

    def __init__(self, mapping: Mapping, account: Account) -> None:
        self._mapping, self._account = mapping, account
        self._digits = minor_digits(mapping.currency)
        self._shelf = Shelf()

    def events(self, block: EventOf, time: str, rows: list[_Numbered]) -> Iterator[Made]:
        """Yield the events of one receipt, sorted by id."""
        members = list(dict.fromkeys(row.taken.member for row in rows if row.taken.member))
        if len(members) > 1:
            self._account.note("receipts of several members, taken as the first one's")
        if any(row.taken.data != rows[0].taken.data for row in rows):
            _refuse_two_orders(block, rows)
            self._account.note("receipts whose rows disagree outside `line`, taken as the first row says")
        member, lines = members[0] if members else None, tuple(row.line for row in rows)
        if block.type == "purchase":
            yield Made(self._event(block, rows[0].taken, member, time, self._purchase(member, rows)), lines)
        elif block.find_order:
            yield from sorted(self._pieces(block, member, time, rows), key=lambda made: str(made.event["id"]))
        elif block.line is not None:
            yield Made(self._event(block, rows[0].taken, member, time, self._refund(rows)), lines)
        else:
            yield self._single(block, member, time, rows)

    def _single(self, block: EventOf, member: str | None, time: str, rows: list[_Numbered]) -> Made:
        """An event without lines is one row; the same row again is left out."""
        for again in rows[1:]:
            if again.taken != rows[0].taken:
                what = f"line {again.line} has this id, too, and says something else: build the id of more columns"
                raise Wrong(columns_of(block.id.from_), what)
            self._account.leave_out("the same again", again.taken.money_minor)
        data = rows[0].taken.data
        if block.type in ("refund", "purchase"):
            data = self._order(rows[0].taken) | {"currency": self._mapping.currency} | data
        return Made(self._event(block, rows[0].taken, member, time, data), (rows[0].line,))

    def _event(self, block: EventOf, taken: Taken, member: str | None, time: str, data: dict[str, Any]) -> Event:
        event = {"specversion": "1.0", "id": taken.id, "source": taken.source, "type": TYPES[block.type], "time": time}
        if member:
            event["subject"] = member
        return {**event, "data": data}

    def _order(self, taken: Taken) -> dict[str, Any]:
        return {"order_id": taken.data.get("order_id", taken.id)}

    def _purchase(self, member: str | None, rows: list[_Numbered]) -> dict[str, Any]:
        taken = rows[0].taken
        order = self._order(taken)["order_id"]
        name = f"{taken.data.get('order_source', taken.source)}|{order}"
        lines, total_minor = [], 0
        for number, goods in enumerate(_goods(rows), start=1):
            if member and goods.sku:
                self._shelf.put(member, goods.sku, name, number, _thousandths(goods.quantity))
            total_minor += goods.amount_minor
            lines.append(self._line(goods))
        made = {"lines": lines, "total": self._money(total_minor), "currency": self._mapping.currency}
        return {"order_id": order, **made, **taken.data}

    def _line(self, goods: Goods) -> dict[str, Any]:
        line: dict[str, Any] = {"sku": goods.sku} if goods.sku else {}
        if goods.category:
            line["category"] = goods.category
        line |= {"quantity": goods.quantity, "unit_price": goods.unit_price}
        if goods.discount_minor:
            line["discount"] = self._money(goods.discount_minor)
        return line

    def _refund(self, rows: list[_Numbered]) -> dict[str, Any]:
        lines = [self._returned(goods, goods.line, goods.quantity, goods.amount_minor) for goods in _goods(rows)]
        total_minor = sum(goods.amount_minor for goods in _goods(rows))
        made = {"lines": lines, "total": self._money(total_minor), "currency": self._mapping.currency}
        return self._order(rows[0].taken) | made | rows[0].taken.data

    def _pieces(self, block: EventOf, member: str | None, time: str, rows: list[_Numbered]) -> Iterator[Made]:
        count = 0
        for row, goods in zip(rows, _goods(rows), strict=True):
            pieces = self._found(row.taken, goods, member)
            for piece, amount_minor in zip(pieces, shares(goods.amount_minor, pieces), strict=True):
                count += 1
                source, _, order = (piece.order_id or "").rpartition("|")
                named = {"order_id": order or f"unknown:{row.taken.id}"}
                if source and source != row.taken.source:
                    named["order_source"] = source
                quantity = plain(Decimal(piece.quantity) / _QUANTITY_UNIT)
                data = {
                    **row.taken.data,
                    **named,
                    "lines": [self._returned(goods, piece.line, quantity, amount_minor)],
                    "total": self._money(amount_minor),
                    "currency": self._mapping.currency,
                }
                event = self._event(block, row.taken, member, time, data) | {"id": f"{row.taken.id}:{count}"}
                # The row is counted with the last of its pieces, its money with each.
                yield Made(event, (row.line,) if piece is pieces[-1] else ())

    def _found(self, taken: Taken, goods: Goods, member: str | None) -> list[Piece]:
        """The orders that a row gives back."""
        quantity, named = _thousandths(goods.quantity), taken.data.get("order_id")
        if named is not None:
            name = f"{taken.data.get('order_source', taken.source)}|{named}"
            number = self._shelf.take_of(member, goods.sku, name, quantity) if member and goods.sku else None
            return [Piece(name, goods.line or number, quantity)]
        if member is None or goods.sku is None:
            return [Piece(None, None, quantity)]
        return self._shelf.take(member, goods.sku, quantity)

    def _returned(self, goods: Goods, line: int | None, quantity: str, amount_minor: int) -> dict[str, Any]:
        named: dict[str, Any] = {"line": line} if line is not None else {}
        if goods.sku:
            named["sku"] = goods.sku
        return {**named, "quantity": quantity, "amount": self._money(amount_minor)}

    def _money(self, minor: int) -> str:
        return f"{Decimal(minor).scaleb(-self._digits):f}"

    def count(self, fact_type: str, subject: str | None, data: Any, made: Made) -> None:
        """Count an event in the account, by what intake understood of it."""
        kind, money_minor = fact_type.split(".")[1].replace("_", " "), 0
        if fact_type == PURCHASE:
            money_minor = sum(line["amount_minor"] for line in data["lines"])
            kind = kind if subject else "anonymous purchase"
            if money_minor != data["total_minor"]:
                self._account.note("receipts whose total is not the sum of their lines")
        elif fact_type == REFUND:
            amounts = [data] if data["lines"] is None else data["lines"]
            money_minor = -sum(one["amount_minor"] or 0 for one in amounts)
            kind = "refund of an unknown order" if data["order_id"].startswith("unknown:") else kind
        self._account.use(kind, len(made.lines), money_minor)


def _refuse_two_orders(block: EventOf, rows: list[_Numbered]) -> None:
    orders = list(dict.fromkeys(row.taken.data.get("order_id") for row in rows))
    if block.type == "refund" and not block.find_order and len(orders) > 1:
        what = f"rows of this refund name several orders ({orders[0]}, {orders[1]}): build its id of the order, too"
        raise Wrong(columns_of(block.id.from_), what)


def _goods(rows: list[_Numbered]) -> list[Goods]:
    return [row.taken.goods for row in rows if row.taken.goods is not None]


def _thousandths(quantity: str) -> int:
    return int(Decimal(quantity) * _QUANTITY_UNIT)
