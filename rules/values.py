"""The small values of a programme file, read exactly from their text: money, durations, factors, moments, hours.

Each type has one way in (a text as a shop owner writes it), one canonical way out (what is hashed), and its units stand
with it. Numbers never pass through a float: a decimal in YAML arrives here as the `Decimal` of its text.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from pydantic import PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from rules.codes import FEWEST, MOST, PLACE
from rules.errors import did_you_mean, nearest
from rules.local_time import moment_us
from schemas.money import CURRENCY_DIGITS, TooManyDecimals, minor_digits, to_minor
from schemas.times import DAY_US, SECOND_US

_MONEY = re.compile(r"(?P<amount>\d{1,12}(?:\.\d{1,4})?) (?P<currency>[A-Za-z]{3})", re.ASCII)
_NEARLY_MONEY = re.compile(r"\W?\s*(?P<amount>\d+(?:[.,]\d+)?)\s*(?:[^\w\s]|[A-Za-z]{3})?")
_NUMBER = re.compile(r"-?\d{1,12}(?:\.\d{1,9})?", re.ASCII)
_PERCENT = re.compile(r"(?P<number>\d{1,6}(?:\.\d{1,6})?) ?%", re.ASCII)
_DURATION = re.compile(r"(?P<number>[1-9]\d{0,5}) ?(?P<unit>[A-Za-z]+?)s?", re.ASCII)
_MOMENT = re.compile(r"(?P<day>\d{4}-\d\d-\d\d)(?:[T ](?P<clock>\d\d:\d\d(?::\d\d)?))?", re.ASCII)
_CODE_PATTERN = re.compile(r"[A-Z0-9#-]{1,48}", re.ASCII)
_CODE_EXAMPLE = "write it like CAFE-####-####-##"
_HOUR = re.compile(r"(?P<hour>\d\d):(?P<minute>\d\d)", re.ASCII)

_UNIT_US = {
    "second": SECOND_US,
    "minute": 60 * SECOND_US,
    "hour": 3600 * SECOND_US,
    "day": DAY_US,
    "week": 7 * DAY_US,
}
_UNIT_MONTHS = {"month": 1, "year": 12}
_UNITS = (*_UNIT_US, *_UNIT_MONTHS)


def mistake(message: str, proposal: str = "") -> PydanticCustomError:
    """Return a validation error that carries a finished message and a proposal."""
    return PydanticCustomError("mistake", "{message}", {"message": message, "proposal": proposal})


def shown(value: object) -> str:
    """Return a value the way a file would spell it, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    text = "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _single(value: object) -> bool:
    return isinstance(value, str | int | Decimal) and not isinstance(value, bool)


class Money(NamedTuple):
    """An amount in minor units of its currency."""

    minor: int
    currency: str

    def __str__(self) -> str:
        digits = minor_digits(self.currency)
        return f"{Decimal(self.minor).scaleb(-digits):.{digits}f} {self.currency}"


def currency_of(info: ValidationInfo) -> str | None:
    """Return the programme's currency from the validation context, None where it is not known."""
    context = info.context or {}
    found: str | None = context.get("currency")
    return found


def parse_money(value: Any, info: ValidationInfo) -> Money:
    """Read ``10.00 EUR``; the currency must be the programme's."""
    wanted = currency_of(info)
    match = _MONEY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        number = _NEARLY_MONEY.fullmatch(str(value)) if _single(value) else None
        amount = number["amount"].replace(",", ".") if number else ""
        proposal = f"write {amount} {wanted or 'EUR'}" if amount else f"write it like 10.00 {wanted or 'EUR'}"
        raise mistake(f"{shown(value)} is no amount of money: number, space, currency", proposal)
    amount, currency = match["amount"], match["currency"]
    if wanted is not None and currency != wanted:
        raise mistake(f"{value} is not in the programme's currency, {wanted}", f"write {amount} {wanted}")
    if currency not in CURRENCY_DIGITS:
        raise mistake(f"{currency} is no currency of ISO 4217", did_you_mean(currency, list(CURRENCY_DIGITS)))
    try:
        return Money(to_minor(Decimal(amount), minor_digits(currency)), currency)
    except TooManyDecimals:
        digits = minor_digits(currency)
        raise mistake(
            f"{value} has more than the {digits} decimals of {currency}", "round it to what one can pay"
        ) from None


class Duration(NamedTuple):
    """A number of units of time. Seconds to weeks have a fixed length; months and years follow the calendar."""

    number: int
    unit: str

    def __str__(self) -> str:
        return f"{self.number} {self.unit}{'' if self.number == 1 else 's'}"

    @property
    def length_us(self) -> int:
        """Microseconds; a day is 24 hours."""
        return self.number * _UNIT_US[self.unit]

    @property
    def months(self) -> int:
        """Calendar months."""
        return self.number * _UNIT_MONTHS[self.unit]


