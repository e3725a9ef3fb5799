"""From a fresh machine to the points of the first own event: the commands of docs/publishing.md as they stand there, in order."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.broker import free_port

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "publishing.md"
#: The first one sets up what runs this test.
INSTALL, COMMANDS_MOST = "make install", 5
PATIENCE_S = 180.0

pytestmark = pytest.mark.timeout(600)


def commands() -> list[str]:
    """The first block of the page, without remarks."""
    block = re.search(r"```\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    return [line.split("   #")[0].strip() for line in block[1].splitlines()]


def fresh(folder: Path) -> Path:
    """A folder like a clone after `make install`: what a run leaves behind is not left in the repository."""
    for name in ("docs", "rules"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def test_at_most_five_commands_lead_to_the_points_of_the_first_event(tmp_path: Path) -> None:
    """Each of them succeeds, the last one shows the points of the event that the page's example holds, and the event sent once
    more changes nothing."""
    if shutil.which("curl") is None:
        pytest.skip("no curl on the PATH")
    lines, port, place = commands(), free_port(), fresh(tmp_path)
    assert len(lines) <= COMMANDS_MOST
    assert lines[0] == INSTALL
    making, starting, sending, asking = [line.replace("8080", str(port)) for line in lines[1:]]
    env = os.environ | {"GATEWAY": f"http://127.0.0.1:{port}"}

    def run(line: str) -> str:
        done = subprocess.run(
            ["sh", "-c", line], cwd=place, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    began = time.monotonic()
    run(making)
    log = place / "up.log"
    with log.open("w", encoding="utf-8") as said:
        up = subprocess.Popen(["sh", "-c", f"exec {starting}"], cwd=place, env=env, stdout=said, stderr=said)
    try:
        while "ready." not in log.read_text(encoding="utf-8"):
            assert up.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < began + PATIENCE_S, log.read_text(encoding="utf-8")
            time.sleep(0.1)
        assert json.loads(run(sending))["status"] == "accepted"
        first = json.loads(run(asking))
        assert json.loads(run(sending))["status"] == "accepted"
        second = json.loads(run(asking))
    finally:
        up.terminate()
        up.wait(60)
    assert first["points"]["available"] == 9, first
    assert second["points"] == first["points"]
    print(f"{len(lines)} commands, {time.monotonic() - began:.0f} s after {INSTALL}")
