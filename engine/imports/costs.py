"""The preset `costs`: what the programme costs, from a bookkeeper's CSV, becomes events.

Columns: day, kind, foreseen, amount; if wanted also rule (which one the money went to) and currency. A line is corrected by
another one with a negative amount, never by editing it: its event has been told.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from engine.imports.account import Account
from engine.imports.errors import BadLinesError, WrongFileError
from engine.imports.table import text_lines
from schemas.facts import COST
from schemas.money import CURRENCY_DIGITS, TooManyDecimals, minor_digits, to_minor
from schemas.normalise import normalise
from schemas.rejects import Rejected
from schemas.times import to_datetime, to_text

SOURCE = "urn:costs"
NEEDED = ("day", "kind", "foreseen", "amount")
KNOWN = (*NEEDED, "rule", "currency")
TOLD_LINES = 20

_YES, _NO = ("yes", "true", "1", "y", "ja"), ("no", "false", "0", "n", "nein")
_KIND = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_AMOUNT = re.compile(r"-?\d{1,12}(\.\d{1,4})?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")

Event = dict[str, Any]
Progress = Callable[[int, int | None], None]


class _Bad(Exception):
    """What is wrong with one value: its column, and how to mend it."""

    def __init__(self, column: str, what: str) -> None:
        super().__init__(f"{column}: {what}")


def currency_of(path: Path, said: str | None) -> str:
    """Return the currency of a file: that of its column, or the one said on the command line.

    Raises:
        WrongFileError: neither says it, both say different ones, ISO 4217 does not know it, or the file is no CSV of costs.
    """
    found = {row["currency"] for _, row in _rows(path) if isinstance(row, dict) and row.get("currency")}
    if said is not None:
        found.add(said)
    if not found:
        raise WrongFileError(f"{path}: in which currency? Say --currency EUR, or add a column currency.")
    if len(found) > 1:
        raise WrongFileError(
            f"{path}: {', '.join(sorted(found))} in one account: a programme has one currency; make a file of each."
        )
    (currency,) = found
    if currency not in CURRENCY_DIGITS:
        raise WrongFileError(f"{path}: {currency[:16]!r} is no currency of ISO 4217, such as EUR.")
    return currency


def convert(
    path: Path, account: Account, now_us: int, progress: Progress = lambda _done, _total: None
) -> Iterator[Event]:
    """Yield the events of the file at ``path``, sorted by (time, id), and fill ``account`` on the way.

    Args:
        account: in the currency of the file, see `currency_of`.
        now_us: a cost of a later day is refused.

    Raises:
        WrongFileError: there is no such file, or it is no CSV of costs.
        BadLinesError: lines cannot be understood; all of them are read first, and the first twenty told.
    """
    numbers: Counter[tuple[str, str, bool]] = Counter()
    events: list[Event] = []
    bad: list[str] = []
    for line, row in _rows(path):
        try:
            if isinstance(row, str):
                raise _Bad("line", row)
            event = _event(row, account.currency, numbers, now_us)
            account.read.add(1, _minor(event, account.currency))
            events.append(event)
        except _Bad as error:
            bad.append(f"{path}:{line}: {error}")
        progress(account.read.lines, None)
    if bad:
        raise BadLinesError(bad[:TOLD_LINES], len(bad) > TOLD_LINES)
    for event in sorted(events, key=lambda one: (one["time"], one["id"])):
        kind = "foreseen" if event["data"]["foreseen"] else "unforeseen"
        account.use(f"{kind} cost", 1, _minor(event, account.currency))
        if event["data"]["amount"].startswith("-"):
            account.note("corrections, with a negative amount")
        yield event


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Yield (line number, values by column), or what is wrong with the line as a whole. Errors: WrongFileError."""
    lines = [text for _, text in text_lines(path)]
    first = lines[0] if lines else ""
    reader = csv.reader(lines, delimiter=";" if ";" in first and "," not in first else ",")
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        _check_header(path, header)
        for row in reader:
            if not any(field.strip() for field in row):
                continue
            if len(row) != len(header):
                yield (
                    reader.line_num,
                    f"{len(row)} fields where the header has {len(header)}: put what has a comma in quotes",
                )
            else:
                yield reader.line_num, dict(zip(header, (field.strip() for field in row), strict=True))
    except csv.Error as error:
        raise WrongFileError(f"{path}:{reader.line_num}: this is not a CSV ({error}).") from error


def _check_header(path: Path, header: list[str]) -> None:
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise WrongFileError(
            f"{path}: the columns {', '.join(missing)} are missing; the first line reads `day,kind,foreseen,amount`, "
            f"and here {','.join(header)[:60]!r}."
        )
    unknown = [name for name in header if name not in KNOWN]
    if unknown:
        raise WrongFileError(f"{path}: nobody reads the columns {', '.join(unknown)}; known are {', '.join(KNOWN)}.")
    if len(set(header)) < len(header):
        raise WrongFileError(f"{path}: a column stands twice: {', '.join(header)}.")


def _event(row: Mapping[str, str], currency: str, numbers: Counter[tuple[str, str, bool]], now_us: int) -> Event:
    day, kind, foreseen = _day(row["day"], now_us), _kind(row["kind"]), _foreseen(row["foreseen"])
    amount = _amount(row["amount"], currency)
    numbers[day, kind, foreseen] += 1
    word = "foreseen" if foreseen else "unforeseen"
    data: dict[str, Any] = {"day": day, "kind": kind, "foreseen": foreseen, "amount": str(amount), "currency": currency}
    if row.get("rule"):
        data["rule"] = row["rule"]
    event: Event = {
        "specversion": "1.0", "id": f"{day}-{kind}-{word}-{numbers[day, kind, foreseen]}", "source": SOURCE, "type": COST,
        "time": f"{day}T00:00:00Z", "data": data,
    }  # fmt: skip
    try:
        normalise(orjson.dumps(event), to_text(now_us), now_us)
    except Rejected as error:
        raise _Bad(error.field.removeprefix("data.") if error.field else "line", error.message) from error
    return event


def _day(text: str, now_us: int) -> str:
    try:
        if not _DAY.fullmatch(text):
            raise ValueError
        day = date.fromisoformat(text)
    except ValueError:
        raise _Bad("day", f"{text[:30]!r} is no day: write it like 2026-03-31") from None
    if day > to_datetime(now_us).date():
        raise _Bad("day", f"{text} lies in the future: tell a cost on its day, not before")
    return text


def _kind(text: str) -> str:
    if not _KIND.fullmatch(text):
        word = re.sub(r"[^a-z0-9_.-]+", "_", text.lower()).strip("_.-")
        raise _Bad("kind", f"{text[:30]!r} is no word of small letters, digits, _ . -: write {word or 'printing'}")
    return text


def _foreseen(text: str) -> bool:
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise _Bad("foreseen", f"{text[:30]!r} is neither yes nor no: write yes where it was planned, else no")


def _amount(text: str, currency: str) -> Decimal:
    if not _AMOUNT.fullmatch(text):
        raise _Bad("amount", f"{text[:30]!r} is no amount: write it like 1250.00, a correction like -20.00")
    amount = Decimal(text)
    try:
        if to_minor(amount, minor_digits(currency)) == 0:
            raise _Bad("amount", "nought costs nothing: take the line out")
    except TooManyDecimals as error:
        raise _Bad(
            "amount", f"{error}, and {currency} has {minor_digits(currency)}: round it to what was paid"
        ) from None
    return amount


def _minor(event: Event, currency: str) -> int:
    return to_minor(Decimal(event["data"]["amount"]), minor_digits(currency))
