"""`stammgast simulate` to a broker: every event arrives, keyed by its member."""

from __future__ import annotations

import asyncio
import json

from click.testing import CliRunner

from engine.cli import main
from engine.stream.clients import Cluster
from tests.kafka.harness import create_topic, read_all


async def test_a_chain_is_sent_to_a_topic(embedded_cluster: Cluster, prefix: str) -> None:
    """As many records as were made, in the order of arrival, each under its member or order."""
    topic = await create_topic(embedded_cluster, f"{prefix}pos-events", 1)
    words = [
        "simulate",
        "--bootstrap",
        embedded_cluster.bootstrap,
        "--topic-prefix",
        prefix,
        "--members",
        "30",
        "--days",
        "20",
    ]
    result = await asyncio.to_thread(CliRunner().invoke, main, [*words, "--rate", "100000", "--json"])
    assert result.exit_code == 0, result.output
    records = await read_all(embedded_cluster, topic)
    assert len(records) == json.loads(result.output)["counts"]["events"] > 10
    for record in records:
        event = json.loads(record.value)
        assert record.key.decode() == event.get("subject", f"order:{event['source']}:{event['data'].get('order_id')}")
