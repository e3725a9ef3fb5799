"""The gateway's addresses. Each reads its request, asks a room of its own, and answers; every refusal is a problem document."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.gateway import redeeming, signing, using
from engine.gateway.asking import Ask, QuoteAsk, RedemptionAsk, VoucherAsk, read
from engine.gateway.card import card, now_of
from engine.gateway.content import BATCH, STRUCTURED, events_of
from engine.gateway.following import Decided
from engine.gateway.keys import ApiKey, Keyring
from engine.gateway.limits import Limiter
from engine.gateway.metrics import GatewayMetrics
from engine.gateway.model import ReadModel
from engine.gateway.problems import MEDIA_TYPE, Problem
from engine.gateway.publishing import Publisher, answer_of, encoded
from engine.gateway.quoting import NOBODY, programme_at, purchase_of, quote
from engine.ledger.member import ProfileUnavailable
from engine.telemetry import Health, raised_at
from schemas.envelope import Fact

#: Bytes of one body. Too small: a till that was offline needs many requests. Too large: memory, times the requests at once.
BODY_BYTES = 8_000_000
ASK_BYTES = 1_000_000
#: How long a redemption waits for its decision, and the longest that `Prefer: wait=N` may ask for.
WAIT_SECONDS, WAIT_MOST = 5.0, 30.0
NOT_READY_RETRY_S = 2
#: Counted for a client that left before it had sent its body.
GONE = 499
REJECTS_DEFAULT, REJECTS_MOST = 100, 1_000

log = structlog.get_logger(__name__)


def wall_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1_000


@dataclass(slots=True)
class Rooms:
    """What the addresses ask. `clock` is the deployment's: `wall`, or else the newest fact's moment counts as now."""

    keyring: Keyring
    publisher: Publisher
    sender: Any
    model: ReadModel
    metrics: GatewayMetrics
    health: Health
    clock: str = "wall"
    wait_seconds: float = WAIT_SECONDS
    now_us: Callable[[], int] = wall_us
    limiter: Limiter = field(default_factory=lambda: Limiter(time.monotonic))


def create(rooms: Rooms, version: str) -> FastAPI:
    """The application."""
    app = FastAPI(
        title="Stammgast gateway",
        version=version,
        summary="Events in, answers for the till.",
        description="Every refusal is application/problem+json (RFC 9457) with reason, field and how to mend it.",
        redoc_url=None,
    )
    for status in (404, 405):
        app.add_exception_handler(status, _not_here)
    app.add_exception_handler(Problem, _refused)
    app.add_middleware(Measured, metrics=rooms.metrics)
    _events(app, rooms)
    _till(app, rooms)
    _owner(app, rooms)
    _state(app, rooms)
    return app


class Measured:
    """Counts and times every request; what nobody expected is answered as a problem, too. Plain ASGI: it adds microseconds."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            status = GONE
        except Exception as error:  # noqa: BLE001  whatever it is, whoever asked gets a sentence
            log.error("a request failed", error=type(error).__name__, raised_at=raised_at(error))
            if not status:
                await Problem("internal", type(error).__name__).response()(scope, receive, watched)
        name = getattr(scope.get("route"), "path", "other")
        self._metrics.requests.labels(name, str(status)).inc()
        self._metrics.seconds.labels(name).observe(time.perf_counter() - began)


async def _refused(_request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)  # noqa: S101 - it is registered for this class
    return problem.response()


