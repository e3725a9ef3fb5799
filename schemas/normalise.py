"""From the bytes of an inbound event to a fact in normal form, or to the reason why not.

A purchase that is plainly right takes a short cut (`schemas.plain_purchase`); any other event is validated in one step. Only
when that fails the event is examined step by step, so that the owner of the source reads the first thing that is wrong, with
its field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from schemas import facts
from schemas.cloudevent import Envelope
from schemas.envelope import ENGINE_SOURCES, Fact, body_hash
from schemas.money import TooManyDecimals, minor_digits, to_minor
from schemas.plain_purchase import plain_purchase, scaled
from schemas.rejects import Rejected
from schemas.times import SECOND_US, canonical, to_us

MAX_EVENT_BYTES = 900_000  # below the broker's default of 1 MiB for a record, with room for headers
MAX_CLOCK_SKEW_US = 300 * SECOND_US


@dataclass(frozen=True, slots=True)
class Policy:
    """What one inbound topic may carry."""

    topic: str
    types: frozenset[str]
    max_clock_skew_us: int = MAX_CLOCK_SKEW_US
    max_bytes: int = MAX_EVENT_BYTES


OPEN_POLICY = Policy("events", frozenset(facts.INBOUND_TYPES))


class _PurchaseEvent(Envelope):
    type: Literal["stammgast.purchase.v1"]
    data: facts.Purchase


class _RefundEvent(Envelope):
    type: Literal["stammgast.refund.v1"]
    data: facts.Refund


class _VisitEvent(Envelope):
    type: Literal["stammgast.visit.v2"]
    data: facts.Visit


class _VisitV1Event(Envelope):
    type: Literal["stammgast.visit.v1"]
    data: facts.VisitV1


class _ReviewEvent(Envelope):
    type: Literal["stammgast.review.v1"]
    data: facts.Review


class _ReferralEvent(Envelope):
    type: Literal["stammgast.referral.v1"]
    data: facts.Referral


class _ActivityEvent(Envelope):
    type: Literal["stammgast.activity.v1"]
    data: facts.Activity


class _JoinedEvent(Envelope):
    type: Literal["stammgast.joined.v1"]
    data: facts.Joined


class _LeftEvent(Envelope):
    type: Literal["stammgast.left.v1"]
    data: facts.Left


class _SegmentEvent(Envelope):
    type: Literal["stammgast.segment.v1"]
    data: facts.Segment


class _TierOverrideEvent(Envelope):
    type: Literal["stammgast.tier_override.v1"]
    data: facts.TierOverride


class _ClaimEvent(Envelope):
    type: Literal["stammgast.claim.v1"]
    data: facts.Claim


class _TransferEvent(Envelope):
    type: Literal["stammgast.transfer.v1"]
    data: facts.Transfer


class _NoticeOutcomeEvent(Envelope):
    type: Literal["stammgast.notice_outcome.v1"]
    data: facts.NoticeOutcome


class _CostEvent(Envelope):
    type: Literal["stammgast.cost.v1"]
    data: facts.Cost


class _ProfileEvent(Envelope):
    type: Literal["stammgast.profile.v1"]
    data: facts.Profile


class _LinkEvent(Envelope):
    type: Literal["stammgast.link.v1"]
    data: facts.Link


class _MergeEvent(Envelope):
    type: Literal["stammgast.merge.v1"]
    data: facts.Merge


class _AdjustmentEvent(Envelope):
    type: Literal["stammgast.adjustment.v1"]
    data: facts.Adjustment


class _RedemptionEvent(Envelope):
    type: Literal["stammgast.redemption.v1"]
    data: facts.Redemption


class _RedemptionCancelledEvent(Envelope):
    type: Literal["stammgast.redemption_cancelled.v1"]
    data: facts.RedemptionEnd


class _RedemptionFulfilledEvent(Envelope):
    type: Literal["stammgast.redemption_fulfilled.v1"]
    data: facts.RedemptionEnd


_Event = (
    _PurchaseEvent
    | _RefundEvent
    | _VisitEvent
    | _VisitV1Event
    | _ReviewEvent
    | _ReferralEvent
    | _ActivityEvent
    | _JoinedEvent
    | _LeftEvent
    | _ClaimEvent
    | _TransferEvent
    | _NoticeOutcomeEvent
    | _CostEvent
    | _ProfileEvent
    | _LinkEvent
    | _MergeEvent
    | _SegmentEvent
    | _TierOverrideEvent
    | _AdjustmentEvent
    | _RedemptionEvent
    | _RedemptionCancelledEvent
    | _RedemptionFulfilledEvent
)  # fmt: skip
EVENT_MODELS: dict[str, type[Envelope]] = {
    facts.PURCHASE: _PurchaseEvent,
    facts.REFUND: _RefundEvent,
    facts.VISIT: _VisitEvent,
    facts.VISIT_V1: _VisitV1Event,
    facts.REVIEW: _ReviewEvent,
    facts.REFERRAL: _ReferralEvent,
    facts.ACTIVITY: _ActivityEvent,
    facts.JOINED: _JoinedEvent,
    facts.LEFT: _LeftEvent,
    facts.CLAIM: _ClaimEvent,
    facts.SEGMENT: _SegmentEvent,
    facts.TRANSFER: _TransferEvent,
    facts.NOTICE_OUTCOME: _NoticeOutcomeEvent,
    facts.COST: _CostEvent,
    facts.PROFILE: _ProfileEvent,
    facts.LINK: _LinkEvent,
    facts.MERGE: _MergeEvent,
    facts.TIER_OVERRIDE: _TierOverrideEvent,
    facts.ADJUSTMENT: _AdjustmentEvent,
    facts.REDEMPTION: _RedemptionEvent,
    facts.REDEMPTION_CANCELLED: _RedemptionCancelledEvent,
    facts.REDEMPTION_FULFILLED: _RedemptionFulfilledEvent,
}
_EVENT: TypeAdapter[_Event] = TypeAdapter(Annotated[_Event, Field(discriminator="type")])
_ENVELOPE = TypeAdapter(Envelope)

# A JSON number with a fraction or an exponent would go through a binary double on the fast path, which keeps some 15
# digits; an event that has one is parsed with exact decimals instead. Texts and whole numbers are exact anyhow.
_FRACTION = re.compile(rb'"\s*:\s*-?\d+[.eE]')
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_PHONE = re.compile(r"(?:\+|00)[\s().\-/]*(?:\d[\s().\-/]*){7,15}")


def normalise(raw: bytes, recorded_at: str, recorded_at_us: int, policy: Policy = OPEN_POLICY) -> Fact:
    """Return the fact that an inbound event says.

    Args:
        raw: the record's value: a CloudEvent in structured JSON.
        recorded_at: canonical text of now, whole milliseconds, with the same in microseconds beside it.
        policy: what the topic it came by may carry.

    Raises:
        Rejected: with reason, field and a message for the owner of the source.
    """
    if len(raw) > policy.max_bytes:
        raise Rejected("too_large", f"{len(raw):,} bytes, at most {policy.max_bytes:,} are taken: send a smaller event")
    if facts.PURCHASE in policy.types:
        plain = plain_purchase(raw, recorded_at, recorded_at_us + policy.max_clock_skew_us)
        if plain is not None:
            return plain
    try:
        return _validated(raw, recorded_at, recorded_at_us, policy)
    except Rejected:
        raise
    except Exception as fault:  # whatever nobody thought of: one event must not stop all the others
        raise Rejected(
            "invalid", f"not understood, by a fault of ours ({type(fault).__name__}): redrive it after the next upgrade"
        ) from fault


def _validated(raw: bytes, recorded_at: str, recorded_at_us: int, policy: Policy) -> Fact:
    """Return the fact of any event, by the models; see `normalise`."""
    try:
        event = _EVENT.validate_python(_exact(raw)) if _FRACTION.search(raw) else _EVENT.validate_json(raw)
    except (ValidationError, ValueError, RecursionError) as error:
        _examine(raw)
        raise Rejected("invalid", "not understood") from error
    time, time_us = _occurred_at(event.time)
    _check_permission(event, policy)
    if time_us > recorded_at_us + policy.max_clock_skew_us:
        raise Rejected("future_time", f"{event.time} lies in the future: set the clock of this source", "time")
    _check_subject(event)
    try:
        data = _form(event)
    except TooManyDecimals as error:
        raise Rejected("too_many_decimals", f"{error} of {event.data.currency}", "data") from error  # type: ignore[union-attr]
    except OverflowError as error:
        raise Rejected("invalid", str(error), "data") from error
    digest = body_hash(event.type, event.subject, time, data)
    return Fact(event.id, event.source, event.type, event.subject, time, recorded_at, digest, data, time_us)


def _exact(raw: bytes) -> Any:
    return json.loads(raw, parse_float=Decimal)


def _occurred_at(time: str) -> tuple[str, int]:
    try:
        return canonical(time.upper())
    except (ValueError, OverflowError) as error:
        raise Rejected("invalid", f"{time} is no moment of the calendar", "time") from error


def _check_permission(event: _Event, policy: Policy) -> None:
    if event.source.startswith(ENGINE_SOURCES):
        raise Rejected("not_allowed", f"sources {ENGINE_SOURCES}* belong to the engine: name your own", "source")
    if event.type not in policy.types:
        raise Rejected("not_allowed", f"{policy.topic} does not carry {event.type}", "type")


#: What names a person beside the subject: a member, or who of the staff did something.
_KEYS = ("referrer", "operator", "member", "into", "to")


def _check_subject(event: _Event) -> None:
    subject = event.subject
    if subject is None:
        if event.type not in facts.ANONYMOUS_TYPES and event.type not in facts.HOUSE_TYPES:
            raise Rejected("invalid", f"a {facts.short_name(event.type)} needs a subject: the member's key", "subject")
    elif event.type in facts.HOUSE_TYPES:
        raise Rejected("invalid", f"a {facts.short_name(event.type)} is the house's own: it has no subject", "subject")
    else:
        check_key(subject, "subject")
    data: facts.FactData = event.data
    for name in _keys_in(type(data)):
        key = getattr(data, name)
        if isinstance(key, str):
            check_key(key, f"data.{name}")


@cache
def _keys_in(form: type[facts.FactData]) -> tuple[str, ...]:
    """Those of `_KEYS` that a type has: to ask a model for a field that it lacks takes 2 us, a tenth of all that is done here."""
    return tuple(name for name in _KEYS if name in form.model_fields)


def check_key(key: str, field: str) -> None:
    """Refuse a member key that looks like an e-mail address or a phone number, or like the key of an order or a stock.

    Raises:
        Rejected: ``personal_subject`` or ``invalid``.
    """
    if key.startswith("order:"):
        raise Rejected("invalid", "keys that begin with order: belong to anonymous sales", field)
    if key.startswith("stock:"):
        raise Rejected("invalid", "keys that begin with stock: belong to rewards", field)
    if key.startswith("cost:"):
        raise Rejected("invalid", "keys that begin with cost: belong to costs", field)
    if ("@" in key and _EMAIL.search(key)) or (key[0] in "+0" and _PHONE.fullmatch(key)):
        # The key itself stays out of the message: messages are read by people who may not see it.
        raise Rejected("personal_subject", "looks like an e-mail address or a phone number: use an opaque key", field)


def _form(event: _Event) -> Any:
    match event:
        case _PurchaseEvent():
            return _purchase(event.data, event.source)
        case _RefundEvent():
            return _refund(event.data, event.source)
        case _VisitEvent():
            return _visit(event.data, event.time)
        case _ClaimEvent():
            return {"order_source": event.data.order_source or event.source, "order_id": event.data.order_id}
        case _ActivityEvent():
            return {"name": event.data.name, "attributes": _attributes(event.data.attributes)}
        case _CostEvent():
            return _cost(event.data)
        case _ProfileEvent():
            said = event.data.model_dump()
            return said | {
                "consents": dict(sorted(event.data.consents.items())),
                "attributes": _attributes(event.data.attributes),
            }
        case _RedemptionEvent():
            named = event.data.order_id is not None
            return event.data.model_dump() | (
                {"order_source": event.data.order_source or event.source} if named else {}
            )
        case _RedemptionCancelledEvent() | _RedemptionFulfilledEvent():
            if event.data.code is not None:
                return {"redemption": "", "redemption_source": "", "code": event.data.code}
            return {
                "redemption": event.data.redemption,
                "redemption_source": event.data.redemption_source or event.source,
            }
        case _:
            return event.data.model_dump()


def _visit(data: facts.Visit, time: str) -> facts.VisitForm:
    dwell_seconds = None
    if data.left is not None:
        try:
            left_us, time_us = canonical(data.left.upper())[1], canonical(time.upper())[1]
        except (ValueError, OverflowError) as error:
            raise Rejected("invalid", f"{data.left} is no moment of the calendar", "data.left") from error
        if left_us < time_us:
            raise Rejected("invalid", "the visit was over before it began: `time` is when it began", "data.left")
        dwell_seconds = (left_us - time_us) // SECOND_US
    return {"store": data.store, "dwell_seconds": dwell_seconds, "seen_by": data.seen_by}


def _attributes(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plain(value) if isinstance(value, Decimal) else value for name, value in sorted(given.items())}


def plain(number: Decimal) -> str:
    """Return the shortest plain decimal text: 6 for 6.0, 2.5 for 2.50, 1200 for 1.2E3."""
    text = str(number)
    if "E" in text:
        text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _digits(currency: str) -> int:
    try:
        return minor_digits(currency)
    except KeyError:
        raise Rejected("unknown_currency", f"{currency[:16]!r} is no ISO 4217 code", "data.currency") from None


def _purchase(data: facts.Purchase, source: str) -> facts.PurchaseForm:
    digits = _digits(data.currency)
    payment = data.payment
    form: facts.PurchaseForm = {
        "order_source": data.order_source or source,
        "order_id": data.order_id,
        "lines": [_line(line, index, digits) for index, line in enumerate(data.lines)],
        "total_minor": to_minor(data.total, digits),
        "currency": data.currency,
        "channel": data.channel,
        "store": data.store,
        "paid_with_points_minor": _optional_minor(payment.points, digits) or 0 if payment else 0,
        "paid_with_voucher_minor": _optional_minor(payment.voucher, digits) or 0 if payment else 0,
    }
    if payment is not None and payment.vouchers is not None:
        form["vouchers"] = payment.vouchers
    return form


def _line(line: facts.PurchaseLine, index: int, digits: int) -> facts.LineForm:
    quantity, price = plain(line.quantity), plain(line.unit_price)
    discount = to_minor(line.discount, digits) if line.discount is not None else 0
    amount = line_amount(quantity, price, discount, digits)
    if amount < 0:
        raise Rejected("invalid", "the discount is more than the line", f"data.lines.{index}.discount")
    return {
        "sku": line.sku,
        "category": line.category,
        "quantity": quantity,
        "unit_price": price,
        "discount_minor": discount,
        "amount_minor": amount,
    }


def line_amount(quantity: str, price: str, discount_minor: int, digits: int) -> int:
    """Return half_up(quantity x price - discount) in minor units, exactly; both are plain decimal text."""
    product, decimals = 1, 0
    for text in (quantity, price):
        whole, _, fraction = text.partition(".")
        product *= int(whole + fraction)
        decimals += len(fraction)
    return scaled(product, decimals, discount_minor, digits)


def _optional_minor(amount: Decimal | None, digits: int) -> int | None:
    return None if amount is None else to_minor(amount, digits)


def _refund(data: facts.Refund, source: str) -> facts.RefundForm:
    digits = _digits(data.currency)
    return {
        "order_source": data.order_source or source,
        "order_id": data.order_id,
        "lines": None if data.lines is None else [_refund_line(line, digits) for line in data.lines],
        "amount_minor": _optional_minor(data.amount, digits),
        "total_minor": _optional_minor(data.total, digits),
        "currency": data.currency,
        "channel": data.channel,
        "store": data.store,
    }


def _cost(data: facts.Cost) -> facts.CostForm:
    return {
        "day": data.day,
        "kind": data.kind,
        "foreseen": data.foreseen,
        "amount_minor": to_minor(data.amount, _digits(data.currency)),
        "currency": data.currency,
        "rule": data.rule,
    }


def _refund_line(line: facts.RefundLine, digits: int) -> facts.RefundLineForm:
    return {
        "line": line.line,
        "sku": line.sku,
        "quantity": None if line.quantity is None else plain(line.quantity),
        "amount_minor": _optional_minor(line.amount, digits),
    }


def _examine(raw: bytes) -> None:
    """Raise the first thing that is wrong with an event the fast path refused."""
    try:
        event = _exact(raw)
    except (ValueError, RecursionError) as error:
        raise Rejected("not_json", f"not JSON: {error}") from error
    if not isinstance(event, dict):
        raise Rejected("not_a_cloudevent", "a CloudEvent is a JSON object with specversion, id, source, type and time")
    _examine_time(event)
    try:
        envelope = _ENVELOPE.validate_python(event)
    except ValidationError as error:
        field, message = _first(error)
        raise Rejected("not_a_cloudevent", message, field) from error
    if envelope.type not in facts.DATA_MODELS:
        if envelope.type in facts.ENGINE_TYPES:
            raise Rejected("not_allowed", f"{envelope.type} is written by the engine alone", "type")
        raise Rejected("unknown_type", f"no type {envelope.type!r}: known are {', '.join(facts.INBOUND_TYPES)}", "type")
    try:
        EVENT_MODELS[envelope.type].model_validate(event)
    except ValidationError as error:
        field, message = _first(error)
        if envelope.type in facts.PERSONAL_TYPES:
            field = _known_part(field)
        too_fine = error.errors()[0]["type"] == "decimal_max_places"
        raise Rejected("too_many_decimals" if too_fine else "invalid", message, field) from error


def _known_part(field: str) -> str:
    """Return a path as far as it has our own names: what stands below them in a profile was chosen by whoever wrote it."""
    known: list[str] = []
    for part in field.split("."):
        if part not in ("data", "attributes", *facts.PROFILE_NAMES):
            break
        known.append(part)
    return ".".join(known)


def _examine_time(event: dict[str, Any]) -> None:
    """A time without an offset has a reason of its own: it is the most frequent mistake, and guessing would move points."""
    time = event.get("time")
    if isinstance(time, str):
        try:
            to_us(time.upper())
        except ValueError as error:
            if "has no offset" in str(error):
                raise Rejected(
                    "naive_time", f"{time} has no offset: write 2026-03-01T10:00:00+01:00", "time"
                ) from error


def _first(error: ValidationError) -> tuple[str, str]:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return ".".join(str(part) for part in first["loc"]), first["msg"]
