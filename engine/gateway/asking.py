"""What a request's body says, exactly: amounts are decimals, unknown keys are refused with the nearest known one."""

from __future__ import annotations

import difflib
import json
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.gateway.problems import Problem
from schemas.cloudevent import RFC3339
from schemas.facts import MAX_LINES, Money, Payment, PurchaseLine, Token

Key = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
RequestId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f|]+$")]
Source = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f|]+$")]
Time = Annotated[str, Field(pattern=RFC3339)]
Asked = TypeVar("Asked", bound="Ask")


class Ask(BaseModel):
    """What all bodies share."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Basket(Ask):
    """What is about to be bought."""

    lines: Annotated[list[PurchaseLine], Field(min_length=1, max_length=MAX_LINES)]
    total: Money | None = Field(None, description="what will be charged; default: the sum of the lines")
    currency: str | None = Field(None, description="ISO 4217 code; default: the programme's")
    channel: Literal["pos", "web", "app"] = "pos"
    store: Token | None = None
    payment: Payment | None = None


class QuoteAsk(Ask):
    """What would this basket earn?"""

    member: Key | None = Field(None, description="card, app account or member; null: somebody of whom nothing is known")
    basket: Basket
    time: Time | None = Field(None, description="when it will be bought, RFC 3339 with an offset; default: now")


class RedemptionAsk(Ask):
    """A member wants to spend points: on a reward, or a number of them."""

    member: Key = Field(description="card, app account or member")
    reward: Token | None = Field(None, description="id of a reward of the programme")
    points: Annotated[int, Field(ge=1, le=10**9, strict=True)] | None = None
    id: RequestId | None = Field(
        None, description="your own id of this redemption; else the header Idempotency-Key is it"
    )
    source: Source | None = Field(None, description="who asks; default: the one source that the key speaks for")
    time: Time | None = Field(None, description="when it was wanted, RFC 3339 with an offset; default: now")
    store: Token | None = None
    order_id: Token | None = Field(None, description="the order that the points pay a part of")
    order_source: Token | None = None


class VoucherAsk(Ask):
    """A till takes a voucher: is it the member's, and still good?"""

    member: Key = Field(description="card, app account or member")
    id: RequestId | None = Field(None, description="your own id of this use; else the header Idempotency-Key is it")
    source: Source | None = Field(None, description="who asks; default: the one source that the key speaks for")
    time: Time | None = Field(None, description="when it was used, RFC 3339 with an offset; default: now")


def read(model: type[Asked], body: bytes) -> Asked:
    """The body as a model. Errors: Problem not_json, bad_request."""
    try:
        said: Any = json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise Problem("not_json", f"the body is no JSON: {error}") from error
    try:
        return model.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        message = first["msg"]
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(first["loc"][-1]), model.model_fields, n=1)
            message = "there is no such key" + (f": did you mean {near[0]}?" if near else "")
        raise Problem("bad_request", message, field) from error
