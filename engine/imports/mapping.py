"""The language of a mapping: which columns of a till's export become which fields of which events.

A text is taken as it is, with `<Column>` standing for what the row has in that column. Nothing here runs code, and a key
that is not known is an error. `schemas/json/import/mapping.json` is this as JSON Schema, for editors.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from schemas.facts import HOUSE_TYPES, INBOUND_TYPES, PERSONAL_TYPES, PURCHASE, REFUND, SHORT_NAMES, STAFF_TYPES
from schemas.money import CURRENCY_DIGITS
from schemas.upcasting import UPCASTERS

#: Short names of the types that an export may hold, in their newest version. Staff have their own way in, and a profile would lie
#: in a file in clear text.
TYPES = {
    SHORT_NAMES[name]: name
    for name in INBOUND_TYPES
    if name not in {*STAFF_TYPES, *HOUSE_TYPES, *PERSONAL_TYPES, *UPCASTERS}
}
#: Types whose rows stand for goods and money, so that they have lines.
WITH_LINES = frozenset({SHORT_NAMES[PURCHASE], SHORT_NAMES[REFUND]})


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _said(given: Any) -> Any:
    """A plain text or number stands for `from`."""
    if isinstance(given, bool):
        return {"from": "true" if given else "false"}
    return {"from": str(given)} if isinstance(given, str | int | Decimal) else given


def _text(given: Any) -> Any:
    if isinstance(given, bool):
        return "true" if given else "false"
    return str(given) if isinstance(given, int | Decimal) else given


Said = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | int | Decimal | bool)]
Character = Annotated[str, Field(min_length=1, max_length=1)]
Factor = Annotated[Decimal, Field(gt=0, lt=10**9)]


class ValueOf(_Strict):
    """A value with what is done to it, in this order: cut, case, table, padding, number."""

    from_: Said = Field(alias="from", description="text, with <Column> where the row's own value goes")
    cut_begin: str | None = Field(None, min_length=1, description="taken off the beginning, where it stands there")
    cut_end: str | None = Field(None, min_length=1, description="taken off the end, where it stands there")
    case: Literal["upper", "lower"] | None = None
    table: dict[Said, Said] | None = Field(None, description="what stands for what; an empty value is looked up, too")
    otherwise: Said | None = Field(None, description="what is not in the table; without it that is an error")
    zeros_to: Annotated[int, Field(ge=1, le=64)] | None = Field(None, description="filled with zeros to this length")
    times: Factor | None = Field(None, description="a number is multiplied by this")
    divided_by: Factor | None = Field(None, description="a number is divided by this, exactly: cents by 100")
    without_sign: bool = Field(False, description="a number below zero is taken as the one above")
    is_: Literal["text", "number", "whole", "truth"] | None = Field(
        None, alias="is", description="what it is, where the field takes several kinds (attributes)"
    )

    @model_validator(mode="after")
    def _otherwise_needs_a_table(self) -> Self:
        if self.otherwise is not None and self.table is None:
            raise ValueError("`otherwise` says what is not in a `table`, and there is none")
        return self


Value = Annotated[ValueOf, BeforeValidator(_said, json_schema_input_type=str | int | Decimal | bool | ValueOf)]


class Test(_Strict):
    """What a column must be; all that is said must hold."""

    __test__ = False

    is_: list[Said] | None = Field(None, alias="is", description="one of these")
    is_not: list[Said] | None = Field(None, description="none of these")
    begins_with: Said | None = None
    empty: bool | None = None
    below: Decimal | None = Field(None, description="a number below this")
    above: Decimal | None = Field(None, description="a number above this")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("a test says one of is, is_not, begins_with, empty, below, above")
        return self


def _test(given: Any) -> Any:
    """A text means: is this; a list: is one of these."""
    if isinstance(given, bool):
        return {"is": ["true" if given else "false"]}
    if isinstance(given, str | int | Decimal):
        return {"is": [given]}
    if isinstance(given, list):
        return {"is": given}
    if isinstance(given, dict):
        lists = {key: [given[key]] for key in ("is", "is_not") if isinstance(given.get(key), str | int | Decimal)}
        return given | lists
    return given


When = dict[str, Annotated[Test, BeforeValidator(_test, json_schema_input_type=str | int | list[str | int] | Test)]]


class Table(_Strict):
    """How the file is written."""

    format: Literal["csv", "jsonl"] = "csv"
    encoding: str = Field("utf-8", description="as Python names it: utf-8, cp1252, latin-1, utf-16")
    delimiter: Character = Field(",", description='csv: ";" or "\\t" for many tills')
    quote: Character = Field('"', description="csv: what stands around fields; doubled inside them")
    skip: Annotated[int, Field(ge=0, le=1_000)] = Field(0, description="csv: lines before the header")
    header: Annotated[list[Said], Field(min_length=1)] | None = Field(
        None, description="csv: names of the columns, where the file has no line with them"
    )
    items: str | None = Field(
        None,
        description="jsonl: the list of lines in each receipt; its fields are <items.sku>, with the list's own name",
    )
    decimal: Literal[".", ","] = Field(".", description="between whole and fraction")
    thousands: Literal[".", ",", " ", "'"] | None = Field(None, description="between groups of three digits")

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.thousands == self.decimal:
            raise ValueError("`decimal` and `thousands` are the same character")
        if self.format == "csv" and self.items is not None:
            raise ValueError("`items` belongs to jsonl: a row of a csv has no list")
        csv_only = {"delimiter", "quote", "skip", "header"} & self.model_fields_set
        if self.format == "jsonl" and csv_only:
            raise ValueError(f"`{min(csv_only)}` belongs to csv")
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ValueError(f"no encoding is called {self.encoding!r}: utf-8, cp1252, latin-1, utf-16") from None
        return self


def _zone(name: str | None) -> str | None:
    if name is not None:
        try:
            ZoneInfo(name)
        except (OSError, ValueError, KeyError):  # what zoneinfo raises depends on how the name is wrong
            raise ValueError(f"no time zone is called {name!r}: write it like Europe/Berlin") from None
    return name


class TimeOf(_Strict):
    """When it happened."""

    from_: Said = Field(alias="from", description="text with <Column>, such as <Date> <Time>")
    format: str = Field(
        "iso", description="iso, seconds or milliseconds since 1970, or codes as in %d.%m.%Y %H:%M:%S (strftime's)"
    )
    zone: Annotated[str | None, AfterValidator(_zone)] = Field(None, description="of local times: Europe/Berlin")
    twice: Literal["earlier", "later"] = Field("earlier", description="which of two, when clocks are set back")

    @model_validator(mode="after")
    def _has_an_offset(self) -> Self:
        if "%" in self.format and "%z" not in self.format and self.zone is None:
            raise ValueError("times of this format are local: say their `zone`, such as Europe/Berlin")
        if "%" not in self.format and self.format not in ("iso", "seconds", "milliseconds"):
            raise ValueError("a format is iso, seconds, milliseconds, or codes such as %d.%m.%Y %H:%M")
        return self


class LeftOut(_Strict):
    """Rows that become no event."""

    reason: Annotated[str, Field(min_length=1, max_length=60)]
    when: When = Field(min_length=1)
    worth: Value | None = Field(
        None, description="its money for the account; default: as the first `line` reads it; 0 for another currency's"
    )


class LineOf(_Strict):
    """One row as a line of its receipt; its price is `unit_price`, or `amount` for the whole line."""

    sku: Value | None = None
    category: Value | None = None
    quantity: Value = Field(default_factory=lambda: ValueOf(**{"from": "1"}))
    unit_price: Value | None = None
    amount: Value | None = Field(None, description="money for the whole line, before the discount")
    discount: Value | None = Field(None, description="for the whole line")
    line: Value | None = Field(None, description="of a refund: number of the order's line, from 1")

    @model_validator(mode="after")
    def _has_one_price(self) -> Self:
        if (self.unit_price is None) == (self.amount is None):
            raise ValueError("a line has either `unit_price` or `amount`")
        return self


Nested = dict[str, Value]


class EventOf(_Strict):
    """Events of one type out of the rows for which `when` holds; the first such takes a row."""

    type: str
    when: When = Field(default_factory=dict)
    id: Value = Field(description="tells events of one source apart, for ever; rows of one receipt have the same")
    source: Value | None = Field(None, description="default: that of the mapping")
    member: Value | None = Field(None, description="opaque key; a purchase without it is an anonymous sale")
    time: TimeOf | None = Field(None, description="default: that of the mapping")
    data: dict[str, Annotated[Value | Nested, Field(union_mode="left_to_right")]] = Field(
        default_factory=dict, description="fields of the type, by their names"
    )
    line: LineOf | None = Field(None, description="of a purchase or refund: what each row says")
    find_order: bool = Field(
        False,
        description="of a refund without an order_id: take the member's newest purchase of that SKU in this file",
    )

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        if self.type not in TYPES:
            raise ValueError(f"an export holds no events of type {self.type!r}: {', '.join(TYPES)}")
        if self.type == "purchase" and self.line is None:
            raise ValueError("a purchase has a `line`: what each row of the receipt says")
        if self.line is not None and self.type not in WITH_LINES:
            raise ValueError(f"a {self.type} has no `line`: that is for purchase and refund")
        if self.find_order and (self.type != "refund" or self.line is None or self.line.sku is None):
            raise ValueError("`find_order` is for a refund whose `line` names a `sku`")
        return self


class Mapping(_Strict):
    """A mapping file."""

    mapping: Annotated[str, Field(min_length=1, max_length=128)] = Field(description="its name")
    source: Value = Field(description="who numbers the events, such as urn:my-shop:till-1; never changed later")
    currency: str
    file: Table = Table()
    time: TimeOf
    leave_out: list[LeftOut] = Field(default_factory=list, description="looked at first, in this order")
    events: list[EventOf] = Field(min_length=1)

    @model_validator(mode="after")
    def _knows_its_currency(self) -> Self:
        if self.currency not in CURRENCY_DIGITS:
            raise ValueError(f"no currency has the code {self.currency!r}: ISO 4217, such as EUR")
        return self
