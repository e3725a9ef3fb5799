"""The process in which one measurement runs: `python -m engine.bench.contender`, a job on standard input, a run on standard
output."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import threading
from dataclasses import asdict
from typing import Any

import click
import orjson

from engine.bench.jobs import read_job
from engine.settings import KafkaSecurity, kafka_security_options, option
from engine.stream.clients import Cluster
from engine.telemetry import set_up_logging
from engine.tuning import expect_a_large_calm_heap

#: Where each task lives: a function or coroutine of (cluster, job, tell) that returns a Run. Each process imports its own only.
TASKS = {
    "core": "core:run",
    "replay": "offline:replayed",
    "projector": "offline:projected",
    "rewards product": "rewards_product:run",
    "rewards idiomatic": "rewards_idiomatic:run",
    "rewards bare": "rewards_bare:run",
    "intake product": "intake_product:run",
    "intake bare": "intake_bare:run",
    "rewards unchained": "unchained:run",
    "recovery": "recovery:run",
    "memory models": "memory:fold",
    "memory": "memory:hold",
    "moments": "moments:run",
    "gateway product": "gateway:product",
    "gateway bare": "gateway:bare",
    "gateway load": "gateway:load",
    "scale worker": "scale:work",
    "worker": "road:work",
    "watcher": "road:watch",
}


@click.command()
@option("bootstrap", required=True)
@kafka_security_options
def main(bootstrap: str, security: KafkaSecurity) -> None:
    """Work on the one job that standard input names."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever libraries print must not mix with results
    set_up_logging("json", "warning")
    job = read_job(sys.stdin.buffer.readline())
    guard = threading.Timer(job.limit_s, _give_up)
    guard.daemon = True
    guard.start()

    def tell(what: dict[str, Any]) -> None:
        line = memoryview(orjson.dumps(what, option=orjson.OPT_APPEND_NEWLINE))
        while line:
            line = line[out.write(line) :]

    # As the product's own processes do at their start; baselines get it as well.
    expect_a_large_calm_heap()
    module, _, function = TASKS[job.task].partition(":")
    task = getattr(importlib.import_module(f"engine.bench.{module}"), function)
    run = task(Cluster(bootstrap, security), job, tell)
    tell({"run": asdict(asyncio.run(run) if asyncio.iscoroutine(run) else run)})
    sys.stderr.flush()
    # What it measured is told; there is nothing to wind up that could not hang.
    os._exit(0)


def _give_up() -> None:
    sys.stderr.write("out of time\n")
    sys.stderr.flush()
    os._exit(3)


if __name__ == "__main__":
    main()
