"""The example publishers of docs/examples do what they say, against a real broker and the gateway."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.stream.clients import Cluster
from tests.kafka.deployment import Deployment
from tests.kafka.gateways import Gateway, make_key
from tests.kafka.test_gateway import has

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


async def test_the_examples_publish(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """curl by the gateway, aiokafka and confluent-kafka straight to topics: each event counts once, and the points are right."""
    if shutil.which("curl") is None:
        pytest.skip("no curl on the PATH")
    secret = make_key(tmp_path / "keys.yaml", "my-till", ("urn:my-shop",), ("publish", "read"))
    second = json.loads((EXAMPLES / "purchase.json").read_text()) | {"id": "receipt-1002"}
    second["data"]["order_id"] = "receipt-1002"
    (tmp_path / "events.jsonl").write_text(json.dumps(second) + "\n")
    third = json.loads((EXAMPLES / "purchase.json").read_text()) | {"id": "receipt-1003"}
    third["data"]["order_id"] = "receipt-1003"
    (tmp_path / "binary.jsonl").write_text(json.dumps(third) + "\n")
    with Deployment(cluster, prefix) as shop:
        worker = shop.start()
        await shop.ready(worker)
        gateway = Gateway(shop, tmp_path / "keys.yaml")
        await gateway.ready()
        by_http = await _run(["sh", str(EXAMPLES / "publish.sh")], KEY=secret, GATEWAY=gateway.url)
        assert json.loads(by_http)["status"] == "accepted"
        script = [sys.executable, str(EXAMPLES / "publish_aiokafka.py"), str(tmp_path / "events.jsonl")]
        topic = shop.topic("pos-events")
        assert await _run(script, BOOTSTRAP=cluster.bootstrap, TOPIC=topic) == f"1 events are in {topic}.\n"
        script = [sys.executable, str(EXAMPLES / "publish_confluent.py"), str(tmp_path / "binary.jsonl")]
        topic = shop.topic("shop-events")
        for _ in range(2):  # sent again, it counts once
            assert await _run(script, BOOTSTRAP=cluster.bootstrap, TOPIC=topic) == f"1 events are in {topic}.\n"
        async with gateway.client(secret) as client:
            await has(client, "anna", 27)
        await shop.audit()


async def _run(words: list[str], **env: str) -> str:
    done = await asyncio.to_thread(
        subprocess.run, words, env=os.environ | env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
