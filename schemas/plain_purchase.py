"""The commonest event, a purchase that says everything plainly, read straight from its JSON: a short cut of `schemas.normalise`.

It takes an event only where nothing is to be refused and nothing can be read in two ways. For any other it gives None, and
the models are asked, which know every form and every reason. Tests hold the two against each other.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from schemas import facts
from schemas.envelope import ENGINE_SOURCES, ORDER_KEY, STOCK_KEY, Fact, body_hash
from schemas.money import CURRENCY_DIGITS, half_up
from schemas.times import canonical, to_us

_TEXT_MOST: Final = 256
_TOKEN_MOST: Final = 128
_WHOLE_MOST: Final = 9
_LONGEST_NUMBER: Final = 22
_CHANNELS: Final = frozenset({"pos", "web", "app"})
_NAMED: Final = facts.PURCHASE.encode()
# No sign, no exponent, no leading zeros: what a Decimal of it is written as again.
_NUMBER: Final = re.compile(r"(0|[1-9][0-9]{0,14})(?:\.([0-9]{1,6}))?")
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class Number(NamedTuple):
    """A number that is not negative: its shortest text, the digits of that as an integer, how many of them are decimals; and
    how many digits stood before and behind the point."""

    plain: str
    digits: int
    decimals: int
    whole: int
    written: int


def plain_purchase(raw: bytes, recorded_at: str, latest_us: int) -> Fact | None:
    """Return the fact of a purchase that is plainly right, None for any other event.

    Args:
        raw: of at most the size that its topic may carry.
        recorded_at: canonical text of now.
        latest_us: a later event is none for here.
    """
    if _NAMED not in raw:
        return None
    try:
        event = orjson.loads(raw)
    except ValueError:
        return None
    if not isinstance(event, dict) or event.get("specversion") != "1.0" or event.get("type") != facts.PURCHASE:
        return None
    fact_id, source, subject = event.get("id"), event.get("source"), event.get("subject")
    if not isinstance(fact_id, str) or not isinstance(source, str):
        return None
    if not _plain_text(fact_id, _TEXT_MOST) or not _is_source(source):
        return None
    if len(event) != 6 + ("subject" in event):
        return None
    if subject is not None and not _is_key(subject):
        return None
    moment = _moment(event.get("time"))
    if moment is None or moment[1] > latest_us:
        return None
    data = _form(event.get("data"), source)
    if data is None:
        return None
    digest = body_hash(facts.PURCHASE, subject, moment[0], data)
    return Fact(fact_id, source, facts.PURCHASE, subject, moment[0], recorded_at, digest, data, moment[1])


def scaled(product: int, decimals: int, discount_minor: int, digits: int) -> int:
    """Return half_up(product / 10^decimals - discount) in minor units of ``digits`` decimals, exactly."""
    if decimals <= digits:
        return product * int(10 ** (digits - decimals)) - discount_minor
    scale = int(10 ** (decimals - digits))
    return half_up(product - discount_minor * scale, scale)


def _form(data: Any, source: str) -> dict[str, Any] | None:
    """What the log holds of a purchase without payment in points or vouchers; as `schemas.normalise` makes it."""
    if not isinstance(data, dict):
        return None
    order_id, currency, channel = data.get("order_id"), data.get("currency"), data.get("channel")
    order_source, store, said = data.get("order_source"), data.get("store"), data.get("lines")
    if not isinstance(currency, str) or not isinstance(channel, str) or not isinstance(said, list):
        return None
    known = 5 + ("store" in data) + ("order_source" in data)
    digits = CURRENCY_DIGITS.get(currency)
    if digits is None or channel not in _CHANNELS or len(data) != known or not _is_token(order_id):
        return None
    if not 0 < len(said) <= facts.MAX_LINES:
        return None
    if (store is not None and not _is_token(store)) or (order_source is not None and not _is_token(order_source)):
        return None
    total = _minor(data.get("total"), digits)
    lines = []
    for one in said:
        line = _line(one, digits)
        if line is None:
            return None
        lines.append(line)
    if total is None:
        return None
    return {
        "order_source": order_source or source,
        "order_id": order_id,
        "lines": lines,
        "total_minor": total,
        "currency": currency,
        "channel": channel,
        "store": store,
        "paid_with_points_minor": 0,
        "paid_with_voucher_minor": 0,
    }


def _line(line: Any, digits: int) -> dict[str, Any] | None:
    if not isinstance(line, dict):
        return None
    sku, category, said = line.get("sku"), line.get("category"), line.get("discount")
    if not _is_token(sku) or (category is not None and not _is_token(category)):
        return None
    quantity, price = _number(line.get("quantity")), _number(line.get("unit_price"))
    discount = 0 if said is None else _minor(said, digits)
    if quantity is None or price is None or discount is None:
        return None
    if len(line) != 3 + ("category" in line) + ("discount" in line):
        return None
    if quantity.digits == 0 or quantity.whole > _WHOLE_MOST or price.whole > _WHOLE_MOST:
        return None
    if quantity.written > facts.QUANTITY_DECIMALS:
        return None
    amount = scaled(quantity.digits * price.digits, quantity.decimals + price.decimals, discount, digits)
    if amount < 0:
        return None
    return {
        "sku": sku,
        "category": category,
        "quantity": quantity.plain,
        "unit_price": price.plain,
        "discount_minor": discount,
        "amount_minor": amount,
    }


def _minor(said: Any, digits: int) -> int | None:
    """Minor units of an amount of money."""
    number = _number(said)
    if number is None or number.written > digits:
        return None
    return number.digits * int(10 ** (digits - number.decimals))


def _number(said: Any) -> Number | None:
    if isinstance(said, str):
        return _read(said) if len(said) <= _LONGEST_NUMBER else None
    if isinstance(said, int) and not isinstance(said, bool) and said >= 0:
        return _read(str(said))
    return None


# Prices and quantities come again and again.
@lru_cache(maxsize=1 << 14)
def _read(text: str) -> Number | None:
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    whole, fraction = found.groups()
    if fraction is None:
        return Number(text, int(whole), 0, len(whole), 0)
    decimals = fraction.rstrip("0")
    plain = f"{whole}.{decimals}" if decimals else whole
    return Number(plain, int(whole + decimals), len(decimals), len(whole), len(fraction))


def _moment(text: Any) -> tuple[str, int] | None:
    """Canonical text and microseconds."""
    if not isinstance(text, str) or _TIME.fullmatch(text) is None:
        return None
    try:
        if len(text) == 27 and text[10] == "T" and text[26] == "Z":
            return text, to_us(text)  # it is canonical already
        return canonical(text.upper())
    except (ValueError, OverflowError):
        return None


def _plain_text(text: str, most: int) -> bool:
    return 0 < len(text) <= most and text.isprintable()


def _is_token(text: Any) -> bool:
    return isinstance(text, str) and _plain_text(text, _TOKEN_MOST) and "|" not in text


# Shops have few tills.
@lru_cache(maxsize=1 << 10)
def _is_source(text: str) -> bool:
    return _plain_text(text, _TEXT_MOST) and "|" not in text and not text.startswith(ENGINE_SOURCES)


def _is_key(text: Any) -> bool:
    """Tell whether it is a member's key beyond doubt: neither like an address nor like a number to call."""
    return (
        isinstance(text, str)
        and _plain_text(text, _TOKEN_MOST)
        and text[0] not in "+0"
        and "@" not in text
        and not text.startswith((ORDER_KEY, STOCK_KEY))
    )