def _parse_duration(value: Any, example: str) -> Duration:
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        counted = isinstance(value, int) and not isinstance(value, bool) and value > 0
        proposal = f"say {value} of what, for example {value} {example.split()[1]}" if counted else ""
        proposal = proposal or f"write it like {example}"
        raise mistake(f"{shown(value)} is no length of time: whole number, space, unit", proposal)
    unit = match["unit"].lower()
    if unit not in _UNITS:
        raise mistake(f"{unit} is no unit of time", did_you_mean(unit, _UNITS))
    return Duration(int(match["number"]), unit)


def parse_fixed(value: Any) -> Duration:
    """Read a duration of fixed length: ``90 days``, ``30 minutes``."""
    duration = _parse_duration(value, "30 minutes")
    if duration.unit in _UNIT_MONTHS:
        days = duration.number * (365 if duration.unit == "year" else 30)
        raise mistake(f"{duration} has no fixed length here", f"write days, for example {days} days")
    return duration


def parse_calendar(value: Any) -> Duration:
    """Read a duration of the calendar: ``12 months``, ``1 year``; kept in months."""
    duration = _parse_duration(value, "12 months")
    if duration.unit not in _UNIT_MONTHS:
        raise mistake(f"{duration} must be in whole months here", "write it like 12 months")
    if duration.months > 1200:
        raise mistake(f"{duration} is too long: at most 1200 months", "for ever is written lifetime")
    return Duration(duration.months, "month")


def parse_span(value: Any) -> Duration:
    """Read a length in whole days or months: ``30 days``, ``12 months``; weeks are kept in days, years in months."""
    duration = _parse_duration(value, "12 months")
    if duration.unit in _UNIT_MONTHS:
        return parse_calendar(value)
    if duration.unit not in ("day", "week"):
        raise mistake(f"{duration} is less than a day", "write it in days or months, like 30 days or 12 months")
    days = duration.number * (7 if duration.unit == "week" else 1)
    if days > 36_500:
        raise mistake(f"{duration} is too long: at most 100 years", "points that never expire are written none")
    return Duration(days, "day")


class MonthDay(NamedTuple):
    """A day of every year; 29 Feb is the last day of a shorter February."""

    month: int
    day: int

    def __str__(self) -> str:
        return f"{self.day} {_MONTHS[self.month - 1]}"


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MONTH_DAY = re.compile(r"(?P<day>\d{1,2}) (?P<month>[A-Za-z]{3})[a-z]*", re.ASCII)


class Stock(NamedTuple):
    """So many pieces in each calendar window, of all stores together or of each."""

    number: int
    every: str  # day | week | month | quarter | year | ever
    per_store: bool

    def __str__(self) -> str:
        window = "" if self.every == "ever" else f" per {self.every}"
        return f"{self.number}{window}{' per store' if self.per_store else ''}"


_STOCK = re.compile(
    r"(?P<number>[1-9]\d{0,8})(?: per (?P<every>day|week|month|quarter|year))?(?P<store> per store)?", re.ASCII
)


def parse_stock(value: Any) -> Stock:
    """Read ``40``, ``40 per month``, ``5 per week per store``."""
    match = _STOCK.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if match is None:
        raise mistake(f"{shown(value)} is no stock", "write it like 40, 40 per month, or 5 per week per store")
    return Stock(int(match["number"]), match["every"] or "ever", match["store"] is not None)


def parse_month_day(value: Any) -> MonthDay:
    """Read ``31 Dec``."""
    match = _MONTH_DAY.fullmatch(value) if isinstance(value, str) else None
    month = match["month"].capitalize() if match else ""
    if match is None or month not in _MONTHS:
        raise mistake(f"{shown(value)} is no day of the year", 'write it like "31 Dec"')
    found = MonthDay(_MONTHS.index(month) + 1, int(match["day"]))
    if not 1 <= found.day <= _MONTH_DAYS[found.month - 1]:
        raise mistake(f"{value} is not in the calendar", 'write it like "31 Dec"')
    return found


def parse_number(value: Any) -> Decimal:
    """Read a decimal exactly, from a number or its text."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal) or not _NUMBER.fullmatch(str(value)):
        raise mistake(f"{shown(value)} is no number", "write it like 3 or 2.5")
    try:
        return Decimal(value)
    except InvalidOperation:  # pragma: no cover - the pattern admits decimals only
        raise mistake(f"{shown(value)} is no number") from None


def plain(number: Decimal) -> str:
    """Return the shortest decimal text: ``2``, ``1.25``, never an exponent."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def parse_factor(value: Any) -> Fraction:
    """Read a factor of at least 1 exactly: ``1.25`` or ``125 %``."""
    percent = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if percent is not None:
        factor = Fraction(percent["number"]) / 100
    else:
        try:
            factor = Fraction(parse_number(value))
        except PydanticCustomError:
            raise mistake(f"{shown(value)} is no factor", "write it like 2, 1.25 or 125 %") from None
    if factor < 1:
        raise mistake(f"a factor of {shown(value)} would take points away; it must be at least 1", _bigger(factor))
    if factor > 1000:
        raise mistake(f"a factor of {shown(value)} is beyond 1000")
    return factor


