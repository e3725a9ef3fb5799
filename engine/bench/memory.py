"""Bytes that a member takes in a worker: what the process grows by, all that a partition keeps about its members included.

Members with twenty facts each are folded from purchases in one process; another, fresh one takes in copies of their states, each
under a key of its own, until there are as many members as asked for. So the first process's garbage is not counted, and a
hundred thousand members need not be decided two million facts.
"""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

from engine.bench import data
from engine.bench.figures import Run
from engine.bench.jobs import Job, Tell
from engine.ledger.members import LIVE_MEMBERS
from engine.stream.clients import Cluster

#: Members that are folded; the others are their copies.
MODELS = 1_000


def fold(_cluster: Cluster, job: Job, _tell: Tell) -> Run:
    """Fold the models and write their packed states to the job's file, one a line: offset, state in hexadecimal."""
    ledger = data.fresh_ledger(data.programmes())
    began = time.perf_counter()
    for fact in data.facts(data.SHAPES[job.shape], MODELS * data.FACTS_PER_MEMBER):
        ledger.answer(fact, ledger.next_offset)
    seconds = time.perf_counter() - began
    states = (ledger.snapshot(key) for key in ledger.members)
    Path(job.file).write_text("".join(f"{offset} {packed.hex()}\n" for offset, packed in states), encoding="ascii")
    return Run(MODELS * data.FACTS_PER_MEMBER, seconds)


def hold(_cluster: Cluster, job: Job, _tell: Tell) -> Run:
    """Take in as many members as the job expects; what the process grew by, over their number.

    As many of them as a partition keeps unpacked are unpacked, and changed, so that nothing is kept of them twice. `packed`
    is the mean length of a packed state.
    """
    lines = Path(job.file).read_text(encoding="ascii").splitlines()
    ledger = data.fresh_ledger(data.programmes())
    gc.collect()
    before, began = resident_bytes(), time.perf_counter()
    packed_bytes = 0
    for number in range(job.expected):
        offset, _, packed = lines[number % len(lines)].partition(" ")
        state = bytes.fromhex(packed)
        packed_bytes += len(state)
        ledger.restore(f"member-{number:09d}", int(offset), state)
    seconds = time.perf_counter() - began
    for number in range(min(job.expected, LIVE_MEMBERS)):
        member = ledger.members[f"member-{number:09d}"]
        ledger.members.put(member)
    gc.collect()
    figures = {
        "bytes": (resident_bytes() - before) / job.expected,
        "packed": packed_bytes / job.expected,
        "live": float(ledger.members.live),
    }
    return Run(job.expected, seconds, figures)


def resident_bytes() -> int:
    """Memory that this process has in use now (Linux)."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
