"""The gateway on a real Kafka: what it accepted is in the log, what it says of a member is what the log says."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.stream.clients import Cluster
from tests.kafka.deployment import Deployment, Event, event, purchase, until
from tests.kafka.gateways import Gateway, make_key
from tests.kafka.harness import KafkaCluster

PROGRAMME = Path(__file__).parent / "programmes" / "till"
#: Rounds of the race for the last hundred points; STAMMGAST_TEST_GATEWAY_ROUNDS=200 is the whole of it.
ROUNDS = int(os.environ.get("STAMMGAST_TEST_GATEWAY_ROUNDS", "20"))
#: Times that the gateway is killed amid requests; STAMMGAST_TEST_GATEWAY_KILLS=200 is the whole of it.
KILLS = int(os.environ.get("STAMMGAST_TEST_GATEWAY_KILLS", "4"))
pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240 + 20 * max(ROUNDS, KILLS) // 2)]
STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}
#: Events sent again at once; the gateway takes a thousand.
A_BATCH = 500


async def told(client: httpx.AsyncClient, key: str) -> dict[str, Any]:
    """What the gateway says of a member, once it knows him."""
    answer = await client.get(f"/members/{key}")
    return dict(answer.json()) if answer.status_code == 200 else {}


async def has(client: httpx.AsyncClient, key: str, points: int) -> None:
    """Wait until a member can spend so many points."""

    async def so_many() -> bool:
        return bool((await told(client, key)).get("points", {}).get("available") == points)

    await until(f"{key} has {points} points", so_many)


async def test_events_come_in_and_the_till_is_told(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Given events in all three modes, then they are decided as any others; card, quote and refused events tell the same."""
    secret = make_key(tmp_path / "keys.yaml")
    staff = make_key(
        tmp_path / "keys.yaml", "staff", ("urn:desk",), ("publish",), topic="staff-events", types=["staff"]
    )
    with Deployment(cluster, prefix, programme=PROGRAMME) as shop:
        worker = shop.start()
        await shop.ready(worker)
        gateway = Gateway(shop, tmp_path / "keys.yaml")
        await gateway.ready()
        async with gateway.client(secret) as client:
            quoted = await client.post("/quote", json={"member": "anna", "basket": _basket("120.00")})
            assert quoted.status_code == 200, quoted.text
            one = await client.post("/events", json=purchase("p1", "anna", "120.00"), headers=STRUCTURED)
            assert (one.status_code, one.json()["status"]) == (202, "accepted")
            bought = purchase("p2", "anna", "500.00")
            attributes = {f"ce-{name}": value for name, value in bought.items() if name != "data"}
            binary = await client.post("/events", json=bought["data"], headers=attributes)
            assert binary.status_code == 202, binary.text
            batch = [purchase("p3", "ben", "7.00"), purchase("p4", "ben@example.org", "7.00"), {"no": "event"}]
            mixed = await client.post("/events", json=batch, headers=BATCH)
            assert mixed.status_code == 207
            assert [one["status"] for one in mixed.json()["events"]] == ["accepted", "refused", "refused"]
            assert [one["problem"]["reason"] for one in mixed.json()["events"][1:]] == [
                "personal_subject",
                "not_a_cloudevent",
            ]
            await has(client, "anna", 620)
            await has(client, "ben", 7)
            assert quoted.json()["points"] == 120
            assert [rule["rule"] for rule in quoted.json()["why"] if rule["points"]] == ["spend"]
            again = await client.post("/quote", json={"member": "anna", "basket": _basket("10.00", "beans")})
            assert again.json()["points"] == 40  # gold doubles both rules
            assert again.json()["tier"] == {"id": "gold", "after": "gold", "benefits": ["free_delivery"]}
            anna = await told(client, "anna")
            assert anna["tier"]["id"] == "gold"
            assert [(one["reward"], one["within_reach"]) for one in anna["rewards"]] == [
                ("lounge", True), ("five-off", True), ("coffee", True), ("machine", False)]  # fmt: skip
            assert anna["next_expiry"] == {"at": "2027-02-02T23:00:00.000000Z", "points": 620}
            assert anna["fresh"]["behind"] == 0

            async with gateway.client(staff) as desk:
                link = event("l1", "link", "card-9", {"member": "anna", "operator": "kim", "reason": "lost_card"})
                link["source"] = "urn:desk"
                assert (await desk.post("/events", json=link, headers=STRUCTURED)).status_code == 202
                assert (await desk.get("/members/anna")).status_code == 403
                assert (await desk.post("/events", json=purchase("p9", "x"), headers=STRUCTURED)).status_code == 403

            async def linked() -> bool:
                return (await told(client, "card-9")).get("member") == "anna"

            await until("the card is anna's", linked)
            await _reused_id_shows(client)
        assert gateway.role.end() == 0
        await shop.audit()