def _bigger(factor: Fraction) -> str:
    return f"for {factor_text(factor)} more write {factor_text(factor + 1)}" if factor > 0 else "write it like 1.25"


def factor_text(factor: Fraction) -> str:
    """Return the decimal text of a factor that came from a decimal."""
    return plain(Decimal(factor.numerator) / Decimal(factor.denominator))


def parse_share(value: Any) -> Fraction:
    """Read a part of all exactly: ``10 %``, above nothing and below everything."""
    percent = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if percent is None:
        raise mistake(f"{shown(value)} is no part of all", "write it like 10 %")
    share = Fraction(percent["number"]) / 100
    if not 0 < share < 1:
        raise mistake(f"{shown(value)} is nobody, or everybody", "write it like 10 %")
    return share


def share_text(share: Fraction) -> str:
    """Return a part of all as it is written: ``10 %``."""
    return f"{factor_text(share * 100)} %"


class LocalMoment(NamedTuple):
    """A day, or a minute of a day, in the programme's time zone."""

    local: datetime  # naive
    whole_day: bool

    def __str__(self) -> str:
        return self.local.date().isoformat() if self.whole_day else self.local.isoformat()

    def begins_us(self, zone: ZoneInfo) -> int:
        """Return the moment, or the beginning of the day."""
        return moment_us(self.local, zone)

    def ends_us(self, zone: ZoneInfo) -> int:
        """Return the moment, or the end of the day: ``until: 2026-03-31`` includes the 31st."""
        return moment_us(self.local + timedelta(days=1) if self.whole_day else self.local, zone)


def parse_moment(value: Any) -> LocalMoment:
    """Read ``2026-03-01`` or ``2026-03-01 06:00``, in the programme's time zone."""
    match = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise mistake(
            f"{shown(value)} is no date of the programme's time zone",
            "write it like 2026-03-01 or 2026-03-01 06:00, without an offset",
        )
    try:
        clock = time.fromisoformat(match["clock"]) if match["clock"] else time()
        return LocalMoment(datetime.combine(date.fromisoformat(match["day"]), clock), match["clock"] is None)
    except ValueError:
        raise mistake(f"{value} is not in the calendar", "write it like 2026-03-01") from None


def refuse_reversed(begin: LocalMoment, end: LocalMoment) -> None:
    """Refuse a span that is over before it begins."""
    last = end.local + timedelta(days=1) if end.whole_day else end.local
    if last <= begin.local:
        raise mistake(f"until {end} is before from {begin}", "until is the last day that counts")


class HourMinute(NamedTuple):
    """A time of day; 24:00 is the end of the day."""

    hour: int
    minute: int

    def __str__(self) -> str:
        return f"{self.hour:02d}:{self.minute:02d}"

    @property
    def day_us(self) -> int:
        """Microseconds of the wall clock since local midnight."""
        return (self.hour * 60 + self.minute) * 60 * SECOND_US


def parse_hour(value: Any) -> HourMinute:
    """Read ``14:00``."""
    match = _HOUR.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise mistake(f"{shown(value)} is no time of day", 'write it like "14:00"')
    found = HourMinute(int(match["hour"]), int(match["minute"]))
    if found.minute > 59 or found > (24, 0):
        raise mistake(f"{value} is not on the clock", "00:00 to 24:00")
    return found


def parse_word(value: Any) -> str:
    """Read a name, SKU or code; a number is taken as it is spelt."""
    if isinstance(value, bool) or value is None or not isinstance(value, str | int | Decimal):
        quoted = f'put it in quotes if it is meant as text: "{shown(value)}"'
        mend = "write one word, without brackets" if isinstance(value, list | tuple | dict) else quoted
        raise mistake(f"{shown(value)} is no single word", mend)
    text = str(value)
    if not text or text != text.strip() or len(text) > 200:
        raise mistake(f"{shown(value)!r} is empty, too long, or has spaces around it")
    return text


@lru_cache(maxsize=1)
def zone_names() -> tuple[str, ...]:
    """Return every IANA name a programme may use."""
    return tuple(sorted(available_timezones() - {"Factory", "localtime", "posixrules"}))


