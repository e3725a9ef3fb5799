"""A projector that keeps a lake, in a process of its own: killed, started again, asked from another process."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.cli import main
from engine.stream.clients import Cluster
from tests.kafka.deployment import Deployment, Role, purchases, until

pytestmark = pytest.mark.timeout(300)


def asked(catalogue: Path, question: str) -> int:
    """One number out of the lake."""
    done = CliRunner().invoke(main, ["query", "--lake", str(catalogue), "--format", "json", question])
    assert done.exit_code == 0, done.output
    ((number,),) = [row.values() for row in json.loads(done.stdout)]
    return int(number)


async def test_a_projector_keeps_a_lake(embedded_cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Given a projector with --lake that is killed and started again, when purchases went on meanwhile, then the lake holds every
    fact once, and balances are those of the log."""
    catalogue, data = tmp_path / "catalogue.ducklake", tmp_path / "data"
    with Deployment(embedded_cluster, prefix, partitions=2) as shop:
        worker = shop.start()
        await shop.ready(worker)
        where = ["--bootstrap", embedded_cluster.bootstrap, "--topic-prefix", prefix, "--lake-seconds", "0.2"]

        def keep() -> Role:
            return shop.begin("projector", [*where, "--lake", str(catalogue), "--lake-data", str(data)])

        async def caught_up(projector: Role, facts: int) -> None:
            async def applied() -> bool:
                name = "stammgast_projector_position"
                told = [value for (metric, labels), value in projector.samples().items() if metric == name
                        and ("topic", "points-log") in labels]  # fmt: skip
                return sum(told) >= facts

            await until("the lake holds it", applied)

        first = keep()
        await shop.publish(purchases(100, name="a"))
        await shop.decided(100)
        await caught_up(first, len(await shop.decisions()))
        first.kill()
        await shop.publish(purchases(50, name="b"))
        await shop.decided(150)
        decisions = await shop.decisions()
        second = keep()
        await caught_up(second, len(decisions))
        assert await asyncio.to_thread(second.end, 60.0) == 0
        worker.end()
    assert asked(catalogue, "select count(*) as n from facts") == len(decisions)
    points = sum(entry.points for decision in decisions for entry in decision.entries)
    assert asked(catalogue, "select sum(available + pending - debt) as n from balances") == points