def _basket(price: str, category: str = "coffee") -> dict[str, Any]:
    return {"lines": [{"sku": "ESP", "category": category, "quantity": 1, "unit_price": price}], "channel": "pos"}


async def _reused_id_shows(client: httpx.AsyncClient) -> None:
    """An id given twice is refused after it was accepted: its owner finds it in /rejects."""
    assert (await client.post("/events", json=purchase("p1", "anna", "1.00"), headers=STRUCTURED)).status_code == 202

    async def refused() -> bool:
        answer = await client.get("/rejects", params={"source": "urn:test"})
        return [(one["id"], one["reason"]) for one in answer.json()["rejects"]] == [("p1", "id_reused")]

    await until("the owner sees the refusal", refused)
    assert (await client.get("/rejects", params={"source": "urn:other"})).status_code == 403


async def test_of_twenty_that_want_the_last_hundred_points_one_gets_them(
    cluster: Cluster, prefix: str, tmp_path: Path
) -> None:
    """Given a balance of 100, when twenty ask for 100 at once over HTTP, then one is granted, in every round; whoever asks
    again with his id gets his own answer again, and nothing moves twice."""
    secret = make_key(tmp_path / "keys.yaml")
    with Deployment(cluster, prefix, programme=PROGRAMME) as shop:
        worker = shop.start()
        await shop.ready(worker)
        gateway = Gateway(shop, tmp_path / "keys.yaml")
        await gateway.ready()
        async with gateway.client(secret) as client:
            bought = [purchase(f"p{number}", f"m{number}", "100.00") for number in range(ROUNDS)]
            assert (await client.post("/events", json=bought, headers=BATCH)).status_code == 202
            for number in range(ROUNDS):
                await has(client, f"m{number}", 100)
                answers = await asyncio.gather(*(_redeem(client, f"m{number}", f"r{number}-{n}") for n in range(20)))
                assert sorted(one["outcome"] for one in answers) == ["granted"] + ["refused"] * 19
                assert {one["message"] for one in answers if one["outcome"] == "refused"} == {"needs 100, has 0"}
                again = await asyncio.gather(*(_redeem(client, f"m{number}", f"r{number}-{n}") for n in range(20)))
                assert [one["outcome"] for one in again] == [one["outcome"] for one in answers]
                assert (await told(client, f"m{number}"))["points"]["available"] == 0
            other = await client.post("/redemptions", json={"member": "m0", "points": 7, "id": "r0-0"})
            assert (other.status_code, other.json()["reason"]) == (409, "id_reused")
        entries = [entry for decision in await shop.audit() for entry in decision.entries]
        assert sum(entry.points for entry in entries if entry.kind == "redeem") == -100 * ROUNDS


