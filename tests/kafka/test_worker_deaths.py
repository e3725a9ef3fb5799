"""Workers that are killed, frozen, joined and stopped on a real Kafka: one decision per fact, in order, always."""

from __future__ import annotations

import signal
import time

import pytest

from engine.stream.clients import Cluster
from tests.kafka.deployment import Deployment, event, purchase, purchases, until
from tests.kafka.harness import log_end, set_group_offset

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


async def test_kill_nine_and_start_again(cluster: Cluster, prefix: str) -> None:
    """Given a worker at work, when it is killed and another starts, then every fact has exactly one decision, in order."""
    with Deployment(cluster, prefix) as shop:
        first = shop.start()
        await shop.ready(first)
        await shop.publish(purchases(8_000))
        await shop.decided(1)
        first.kill()
        undecided = 8_000 - len([d for d in await shop.decisions() if d.member_id])

        second = shop.start()
        await shop.decided(8_000)
        decisions = await shop.audit()

        assert undecided > 0, "the kill came too late to prove anything"
        assert len({d.fact_id for d in decisions if d.outcome == "decided" and d.member_id}) == 8_000
        assert second.end() == 0


async def test_two_workers_share_and_one_leaves_in_time(cluster: Cluster, prefix: str) -> None:
    """Given a worker at work, when another joins and the first is stopped, then it stops within 15 s and nothing is lost."""
    with Deployment(cluster, prefix, partitions=4) as shop:
        first = shop.start()
        await shop.ready(first)
        await shop.publish(purchases(3_000, name="a"))
        second = shop.start()
        await shop.ready(first, second)
        assert first.open_partitions() == second.open_partitions() == 2

        await shop.publish(purchases(3_000, name="b"))
        began = time.monotonic()
        assert first.end(15.0) == 0
        assert time.monotonic() - began < 15.0

        await shop.publish(purchases(500, name="c"))
        await shop.decided(6_500)
        await shop.ready(second)
        decisions = await shop.audit()
        assert len({d.fact_id for d in decisions if d.outcome == "decided" and d.member_id}) == 6_500


async def test_a_frozen_worker_that_wakes_up_is_fenced(cluster: Cluster, prefix: str) -> None:
    """Given a worker frozen beyond its session, when another took over and the first wakes up, then it decides nothing twice."""
    with Deployment(cluster, prefix) as shop:
        zombie = shop.start()
        await shop.ready(zombie)
        await shop.publish(purchases(6_000, name="a"))
        await shop.decided(1)
        zombie.signal(signal.SIGSTOP)
        heir = shop.start()
        await shop.ready(heir)
        await shop.publish(purchases(1_000, name="b"))
        await shop.decided(7_000)

        zombie.signal(signal.SIGCONT)
        await shop.publish(purchases(1_000, name="c"))
        await shop.decided(8_000)
        await shop.ready(zombie, heir)
        await shop.publish(purchases(1_000, name="d"))
        await shop.decided(9_000)
        decisions = await shop.audit()

        assert len({d.fact_id for d in decisions if d.outcome == "decided" and d.member_id}) == 9_000


async def test_group_offsets_and_holes_do_not_matter(cluster: Cluster, prefix: str) -> None:
    """Given a group offset far ahead and holes of aborted transactions, when a worker starts, then no fact is skipped."""
    with Deployment(cluster, prefix, partitions=1) as shop:
        first = shop.start()
        await shop.ready(first)
        await shop.publish(purchases(100, name="a"))
        await shop.decided(100)
        assert first.end() == 0

        for name, hole in (("b", 1), ("c", 2), ("d", 1_000)):
            await shop.append_facts(purchases(50, name=name))
            await shop.append_facts(purchases(hole, name="x"), aborted=True)
        end = await log_end(cluster, shop.topic("facts"))
        await set_group_offset(cluster, shop.group, shop.topic("facts"), end)

        second = shop.start()
        await shop.decided(250)
        await shop.append_facts(purchases(50, name="e"))
        await shop.decided(300)
        decisions = await shop.audit()

        assert len([d for d in decisions if d.member_id]) == 300
        assert second.end() == 0


