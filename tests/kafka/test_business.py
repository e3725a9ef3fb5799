"""Business between members on a real Kafka: every leg of it lies in another partition, and the worker is killed amid it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.cli import main
from engine.stream.clients import Cluster
from tests.kafka.deployment import Deployment, Event, event, purchase, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

PROGRAMME = Path(__file__).parent / "programmes" / "business"
MEMBERS = [f"m{number:03d}" for number in range(12)]
STAFF = {"operator": "kim", "reason": "lost_card"}


def bought() -> list[Event]:
    """Everybody has 200 points or more, two cards have some too, and one sale is nobody's."""
    keys = [*MEMBERS, "card-1", "card-2"]
    return [purchase(f"p-{key}", key, "200.00") for key in keys] + [purchase("receipt", None, "70.00")]


def asked() -> list[Event]:
    """Members give each other points around a circle, all want the beans, and two claim the same receipt."""
    later = "2026-02-03T10:00:00+01:00"
    circle = zip(MEMBERS, [*MEMBERS[1:], MEMBERS[0]], strict=True)
    events = [event(f"t-{one}", "transfer", one, {"to": other, "points": 40}, later) for one, other in circle]
    events += [event(f"b-{one}", "redemption", one, {"reward": "beans"}, later) for one in MEMBERS]
    events += [event(f"c-{one}", "claim", one, {"order_id": "receipt"}, later) for one in MEMBERS[:2]]
    events += [purchase(f"q-{key}", key, "10.00", when=later) for key in ("card-1", "card-2", "m000")]
    return events


def said_by_staff() -> list[Event]:
    """Two cards turn out to be members'."""
    later = "2026-02-03T10:00:00+01:00"
    return [
        event("l-1", "link", "card-1", {"member": "m001", **STAFF}, later),
        event("l-2", "merge", "card-2", {"into": "m002", **STAFF}, later),
    ]


async def test_what_crosses_partitions_is_whole_after_a_kill(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Given transfers, a reward of three, two claims and two aliases, when the worker is killed amid them, then points are
    neither lost nor made, three get the reward, one the receipt; the logs are proven and replay to the same rows."""
    db = tmp_path / "t.duckdb"
    with Deployment(cluster, prefix, partitions=4, programme=PROGRAMME) as shop:
        first = shop.start()
        await shop.ready(first)
        await shop.publish(bought())
        await shop.everything_decided(bought())
        await shop.publish(asked())
        await shop.publish(said_by_staff(), "staff-events")
        known = len(await shop.decisions())
        await until("the first of it is decided", lambda: _more_than(shop, known))
        first.kill()

        second = shop.start()
        await shop.everything_decided(bought() + asked() + said_by_staff())
        decisions = await shop.audit()
        projector = shop.project(db)
        await until("the file is served", lambda: asyncio.to_thread(db.with_name(f"{db.name}.endpoint").exists))
        result = await asyncio.to_thread(
            CliRunner().invoke,
            main,
            ["verify", "--bootstrap", cluster.bootstrap, "--topic-prefix", prefix, "--db", str(db), "--json"],
        )
        projector.end()
        second.end()

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["proven"]
    moved = [entry for decision in decisions for entry in decision.entries]
    given = Counter({"earn": 0})
    for entry in moved:
        given[entry.kind] += entry.points
    # 14 orders of 200, one of 70 that one of two claimed, three of 10
    assert given["earn"] == 14 * 200 + 70 + 3 * 10
    assert given["transfer"] == 0
    assert given["redeem"] + given["restore"] == -300
    last = {
        (change.member_id, change.id): change.state
        for one in decisions
        for change in one.states
        if change.what == "redemption"
    }
    assert Counter(last.values())["granted"] == 3
    assert "reserved" not in set(last.values())


async def _more_than(shop: Deployment, known: int) -> bool:
    return len(await shop.decisions()) > known