async def _redeem(client: httpx.AsyncClient, member: str, request_id: str, **more: Any) -> dict[str, Any]:
    answer = await client.post(
        "/redemptions", json={"member": member, "reward": "coffee"} | more, headers={"Idempotency-Key": request_id}
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_scarce_reward_is_answered_when_its_stock_has_answered(
    cluster: Cluster, prefix: str, tmp_path: Path
) -> None:
    """Given one machine and two members who can pay it, then one gets it, and the other is told why not and has his points."""
    secret = make_key(tmp_path / "keys.yaml")
    with Deployment(cluster, prefix, programme=PROGRAMME) as shop:
        worker = shop.start()
        await shop.ready(worker)
        gateway = Gateway(shop, tmp_path / "keys.yaml")
        await gateway.ready()
        async with gateway.client(secret) as client:
            rich = [purchase(f"p-{name}", name, "6000.00") for name in ("anna", "ben")]
            assert (await client.post("/events", json=rich, headers=BATCH)).status_code == 202
            for name in ("anna", "ben"):
                await has(client, name, 6000)
            answers = await asyncio.gather(
                *(_redeem(client, one, f"m-{one}", reward="machine") for one in ("anna", "ben"))
            )
            granted, refused = sorted(answers, key=lambda one: str(one["outcome"]))
            assert (granted["outcome"], refused["outcome"]) == ("granted", "refused")
            assert granted["points"] == -5000
            assert refused["balance"]["available"] == 6000
            assert refused["reason"]


async def test_a_killed_gateway_loses_nothing_it_accepted(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Given a gateway killed amid requests again and again, and clients that send again what was not answered, then every
    event that was accepted is decided, and none counts twice."""
    secret, keys = make_key(tmp_path / "keys.yaml"), tmp_path / "keys.yaml"
    sent: dict[str, bool] = {}
    with Deployment(cluster, prefix, programme=PROGRAMME) as shop:
        worker = shop.start()
        await shop.ready(worker)
        for life in range(KILLS):
            gateway = Gateway(shop, keys)
            await until("it listens", gateway._listens)
            await _shot_amid_requests(gateway, secret, life, sent)
        gateway = Gateway(shop, keys)
        await gateway.ready()
        unanswered = [name for name, answered in sent.items() if not answered]
        print(f"{len(sent)} events, {len(unanswered)} without an answer, {KILLS} kills")
        async with gateway.client(secret) as client:
            for begin in range(0, len(unanswered), A_BATCH):
                again = [_of(name) for name in unanswered[begin : begin + A_BATCH]]
                answer = await client.post("/events", json=again, headers=BATCH)
                assert answer.status_code == 202, answer.text
        await shop.decided(len(sent))
        decisions = await shop.audit()
    decided = [one.fact_id for one in decisions if one.outcome == "decided" and one.fact_id in sent]
    assert sorted(decided) == sorted(sent)
    assert sum(entry.points for one in decisions for entry in one.entries) == 12 * len(sent)


def _of(name: str) -> Event:
    return purchase(name, f"m{name}")


async def _shot_amid_requests(gateway: Gateway, secret: str, life: int, sent: dict[str, bool]) -> None:
    """Many clients publish without a pause; when some were answered, the gateway is killed."""
    answered = asyncio.Event()

    async def till(client: httpx.AsyncClient, number: int) -> None:
        for turn in range(1_000):
            name = f"e{life}-{number}-{turn}"
            sent[name] = False
            try:
                answer = await client.post("/events", json=_of(name), headers=STRUCTURED)
            except httpx.HTTPError:
                return
            assert answer.status_code == 202, answer.text
            sent[name] = True
            if number == 0 and turn == 5:
                answered.set()

    async with gateway.client(secret) as client:
        tills = [asyncio.create_task(till(client, number)) for number in range(10)]
        await answered.wait()
        gateway.role.kill()
        await asyncio.gather(*tills)


@pytest.fixture(name="fragile")
def _fragile(own_kafka: KafkaCluster) -> KafkaCluster:
    return own_kafka


async def test_while_kafka_is_away_events_are_answered_503(fragile: KafkaCluster, prefix: str, tmp_path: Path) -> None:
    """Given a Kafka that stands still, then an event is answered 503 with Retry-After, and sent again later it counts once."""
    secret = make_key(tmp_path / "keys.yaml")
    with Deployment(Cluster(fragile.bootstrap), prefix, programme=PROGRAMME) as shop:
        worker = shop.start()
        await shop.ready(worker)
        gateway = Gateway(shop, tmp_path / "keys.yaml")
        await gateway.ready()
        async with gateway.client(secret, timeout=60) as client:
            assert (await client.post("/events", json=purchase("p1", "anna"), headers=STRUCTURED)).status_code == 202
            await has(client, "anna", 12)
            fragile.nodes[0].freeze()
            try:
                away = await client.post("/events", json=purchase("p2", "anna"), headers=STRUCTURED)
            finally:
                fragile.nodes[0].thaw()
            assert (away.status_code, away.json()["reason"]) == (503, "kafka_away")
            assert int(away.headers["Retry-After"]) > 0
            assert away.headers["Content-Type"] == "application/problem+json"

            async def taken() -> bool:
                answer = await client.post("/events", json=purchase("p2", "anna"), headers=STRUCTURED)
                return answer.status_code == 202

            await until("Kafka is back", taken)
            await has(client, "anna", 24)
