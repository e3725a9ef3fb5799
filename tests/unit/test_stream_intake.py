"""Intake and clock against a faked Kafka: what is written where, in which order, and when a tick is due."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from engine.stream.clients import partition_for
from engine.stream.clock import Clock
from engine.stream.intake import UNDER_WAY, Intake, Pump, Taken, rules_of
from engine.stream.topics import Layout, default_inbound
from rules.book import load_directory
from schemas.envelope import parse_fact
from schemas.times import to_us
from tests.kafka.deployment import PROGRAMMES, purchase
from tests.unit.ledger import programme
from tests.unit.stream_fakes import Bench, FakeProducer, Record, fact_record

LAYOUT = Layout(partitions=4)
NOW_US = to_us("2026-02-02T09:20:00.123456Z")


def inbound(*values: bytes, topic: str = "shop-events") -> list[Record]:
    """Records as fetched from an inbound topic."""
    return [Record(topic, 1, 100 + n, b"till", value, headers=[("trace", b"t")]) for n, value in enumerate(values)]


def bought(event_id: str, subject: str | None = "m1") -> bytes:
    """A purchase, as bytes."""
    return json.dumps(purchase(event_id, subject)).encode()


def new_intake(producer: FakeProducer) -> Intake:
    """Intake at a fixed moment."""
    return Intake(producer, LAYOUT, rules_of(default_inbound(), LAYOUT), now_us=lambda: NOW_US)


async def send(producer: FakeProducer, records: list[Record]) -> Taken:
    """Take a batch and send it."""
    taken = await new_intake(producer).take(records)
    await taken.outbox.send()
    return taken


async def test_facts_go_to_the_partition_of_their_subject() -> None:
    """Given events of several members, when intake takes them, then key, partition and stamp follow the subject and now."""
    producer = FakeProducer()

    await send(producer, inbound(*(bought(f"p{n}", f"m{n}") for n in range(20)), bought("anon", None)))

    facts = [(place, record) for topic, place, record in producer.log if topic == "facts"]
    assert len(facts) == 21
    for place, record in facts:
        fact = parse_fact(record["value"])
        assert record["key"] == (fact.key or "").encode()
        assert place == partition_for(record["key"], 4)
        assert record["timestamp"] == NOW_US // 1_000
        assert fact.recorded_at == "2026-02-02T09:20:00.123000Z"
    assert "order:urn:test:anon" in {parse_fact(record["value"]).key for _, record in facts}


async def test_a_cost_goes_to_the_key_of_its_day_by_staff_events_alone() -> None:
    """It is nobody's: its day is its key. From a till it is refused."""
    data = {"day": "2026-01-31", "kind": "printing", "foreseen": True, "amount": "3.00", "currency": "EUR"}
    event = {
        "specversion": "1.0", "id": "k", "source": "urn:costs", "type": "stammgast.cost.v1", "time": "2026-01-31T00:00:00Z",
        "data": data,
    }  # fmt: skip
    told = {}
    for topic in ("staff-events", "shop-events"):
        producer = FakeProducer()
        await send(producer, [Record(topic, 1, 100, b"any", json.dumps(event).encode(), headers=[])])
        told[topic] = [(name, record["key"]) for name, _, record in producer.log]

    assert told["staff-events"] == [("facts", b"cost:2026-01-31")]
    assert [name for name, _ in told["shop-events"]] == ["rejects"]


async def test_a_bad_record_is_rejected_unchanged() -> None:
    """Given a bad record between good ones, when intake takes them, then it is rejected with everything it came with."""
    producer = FakeProducer()

    taken = await send(producer, inbound(bought("a"), b"nonsense", bought("b")))

    (reject,) = producer.sent("rejects")
    told = dict(reject["headers"])
    assert (reject["key"], reject["value"]) == (b"till", b"nonsense")
    assert told["trace"] == b"t"
    assert told["stammgast-reason"] == b"not_json"
    assert (told["stammgast-topic"], told["stammgast-partition"], told["stammgast-offset"]) == (
        b"shop-events", b"1", b"101",
    )  # fmt: skip
    assert len(producer.sent("facts")) == 2
    assert taken.facts == {"stammgast.purchase.v1": 2}
    assert taken.rejects == {"not_json": 1}


async def test_a_record_without_a_value_is_rejected_too() -> None:
    """Given a tombstone on an inbound topic, when intake takes it, then it is rejected, not crashed upon."""
    producer = FakeProducer()
    (record,) = inbound(b"")
    record.value = None

    await send(producer, [record])

    assert dict(producer.sent("rejects")[0]["headers"])["stammgast-reason"] == b"not_json"


