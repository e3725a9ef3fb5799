"""`stammgast up`: three processes that come up together, answer, and go away together."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.stream.clients import Cluster
from tests.kafka.deployment import PROGRAMMES, Deployment, purchases, until

pytestmark = pytest.mark.timeout(300)
_START = "from engine.cli import main; main()"


def up(*arguments: str, log: Path) -> subprocess.Popen[bytes]:
    """Start it; all it and its children say goes to `log`."""
    command = [sys.executable, "-c", _START, "up", *arguments, "--log-format", "json"]
    with log.open("wb") as said:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)


def children_of(pid: int) -> list[int]:
    """Process ids of its children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def alive(pid: int) -> bool:
    """Does a process of this id exist?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
async def test_up_brings_everything_up_and_takes_it_down(tmp_path: Path) -> None:
    """Given no Kafka at all, when `up` runs, then events become points, and SIGTERM ends every process of the tree."""
    log = tmp_path / "up.log"
    programme = str(PROGRAMMES / "coffee-bar")
    process = up(
        "--db", str(tmp_path / "t.duckdb"), "--programme", programme, "--partitions", "2", "--clock", "off", log=log
    )
    try:

        async def ready() -> bool:
            assert process.poll() is None, log.read_text()
            return "ready. Send events" in log.read_text()

        await until("up is ready", ready)
        found = re.search(r"embedded broker at ([\d.:]+)", log.read_text())
        assert found is not None
        shop = Deployment(Cluster(found[1]), "", partitions=2)
        await shop.publish(purchases(100))
        await shop.decided(100)
        await shop.audit()
        family = children_of(process.pid)
        assert len(family) == 3
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 25) == 0
        assert not [pid for pid in family if alive(pid)]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


async def test_up_ends_when_a_role_refuses_to_start(tmp_path: Path) -> None:
    """Given nobody at the address, when `up` runs, then the worker's message is shown and the exit code is 2."""
    log = tmp_path / "up.log"
    process = up("--bootstrap", "127.0.0.1:1", "--db", str(tmp_path / "t.duckdb"), log=log)

    assert await asyncio.to_thread(process.wait, 60) == 2
    assert "no Kafka answers at 127.0.0.1:1" in log.read_text()
