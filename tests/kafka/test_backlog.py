"""A backlog far larger than the buffers passes through a worker whose memory stays bounded."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from engine.stream.clients import Cluster, send_values
from tests.kafka.harness import create_topic, group_offset

RECORDS = 240_000
PARTITIONS = 4
BUDGET_MIB = 32
#: Python, Faust and aiokafka take some 70 MiB, this budget 32; all records at once would take another 240.
RSS_MAX_MIB = 160

pytestmark = pytest.mark.kafka


async def work_off(cluster: Cluster, group: str, topic: str, mode: str) -> dict[str, float]:
    arguments = [cluster.bootstrap, group, topic, PARTITIONS, RECORDS, BUDGET_MIB * 1024 * 1024, mode]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.kafka.backlog",
        *(str(argument) for argument in arguments),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(300):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    figures: dict[str, float] = json.loads(output.decode().splitlines()[-1])
    print(mode, figures)
    return figures


@pytest.fixture
async def backlog(cluster: Cluster, prefix: str) -> str:
    topic = await create_topic(cluster, f"{prefix}t", PARTITIONS)
    chunk = [(b"member-%d" % number, b"x" * 500, None, ()) for number in range(RECORDS // PARTITIONS)]
    async with cluster.producer(idempotent=True) as producer:
        for partition in range(PARTITIONS):
            await send_values(producer, topic, partition, chunk)
    return topic


@pytest.mark.parametrize("mode", ["swift", "stalled"])
async def test_memory_is_bounded(cluster: Cluster, prefix: str, backlog: str, mode: str) -> None:
    """240,000 records of 500 bytes pass within 160 MiB, also when nothing is acknowledged until the worker stops reading."""
    figures = await work_off(cluster, f"{prefix}g", backlog, mode)

    assert figures["records"] == RECORDS
    assert figures["peak_rss_mib"] < RSS_MAX_MIB
    if mode == "stalled":
        assert figures["stalled_at"] < RECORDS / 2
    assert [await group_offset(cluster, f"{prefix}g", backlog, number) for number in range(PARTITIONS)] == [
        RECORDS // PARTITIONS
    ] * PARTITIONS
