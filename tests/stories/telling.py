"""One fact of a story: few words in the file, a whole CloudEvent on the road."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from pydantic_core import PydanticCustomError

from rules.errors import did_you_mean
from rules.values import parse_moment
from schemas import facts
from schemas.times import to_text

# What a word behind the type means: `refund: o1` is about order o1.
WORDS = {
    "purchase": "order_id", "refund": "order_id", "claim": "order_id", "visit": "store", "review": "sku",
    "referral": "referrer", "activity": "name", "joined": "via", "link": "member", "merge": "into", "transfer": "to",
    "redemption": "reward", "redemption_cancelled": "redemption", "redemption_fulfilled": "redemption",
    "adjustment": "points", "tier_override": "tier", "segment": "segment", "notice_outcome": "notice",
}  # fmt: skip
ENVELOPE = ("at", "who", "id", "source")
TICK, FORGET = "tick", "forget"
TILL = "urn:till:7"
_LINE = re.compile(
    r"(?:(?P<quantity>[\d.]+) x )?(?P<sku>\S+) (?P<price>[\d.]+)(?: less (?P<discount>[\d.]+))?(?: in (?P<category>\S+))?"
)
_RETURN = re.compile(r"(?P<quantity>[\d.]+) x (?P<sku>\S+)")


class EventError(ValueError):
    """A fact that cannot be read: under which key, why, and how to mend it."""

    def __init__(self, key: str, message: str, proposal: str = "") -> None:
        super().__init__(message)
        self.key, self.proposal = key, proposal


@dataclass(slots=True)
class Event:
    """A fact as the story tells it; ``name`` is its short type, ``tick`` or ``forget``."""

    name: str
    at: str
    who: str | None
    id: str | None
    source: str
    data: dict[str, Any]

    def moment(self, zone: ZoneInfo) -> str:
        """Return its time with an offset; what is no local time of a story is left as it stands."""
        try:
            return to_text(parse_moment(self.at).begins_us(zone))
        except PydanticCustomError:
            return self.at

    def encoded(self, number: int, zone: ZoneInfo) -> bytes:
        """Return the CloudEvent, the ``number``-th of its story."""
        event = {
            "specversion": "1.0",
            "id": self.id or f"e{number}",
            "source": self.source,
            "type": f"stammgast.{self.name}.v1",
            "time": self.moment(zone),
            "data": self.data,
        }
        return orjson.dumps(event if self.who is None else event | {"subject": self.who})


def names() -> list[str]:
    """Return the types that a story can tell."""
    return list(dict.fromkeys(facts.short_name(name) for name in facts.DATA_MODELS))


def read_event(said: Any) -> Event:
    """Read one fact.

    Raises:
        EventError: it is none.
    """
    if not isinstance(said, dict):
        raise EventError("", "a fact is {at: TIME, TYPE: ..., ...}")
    said = dict(said)
    if TICK in said:
        return Event(TICK, str(said[TICK]), None, None, "", {})
    if FORGET in said:
        return Event(FORGET, str(said.get("at")), str(said[FORGET]), None, "", {})
    kinds = [key for key in said if key in names()]
    if len(kinds) != 1:
        unknown = [key for key in said if key not in ENVELOPE]
        hint = did_you_mean(unknown[0], [*names(), TICK], few=0) if unknown and not kinds else ""
        raise EventError("", f"a fact has one type, of {', '.join(names())} or {TICK}", hint)
    if not isinstance(said.get("at"), str):
        raise EventError("at", "at is missing: write it like 2026-03-02 10:00, the programme's local time")
    name = kinds[0]
    word = said.pop(name)
    at, who = said.pop("at"), said.pop("who", "anna")
    event_id, source = said.pop("id", None), said.pop("source", TILL)
    data = said
    if isinstance(word, dict):
        data |= word
    elif word is not None:
        if name not in WORDS:
            raise EventError(name, f"a {name} is not told by one word", "write its keys")
        data[WORDS[name]] = word if name == "adjustment" else str(word)
    data = _filled(name, data)
    subject = None if who in (None, "nobody") else str(who)
    return Event(name, at, subject, None if event_id is None else str(event_id), str(source), data)


def _filled(name: str, data: dict[str, Any]) -> dict[str, Any]:
    """Fill in what stories leave out: the currency, a till, the total of the lines."""
    if name == "purchase":
        lines = [_line(line) for line in data.get("lines", [])]
        total = sum(_amount(line) for line in lines)
        data = {"order_id": "o1", "currency": "EUR", "channel": "pos", "total": total} | data | {"lines": lines}
    elif name == "refund":
        data = {"currency": "EUR"} | data
        if "lines" in data:
            data["lines"] = [_return(line) for line in data["lines"]]
    return {key: _plain(value) for key, value in data.items()}


def _line(line: Any) -> dict[str, Any]:
    if isinstance(line, dict):
        return line
    match = _LINE.fullmatch(str(line))
    if match is None:
        raise EventError("lines", f"{line} is no line: write it like 2 x mug 5.50 less 1.00 in goods")
    found = {"sku": match["sku"], "quantity": match["quantity"] or "1", "unit_price": match["price"]}
    return found | {key: match[key] for key in ("discount", "category") if match[key] is not None}


def _return(line: Any) -> dict[str, Any]:
    if isinstance(line, dict):
        return line
    match = _RETURN.fullmatch(str(line))
    if match is None:
        raise EventError("lines", f"{line} is nothing that came back: write it like 2 x mug")
    return {"sku": match["sku"], "quantity": match["quantity"]}


def _amount(line: dict[str, Any]) -> Decimal:
    exact = Decimal(str(line["quantity"])) * Decimal(str(line["unit_price"])) - Decimal(str(line.get("discount", 0)))
    return exact.quantize(Decimal("0.01"), "ROUND_HALF_UP")


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
