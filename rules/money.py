"""Margin and goals, as a programme file says them: what is kept of a sale, and what the programme is to reach."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, NamedTuple

from pydantic import Field, PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from rules.parts import BY_SHAPE, MAPPING, WORD, Channel, Part
from rules.values import (
    MomentText,
    ShareText,
    Slug,
    Word,
    factor_text,
    mistake,
    parse_money,
    parse_number,
    plain,
    share_text,
    shown,
)
from schemas.metrics import GOAL_METRICS, MONEY, NUMBER, SHARE

_SHARE = re.compile(r"(?P<number>\d{1,3}(?:\.\d{1,6})?) ?%", re.ASCII)
#: How a value of each unit is written.
EXAMPLES = {SHARE: "34 %", MONEY: "12.50 EUR", NUMBER: "1500"}
_HUNDRED = 100


class Measure(NamedTuple):
    """A value of a metric: a fraction of one, minor units, or a number, by its unit; and as it is written."""

    unit: str
    value: Decimal
    text: str

    def __str__(self) -> str:
        return self.text


def parse_measure(value: Any, info: ValidationInfo) -> Measure:
    """Read ``34 %``, ``12.50 EUR`` or ``1500``."""
    if isinstance(value, str) and "%" in value:
        percent = _SHARE.fullmatch(value)
        if percent is None or Decimal(percent["number"]) > _HUNDRED:
            raise mistake(f"{shown(value)} is no part of all", "write it like 34 %, at most 100 %")
        share = Fraction(percent["number"]) / _HUNDRED
        return Measure(SHARE, Decimal(factor_text(share)), share_text(share))
    if isinstance(value, str) and " " in value:
        money = parse_money(value, info)
        return Measure(MONEY, Decimal(money.minor), str(money))
    try:
        number = parse_number(value)
    except PydanticCustomError:
        raise mistake(f"{shown(value)} is no value of a metric", "write it like 34 %, 12.50 EUR or 1500") from None
    return Measure(NUMBER, number, plain(number))


MeasureText = Annotated[
    Measure,
    PlainValidator(parse_measure),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": ["number", "string"], "examples": list(EXAMPLES.values())}),
]


class Margin(Part):
    """The share of sales that is kept after the goods are paid, by category."""

    share: ShareText = Field(description="Of what no category below says, for example 60 %.")
    categories: dict[Word, ShareText] = Field(
        description="Category of the line -> share of its sales that is kept: {beans: 35 %}.", min_length=1
    )


MarginSaid = Annotated[Annotated[ShareText, WORD] | Annotated[Margin, MAPPING], BY_SHAPE]


class Goal(Part):
    """Where a metric stands, where it is to stand, and by when."""

    id: Slug = Field(description="Name of the goal; it stays the same from version to version.")
    metric: Annotated[str, PlainValidator(str), WithJsonSchema({"type": "string", "enum": list(GOAL_METRICS)})] = Field(
        description="What is to change: one of the metrics in docs/costs.md."
    )
    baseline: MeasureText = Field(description="Where it stood when the goal was set: 31 %, 12.50 EUR or 1500.")
    target: MeasureText = Field(description="Where it is to stand.")
    by: MomentText = Field(description="The last day for it: 2026-12-31.")
    store: Word | None = Field(None, description="In this store alone. Default: everywhere.")
    channel: Channel | None = Field(None, description="By this channel alone: pos, web or app. Default: by all.")
