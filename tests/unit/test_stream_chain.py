"""The chain of the points log: what a link is, that it goes on over turns and starts, and that a change breaks it."""

from __future__ import annotations

import asyncio
from hashlib import blake2b

import pytest

from engine.stream.chain import CHAIN_HEADER, GENESIS, link, link_of
from engine.stream.recovery import recover
from engine.stream.tools import Delivery
from schemas.decisions import encode_decision
from tests.unit.stream_fakes import Bench, FakeLedger, Record, decision_on, fact_of, fact_record, logs_of


def chained(values: list[bytes], previous: bytes = GENESIS) -> list[bytes]:
    """The links that these values must carry."""
    links = []
    for value in values:
        previous = link(previous, value)
        links.append(previous)
    return links


async def work_off(bench: Bench, *records: Record) -> None:
    """Open a keeper, let it decide these, close it."""
    keeper = await bench.keeper()
    done = asyncio.Event()
    keeper.offer(Delivery(records, done.set))
    await asyncio.wait_for(done.wait(), 90)
    await keeper.close()


def test_a_link_is_a_hash_of_the_one_before_and_the_value() -> None:
    """Given a previous link and a value, when they are linked, then it is BLAKE2b-128 of both, and any change shows."""
    first = link(GENESIS, b"decision")

    assert first == blake2b(bytes(16) + b"decision", digest_size=16).digest()
    assert len({first, link(GENESIS, b"Decision"), link(first, b"decision")}) == 3


@pytest.mark.parametrize("transactional", [True, False], ids=["transactions", "embedded"])
async def test_every_record_of_a_turn_goes_on_from_the_one_before(transactional: bool) -> None:
    """Given a keeper, when it decides facts, then each record of the points log carries the link that follows."""
    bench = Bench(transactional=transactional)

    await work_off(bench, *(fact_record(offset) for offset in range(600)))

    sent = bench.producer.sent("points-log")
    assert [link_of(record["headers"]) for record in sent] == chained([record["value"] for record in sent])
    assert len(sent) == 600


async def test_the_next_keeper_goes_on_from_the_last_link() -> None:
    """Given a log with links, when another keeper recovers it, then its first record goes on from the last one."""
    facts = [fact_record(offset) for offset in range(3)]
    first = Bench()
    await work_off(first, *facts[:2])
    log = [
        Record("points-log", 0, offset, record["key"], record["value"], headers=record["headers"])
        for offset, record in enumerate(first.producer.sent("points-log"))
    ]
    second = Bench(facts=facts, log=log)

    await work_off(second, facts[2])

    (sent,) = second.producer.sent("points-log")
    assert dict(sent["headers"])[CHAIN_HEADER] == link(
        chained([record.value or b"" for record in log])[-1], sent["value"]
    )


async def test_a_log_from_before_the_chain_begins_it_now() -> None:
    """Given decisions without links, when they are recovered, then the chain begins with the next record."""
    old = [Record("points-log", 0, 0, b"m1", encode_decision(decision_on(fact_of("f0"), 0)))]

    found = await recover(FakeLedger, logs_of(*old, fact_record(0)), "facts[0]")

    assert found.link == GENESIS