async def _not_here(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    code = "wrong_method" if status == 405 else "not_found"
    return Problem(code, f"{request.method} {request.url.path[:200]}").response()


# ----------------------------------------------------------------------------------------------------------- requests


async def _body(request: Request, most: int) -> bytes:
    """The body, read no further than `most` bytes. Errors: Problem too_large."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise Problem("too_large", f"the body has more than {most:,} bytes")
        parts.append(part)
    return b"".join(parts)


async def _asked(rooms: Rooms, request: Request, right: Any, most: int) -> tuple[ApiKey, bytes]:
    """Key and body of a request, signature checked where the key signs. Errors: Problem."""
    key = rooms.keyring.check(request.headers.get("authorization"))
    key.require(right)
    body = await _body(request, most)
    if key.signing:
        signing.check(key.signing, request.headers, body, rooms.now_us() // 1_000_000)
    return key, body


def _ready(rooms: Rooms) -> ReadModel:
    if not rooms.model.ready:
        raise Problem("not_ready", rooms.model.probe()[1], retry_after=NOT_READY_RETRY_S)
    return rooms.model


def _schema(model: type[Ask]) -> dict[str, Any]:
    """The body that a model describes. Its definitions are written out: a reference would be looked up in the whole document."""
    schema = model.model_json_schema()
    written = _written_out(schema, schema.pop("$defs", {}))
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": written}}}}


def _written_out(part: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(part, list):
        return [_written_out(item, definitions) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _written_out(definitions[part["$ref"].rsplit("/", 1)[1]], definitions)
    return {key: _written_out(item, definitions) for key, item in part.items()}


def _problems(*statuses: int, beside: dict[str, Any] | None = None) -> dict[int | str, dict[str, Any]]:
    """Refusals of an address; ``beside`` is what else may come with such a status."""
    schema = {"type": "object", "required": ["type", "title", "status", "detail", "reason", "mend"]}
    content = {MEDIA_TYPE: {"schema": schema}} | (beside or {})
    return {status: {"description": "refused, with the reason", "content": content} for status in statuses}


# ------------------------------------------------------------------------------------------------------------- events

_EVENT_SCHEMA = {"type": "object", "required": ["specversion", "id", "source", "type", "time", "data"]}
#: What a batch is answered, whatever its status: one answer per event.
_BATCH_ANSWER = {
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["accepted", "refused", "failed", "events"],
            "properties": {name: {"type": "integer", "minimum": 0} for name in ("accepted", "refused", "failed")}
            | {"events": {"type": "array", "items": {"type": "object", "required": ["index", "status"]}}},
        }
    }
}
_EVENT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            STRUCTURED: {"schema": _EVENT_SCHEMA},
            BATCH: {"schema": {"type": "array", "items": _EVENT_SCHEMA}},
            "application/json": {"schema": {"description": "the data alone, with ce- headers; or an event; or a list"}},
        },
    }
}


def _events(app: FastAPI, rooms: Rooms) -> None:
    @app.post(
        "/events",
        status_code=202,
        summary="Publish events (CloudEvents 1.0: structured, binary or batch)",
        response_description="All copies of the log have every event.",
        responses=_problems(401, 403, 413, 415, 429)
        | _problems(422, 503, beside=_BATCH_ANSWER)
        | {207: {"description": "some of a batch were refused", "content": _BATCH_ANSWER}},
        openapi_extra=_EVENT_BODY,
    )
    async def events(request: Request) -> Response:
        key, body = await _asked(rooms, request, "publish", BODY_BYTES)
        raw, batch = events_of(request.headers, body)
        rooms.limiter.take(key.id, key.events_per_second, len(raw))
        answers = await rooms.publisher.publish(raw, key, rooms.now_us())
        for answer in answers:
            reason = answer.word if answer.problem is None or answer.word == "failed" else answer.problem.code
            rooms.metrics.events.labels(reason).inc()
        status, told, retry_after = answer_of(answers, batch)
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return Response(encoded(told), status, headers, "application/json")


# --------------------------------------------------------------------------------------------------------- for a till


def _till(app: FastAPI, rooms: Rooms) -> None:
    @app.get(
        "/members/{key:path}",
        summary="A member by card, app account or own key: points, tier, rewards within reach",
        responses=_problems(401, 403, 404, 429, 503),
    )
    async def member(key: str, request: Request) -> Response:
        asker = rooms.keyring.check(request.headers.get("authorization"))
        asker.require("read")
        rooms.limiter.take(asker.id, asker.events_per_second, 1)
        model = _ready(rooms)
        found = model.find(key)
        if found is None:
            raise Problem("unknown_member", "no event of this key is known here", "key")
        told = card(found.member, found.partition.book, now_of(found.partition, rooms.now_us(), rooms.clock))
        told["asked_for"] = key
        told["fresh"] = model.freshness_of(found.partition.number)._asdict()
        return Response(encoded(told), media_type="application/json")

    @app.post(
        "/quote",
        summary="What a basket would earn, and why; nothing is written",
        responses=_problems(401, 403, 409, 413, 422, 429, 503),
        openapi_extra=_schema(QuoteAsk),
    )
    async def quoted(request: Request) -> Response:
        key, body = await _asked(rooms, request, "quote", ASK_BYTES)
        rooms.limiter.take(key.id, key.events_per_second, 1)
        ask, model = read(QuoteAsk, body), _ready(rooms)
        found = None if ask.member is None else model.find(ask.member)
        partition = model.place_of(NOBODY) if found is None else found.partition
        subject = ask.member or NOBODY if found is None else found.keys[-1]
        now_us = now_of(partition, rooms.now_us(), rooms.clock)
        programme = programme_at(partition, ask.time, now_us)
        fact = purchase_of(ask, subject, programme, now_us)
        try:
            told = quote(partition, None if found is None else found.member, fact, programme)
        except ProfileUnavailable as error:
            raise Problem(
                "profile_closed", "a rule asks the profile of this member, which is sealed", "member"
            ) from error
        told["fresh"] = model.freshness_of(partition.number)._asdict()
        return Response(encoded(told), media_type="application/json")

    @app.post(
        "/vouchers/{code}/redeem",
        summary="Use a voucher of a member, once; waits for the decision",
        response_description="`outcome` is granted or refused, with what it is worth.",
        responses=_problems(401, 403, 409, 413, 422, 429, 503) | {202: {"description": "not decided yet: ask again"}},
        openapi_extra=_schema(VoucherAsk),
    )
    async def used(code: str, request: Request) -> Response:
        key, body = await _asked(rooms, request, "redeem", ASK_BYTES)
        rooms.limiter.take(key.id, key.events_per_second, 1)
        return _decided(await _use(rooms, key, code, read(VoucherAsk, body), request))

    @app.post(
        "/redemptions",
        summary="Spend points; waits for the decision",
        response_description="`outcome` is granted or refused, with the numbers.",
        responses=_problems(401, 403, 409, 413, 422, 429, 503) | {202: {"description": "not decided yet: ask again"}},
        openapi_extra=_schema(RedemptionAsk),
    )
    async def redemptions(request: Request) -> Response:
        key, body = await _asked(rooms, request, "redeem", ASK_BYTES)
        rooms.limiter.take(key.id, key.events_per_second, 1)
        told = await _redeem(rooms, key, read(RedemptionAsk, body), request)
        rooms.metrics.redemptions.labels(told["outcome"]).inc()
        return _decided(told)


def _decided(told: dict[str, Any]) -> Response:
    if told["outcome"] == redeeming.UNDECIDED:
        told["mend"] = "Send the same request with the same id again: it counts once."
        headers = {"Retry-After": str(redeeming.UNDECIDED_RETRY_S)}
        return Response(encoded(told), 202, headers, "application/json")
    return Response(encoded(told), media_type="application/json")


async def _redeem(rooms: Rooms, key: ApiKey, ask: RedemptionAsk, request: Request) -> dict[str, Any]:
    model = _ready(rooms)
    now_us = rooms.now_us()
    raw = redeeming.event_of(ask, _source(key, ask), _id(ask, request), now_us)
    fact: Fact = rooms.publisher.check(raw, key, now_us)
    clock_us = now_of(model.place_of(ask.member), now_us, rooms.clock)
    known = redeeming.known_answer(model, fact, clock_us)
    if known is not None:
        return known
    async with _sent(rooms, key, raw, fact) as future:
        return await redeeming.outcome(model, fact, future, _wait(rooms, request), clock_us)


async def _use(rooms: Rooms, key: ApiKey, code: str, ask: VoucherAsk, request: Request) -> dict[str, Any]:
    model, now_us = _ready(rooms), rooms.now_us()
    raw = using.event_of(ask, code, _source(key, ask), _id(ask, request), now_us)
    fact: Fact = rooms.publisher.check(raw, key, now_us)
    known = using.known_answer(model, fact)
    if known is not None:
        return known
    async with _sent(rooms, key, raw, fact) as future:
        try:
            async with asyncio.timeout(_wait(rooms, request)):
                decided = await asyncio.shield(future)
        except TimeoutError:
            return {"outcome": redeeming.UNDECIDED, "id": fact.id, "source": fact.source}
    if decided.decision.outcome != "duplicate" and decided.decision.reason != "id_reused":
        return using.told(model, fact, decided)
    known = using.known_answer(model, fact)
    if known is None:
        raise using.reused(fact)
    return known


@asynccontextmanager
async def _sent(rooms: Rooms, key: ApiKey, raw: bytes, fact: Fact) -> AsyncIterator[asyncio.Future[Decided]]:
    """Send a fact that is waited for: a future of its decision. Errors: Problem kafka_away."""
    name = fact.source, fact.id
    future = rooms.model.expect(name)
    try:
        (problem,) = await rooms.sender.send([rooms.publisher.parcel(raw, fact, key)])
        if problem is not None:
            raise problem
        yield future
    finally:
        rooms.model.forget(name, future)


def _source(key: ApiKey, ask: RedemptionAsk | VoucherAsk) -> str:
    source = ask.source or key.own_source()
    if source is None:
        raise Problem("bad_request", f"key {key.id} speaks for several sources: say which one asks", "source")
    key.require_source(source)
    return source


def _id(ask: RedemptionAsk | VoucherAsk, request: Request) -> str:
    header = request.headers.get("idempotency-key")
    if header is not None and ask.id is not None and header != ask.id:
        raise Problem("bad_request", "id and the header Idempotency-Key differ: send one of them", "id")
    name = ask.id or header
    if not name:
        raise Problem("bad_request", "this needs an id, so that it can be sent again: `id` or Idempotency-Key", "id")
    return name


def _wait(rooms: Rooms, request: Request) -> float:
    """Seconds to wait: `Prefer: wait=N` (RFC 7240), else the gateway's own."""
    for part in request.headers.get("prefer", "").split(","):
        name, _, value = part.strip().partition("=")
        if name.strip().lower() == "wait" and value.strip().isascii() and value.strip().isdigit():
            return min(float(value.strip()[:4]), WAIT_MOST)
    return rooms.wait_seconds


# ------------------------------------------------------------------------------------------- for the owner of a source


def _owner(app: FastAPI, rooms: Rooms) -> None:
    @app.get(
        "/rejects",
        summary="The newest events of a source that were refused after they had been accepted",
        responses=_problems(401, 403, 422, 429, 503),
        openapi_extra={
            "parameters": [
                {
                    "name": "source",
                    "in": "query",
                    "schema": {"type": "string", "minLength": 1},
                    "description": "whose; needed by a key that speaks for several",
                },
                {
                    "name": "limit",
                    "in": "query",
                    "schema": {"type": "integer", "minimum": 1, "maximum": REJECTS_MOST, "default": REJECTS_DEFAULT},
                },
            ]
        },
    )
    async def rejects(request: Request) -> Response:
        key = rooms.keyring.check(request.headers.get("authorization"))
        key.require("rejects")
        rooms.limiter.take(key.id, key.events_per_second, 10)
        source = request.query_params.get("source") or key.own_source()
        if source is None:
            raise Problem("bad_request", f"key {key.id} speaks for several sources: say ?source=", "source")
        key.require_source(source)
        most = _limit(request.query_params.get("limit"))
        model = _ready(rooms)
        found = [one for one in reversed(model.rejects) if one["source"] == source]
        return Response(encoded({"source": source, "rejects": found[:most]}), media_type="application/json")


def _limit(text: str | None) -> int:
    if text is None:
        return REJECTS_DEFAULT
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= REJECTS_MOST):
        raise Problem("bad_request", f"a number from 1 to {REJECTS_MOST:,}", "limit")
    return int(text)


def _state(app: FastAPI, rooms: Rooms) -> None:
    @app.get("/healthz", summary="The process lives")
    async def healthz() -> dict[str, bool]:
        return {"alive": True}

    @app.get(
        "/readyz",
        summary="The log takes events, and the read model is level with it",
        responses={503: {"description": "not ready; `probes` say why", "content": {"application/json": {}}}},
    )
    async def readyz() -> JSONResponse:
        ready, probes = rooms.health.ready()
        return JSONResponse({"ready": ready, "probes": probes}, 200 if ready else 503)


__all__ = ["Rooms", "create"]
