"""More partitions on a real Kafka: business between members is copied while it goes on, killed in the middle, and cut over."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engine.cli import main
from engine.commands.tick import append
from engine.stream import repartition
from engine.stream.clients import Cluster, KafkaTrouble
from engine.stream.clock import append_ticks
from engine.stream.generations import Generation, living, read_generation, write_generation
from engine.stream.topics import FACTS, INCENTIVES, Layout
from schemas.facts import PROGRAMME, TICK
from schemas.times import to_us
from tests.kafka.deployment import Deployment, purchase, until
from tests.kafka.test_business import asked, bought, said_by_staff

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

BUSINESS = Path(__file__).parent / "programmes" / "business"
BEFORE, AFTER = 3, 8
SETTLED = to_us("2026-02-10T00:00:00+01:00")


async def run(cluster: Cluster, verb: str, *arguments: str) -> Result:
    """A command of ours."""
    return await asyncio.to_thread(CliRunner().invoke, main, [verb, "--bootstrap", cluster.bootstrap, *arguments])


def told(result: Result, code: int = 0) -> Any:
    """What a command said as JSON, once its exit code is what it must be."""
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


async def settled(shop: Deployment) -> None:
    """Every partition has decided a tick at SETTLED, and everything before it."""
    await append(shop.cluster, shop.prefix, SETTLED)

    async def decided() -> bool:
        facts, decisions = sum(map(len, await shop.records(FACTS))), await shop.decisions()
        return len(decisions) == facts and sum(one.type == TICK for one in decisions) >= shop.partitions

    await until("everybody is settled", decided)


def copying(cluster: Cluster, prefix: str, to: str) -> subprocess.Popen[bytes]:
    """The copy, in a process of its own that can be killed, a fact per transaction, so that it is in the middle of it."""
    start = "from engine.cli import main; from engine.stream import repartition; repartition.CHUNK_STEPS = 1; main()"
    where = ["--bootstrap", cluster.bootstrap, "--topic-prefix", prefix, "--to-prefix", to, "--partitions", str(AFTER)]
    return subprocess.Popen([sys.executable, "-c", start, "repartition", *where], stdout=subprocess.DEVNULL)


async def test_more_partitions_while_members_deal_with_each_other(cluster: Cluster, prefix: str) -> None:
    """Given transfers, claims, rewards of limited stock, links and a copy that is killed in the middle, when it is run again and
    cut over, then every member is equal in both generations, verify proves the new one, workers go on there, and no worker
    starts on the old topics."""
    there = f"{prefix}g2-"
    new = ("--topic-prefix", prefix, "--to-prefix", there, "--partitions", str(AFTER))
    with Deployment(cluster, prefix, partitions=BEFORE, programme=BUSINESS) as shop:
        worker = shop.start()
        await shop.ready(worker)
        await shop.publish(bought())
        await shop.everything_decided(bought())
        planned = told(await run(cluster, "repartition", *new, "--dry-run", "--json"))
        assert (planned["state"], planned["workers"], planned["partitions"]) == ("not begun", 1, [BEFORE, AFTER])

        killed = copying(cluster, prefix, there)
        await until("some facts are copied", lambda: copied(cluster, there, 3))
        killed.send_signal(signal.SIGKILL)
        killed.wait(30)
        await shop.publish(asked())
        await shop.publish(said_by_staff(), "staff-events")
        await shop.everything_decided(bought() + asked() + said_by_staff())
        busy = await run(cluster, "repartition", *new, "--cut-over")
        assert (busy.exit_code, "workers are at work" in busy.output) == (2, True), busy.output
        first = told(await run(cluster, "repartition", *new, "--json"))
        assert first["state"] == "filling"
        early = await asyncio.to_thread(starts, shop, there)
        assert early[0] == 2
        assert "still being filled" in early[1]

        await settled(shop)
        worker.end()
        await shop.append_facts([purchase("late", "m003", "10.00")])
        done = told(await run(cluster, "repartition", *new, "--cut-over", "--json"))
        late = await asyncio.to_thread(starts, shop, prefix)
    assert (done["state"], done["differing"], done["undecided"]) == ("ready", 0, 1)
    assert done["crossed"] == 0
    assert late[0] == 2
    assert "were moved" in late[1]

    with Deployment(cluster, there, partitions=AFTER, programme=BUSINESS) as moved:
        await compared(cluster, there, prefix, done["members"])
        worker = moved.start()
        await moved.ready(worker)
        await until("what was undecided is decided", lambda: has(moved, "late"))
        before = await moved.decisions()
        assert done["same"] == len([one for one in before if one.type not in (TICK, PROGRAMME)]) - 1 + AFTER
        old = Deployment(cluster, prefix)
        await old.publish([purchase("next", "m003", "30.00", when="2026-02-12T10:00:00+01:00")])
        await until("an event in the inbound topic, which stayed, is decided", lambda: has(moved, "next"))
        assert not [one for one in await moved.decisions() if one.outcome == "duplicate"]
        await moved.audit()
        await compared(cluster, there, prefix, done["members"])
        assert not any(await moved.records(INCENTIVES))
        worker.end()


async def copied(cluster: Cluster, there: str, facts: int) -> bool:
    """Are so many facts in the new topics?"""
    found = await read_generation(cluster, there)
    return found is not None and found.counts.get("facts", 0) >= facts


async def compared(cluster: Cluster, there: str, prefix: str, members: int) -> None:
    """verify proves the new generation, and holds its members to the old one."""
    report = told(await run(cluster, "verify", "--topic-prefix", there, "--against", prefix, "--json"))
    assert report["proven"], report["findings"]
    assert report["against"]["members"] == members
    assert report["derived"] > 0


async def has(shop: Deployment, fact_id: str) -> bool:
    """Is this fact decided?"""
    return any(one.fact_id == fact_id for one in await shop.decisions())


def starts(shop: Deployment, prefix: str) -> tuple[int, str]:
    """How a worker on topics with this prefix ends that must not start there, and what it says."""
    where = ["--bootstrap", shop.cluster.bootstrap, "--topic-prefix", prefix, "--programme", str(BUSINESS)]
    ended = subprocess.run(
        [sys.executable, "-c", "from engine.cli import main; main()", "worker", *where],
        capture_output=True, text=True, timeout=120, check=False, env=os.environ,
    )  # fmt: skip
    return ended.returncode, ended.stderr


async def test_time_that_was_moved_unevenly_is_told(cluster: Cluster, prefix: str) -> None:
    """Given a tick in one partition alone, when it is to be cut over, then that is refused with the command that mends it."""
    there = f"{prefix}g2-"
    with Deployment(cluster, prefix, partitions=2) as shop:
        worker = shop.start()
        await shop.ready(worker)
        events = [purchase(f"p{number}", f"m{number:03d}") for number in range(12)]
        await shop.publish(events)
        await shop.everything_decided(events)
        async with cluster.producer() as producer:
            await append_ticks(producer, f"{prefix}facts", [1], SETTLED, SETTLED // 1000)
        await until("the tick is decided", lambda: ticked(shop))
        worker.end()
        new = ("--topic-prefix", prefix, "--to-prefix", there, "--partitions", "5", "--cut-over")
        uneven = await run(cluster, "repartition", *new)
        assert uneven.exit_code == 2, uneven.output
        assert "stammgast tick --at 2026-02-09T23:00:00" in uneven.output

        worker = shop.start()
        await settled(shop)
        worker.end()
        assert (await run(cluster, "repartition", *new)).exit_code == 0
    assert (await run(cluster, "verify", "--topic-prefix", there, "--against", prefix)).exit_code == 0


async def ticked(shop: Deployment) -> bool:
    """Is there a decision on a tick?"""
    return any(one.type == TICK for one in await shop.decisions())


async def test_a_member_who_differs_is_found_and_nothing_is_cut_over(
    cluster: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a copy that leaves out one fact of a member, when it is cut over, then he is named, and the old topics live on."""
    there = f"{prefix}g2-"
    place = repartition.Repartition._place

    def forgetful(self: Any, step: Any, undecided: bool) -> Any:
        fact = step.items[0].fact
        return [] if fact is not None and fact.id == "p7" else place(self, step, undecided)

    monkeypatch.setattr(repartition.Repartition, "_place", forgetful)
    with Deployment(cluster, prefix, partitions=2) as shop:
        worker = shop.start()
        await shop.ready(worker)
        events = [purchase(f"p{number}", f"m{number:03d}") for number in range(12)]
        await shop.publish(events)
        await shop.everything_decided(events)
        worker.end()
    new = ("--topic-prefix", prefix, "--to-prefix", there, "--partitions", "5", "--cut-over", "--json")
    done = told(await run(cluster, "repartition", *new), code=1)
    assert (done["differing"], done["findings"][0]["member"]) == (1, "m007")
    found = await read_generation(cluster, there)
    assert found is not None
    assert found.state == "filling"
    assert await read_generation(cluster, prefix) is None


