"""The gateway's answers, without a broker: keys, signatures, limits, problems, retries, and bodies that nobody would send."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine import signing
from engine.gateway.content import split
from engine.gateway.keyfile import rotate_key
from engine.gateway.keys import KeyFileBroken, read_keys
from engine.gateway.problems import KINDS, MEDIA_TYPE
from schemas.normalise import normalise
from schemas.rejects import INTAKE_REASONS
from schemas.times import to_text
from tests.kafka.deployment import event, purchase
from tests.unit.bodies import tried
from tests.unit.gateway_world import NOW_US, World

STRUCTURED = {"Content-Type": "application/cloudevents+json"}
#: Bodies that are tried; STAMMGAST_TEST_FUZZ=1000000 is the whole of it.
FUZZ = int(os.environ.get("STAMMGAST_TEST_FUZZ", "300"))
#: Bodies of tests/unit/bodies.py.
BODIES = 4_000


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A gateway whose programme gives a point a euro."""
    return World(tmp_path)


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and reason of a refusal, which says how it is mended."""
    assert answer.headers["Content-Type"] == MEDIA_TYPE, answer.text
    said = answer.json()
    assert said["status"] == answer.status_code
    assert said["detail"]
    assert said["mend"]
    return answer.status_code, said["reason"]


async def buy(client: httpx.AsyncClient, event_id: str, member: str, price: str) -> httpx.Response:
    """One purchase, as structured event."""
    return await client.post("/events", json=purchase(event_id, member, price), headers=STRUCTURED)


# ----------------------------------------------------------------------------------------------------------- keys


async def test_who_has_no_key_gets_nothing(world: World) -> None:
    """Without a key, with a wrong one or one whose time is over, every address but the health checks refuses."""
    secret = world.key()
    for wrong in (None, "nonsense", secret[:-1], "sg_other_" + secret.split("_", 2)[2]):
        async with world.client(wrong) as client:
            answer = await buy(client, "p1", "anna", "10.00")
            assert problem(answer) == (401, "no_key" if wrong is None else "bad_key")
            assert answer.headers["WWW-Authenticate"]
            assert (await client.get("/members/anna")).status_code == 401
            assert (await client.get("/healthz")).status_code == 200


async def test_a_provider_tells_openings_and_may_do_nothing_else(world: World) -> None:
    """The key of docs/deliver.md: outcomes of notices by app-events, and no purchase."""
    secret = world.key("mailer", types=["notice_outcome"], may=("publish",), topic="app-events")
    data = {"notice": "0f0e0d0c0b0a09080706050403020100", "outcome": "opened", "channel": "mail"}
    async with world.client(secret) as client:
        opened = await client.post("/events", json=event("open-1", "notice_outcome", "m-1", data), headers=STRUCTURED)
        assert opened.status_code == 202
        assert world.sent[-1].topic == "app-events"
        wrong = event("open-2", "notice_outcome", "m-1", data | {"reason": "Anna Smith said so"})
        assert problem(await client.post("/events", json=wrong, headers=STRUCTURED)) == (422, "invalid")
        assert problem(await buy(client, "p1", "anna", "10.00")) == (403, "not_this_key")


async def test_a_key_says_less_than_its_scope(world: World) -> None:
    """A key speaks for its sources and types alone, and has the rights that it was given."""
    secret = world.key(sources=["urn:test", "urn:shop:*"], types=["purchase"], may=("publish",))
    async with world.client(secret) as client:
        assert (await buy(client, "p1", "anna", "10.00")).status_code == 202
        other = purchase("p2", "anna") | {"source": "urn:other"}
        assert problem(await client.post("/events", json=other, headers=STRUCTURED)) == (403, "not_this_key")
        visit = event("v1", "visit", "anna", {})
        assert problem(await client.post("/events", json=visit, headers=STRUCTURED)) == (403, "not_this_key")
        assert problem(await client.get("/members/anna")) == (403, "not_this_key")
        deep = purchase("p3", "anna") | {"source": "urn:shop:7"}
        assert (await client.post("/events", json=deep, headers=STRUCTURED)).status_code == 202
        staff = event("a1", "adjustment", "anna", {"operator": "kim", "reason": "x", "points": 5})
        assert problem(await client.post("/events", json=staff, headers=STRUCTURED)) == (403, "not_allowed")


async def test_a_key_is_rotated_with_overlap(world: World) -> None:
    """The old secret holds until its day, the new one at once; the file is read again without a restart."""
    old = world.key()
    app = world.app()
    async with world.client(old, app) as client:
        assert (await client.get("/rejects")).status_code == 200
        new = rotate_key(world.keys, "till", overlap_days=7)["secret"]
        world.now_us += 2_000_000
        assert (await client.get("/rejects")).status_code == 200
    async with world.client(new, app) as client:
        assert (await client.get("/rejects")).status_code == 200
    ends = read_keys(world.keys)["till"].secrets[0][1]
    assert ends is not None
    world.now_us = ends
    async with world.client(old, app) as client:
        assert problem(await client.get("/rejects")) == (401, "bad_key")


def test_the_file_holds_no_secret(world: World) -> None:
    """Only hashes are written, for its owner alone; a broken file says where."""
    secret = world.key()
    text = world.keys.read_text()
    assert secret not in text
    assert secret.split("_", 2)[2] not in text
    assert world.keys.stat().st_mode & 0o077 == 0
    world.keys.write_text(text.replace("sources", "source"))
    with pytest.raises(KeyFileBroken, match=r"keys\.0\.sources"):
        read_keys(world.keys)


async def test_a_signed_key_wants_its_signature(world: World) -> None:
    """By Standard Webhooks: the right secret over id, time and body, not older than five minutes."""
    secret = world.key(signed=True)
    known = signing.parse_secret((world.folder / "keys.till.whsec").read_text().strip())
    body = json.dumps(purchase("p1", "anna")).encode()
    now = NOW_US // 1_000_000

    def signed(content: bytes, stamp: int, by: bytes = known) -> dict[str, str]:
        said = {"webhook-id": "m1", "webhook-timestamp": str(stamp)}
        return STRUCTURED | said | {"webhook-signature": "v1,AAAA " + signing.sign(by, "m1", stamp, content)}

    async with world.client(secret) as client:
        assert problem(await client.post("/events", content=body, headers=STRUCTURED)) == (401, "bad_signature")
        for headers in (signed(body + b" ", now), signed(body, now - 301), signed(body, now, b"x" * 32)):
            assert problem(await client.post("/events", content=body, headers=headers)) == (401, "bad_signature")
        assert (await client.post("/events", content=body, headers=signed(body, now - 299))).status_code == 202


def test_the_signature_is_the_one_that_others_make() -> None:
    """The example of the specification of Standard Webhooks."""
    secret = signing.parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    said = signing.sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert said == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


# -------------------------------------------------------------------------------------------------------- limits, bodies


async def test_too_many_events_wait(world: World) -> None:
    """Ten seconds' worth at once, then as many as the key's rate; Retry-After says when."""
    secret = world.key(events_per_second=2)
    async with world.client(secret) as client:
        many = [purchase(f"p{number}", "anna") for number in range(20)]
        assert (await client.post("/events", json=many)).status_code == 202
        answer = await buy(client, "p21", "anna", "1.00")
        assert problem(answer) == (429, "too_many")
        world.seconds += int(answer.headers["Retry-After"])
        assert (await buy(client, "p21", "anna", "1.00")).status_code == 202


async def test_a_body_that_is_too_large_is_not_read_to_its_end(world: World) -> None:
    """It is refused with its own reason, as are too many events and an event that intake would not take."""
    async with world.client(world.key()) as client:
        assert problem(await client.post("/events", content=b"x" * 8_000_001, headers=STRUCTURED)) == (413, "too_large")
        assert problem(await client.post("/events", json=[{}] * 1_001)) == (413, "too_large")
        fat = purchase("p1", "anna") | {"pad": "x" * 900_000}
        assert problem(await client.post("/events", json=fat, headers=STRUCTURED)) == (413, "too_large")


async def test_binary_mode_is_the_same_event(world: World) -> None:
    """Attributes come in headers, percent-encoded; amounts stay the digits that were sent."""
    one = purchase("p1", "anna")
    headers = {f"ce-{name}": value for name, value in one.items() if name != "data"}
    headers |= {"ce-subject": "m%C3%BCller", "content-type": "application/json; charset=utf-8"}
    body = json.dumps(one["data"]).replace('"12.00"', "12.00").encode()
    async with world.client(world.key()) as client:
        answer = await client.post("/events", content=body, headers=headers)
        assert answer.status_code == 202, answer.text
        assert b'"unit_price": 12.00' in world.sent[0].value
        assert world.sent[0].key == "müller".encode()
        assert (await client.get("/members/müller")).json()["points"]["available"] == 12
        smuggled = body[:-1] + b',"x":1},"subject":"eve"'
        assert problem(await client.post("/events", content=smuggled, headers=headers)) == (422, "not_json")
        assert problem(await client.post("/events", content=b"x", headers={"content-type": "text/xml"})) == (
            415, "unsupported")  # fmt: skip


def test_a_batch_is_taken_apart_without_touching_a_digit() -> None:
    assert split(b' [ {"a":1.10} ,{"b":"],["},\n[1.50] ] ') == [b'{"a":1.10}', b'{"b":"],["}', b"[1.50]"]


async def test_kafka_away_is_503_with_retry_after(world: World) -> None:
    """Also within a batch, whose other events keep their own answers."""
    async with world.client(world.key()) as client:
        world.away = True
        answer = await client.post("/events", json=[purchase("p1", "anna"), purchase("p2", "a@example.org")])
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "2"
        assert [one["status"] for one in answer.json()["events"]] == ["failed", "refused"]


def test_every_reason_of_intake_is_a_problem() -> None:
    assert set(INTAKE_REASONS) <= set(KINDS)


# --------------------------------------------------------------------------------------------------------------- till


async def test_a_redemption_may_be_sent_again(world: World) -> None:
    """The same id gives the same answer, granted or refused, whatever the balance is by then; another request is refused."""
    async with world.client(world.key()) as client:
        await buy(client, "p1", "anna", "150.00")
        ask = {"member": "anna", "reward": "coffee"}
        first = (await client.post("/redemptions", json=ask | {"id": "r1"})).json()
        assert (first["outcome"], first["points"], first["balance"]["available"]) == ("granted", -100, 50)
        second = (await client.post("/redemptions", json=ask, headers={"Idempotency-Key": "r2"})).json()
        assert (second["outcome"], second["message"]) == ("refused", "needs 100, has 50")
        await buy(client, "p2", "anna", "100.00")
        world.now_us += 1_000_000
        sent = len(world.sent)
        assert (await client.post("/redemptions", json=ask | {"id": "r1"})).json()["outcome"] == "granted"
        assert (await client.post("/redemptions", json=ask | {"id": "r2"})).json()["outcome"] == "refused"
        assert len(world.sent) == sent
        for other in ({"member": "anna", "points": 3}, {"member": "ben", "reward": "coffee"}):
            assert problem(await client.post("/redemptions", json=other | {"id": "r1"})) == (409, "id_reused")
        taken = (await client.post("/redemptions", json=ask | {"id": "p1"})).json()
        assert (taken["outcome"], taken["reason"]) == ("refused", "id_used_before")
        assert problem(await client.post("/redemptions", json=ask)) == (422, "bad_request")


async def test_what_a_keeper_refuses_has_its_own_reason(world: World) -> None:
    """A redemption or a use of a voucher from so long ago that nobody can tell whether it came before is refused as that."""
    async with world.client(world.key()) as client:
        await buy(client, "p1", "anna", "150.00")
        late = {"member": "anna", "time": "2024-01-01T10:00:00Z"}
        for address, ask in (("/redemptions", {"reward": "coffee", "id": "r1"}), ("/vouchers/X/redeem", {"id": "u1"})):
            said = (await client.post(address, json=late | ask)).json()
            assert (said["outcome"], said["reason"]) == ("refused", "too_late_to_deduplicate")
        assert (await client.get("/members/anna")).json()["points"]["available"] == 150


async def test_a_redemption_that_is_not_decided_says_so(world: World) -> None:
    """After the deadline it is 202 and undecided; `Prefer: wait` sets another one."""
    async with world.client(world.key()) as client:
        await buy(client, "p1", "anna", "150.00")
        world.deaf = True
        ask = {"member": "anna", "reward": "coffee", "id": "r1"}
        answer = await client.post("/redemptions", json=ask, headers={"Prefer": "wait=0"})
        assert (answer.status_code, answer.json()["outcome"]) == (202, "undecided")
        assert answer.headers["Retry-After"]
        assert not world.model._waiting


async def test_a_quote_writes_nothing_and_is_what_happens(world: World) -> None:
    """The points of the quote are those of the purchase; the member is as he was."""
    basket: dict[str, Any] = {"lines": purchase("x", None, "30.50")["data"]["lines"]}
    async with world.client(world.key()) as client:
        await buy(client, "p1", "anna", "10.00")
        said = (await client.post("/quote", json={"member": "anna", "basket": basket})).json()
        assert (said["points"], said["points_name"]) == (30, "points")
        assert [(one["rule"], one["points"]) for one in said["why"]] == [("beans", 0), ("spend", 30)]
        assert said["why"][0]["why"].startswith("category beans")
        nobody = (await client.post("/quote", json={"basket": basket})).json()
        assert (nobody["member"], nobody["points"]) == (None, 30)
        assert len(world.sent) == 1
        assert (await client.get("/members/anna")).json()["points"]["available"] == 10
        wrong = await client.post("/quote", json={"basket": basket | {"curency": "EUR"}})
        assert problem(wrong) == (422, "bad_request")
        money = await client.post("/quote", json={"basket": basket | {"total": "1.005"}})
        assert problem(money) == (422, "too_many_decimals")
        assert money.json()["detail"]


async def test_a_voucher_is_used_once(world: World) -> None:
    """Granted with its code, shown on the card and in quotes, used by the till, refused the second time and to others."""
    async with world.client(world.key()) as client:
        await buy(client, "p1", "anna", "150.00")
        bought = (await client.post("/redemptions", json={"member": "anna", "reward": "five-off", "id": "r1"})).json()
        code = bought["code"]
        assert code.startswith("TILL-")
        (shown,) = (await client.get("/members/anna")).json()["vouchers"]
        assert (shown["code"], shown["worth"], shown["at_least"]) == (code, "5.00 EUR", "20.00 EUR")
        basket: dict[str, Any] = {"lines": purchase("x", None, "19.99")["data"]["lines"]}
        quoted = (await client.post("/quote", json={"member": "anna", "basket": basket})).json()
        assert [(one["code"], one["applies"]) for one in quoted["vouchers"]] == [(code, False)]
        use = f"/vouchers/{code}/redeem"
        wrong = (await client.post(use, json={"member": "ben", "id": "u0"})).json()
        assert (wrong["outcome"], wrong["reason"]) == ("refused", "unknown_redemption")
        for _ in range(2):
            first = (await client.post(use, json={"member": "anna"}, headers={"Idempotency-Key": "u1"})).json()
            assert (first["outcome"], first["state"], first["worth"]) == ("granted", "fulfilled", "5.00 EUR")
        second = (await client.post(use.lower(), json={"member": "anna", "id": "u2"})).json()
        assert (second["outcome"], second["reason"]) == ("refused", "already_fulfilled")
        assert problem(await client.post("/vouchers/OTHER/redeem", json={"member": "anna", "id": "u1"})) == (
            409,
            "id_reused",
        )
        assert (await client.get("/members/anna")).json()["vouchers"] == []
        world.deaf = True
        late = await client.post(use, json={"member": "anna", "id": "u3"}, headers={"Prefer": "wait=0"})
        assert (late.status_code, late.json()["outcome"]) == (202, "undecided")


async def test_nobody_of_that_name_and_no_such_address(world: World) -> None:
    async with world.client(world.key()) as client:
        assert problem(await client.get("/members/nobody")) == (404, "unknown_member")
        assert problem(await client.get("/nothing")) == (404, "not_found")
        assert problem(await client.put("/events")) == (405, "wrong_method")
        world.model.ready = False
        assert problem(await client.get("/members/nobody")) == (503, "not_ready")


async def test_the_addresses_describe_themselves(world: World) -> None:
    """OpenAPI 3.1 with every address, its bodies and its refusals."""
    async with world.client(world.key()) as client:
        said = (await client.get("/openapi.json")).json()
    assert said["openapi"].startswith("3.1")
    assert set(said["paths"]) >= {"/events", "/quote", "/redemptions", "/members/{key}", "/rejects", "/readyz"}
    assert "application/cloudevents-batch+json" in said["paths"]["/events"]["post"]["requestBody"]["content"]
    assert "503" in said["paths"]["/events"]["post"]["responses"]


# --------------------------------------------------------------------------------------------------------------- fuzz

_TEXT = st.text(max_size=12) | st.sampled_from(
    ["anna", "EUR", "pos", "1.005", "-1", "1e9", "\x00", "2026-02-02T10:00:00Z", "\ud800"]
)
_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_ADDRESSES = st.sampled_from(["/events", "/quote", "/redemptions"])
_GOOD: dict[str, list[dict[str, Any]]] = {
    "/events": [
        purchase("p1", "anna"),
        event("a1", "activity", "anna", {"name": "x", "attributes": {"n": 1}}),
        event("r1", "refund", None, {"order_id": "p1", "currency": "EUR", "amount": "1.00"}),
    ],
    "/quote": [
        {"member": "anna", "basket": {"lines": purchase("p", None)["data"]["lines"]}, "time": "2026-02-02T10:00:00Z"}
    ],
    "/redemptions": [{"member": "anna", "reward": "coffee", "id": "r1"}, {"member": "anna", "points": 3, "id": "r2"}],
}


@st.composite
def _bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A good body with one thing changed, some JSON, or some bytes."""
    address = draw(_ADDRESSES)
    kind = draw(st.sampled_from(["changed", "json", "bytes", "cut"]))
    if kind == "bytes":
        return address, draw(st.binary(max_size=200))
    if kind == "json":
        return address, json.dumps(draw(_VALUE)).encode()
    body = json.loads(json.dumps(draw(st.sampled_from(_GOOD[address]))))
    place = body
    while isinstance(place, (dict, list)) and place:
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place)))))
        if not isinstance(place[key], (dict, list)) or draw(st.booleans()):
            place[key] = draw(_VALUE)
            break
        place = place[key]
    text = json.dumps(body).encode()
    return address, text[: draw(st.integers(0, len(text)))] if kind == "cut" else text


