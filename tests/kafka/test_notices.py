"""Notices on a real Kafka, while workers are killed, frozen and restarted: `incentives` holds what the decisions say, once."""

from __future__ import annotations

import asyncio
import gzip
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.cli import main
from engine.commands.tick import append
from engine.replay import Replay
from engine.stream.clients import Cluster, partition_for
from engine.stream.topics import INCENTIVES, POINTS_LOG, PROFILE_EVENTS
from engine.vault.master import new_master
from engine.vault.vault import Vault, vault_of
from rules.book import load_directory
from schemas.decisions import Decision
from schemas.facts import TICK
from schemas.notices import encode_event, event_of
from schemas.times import to_us
from tests.kafka.deployment import Deployment, Event, Role, until
from tests.kafka.guests import MOMENTS, Guests, coffee_bar

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
PARTITIONS = 3
SEED = 8


async def test_no_notice_is_lost_or_told_twice(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Given guests with profiles under all moments of the coffee bar, when one worker is killed and the other frozen until a
    third has taken over, and that one is stopped amid the next wave, then `incentives` holds exactly the notices that the
    decisions made, in their order, and a replay of the dumped facts makes the same ones."""
    guests, programme = Guests(SEED), coffee_bar(tmp_path)
    master, keys, out = tmp_path / "master.key", tmp_path / "keys.db", tmp_path / "facts.jsonl.gz"
    new_master(master)
    told = ("--profile-key-file", str(master), "--profile-keys", str(keys), "--checkpoint-decisions", "300")
    with Deployment(cluster, prefix, PARTITIONS, programme) as shop:
        first, second = shop.start(*told), shop.start(*told)
        await shop.ready(first, second)
        known = guests.introduce()
        await shop.publish(known, PROFILE_EVENTS)
        await shop.everything_decided(known)

        known += await _amid(shop, guests, first, second)
        first.kill()
        third = shop.start(*told)
        await shop.ready(third)
        second.signal(signal.SIGCONT)
        await shop.everything_decided(known)
        await _tick(shop, "2024-08-01T00:00:00Z", 1)

        guests.return_at("2024-08-01T08:00:00Z")
        known += await _amid(shop, guests, third)
        third.signal(signal.SIGCONT)
        third.end(60.0)
        await shop.everything_decided(known)
        await _tick(shop, "2025-08-31T00:00:00Z", 2)

        shop.opens = vault_of(master, keys).opens(gone=None)
        decisions = await shop.audit()
        live = await shop.records(POINTS_LOG)
        incentives = await shop.records(INCENTIVES)
        await asyncio.to_thread(_dump, cluster, prefix, out)

    for number, lane in enumerate(incentives):
        assert [(record.key, record.value) for record in lane] == list(_said(decisions, number)), f"seed {SEED}"
    replayed = _replayed(out, programme, vault_of(master, keys))
    assert replayed == [[record.value for record in lane] for lane in live], f"seed {SEED}"
    _assert_enough(decisions)


async def _amid(shop: Deployment, guests: Guests, *workers: Role) -> list[Event]:
    """Freeze workers at a moment when facts wait for their decisions; returns what the guests did until then."""
    said: list[Event] = []
    for wave in (700 * 2**number for number in range(6)):
        known = len(await shop.decisions())
        said += (new := guests.come(wave))
        await shop.publish(new)
        await until("the first of it is decided", lambda: _more_than(shop, known))  # noqa: B023  awaited at once
        for worker in workers:
            worker.signal(signal.SIGSTOP)
        if {one["id"] for one in said} - {one.fact_id for one in await shop.decisions()}:
            return said
        for worker in workers:
            worker.signal(signal.SIGCONT)
    raise AssertionError(f"seed {SEED}: {len(said)} facts were decided before anybody could look")


async def _more_than(shop: Deployment, known: int) -> bool:
    return len(await shop.decisions()) > known


async def _tick(shop: Deployment, at: str, times: int) -> None:
    """Settle everybody; it is the `times`-th tick."""
    await append(shop.cluster, shop.prefix, to_us(at))

    async def decided() -> bool:
        ticks = [one for one in await shop.decisions() if one.type == TICK and one.last]
        return len(ticks) == times * PARTITIONS

    await until(f"tick {times} decided", decided)


def _said(decisions: Sequence[Decision], partition: int) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of every record that the decisions of a partition's members want told, in their order."""
    for notice in (one for decision in decisions for one in decision.notices):
        event, key = event_of(notice), notice.member_id.encode()
        if event is not None and partition_for(key, PARTITIONS) == partition:
            yield key, encode_event(event)


def _dump(cluster: Cluster, prefix: str, out: Path) -> None:
    where = ["--bootstrap", cluster.bootstrap, "--topic-prefix", prefix, "--out", str(out)]
    result = CliRunner().invoke(main, ["dump", *where])
    assert result.exit_code == 0, result.output


def _replayed(dump: Path, programme: Path, vault: Vault) -> list[list[bytes]]:
    """Decisions on the dumped facts, each made anew with the keys, by partition."""
    found: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    replay = Replay(load_directory(programme), vault=vault)
    with gzip.open(dump) as lines:
        for batch in replay.dump(iter(lines), dump.name):
            for partition, value in zip(batch.decisions.partitions, batch.decisions.values, strict=True):
                found[partition].append(value)
    assert replay.summary.as_given == 0
    return found


def _assert_enough(decisions: Sequence[Decision]) -> None:
    """Every moment of the programme made somebody a notice, and every reason to be silent kept one back."""
    notices = [notice for decision in decisions for notice in decision.notices]
    made = Counter(one.rule_id for one in notices if one.state == "made")
    silent = Counter(one.reason for one in notices if one.state == "suppressed")
    assert made.keys() == MOMENTS, f"seed {SEED}: {made}"
    assert {"no_consent", "quiet", "held_out"} <= silent.keys(), f"seed {SEED}: {silent}"
    assert len({one.id for one in notices}) == len(notices)
