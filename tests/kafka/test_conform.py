"""Binary mode on a real Kafka, and `stammgast conform` on the topic it came by."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from click.testing import CliRunner

from engine.cli import main
from engine.stream.clients import Cluster, send_values
from tests.kafka.deployment import Deployment, purchase

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


async def test_binary_events_are_decided_and_a_topic_is_examined(cluster: Cluster, prefix: str) -> None:
    """Given a good event in binary mode and one that names a person, then the first is decided and conform tells the second."""
    good, bad = purchase("p1", "anna"), purchase("p2", "anna@example.org")
    records: list[Any] = []
    for one in (good, bad):
        headers = [(f"ce_{name}", str(value).encode()) for name, value in one.items() if name != "data"]
        records.append(
            (b"anna", json.dumps(one["data"]).encode(), None, [*headers, ("content-type", b"application/json")])
        )
    with Deployment(cluster, prefix) as shop:
        worker = shop.start()
        await shop.ready(worker)
        async with cluster.producer() as producer:
            await send_values(producer, shop.topic("shop-events"), 0, records)
        await shop.decided(1)
        where = ["--bootstrap", cluster.bootstrap, "--topic-prefix", prefix, "--json"]
        result = await asyncio.to_thread(CliRunner().invoke, main, ["conform", "shop-events", *where])
        decisions = await shop.audit()
    said = json.loads(result.output)
    assert (result.exit_code, said["events"], said["good"]) == (1, 2, 1)
    assert [(one["kind"], one["sources"]) for one in said["errors"]] == [("personal_subject", {"urn:test": 1})]
    assert [one.fact_id for one in decisions if one.member_id] == ["p1"]