def fuzzed(folder: Path) -> Callable[[str, bytes], Awaitable[httpx.Response]]:
    """A gateway that is asked anything, in one place."""
    world = World(folder)
    secret = world.key()
    app = world.app()

    async def ask(address: str, body: bytes) -> httpx.Response:
        async with world.client(secret, app) as client:
            return await client.post(address, content=body, headers={"Content-Type": "application/json"})

    return ask


def test_whatever_the_body_the_answer_says_why(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No body makes the gateway fail; every refusal is a problem with its reason and how to mend it."""
    ask = fuzzed(tmp_path_factory.mktemp("fuzz"))
    loop = asyncio.new_event_loop()
    seen: set[str] = set()

    @settings(max_examples=FUZZ, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
    @given(_bodies())
    @example(("/events", b"[" * 100_000))
    @example(("/events", b'{"a":' * 100_000))
    @example(("/quote", b'{"basket":' + b"[" * 5_000))
    @example(("/events", json.dumps(purchase("p", "\ud800")).encode()))
    @example(("/events", json.dumps(purchase("p", "anna")).replace('"12.00"', "1" * 5_000 + ".5").encode()))
    def any_body(sent: tuple[str, bytes]) -> None:
        answer = loop.run_until_complete(ask(*sent))
        assert answer.status_code < 500, (sent, answer.text)
        if answer.status_code >= 400 and "events" not in answer.json():
            assert problem(answer)[0] == answer.status_code
            seen.add(answer.json()["reason"])

    try:
        any_body()
    finally:
        loop.close()
    assert len(seen) > 3


async def test_any_number_of_bodies_is_answered_well(tmp_path: Path) -> None:
    """Good events of every type and broken ones, alone, in batches and in binary mode: no 5xx, every refusal says why, and what
    is accepted is decided. `python -m tests.unit.bodies` tries a million."""
    seen = await tried(tmp_path, BODIES, seed=20_261_123)
    assert sum(seen.statuses.values()) == BODIES
    assert set(seen.statuses) >= {200, 202, 207, 403, 415, 422}, "some of every kind are among them"
    assert len(seen.reasons) > 8


@pytest.mark.parametrize(
    ("kind", "data", "field"),
    [
        ("visit", {"store": "corner", "dwell_seconds": 10**30}, "data.dwell_seconds"),
        ("visit", {"store": "corner", "dwell_seconds": 2**63}, "data.dwell_seconds"),
        (
            "refund",
            {"order_id": "p1", "currency": "EUR", "lines": [{"line": 2**31, "quantity": "1"}]},
            "data.lines.0.line",
        ),
    ],
)
async def test_a_number_that_no_table_holds_is_refused(world: World, kind: str, data: Any, field: str) -> None:
    """It would stop intake, or whoever reads the log."""
    async with world.client(world.key()) as client:
        answer = await client.post("/events", json=event("e1", kind, "anna", data), headers=STRUCTURED)
    assert problem(answer) == (422, "invalid")
    assert answer.json()["field"] == field


async def test_a_large_number_among_attributes_is_kept_exactly(world: World) -> None:
    """Of what a shop says of its own, nothing is refused for its size: it stands in the log as a decimal text."""
    data = {"name": "game", "attributes": {"score": 10**30, "level": 2**63 - 1}}
    async with world.client(world.key()) as client:
        answer = await client.post("/events", json=event("e1", "activity", "anna", data), headers=STRUCTURED)
    assert answer.status_code == 202
    (parcel,) = world.sent
    fact = normalise(parcel.value, to_text(NOW_US), NOW_US)
    assert fact.data["attributes"] == {"score": str(10**30), "level": 2**63 - 1}


async def test_a_quote_for_a_moment_before_the_calendar_is_refused(world: World) -> None:
    """Year 1 with an offset lies before year 1."""
    basket = {"lines": purchase("p", None)["data"]["lines"]}
    async with world.client(world.key()) as client:
        answer = await client.post("/quote", json={"basket": basket, "time": "0001-01-01T00:00:00+14:00"})
    assert problem(answer) == (422, "bad_request")
