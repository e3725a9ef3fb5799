"""`stammgast staff` on a real Kafka: each action is decided while it waits, and it tells what was decided."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engine.cli import main
from engine.stream.clients import Cluster
from tests.kafka.deployment import Deployment, purchase

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

PROGRAMME = Path(__file__).parent / "programmes" / "till"


async def test_staff_correct_a_member_and_are_told(cluster: Cluster, prefix: str) -> None:
    """Given a member with points, then staff give, take, lift, link and merge, each with its decision; nonsense is refused
    before it is sent, what cannot be done is told, and one id counts once."""
    where = ["--bootstrap", cluster.bootstrap, "--topic-prefix", prefix, "--operator", "kim", "--reason", "goodwill"]

    async def staff(*words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, main, ["staff", *words, *where])

    async def told(*words: str) -> dict[str, Any]:
        result = await staff(*words, "--json")
        assert result.exit_code == 0, result.output
        return dict(json.loads(result.output))

    with Deployment(cluster, prefix, programme=PROGRAMME) as shop:
        worker = shop.start()
        await shop.ready(worker)
        await shop.publish([purchase(f"p-{key}", key, "100.00") for key in ("anna", "ben", "card-9")])
        await shop.decided(3)

        given = await told("adjust", "anna", "--points", "50", "--id", "a1")
        assert [(entry["kind"], entry["points"]) for entry in given["entries"]] == [("adjust", 50)]
        again = await staff("adjust", "anna", "--points", "50", "--id", "a1")
        assert again.exit_code == 1
        assert "a1 did nothing" in again.output
        taken = await staff("adjust", "anna", "--points", "-30")
        assert taken.exit_code == 0
        assert "-30 points" in taken.output
        lifted = await told("tier", "anna", "gold", "--until", "2999-12-31")
        assert [change["tier"] for change in lifted["tiers"]] == ["gold"]
        linked = await told("link", "card-9", "anna")
        assert linked["done"]
        forwarded = await told("adjust", "card-9", "--points", "5")
        assert [entry["member_id"] for entry in forwarded["entries"]] == ["anna"]
        assert (await told("merge", "ben", "anna"))["done"]

        circle = await staff("merge", "anna", "anna", "--json")
        assert (circle.exit_code, json.loads(circle.output)["done"]) == (1, False)
        nothing = await staff("adjust", "anna", "--reinstate", "0" * 32)
        assert nothing.exit_code == 1
        assert "there is no such entry of expired points" in nothing.output
        for wrong in (("tier", "anna", "gold", "--until", "soon"), ("adjust", "anna@example.org", "--points", "1")):
            refused = await staff(*wrong)
            assert refused.exit_code == 2, refused.output
        await shop.audit()
        worker.kill()
        late = await staff("adjust", "anna", "--points", "1", "--wait", "0.5")
        assert late.exit_code == 1
        assert "does a worker run?" in late.output
