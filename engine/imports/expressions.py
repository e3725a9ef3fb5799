"""The values of a mapping, compiled once: text with `<Column>` in it, numbers, times, and tests of a row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, DecimalException, Inexact
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from engine.imports.mapping import Table, Test, TimeOf, ValueOf, When
from rules.errors import did_you_mean
from schemas.times import EPOCH, from_datetime

Row = Mapping[str, str]
Text = Callable[[Row], str | None]
Number = Callable[[Row], Decimal | None]

_COLUMN = re.compile(r"<([^<>]+)>")
#: What a decoder puts where bytes are no text of the encoding.
_NO_CHARACTER = "\ufffd"
# Wide enough for every number that is taken; what does not fit is an error, not a rounding.
_EXACT = Context(prec=40, traps=[Inexact])
_SHOWN = 60


class Wrong(Exception):
    """A row has a value that cannot be what the mapping says; ``columns`` are those that the value was made of."""

    def __init__(self, columns: Iterable[str], what: str) -> None:
        self.columns = tuple(columns)
        super().__init__(what)


class Moment(NamedTuple):
    """A moment in microseconds since the epoch, in RFC 3339 with its offset, and what was odd about it."""

    us: int
    text: str
    note: str = ""


def columns_of(template: str) -> tuple[str, ...]:
    """Return the columns that a text names, in their order."""
    return tuple(name.strip() for name in _COLUMN.findall(template))


def template(text: str) -> Callable[[Row], str]:
    """Return what fills a text with the values of a row; values lose the space around them."""
    parts = _COLUMN.split(text)
    if len(parts) == 1:
        return lambda _row: text
    if len(parts) == 3 and not parts[0] and not parts[2]:
        name = parts[1].strip()
        return lambda row: _clean(row, name)
    fixed, names = parts[::2], [name.strip() for name in parts[1::2]]

    def filled(row: Row) -> str:
        said = [_clean(row, name) for name in names]
        # Nothing but empty columns is nothing: `<Till>-<Receipt>` of an empty row is not "-".
        if not any(said):
            return ""
        return "".join([fixed[0], *(value + after for value, after in zip(said, fixed[1:], strict=True))]).strip()

    return filled


def _clean(row: Row, name: str) -> str:
    value = row[name].strip()
    if _NO_CHARACTER in value:
        raise Wrong(
            [name], f"{shown(value)} holds bytes that are no text of this encoding: say file.encoding, such as cp1252"
        )
    return value


def shown(value: str) -> str:
    """Return a value of the export as an error shows it."""
    return repr(value if len(value) <= _SHOWN else value[: _SHOWN - 3] + "...")


def text_of(value: ValueOf) -> Text:
    """Return what gives the text of a value for a row, None where it is empty. What it gives raises Wrong."""
    read, columns, table = template(value.from_), columns_of(value.from_), value.table

    def said(row: Row) -> str | None:
        text = read(row)
        if value.cut_begin:
            text = text.removeprefix(value.cut_begin).strip()
        if value.cut_end:
            text = text.removesuffix(value.cut_end).strip()
        if value.case:
            text = text.upper() if value.case == "upper" else text.lower()
        if table is not None:
            text = _looked_up(text, table, value.otherwise, columns)
        return text.zfill(value.zeros_to) if text and value.zeros_to else text or None

    return said


def _looked_up(text: str, table: Mapping[str, str], otherwise: str | None, columns: tuple[str, ...]) -> str:
    found = table.get(text, otherwise)
    if found is not None:
        return found
    if not text:
        return ""
    near = did_you_mean(text, list(table))
    raise Wrong(columns, f"{shown(text)} is not in the table" + (f": {near}" if near else ": add it, or say otherwise"))


def number_of(value: ValueOf, file: Table) -> Number:
    """Return what gives the number of a value for a row, None where it is empty. What it gives raises Wrong."""
    text, columns = text_of(value), columns_of(value.from_)
    parse = numbers(file) if columns else numbers(Table())
    plain = value.times is None and value.divided_by is None and not value.without_sign

    def said(row: Row) -> Decimal | None:
        given = text(row)
        if given is None:
            return None
        number = parse(given)
        if number is None:
            raise Wrong(columns, f"{shown(given)} is no number{_how(file)}")
        return number if plain else _scaled(number, value, columns)

    return said


def _how(file: Table) -> str:
    groups = f", thousands {file.thousands!r}" if file.thousands else ""
    return f" (read with decimal {file.decimal!r}{groups}: change them under file, or leave such rows out)"


def _scaled(number: Decimal, value: ValueOf, columns: tuple[str, ...]) -> Decimal:
    try:
        if value.times is not None:
            number = _EXACT.multiply(number, value.times)
        if value.divided_by is not None:
            number = _EXACT.divide(number, value.divided_by)
    except DecimalException as error:
        raise Wrong(columns, f"{number} divided by {value.divided_by} has no end: divide by 10, 100, 1000") from error
    return abs(number) if value.without_sign else number


def numbers(file: Table) -> Callable[[str], Decimal | None]:
    """Return what reads numbers as a file writes them, exactly; None for what is none. A sign may stand behind (`5,00-`)."""
    point, group = re.escape(file.decimal), re.escape(file.thousands or "")
    whole = rf"\d+|\d{{1,3}}(?:{group}\d{{3}})+" if file.thousands else r"\d+"
    form = re.compile(rf"([+-]?)\s?((?:{whole})(?:{point}\d+)?|{point}\d+)([+-]?)", re.ASCII)

    # Amounts repeat from line to line: remembering them halves the time of a conversion.
    @lru_cache(maxsize=1 << 14)
    def parse(text: str) -> Decimal | None:
        found = form.fullmatch(text.replace("\u2212", "-"))
        if found is None or len(text) > 32 or (found[1] and found[3]):
            return None
        digits = found[2].replace(file.thousands, "") if file.thousands else found[2]
        number = Decimal(digits.replace(file.decimal, "."))
        return -number if "-" in (found[1], found[3]) else number

    return parse


def whole_of(value: ValueOf, file: Table) -> Callable[[Row], int | None]:
    """Return what gives a whole number. What it gives raises Wrong."""
    number, columns = number_of(value, file), columns_of(value.from_)

    def said(row: Row) -> int | None:
        given = number(row)
        if given is not None and given != int(given):
            raise Wrong(columns, f"{given} is no whole number")
        return None if given is None else int(given)

    return said


def truth_of(value: ValueOf) -> Callable[[Row], bool | None]:
    """Return what gives true or false. What it gives raises Wrong."""
    text, columns = text_of(value), columns_of(value.from_)

    def said(row: Row) -> bool | None:
        given = text(row)
        if given is not None and given.lower() not in ("true", "false"):
            raise Wrong(columns, f"{shown(given)} is neither true nor false: say what stands for them in a table")
        return None if given is None else given.lower() == "true"

    return said


def moment_of(time: TimeOf) -> Callable[[Row], Moment]:
    """Return what gives the moment of a row. What it gives raises Wrong."""
    read, columns = template(time.from_), columns_of(time.from_)
    zone = ZoneInfo(time.zone) if time.zone else None
    fold = int(time.twice == "later")

    @lru_cache(maxsize=1 << 12)
    def parse(text: str) -> Moment:
        moment = _parsed(text, time.format)
        if moment.tzinfo is not None:
            return Moment(from_datetime(moment), moment.isoformat())
        if zone is None:
            raise ValueError("it has no offset: say time.zone, such as Europe/Berlin")
        local = moment.replace(tzinfo=zone, fold=fold)
        there = local.astimezone(UTC).astimezone(zone)
        if there.replace(tzinfo=None) != moment:
            return Moment(from_datetime(local), there.isoformat(), "times that the clock skipped, taken an hour later")
        twice = local.utcoffset() != local.replace(fold=1 - fold).utcoffset()
        note = f"times that the clock shows twice, taken as the {time.twice}" if twice else ""
        return Moment(from_datetime(local), local.isoformat(), note)

    def said(row: Row) -> Moment:
        text = read(row)
        try:
            return parse(text)
        except (ValueError, OverflowError) as error:
            reason = str(error) if "no offset" in str(error) else f"not {_example(time.format)}"
            raise Wrong(columns, f"{shown(text)} is not the time that the mapping says: {reason}") from error

    return said


def _parsed(text: str, form: str) -> datetime:
    if form == "iso":
        return datetime.fromisoformat(text)
    if form in ("seconds", "milliseconds"):
        return EPOCH + timedelta(**{form: int(text)})
    return datetime.strptime(text, form)  # noqa: DTZ007 - the zone is the mapping's, or %z says it


def _example(form: str) -> str:
    moment = datetime(2026, 3, 1, 14, 5, 9, tzinfo=UTC)
    if form == "iso":
        return "written like 2026-03-01T14:05:09+01:00 (iso)"
    if form in ("seconds", "milliseconds"):
        return f"{form} since 1970, such as {int(moment.timestamp()) * (1000 if form == 'milliseconds' else 1)}"
    return f"written like {moment.strftime(form)} ({form})"


def test_of(when: When, file: Table) -> Callable[[Row], bool]:
    """Return whether all that ``when`` says holds for a row. What it gives raises Wrong."""
    tests = [_column_test(name.strip(), test, file) for name, test in when.items()]
    return lambda row: all(test(row) for test in tests)


def _column_test(name: str, test: Test, file: Table) -> Callable[[Row], bool]:
    parse = numbers(file)

    def holds(row: Row) -> bool:
        text = row[name].strip()
        if (test.is_ is not None and text not in test.is_) or (test.is_not is not None and text in test.is_not):
            return False
        if test.begins_with is not None and not text.startswith(test.begins_with):
            return False
        if test.empty is not None and test.empty != (not text):
            return False
        if test.below is None and test.above is None:
            return True
        number = parse(text)
        if number is None:
            raise Wrong([name], f"{shown(text)} is no number{_how(file)}")
        return (test.below is None or number < test.below) and (test.above is None or number > test.above)

    return holds