def parse_zone(value: Any) -> str:
    """Read an IANA time zone name."""
    text = shown(value)
    if isinstance(value, str) and value in zone_names():
        return value
    by_city = {name.rsplit("/", 1)[-1].lower(): name for name in zone_names() if "/" in name}
    city = text.rsplit("/", 1)[-1].strip().lower().replace(" ", "_")
    close = nearest(text, zone_names()) or by_city.get(nearest(city, list(by_city)), "")
    found = by_city.get(city, close)
    raise mistake(f"{text} is no IANA time zone", f"did you mean {found}?" if found else "write it like Europe/Berlin")


def parse_currency(value: Any) -> str:
    """Read an ISO 4217 code."""
    text = shown(value)
    if isinstance(value, str) and value in CURRENCY_DIGITS:
        return value
    raise mistake(f"{text} is no currency of ISO 4217", did_you_mean(text, list(CURRENCY_DIGITS)))


_SLUG = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*", re.ASCII)


def parse_slug(value: Any) -> str:
    """Read an id: lower-case letters, digits, single hyphens and underscores inside."""
    text = parse_word(value)
    if not _SLUG.fullmatch(text) or len(text) > 60:
        better = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]
        raise mistake(f"{text} is no id: lower-case letters, digits and hyphens", f"write {better}" if better else "")
    return text


def _text_schema(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$", "examples": [example]})


def _as_text(value: object) -> str:
    return str(value)


_TEXT = PlainSerializer(_as_text, return_type=str)

MoneyText = Annotated[
    Money, PlainValidator(parse_money), _TEXT, _text_schema(r"\d{1,12}(\.\d{1,4})? [A-Z]{3}", "10.00 EUR")
]
FixedText = Annotated[
    Duration,
    PlainValidator(parse_fixed),
    _TEXT,
    _text_schema(r"[1-9]\d{0,5} (second|minute|hour|day|week)s?", "90 days"),
]
CalendarText = Annotated[
    Duration, PlainValidator(parse_calendar), _TEXT, _text_schema(r"[1-9]\d{0,3} (month|year)s?", "12 months")
]
SpanText = Annotated[
    Duration, PlainValidator(parse_span), _TEXT, _text_schema(r"[1-9]\d{0,4} (day|week|month|year)s?", "12 months")
]
MonthDayText = Annotated[
    MonthDay, PlainValidator(parse_month_day), _TEXT, _text_schema(r"\d{1,2} [A-Z][a-z]{2}", "31 Dec")
]
StockText = Annotated[
    Stock,
    PlainValidator(parse_stock),
    _TEXT,
    WithJsonSchema({"type": ["string", "integer"], "pattern": f"^{_STOCK.pattern}$", "examples": ["40 per month"]}),
]
MomentText = Annotated[
    LocalMoment,
    PlainValidator(parse_moment),
    _TEXT,
    _text_schema(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?)?", "2026-03-01"),
]
HourText = Annotated[HourMinute, PlainValidator(parse_hour), _TEXT, _text_schema(r"([01]\d|2[0-4]):[0-5]\d", "14:00")]
NumberText = Annotated[
    Decimal,
    PlainValidator(parse_number),
    PlainSerializer(plain, return_type=str),
    WithJsonSchema({"type": ["number", "string"], "pattern": r"^-?\d{1,12}(\.\d{1,9})?$"}),
]
FactorText = Annotated[
    Fraction,
    PlainValidator(parse_factor),
    PlainSerializer(factor_text, return_type=str),
    WithJsonSchema(
        {"type": ["number", "string"], "minimum": 1, "pattern": r"^\d{1,6}(\.\d{1,6})?( ?%)?$", "examples": [1.25]}
    ),
]


def parse_code_pattern(value: Any) -> str:
    """Read ``CAFE-####-####-##``: capitals, digits and hyphens as they are, # for what differs."""
    if not isinstance(value, str) or not _CODE_PATTERN.fullmatch(value):
        raise mistake(f"{shown(value)} is no pattern: capitals, digits, hyphens, and # for what differs", _CODE_EXAMPLE)
    places = value.count(PLACE)
    if not FEWEST <= places <= MOST:
        raise mistake(f"{value} has {places} of #, and codes need {FEWEST} to {MOST}", _CODE_EXAMPLE)
    return value


CodePatternText = Annotated[
    str,
    PlainValidator(parse_code_pattern),
    WithJsonSchema({"type": "string", "pattern": r"^[A-Z0-9#-]{1,48}$", "examples": ["CAFE-####-####-##"]}),
]
ShareText = Annotated[
    Fraction,
    PlainValidator(parse_share),
    PlainSerializer(share_text, return_type=str),
    _text_schema(r"\d{1,2}(\.\d{1,6})? ?%", "10 %"),
]
Word = Annotated[str, PlainValidator(parse_word), WithJsonSchema({"type": ["string", "number"]})]
Slug = Annotated[
    str, PlainValidator(parse_slug), WithJsonSchema({"type": ["string", "integer"], "pattern": f"^{_SLUG.pattern}$"})
]
