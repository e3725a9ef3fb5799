"""Dump, empty topics, restore: the same facts at the same offsets, the same decisions byte for byte; then it goes on."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from engine.cli import main
from engine.commands.tick import append
from engine.stream.chain import link_of
from engine.stream.clients import Cluster
from engine.stream.topics import FACTS, POINTS_LOG, PROFILE_EVENTS
from engine.vault.master import new_master
from schemas.facts import REFERRAL_AWARD, TICK
from schemas.times import to_us
from tests.kafka.deployment import Deployment, event, purchase, until
from tests.kafka.harness import KafkaCluster
from tests.kafka.test_forget import PROGRAMME as PROFILES
from tests.kafka.test_forget import bought, told

pytestmark = pytest.mark.timeout(300)
PARTITIONS = 3


async def run(cluster: Cluster, prefix: str, verb: str, *arguments: str) -> Result:
    """A command of ours on a deployment."""
    where = ["--bootstrap", cluster.bootstrap, "--topic-prefix", prefix]
    return await asyncio.to_thread(CliRunner().invoke, main, [verb, *arguments, *where])


async def lived(shop: Deployment) -> None:
    """Some life: referrals that reach other partitions, refunds, a duplicate, a sale to nobody, aborted records, a tick."""
    await shop.ready(shop.start())
    events = [event(f"r{n}", "referral", f"m{n:03d}", {"referrer": f"m{n + 1:03d}"}) for n in range(0, 20, 2)]
    events += [purchase(f"p{n}", f"m{n % 20:03d}", "30.00") for n in range(80)]
    back = {"order_id": "p7", "lines": [{"line": 1}], "currency": "EUR"}
    events += [event("back", "refund", "m007", back), purchase("anonymous", None)]
    await shop.publish([*events, events[15]])
    await shop.append_facts([purchase("never", "m001")], aborted=True)
    await shop.append_facts([purchase("past-intake", "m001")])
    await shop.decided(len(events) + 1)
    await append(shop.cluster, shop.prefix, to_us("2028-01-01T00:00:00Z"))

    async def all_decided() -> bool:
        facts, decisions = sum(map(len, await shop.records(FACTS))), await shop.decisions()
        return len(decisions) == facts and sum(one.type == TICK for one in decisions) == PARTITIONS

    await until("everything is decided", all_decided)


async def contents(shop: Deployment) -> tuple[list[Any], list[Any]]:
    """What stands in both logs, per partition: facts with offset, key and stamp; decisions with key, stamp and link."""
    facts = [
        [(one.offset, one.key, one.timestamp, one.value) for one in lane if one.value != b"{}"]
        for lane in await shop.records(FACTS)
    ]
    decisions = [
        [(one.key, one.timestamp, one.value, link_of(one.headers)) for one in lane]
        for lane in await shop.records(POINTS_LOG)
    ]
    return facts, decisions


@pytest.mark.kafka
async def test_a_deployment_comes_back_from_its_dump_byte_for_byte(
    cluster: Cluster, prefix: str, tmp_path: Path
) -> None:
    """Given a deployment with holes in its logs, when its dump is restored elsewhere, then both logs are the same, offsets of
    facts and links of the chain included; a worker has nothing to decide, decides what comes, and verify proves it all."""
    # given
    facts, versions = tmp_path / "facts.jsonl.gz", tmp_path / "versions.jsonl"
    with Deployment(cluster, prefix, partitions=PARTITIONS) as shop:
        await lived(shop)
        before = await contents(shop)
        dumped = await run(cluster, prefix, "dump", "--out", str(facts), "--programmes", str(versions))
    assert dumped.exit_code == 0, dumped.output

    # when
    there = f"{prefix}there-"
    how = ("--programmes", str(versions), "--partitions", str(PARTITIONS), "--json")
    restored = await run(cluster, there, "restore", str(facts), *how)
    again = await run(cluster, there, "restore", str(facts), *how)

    # then
    assert restored.exit_code == 0, restored.output
    summary = json.loads(restored.stdout)
    with Deployment(cluster, there, partitions=PARTITIONS) as shop:
        after = await contents(shop)
        assert after == before
        assert (summary["facts"], summary["added"]) == (sum(map(len, before[0])), 0)
        assert (again.exit_code, "holds records" in again.output) == (2, True)
        await shop.ready(shop.start())
        await shop.publish([purchase("next", "m003", "30.00")])
        await until("the next one is decided", lambda: decided(shop, "next"))
        await shop.audit()
        grown = await contents(shop)
    assert sum(map(len, grown[0])) == sum(map(len, before[0])) + 1
    verified = await run(cluster, there, "verify")
    assert verified.exit_code == 0, verified.output


@pytest.fixture
def another_kafka(kafka: str) -> Iterator[KafkaCluster]:
    """A second Kafka, empty."""
    with KafkaCluster() as another:
        yield another


@pytest.mark.kafka
@pytest.mark.full
async def test_profiles_come_back_in_another_cluster(
    another_kafka: KafkaCluster, cluster: Cluster, prefix: str, tmp_path: Path
) -> None:
    """Given sealed profiles, and a person who was forgotten after the key store was saved, when the dump, the versions, the saved
    keys and the master key are all that is left, then another cluster decides the same bytes, rules go on asking the profiles,
    and `forget --again` destroys the key that came back."""
    master, keys, saved = tmp_path / "master.key", tmp_path / "keys.db", tmp_path / "saved.db"
    new_master(master)
    options = ["--profile-key-file", str(master), "--profile-keys", str(keys)]
    facts, versions = tmp_path / "facts.jsonl.gz", tmp_path / "versions.jsonl"
    orders = bought("o1", "2026-02-03T10:00:00+01:00")
    with Deployment(cluster, prefix, partitions=PARTITIONS, programme=PROFILES) as shop:
        await shop.ready(shop.start(*options))
        await shop.publish(told(), PROFILE_EVENTS)
        await shop.everything_decided(told())
        await shop.publish(orders)
        await shop.everything_decided([*told(), *orders])
        shutil.copy(keys, saved)
        forgotten = await run(cluster, prefix, "forget", "ben", "--yes", "--profile-keys", str(keys))
        assert forgotten.exit_code == 0, forgotten.output
        before = await contents(shop)
        dumped = await run(cluster, prefix, "dump", "--out", str(facts), "--programmes", str(versions))
        assert dumped.exit_code == 0, dumped.output

    there = Cluster(another_kafka.bootstrap)
    options = ["--profile-key-file", str(master), "--profile-keys", str(saved)]
    how = ("--programmes", str(versions), "--partitions", str(PARTITIONS), "--json", *options)
    restored = await run(there, prefix, "restore", str(facts), *how)
    assert restored.exit_code == 0, restored.output
    assert json.loads(restored.stdout)["as_given"] == 0
    again = await run(there, prefix, "forget", "--again", "--json", "--profile-keys", str(saved))
    assert again.exit_code == 0, again.output
    assert len(json.loads(again.stdout)["destroyed_again"]) == 1
    with Deployment(there, prefix, partitions=PARTITIONS, programme=PROFILES) as shop:
        assert await contents(shop) == before
        await shop.ready(shop.start(*options))
        more = bought("o2", "2026-02-04T10:00:00+01:00")
        await shop.publish(more)
        await shop.everything_decided([*told(), *orders, *more])
        given = {one.fact_id: sum(entry.points for entry in one.entries) for one in await shop.decisions()}
        # A point a euro; five to whom German is written, two to whom may be written at all; of ben nothing is known.
        assert [given[f"o2-{member}"] for member in ("anna", "ben", "card", "cora")] == [19, 12, 17, 12]
    proven = await run(there, prefix, "verify", *options)
    assert proven.exit_code == 0, proven.output


async def decided(shop: Deployment, fact_id: str) -> bool:
    """Has this fact its decision?"""
    return any(one.fact_id == fact_id for one in await shop.decisions())


@pytest.mark.kafka
async def test_what_was_on_its_way_when_the_backup_was_taken_arrives(
    cluster: Cluster, prefix: str, tmp_path: Path
) -> None:
    """Given a dump that read a referrer's partition before his bonus was written there, when it is restored, then the bonus is
    added once, at the end, and a worker decides it."""
    # given
    facts, versions = tmp_path / "facts.jsonl", tmp_path / "versions.jsonl"
    with Deployment(cluster, prefix, partitions=PARTITIONS) as shop:
        await lived(shop)
        points = sum(entry.points for one in await shop.decisions() for entry in one.entries)
        await run(cluster, prefix, "dump", "--out", str(facts), "--programmes", str(versions))
    lines = facts.read_bytes().splitlines(keepends=True)
    awards = [line for line in lines if orjson.loads(line)["fact"]["type"] == REFERRAL_AWARD]
    assert awards
    facts.write_bytes(b"".join(line for line in lines if line != awards[0]))

    # when
    there = f"{prefix}there-"
    how = ("--programmes", str(versions), "--partitions", str(PARTITIONS), "--json")
    restored = await run(cluster, there, "restore", str(facts), *how)

    # then
    assert restored.exit_code == 0, restored.output
    assert json.loads(restored.stdout)["added"] == 1
    with Deployment(cluster, there, partitions=PARTITIONS) as shop:
        await shop.ready(shop.start())

        async def same_points() -> bool:
            return sum(entry.points for one in await shop.decisions() for entry in one.entries) == points

        await until("the bonus arrived", same_points)
        await shop.audit()


@pytest.mark.parametrize(
    ("facts", "versions", "words"),
    [
        (b"nonsense\n", None, "facts.jsonl:1: no record of a facts dump"),
        (b"", b"{}\n", "versions.jsonl:1: no version of a programme"),
        (b"", b"", "no version in it"),
    ],
)
def test_files_that_are_no_backup_are_refused(
    embedded_cluster: Cluster, prefix: str, tmp_path: Path, facts: bytes, versions: bytes | None, words: str
) -> None:
    """Exit code 2, the file, the line, and how to make a right one."""
    # given
    (tmp_path / "facts.jsonl").write_bytes(facts)
    path = tmp_path / "versions.jsonl"
    if versions is None:
        from rules.book import load_directory
        from tests.kafka.deployment import PROGRAMMES

        versions = b"".join(one.canonical_json() + b"\n" for one in load_directory(PROGRAMMES / "coffee-bar"))
    path.write_bytes(versions)

    # when
    done = asyncio.run(
        run(embedded_cluster, prefix, "restore", str(tmp_path / "facts.jsonl"), "--programmes", str(path))
    )

    # then
    assert done.exit_code == 2
    assert words in done.output