async def test_a_referral_reaches_the_other_partition_once(cluster: Cluster, prefix: str) -> None:
    """Given members in different partitions, when the referred one first buys, then the referrer's award is written with it."""
    friends = [f"friend{number}" for number in range(20)]
    with Deployment(cluster, prefix, partitions=4) as shop:
        worker = shop.start()
        await shop.ready(worker)
        await shop.publish(event(f"r-{friend}", "referral", friend, {"referrer": "anna"}) for friend in friends)
        await shop.publish(purchase(f"p-{friend}", friend) for friend in friends)
        await shop.decided(3 * len(friends))
        decisions = await shop.audit()

        awarded = [e for d in decisions for e in d.entries if e.rule_id == "refer:referrer"]
        derived = [item for d in decisions for item in d.derived]
        assert {entry.member_id for entry in awarded} == {"anna"}
        assert len(awarded) == 12, "the programme caps it at 12 a year"
        assert len(derived) == len({(item.source, item.id) for item in derived}) == len(friends)
        assert worker.end() == 0


async def test_stopping_an_idle_worker_and_a_start_that_finds_everything_done(cluster: Cluster, prefix: str) -> None:
    """Given all facts decided, when the next worker starts, then it recovers, decides nothing again, and takes up new facts."""
    with Deployment(cluster, prefix, partitions=2) as shop:
        first = shop.start()
        await shop.ready(first)
        await shop.publish(purchases(200))
        await shop.decided(200)
        assert first.end() == 0
        before = await shop.records("points-log")

        second = shop.start()
        await shop.ready(second)
        assert [len(records) for records in await shop.records("points-log")] == [len(records) for records in before]
        await shop.publish([purchase("p1", "m001"), purchase("new", "m001")])
        await shop.decided(201)
        decisions = await shop.audit()

        assert [d.outcome for d in decisions if d.fact_id == "p1"] == ["decided", "duplicate"]
        assert [d.outcome for d in decisions if d.fact_id == "new"] == ["decided"]
        assert second.end() == 0


async def test_ticks_settle_every_partition(cluster: Cluster, prefix: str) -> None:
    """Given members with a tier until the end of next year, when a tick comes after it, then they are settled."""
    from engine.commands.tick import append
    from schemas.times import to_us

    with Deployment(cluster, prefix, partitions=2) as shop:
        worker = shop.start()
        await shop.ready(worker)
        await shop.publish(purchase(f"big{number}", f"m{number}", "40.00") for number in range(10))
        await shop.decided(10)
        assert await append(cluster, prefix, to_us("2028-06-01T00:00:00Z")) == 2

        async def settled() -> bool:
            return len([d for d in await shop.decisions() if d.type == "stammgast.tick.v1"]) >= 2

        await until("both ticks decided", settled)
        decisions = await shop.audit()
        fallen = {c.member_id for d in decisions if d.type == "stammgast.tick.v1" for c in d.tiers if c.tier == "guest"}
        assert fallen == {f"m{number}" for number in range(10)}
        assert worker.end() == 0


async def test_a_broker_that_forgets_nothing_of_one_worker(embedded: str, prefix: str) -> None:
    """Given the embedded broker, when its one worker is killed and starts again, then every fact has one decision."""
    cluster = Cluster(embedded)
    with Deployment(cluster, prefix, partitions=2) as shop:
        first = shop.start()
        await shop.ready(first)
        await shop.publish(purchases(4_000))
        await shop.decided(1)
        first.kill()
        second = shop.start()
        await shop.ready(second)
        await shop.publish(purchases(500, name="q"))
        await shop.decided(4_500)
        await shop.audit()
        assert "only ONE worker may run" in second.said()
        assert second.end() == 0
