"""How the console writes numbers, money, days and moments."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from schemas.money import CURRENCY_DIGITS


class Words:
    """The filters of the templates, for one programme's currency and time zone."""

    def __init__(self, currency: str | None, time_zone: str | None) -> None:
        self.currency = currency or ""
        self.zone = ZoneInfo(time_zone or "UTC")
        self._digits = CURRENCY_DIGITS.get(self.currency, 2)

    def money(self, minor: int | None) -> str:
        """An amount in minor units, like 1,234.56 EUR; a dash for nothing."""
        if minor is None:
            return "-"
        return f"{Decimal(minor).scaleb(-self._digits):,.{self._digits}f} {self.currency}".strip()

    def moment(self, value: datetime | None) -> str:
        """A moment on the programme's clock, to the minute; a dash for nothing."""
        return "-" if value is None else value.astimezone(self.zone).strftime("%Y-%m-%d %H:%M")

    def day(self, value: date | datetime | None) -> str:
        """A day of the programme; a dash for nothing."""
        if value is None:
            return "-"
        return (value.astimezone(self.zone).date() if isinstance(value, datetime) else value).isoformat()


def number(value: float | None) -> str:
    """A number with thousands apart; a dash for nothing."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def two(value: float | None) -> str:
    """A number with two digits behind the point; a dash for nothing."""
    return "-" if value is None else f"{value:,.2f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share of one as per cent; a dash for nothing."""
    return "-" if value is None else f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def cell(value: Any) -> str:
    """A value of an answer as the table of the SQL box shows it."""
    match value:
        case None:
            return "-"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return f"{value:.6g}"
        case datetime():
            return value.isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")
        case list() | dict():
            return json.dumps(value, default=str, ensure_ascii=False)
        case bytes():
            return value.hex()
        case _:
            return str(value)


def heat(share: float | None) -> str:
    """The CSS class of a share of one: h0 to h9."""
    return "" if share is None else f"h{min(9, max(0, int(share * 10)))}"


def type_name(fact_type: str) -> str:
    """`stammgast.purchase.v1` as people say it: purchase."""
    return fact_type.removeprefix("stammgast.").rpartition(".")[0].replace("_", " ") or fact_type
