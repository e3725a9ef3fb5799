"""Any number of bodies for the gateway, good and broken, the same for the same seed; and what each answer must be.

Faster than Hypothesis with a client in between: the ASGI application is called as a server calls it, in this process, so that a
million bodies are a matter of minutes. `python -m tests.unit.bodies --bodies 1000000 --seed 1` tries them and says what was seen.

A good event is one of the golden ones, of every type and version. It is sent alone, in a batch, or in binary mode; as it is, with
some places changed, cut off, or with bytes exchanged; and there is JSON that nobody meant, and no JSON at all. What is accepted
is decided at once by the core (`gateway_world`), so a fact that stops a worker is a 500 here.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from engine.gateway.problems import MEDIA_TYPE
from schemas.envelope import Fact
from tests.unit.gateway_world import World

GOLDEN = Path(__file__).parents[1] / "golden"
#: What breaks parsers that trust: numbers at the edges, texts that are nearly something, containers in the wrong place.
ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2**31, 2**63, -(2**63), 10**30, 10**400, 0.1, -0.0, 1e308, "", " ", "0", "-0.00", "1e9",
    "NaN", "Infinity", "\x00", "\ud800", "\U0001f600" * 9, "x" * 300, "2026-02-30T25:61:00Z", "2026-02-02T10:00:00",
    "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "EUR\n", "eur", "JPY", "anna@example.org", "+4915112345678",
    "urn:stammgast:timer", "stammgast.tick.v1", "1.005", "12,00", "\u0661\u0662", [], {}, [[[[]]]], {"": {"": ""}}, [None],
    "purchase", "stammgast.purchase.v9",
)  # fmt: skip
TYPES = (
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
    "application/json",
    "text/plain",
    "",
    "a/b;charset=utf-99",
)
#: Bodies for one world: what was accepted stays in its memory.
A_WORLD = 10_000
TIMES = ("2026-02-02T10:00:00+01:00", "2026-02-01T09:00:00Z", "2026-01-15T00:00:00.000001Z")


class Request(NamedTuple):
    """One request: where, with which headers and body."""

    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Answer(NamedTuple):
    """What came back."""

    status: int
    media_type: str
    body: bytes


class _Strict(World):
    """A world in which every fact must also be one that the tables can hold."""

    def write(self, fact: Fact) -> None:
        """Append it, after a look at its numbers."""
        assert _fits(fact.data), f"a whole number beyond 64 bits is in the log: {fact}"
        super().write(fact)


def _fits(value: Any) -> bool:
    match value:
        case dict():
            return all(_fits(part) for part in value.values())
        case list():
            return all(_fits(part) for part in value)
        case int():
            return -(2**63) <= value < 2**63
        case _:
            return True


class Seen(NamedTuple):
    """What a run saw: answers by status, refusals by reason."""

    statuses: Counter[int]
    reasons: Counter[str]


def good_events() -> list[dict[str, Any]]:
    """The golden event of every type and version, from a source that the key may speak for."""
    paths = [path for path in sorted(GOLDEN.glob("stammgast.*.json")) if not path.name.endswith(".fact.json")]
    return [json.loads(path.read_text(encoding="utf-8")) | {"source": "urn:test"} for path in paths]


def requests(seed: int) -> Iterator[Request]:
    """Requests without end."""
    dice = random.Random(seed)
    events = good_events()
    basket = {"lines": [{"sku": "ESP", "category": "coffee", "quantity": "1", "unit_price": "12.00"}], "total": "12.00"}
    others: dict[str, list[dict[str, Any]]] = {
        "/quote": [{"member": "anna", "basket": basket, "time": TIMES[0]}],
        "/redemptions": [
            {"member": "anna", "reward": "coffee", "id": "r1"},
            {"member": "anna", "points": 3, "id": "r2"},
        ],
        "/vouchers/BAR-1/redeem": [{"member": "anna", "id": "v1"}],
    }
    number = 0
    while True:
        number += 1
        if dice.random() < 0.15:
            path = dice.choice(sorted(others))
            yield Request(path, _media("application/json"), _written(dice, dice.choice(others[path])))
            continue
        event = dice.choice(events) | {"id": f"f{number % 5_000}", "time": dice.choice(TIMES)}
        if dice.random() < 0.6:
            event["subject"] = f"m{dice.randrange(50)}"
        kind = dice.random()
        if kind < 0.6:
            yield Request("/events", _media(TYPES[0]), _written(dice, event))
        elif kind < 0.75:
            batch = [event | {"id": f"{event['id']}-{n}"} for n in range(dice.randrange(4))]
            yield Request("/events", _media(TYPES[1]), _written(dice, batch))
        elif kind < 0.85:
            yield _binary(dice, event)
        else:
            yield Request("/events", _media(dice.choice(TYPES)), _written(dice, event))


def _media(name: str) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"content-type", name.encode()),) if name else ()


def _binary(dice: random.Random, event: dict[str, Any]) -> Request:
    """Attributes as headers; some of them changed or left out."""
    attributes = {key: value for key, value in event.items() if key != "data"}
    if dice.random() < 0.5:
        attributes[dice.choice(sorted(attributes))] = dice.choice(ODD)
    headers = [
        (b"ce-" + key.encode(), str(value).encode("utf-8", "replace").replace(b"\n", b" ")[:200])
        for key, value in attributes.items()
        if dice.random() > 0.05
    ]
    return Request("/events", (*_media("application/json"), *headers), _written(dice, event.get("data")))


def _written(dice: random.Random, value: Any) -> bytes:
    """A value as a body: as it is, changed, cut, with bytes exchanged, or nothing of it."""
    kind = dice.random()
    if kind < 0.04:
        return dice.randbytes(dice.randrange(200))
    if kind < 0.08:
        return json.dumps(_anything(dice, 3)).encode()
    if kind > 0.2:
        value = json.loads(json.dumps(value))
        for _ in range(dice.choice((1, 1, 1, 2, 5))):
            if isinstance(value, dict) and isinstance(value.get("data"), dict) and dice.random() < 0.8:
                value["data"] = _changed(dice, value["data"])
            else:
                value = _changed(dice, value)
    body = json.dumps(value).encode()
    if kind > 0.92:
        body = body[: dice.randrange(len(body) + 1)]
    elif kind > 0.84 and body:
        raw = bytearray(body)
        for _ in range(dice.randrange(1, 4)):
            raw[dice.randrange(len(raw))] = dice.randrange(256)
        body = bytes(raw)
    return body


def _changed(dice: random.Random, value: Any) -> Any:
    """The value with something else in one of its places, a place less, or one more."""
    place, way = value, list[tuple[Any, Any]]()
    while isinstance(place, (dict, list)) and place and (not way or dice.random() < 0.7):
        key = dice.choice(sorted(place)) if isinstance(place, dict) else dice.randrange(len(place))
        way.append((place, key))
        place = place[key]
    if not way:
        return _anything(dice, 2)
    holder, key = way[-1]
    kind = dice.random()
    if kind < 0.7:
        holder[key] = _anything(dice, 0 if dice.random() < 0.8 else 2)
    elif kind < 0.85:
        del holder[key]
    elif isinstance(holder, dict):
        holder[dice.choice(("data", "id", "lines", "x", "", "amount", "total"))] = holder[key]
    else:
        holder += [holder[key]] * dice.choice((1, 2, 50))
    return value


def _anything(dice: random.Random, deep: int) -> Any:
    kind = dice.random()
    if deep and kind < 0.2:
        return [_anything(dice, deep - 1) for _ in range(dice.randrange(4))]
    if deep and kind < 0.4:
        return {str(dice.choice(ODD)): _anything(dice, deep - 1) for _ in range(dice.randrange(4))}
    return copy.deepcopy(dice.choice(ODD))


async def asked(app: Callable[..., Any], secret: str, request: Request) -> Answer:
    """Ask the application as a server does."""
    raw = request.path.encode()
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": request.path, "raw_path": raw, "query_string": b"", "root_path": "",
        "server": ("gateway", 80), "client": ("127.0.0.1", 1),
        "headers": [
            (b"host", b"gateway"), (b"authorization", b"Bearer " + secret.encode()),
            (b"content-length", str(len(request.body)).encode()), *request.headers,
        ],
    }  # fmt: skip
    told: list[dict[str, Any]] = [{"type": "http.request", "body": request.body, "more_body": False}]
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return told.pop() if told else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    await app(scope, receive, send)
    media = dict(said[0]["headers"]).get(b"content-type", b"").decode()
    return Answer(said[0]["status"], media, b"".join(one.get("body", b"") for one in said[1:]))


def judged(request: Request, answer: Answer, seen: Seen) -> None:
    """No failure of the gateway; every refusal says why and how to mend it. Errors: AssertionError."""
    seen.statuses[answer.status] += 1
    assert answer.status < 500, (request, answer)
    said = json.loads(answer.body)
    refused = [said] if answer.status >= 400 and "events" not in said else []
    refused += [one["problem"] for one in said.get("events", []) if one.get("problem")]
    for problem in refused:
        assert problem["reason"], (request, answer)
        assert problem["detail"], (request, answer)
        assert problem["mend"], (request, answer)
        seen.reasons[problem["reason"]] += 1
    if answer.status >= 400 and "events" not in said:
        assert answer.media_type == MEDIA_TYPE, (request, answer)
        assert said["status"] == answer.status, (request, answer)


async def tried(folder: Path, count: int, seed: int, tell: Callable[[int], None] = lambda _done: None) -> Seen:
    """Ask so many times, in worlds of A_WORLD requests each. Errors: AssertionError with the request that was answered badly."""
    seen, stream = Seen(Counter(), Counter()), requests(seed)
    for begin in range(0, count, A_WORLD):
        home = folder / str(begin)
        home.mkdir()
        world = _Strict(home)
        secret = world.key()
        app = world.app()
        for _ in range(min(A_WORLD, count - begin)):
            request = next(stream)
            judged(request, await asked(app, secret, request), seen)
        tell(min(count, begin + A_WORLD))
    return seen


def main() -> None:
    """Try as many as are asked for; ends with what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--bodies", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    began = time.process_time()

    def tell(done: int) -> None:
        if done % 100_000 == 0:
            print(
                f"{done:,} bodies, {time.process_time() - began:.0f} s of processor time", file=sys.stderr, flush=True
            )

    with tempfile.TemporaryDirectory(prefix="stammgast-bodies-") as folder:
        seen = asyncio.run(tried(Path(folder), chosen.bodies, chosen.seed, tell))
    print(f"{chosen.bodies:,} bodies, seed {chosen.seed}, {time.process_time() - began:.0f} s of processor time")
    print("statuses", dict(sorted(seen.statuses.items())))
    print("reasons", dict(seen.reasons.most_common()))


if __name__ == "__main__":
    main()
