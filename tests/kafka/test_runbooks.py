"""Runbooks (docs/operations.md), tried: what no other test tries already."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner

from engine.cli import main
from engine.stream.clients import Cluster
from tests.kafka.deployment import PROGRAMMES, Deployment, purchase, until

pytestmark = pytest.mark.timeout(300)


def version_of(number: int, begins: datetime, folder: Path) -> Path:
    """The coffee bar's first version under another number, from another moment on, in a folder of its own."""
    local = begins.astimezone(ZoneInfo("Europe/Berlin")).strftime("%Y-%m-%d %H:%M")
    text = min((PROGRAMMES / "coffee-bar").glob("*.yaml")).read_text(encoding="utf-8")
    text = text.replace("version: 1", f"version: {number}").replace("from: 2026-01-01", f"from: {local}")
    assert f"version: {number}" in text
    assert local in text
    folder.mkdir()
    path = folder / f"{begins:%Y-%m-%d}-{number}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


async def run(*arguments: str) -> str:
    """A command of ours that must succeed; returns what it said."""
    done = await asyncio.to_thread(CliRunner().invoke, main, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output


async def test_a_programme_is_rolled_back_by_the_old_text_under_a_new_number(
    any_cluster: Cluster, prefix: str, tmp_path: Path
) -> None:
    """Given a bad version that gives ten times the points, when the good text is published under a new number, then running
    workers go back to it from its beginning on, and what was decided stands."""
    # given
    now = datetime(2026, 2, 2, 9, 0, tzinfo=UTC)
    good = version_of(1, now - timedelta(days=30), tmp_path / "good")
    bad = version_of(2, now, tmp_path / "bad")
    bad.write_text(
        bad.read_text(encoding="utf-8").replace("points: 1, per: 1.00", "points: 10, per: 1.00"), encoding="utf-8"
    )
    where = ("--bootstrap", any_cluster.bootstrap, "--topic-prefix", prefix)

    with Deployment(any_cluster, prefix, partitions=2, programme=good.parent) as shop:
        await shop.ready(shop.start())

        async def points_of(fact_id: str, when: datetime) -> int:
            await shop.publish([purchase(fact_id, fact_id, "10.00", when=when.isoformat())])
            await until(f"{fact_id} is decided", lambda: decided(shop, fact_id))
            (decision,) = [one for one in await shop.decisions() if one.fact_id == fact_id]
            return sum(entry.points for entry in decision.entries)

        # when
        before = await points_of("before", now - timedelta(minutes=5))
        await run("rules", "publish", str(bad.parent), *where)
        during = await points_of("during", now + timedelta(minutes=1))
        back = version_of(3, now + timedelta(minutes=10), tmp_path / "back")
        await run("rules", "check", str(back.parent))
        said = await run("rules", "diff", str(good), str(back))
        await run("rules", "publish", str(back.parent), *where)
        after = await points_of("after", now + timedelta(minutes=11))
        late = await points_of("late", now + timedelta(minutes=2))
        await shop.audit()

    # then
    assert before == after == 10
    assert during == 100
    assert late == during, "a late fact is judged by the version of its own time"
    assert "touches: facts of the time between" in said
    assert said.count("touches:") == 1, said


async def decided(shop: Deployment, fact_id: str) -> bool:
    """Has this fact its decision?"""
    return any(one.fact_id == fact_id for one in await shop.decisions())
