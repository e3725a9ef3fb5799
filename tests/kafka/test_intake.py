"""What comes in wrong lands in rejects with its reason, field and original bytes; the good ones around it are decided."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from engine.stream.clients import Cluster
from schemas.rejects import INTAKE_REASONS, KEEPER_REASONS
from tests.kafka.deployment import Deployment, Event, purchase, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


def changed(event_id: str, **changes: Any) -> bytes:
    """A purchase with some attributes changed, as bytes."""
    return json.dumps(purchase(event_id, "m1") | changes).encode()


def with_data(event_id: str, **changes: Any) -> bytes:
    """A purchase with some of its data changed."""
    one = purchase(event_id, "m1")
    one["data"] |= changes
    return json.dumps(one).encode()


def bad_events() -> dict[str, tuple[bytes, str]]:
    """For each reason of intake: a record that earns it, and the field it names."""
    line = {"sku": "A", "quantity": "1", "unit_price": "1.00"}
    return {
        "not_json": (b'{"specversion": "1.0", \xff', ""),
        "not_a_cloudevent": (b'{"id": "x"}', "specversion"),
        "unknown_type": (changed("b2", type="stammgast.party.v1"), "type"),
        "not_allowed": (changed("b3", source="urn:stammgast:clock"), "source"),
        "invalid": (with_data("b4", lines=[line | {"quantity": "0"}]), "data.lines.0.quantity"),
        "personal_subject": (changed("b5", subject="anna@example.org"), "subject"),
        "naive_time": (changed("b6", time="2026-02-02T10:00:00"), "time"),
        "future_time": (changed("b7", time="2999-01-01T00:00:00Z"), "time"),
        "unknown_currency": (with_data("b8", currency="XQX"), "data.currency"),
        "too_many_decimals": (with_data("b9", total="12.345"), "data"),
        "too_large": (with_data("b10", order_id="x" * 920_000), ""),
    }


def late_events() -> list[Event]:
    """One member's facts that the keeper refuses: a reused id, one beyond the programme's limit, one beyond the horizon."""
    return [
        purchase("k1", "late", when="2026-06-01T10:00:00Z"),
        purchase("k1", "late", "99.00", when="2026-06-01T10:00:00Z"),
        purchase("k2", "late", when="2026-02-01T10:00:00Z"),
        purchase("k3", "late", when="2024-02-01T10:00:00Z"),
        purchase("k1", "late", when="2026-06-01T10:00:00Z"),
    ]


def headers(record: ConsumerRecord) -> dict[str, str]:
    """Headers as text."""
    return {name: value.decode() for name, value in record.headers}


async def test_every_reason_lands_in_rejects_and_nothing_stops(cluster: Cluster, prefix: str) -> None:
    """Given bad records of every kind among good ones, when they are published, then each is rejected with all it needs."""
    bad = bad_events()
    assert set(bad) == set(INTAKE_REASONS)
    inbound: list[Event | bytes] = []
    for number, (value, _) in enumerate(bad.values()):
        inbound += [purchase(f"good{number}", f"m{number}"), value]
    inbound += [*late_events(), purchase("good-last", "m1")]
    good = len(bad) + 1

    with Deployment(cluster, prefix, partitions=2) as shop:
        worker = shop.start()
        await shop.ready(worker)
        await shop.publish(inbound)
        await shop.decided(good + 3)
        decisions = await shop.audit()

        async def all_rejected() -> bool:
            return sum(map(len, await shop.records("rejects"))) >= len(bad) + 3

        await until("every bad record in rejects", all_rejected)
        rejects = {headers(r)["stammgast-reason"]: r for records in await shop.records("rejects") for r in records}
        assert worker.end() == 0

    assert len([d for d in decisions if d.fact_id.startswith("good") and d.outcome == "decided"]) == good
    assert [d.outcome for d in decisions if d.fact_id == "k1"] == ["decided", "rejected", "duplicate"]
    assert set(rejects) == set(INTAKE_REASONS) | set(KEEPER_REASONS) - {"quarantined"}
    for reason, (value, field) in bad.items():
        record, told = rejects[reason], headers(rejects[reason])
        assert record.value == value, reason
        assert record.key == b"till-7"
        assert told["trace"] == "t1"
        assert told["stammgast-field"] == field, reason
        assert told["stammgast-message"]
        assert told["stammgast-topic"] == shop.topic("shop-events")
        assert inbound[int(told["stammgast-offset"])] == value
        assert told["stammgast-received-at"].endswith("000Z")
    for reason in ("id_reused", "too_late", "too_late_to_deduplicate"):
        assert headers(rejects[reason])["stammgast-topic"] == shop.topic("facts")


async def test_each_inbound_topic_carries_what_its_setting_says(cluster: Cluster, prefix: str) -> None:
    """Given a topic for visits of one source, when others come by it, then they are not allowed, and visits are decided."""
    visit = purchase("v1", "m1") | {"type": "stammgast.visit.v1", "data": {"store": "s1"}, "source": "urn:door:1"}
    elsewhere = visit | {"id": "v2", "source": "urn:window:1"}
    with Deployment(cluster, prefix, partitions=1) as shop:
        worker = shop.start("--inbound", "shop-events=* door-events=visit@urn:door:*")
        await shop.ready(worker)
        await shop.publish([visit, elsewhere, purchase("p1", "m1")], "door-events")
        await shop.publish([purchase("p2", "m1")])
        await shop.decided(2)

        async def two_rejected() -> bool:
            return len((await shop.records("rejects"))[0]) == 2

        await until("both rejected", two_rejected)
        told = [headers(record) for record in (await shop.records("rejects"))[0]]
        decisions = await shop.audit()
        assert worker.end() == 0

    assert {one["stammgast-reason"] for one in told} == {"not_allowed"}
    assert {one["stammgast-field"] for one in told} == {"type", "source"}
    assert {d.fact_id for d in decisions if d.member_id} == {"v1", "p2"}