async def test_acknowledged_only_after_the_brokers_have_it() -> None:
    """Given brokers that take their time, when consignments are pushed, then none is acknowledged before, and few wait."""
    producer, acknowledged, deaths = FakeProducer(), list[int](), list[BaseException]()
    pump = Pump(deaths.append, lambda *_: None)
    held: list[asyncio.Future[Any]] = []

    async def later(batch: Any, topic: str, *, partition: int) -> asyncio.Future[Any]:
        held.append(asyncio.get_running_loop().create_future())
        return held[-1]

    producer.send_batch = later  # type: ignore[method-assign]
    intake = new_intake(producer)
    for number in range(UNDER_WAY):
        await pump.push(await intake.take(inbound(bought(f"p{number}"))), partial(acknowledged.append, number))
    blocked = asyncio.create_task(pump.push(await intake.take(inbound(bought("x"))), lambda: acknowledged.append(99)))
    await asyncio.wait([blocked], timeout=0.01)
    assert not acknowledged
    assert not blocked.done()

    held[0].set_result(None)
    await asyncio.wait_for(blocked, 90)
    assert acknowledged == [0]
    for future in held[1:]:
        future.set_result(None)
    assert await pump.drain(1)
    assert acknowledged == [0, 1, 2, 99]
    assert not deaths


async def test_a_failed_send_ends_the_process_unacknowledged() -> None:
    """Given brokers that refuse, when a consignment is pushed, then it is not acknowledged and the worker is told to die."""
    producer, acknowledged, deaths = FakeProducer(), list[int](), list[BaseException]()
    producer.error = KafkaTimeoutError()
    pump = Pump(deaths.append, lambda *_: None)

    await pump.push(await new_intake(producer).take(inbound(bought("a"))), lambda: acknowledged.append(1))
    await pump.drain(1)

    assert len(deaths) == 1
    assert not acknowledged


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("wall", "2026-02-01T23:00:00.000000Z"),
        ("log", "2023-11-13T23:00:00.000000Z"),
        ("off", None),
    ],
)
async def test_when_a_partition_gets_a_tick(mode: Any, expected: str | None) -> None:
    """Given members with something due, when the clock looks, then wall ticks at the last midnight, log at the newest fact's."""
    bench, producer = Bench(facts=[fact_record(0)]), FakeProducer()
    keeper = await bench.keeper()
    keeper.ledger.newest_us = to_us("2023-11-14T22:13:20Z")
    bench.ledgers[0].next_due_us = to_us("2023-01-01T00:00:00Z")
    keeper.idle_since -= 60
    (programme, *_) = load_directory(PROGRAMMES / "coffee-bar")
    clock = Clock(mode, "facts", producer, lambda: [keeper], lambda _: programme, lambda _: True, lambda: NOW_US)

    await clock.look() if mode != "off" else None
    await clock.look() if mode != "off" else None

    ticks = [parse_fact(record["value"]) for record in producer.sent("facts")]
    assert [tick.time for tick in ticks] == ([expected] if expected else [])
    assert [tick.id for tick in ticks] == ([f"0:{expected}"] if expected else [])
    await keeper.close()


WAITING = "moments: [{id: b, on: {not_followed_by: {after: visit, by: purchase, within: 1 hour}}, award: {points: 1}}]"


@pytest.mark.parametrize(("body", "expected"), [(WAITING, ["2026-02-02T11:05:00.000000Z"]), ("", [])])
async def test_a_wait_that_is_over_gets_a_tick_of_its_own(body: str, expected: list[str]) -> None:
    """Given somebody who waits for what does not come, when his time is over within a day, then a tick comes at the next minute,
    once; and not for what may wait until midnight."""
    bench, producer = Bench(facts=[fact_record(0)]), FakeProducer()
    keeper = await bench.keeper()
    keeper.ledger.newest_us = to_us("2026-02-02T10:00:00Z")
    bench.ledgers[0].next_due_us = to_us("2026-02-02T11:04:30Z")
    version, now = programme(body), [to_us("2026-02-02T11:04:59Z")]
    clock = Clock("wall", "facts", producer, lambda: [keeper], lambda _: version, lambda _: True, lambda: now[0])

    await clock.look()  # midnight's
    assert await clock.look() == 0
    now[0] += 2_000_000
    await clock.look()
    await clock.look()

    ticks = [parse_fact(record["value"]).time for record in producer.sent("facts")]
    assert ticks == ["2026-02-01T23:00:00.000000Z", *expected]
    await keeper.close()


async def test_the_log_clock_waits_until_nothing_is_coming_in() -> None:
    """Given a busy intake, when the log clock looks, then it does not tick: a member's next fact may be on its way."""
    bench, producer = Bench(), FakeProducer()
    keeper = await bench.keeper()
    keeper.ledger.newest_us = to_us("2023-11-14T22:13:20Z")
    bench.ledgers[0].next_due_us = to_us("2023-01-01T00:00:00Z")
    keeper.idle_since -= 60
    clock = Clock("log", "facts", producer, lambda: [keeper], lambda _: None, lambda _: False, lambda: NOW_US)

    assert await clock.look() == 0
    await keeper.close()