async def test_prefixes_that_cannot_be_used_are_refused(cluster: Cluster, prefix: str) -> None:
    """No logs, the same prefix, topics of somebody else: exit code 2 and what to do."""
    nothing = await run(
        cluster, "repartition", "--topic-prefix", prefix, "--to-prefix", f"{prefix}x-", "--partitions", "4"
    )
    assert (nothing.exit_code, "has no topic" in nothing.output) == (2, True), nothing.output
    with Deployment(cluster, prefix, partitions=2) as shop:
        worker = shop.start()
        await shop.ready(worker)
        worker.end()
    same = await run(cluster, "repartition", "--topic-prefix", prefix, "--to-prefix", prefix, "--partitions", "4")
    assert (same.exit_code, "is the prefix of these topics" in same.output) == (2, True), same.output
    await write_generation(cluster, prefix, Generation("moved", "elsewhere-", prefix, 4))
    moved = await run(
        cluster, "repartition", "--topic-prefix", prefix, "--to-prefix", f"{prefix}x-", "--partitions", "4"
    )
    assert (moved.exit_code, "are moved" in moved.output) == (2, True), moved.output
    with pytest.raises(KafkaTrouble, match="were moved"):
        await living(cluster, Layout(prefix))
    for command in (("tick", "--at", "2026-04-01T00:00:00Z"), ("rules", "publish", "rules/programmes/gift-shop")):
        where = ["--bootstrap", cluster.bootstrap, "--topic-prefix", prefix]
        late = await asyncio.to_thread(CliRunner().invoke, main, [*command, *where])
        assert (late.exit_code, "use --topic-prefix 'elsewhere-'" in late.output) == (2, True), late.output
