"""Events made facts beside this process: the part of a replay that needs no state, on a core of its own.

The order of the lines stays. Until the helper has started this process does the work itself, so a small file starts none.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice

from engine.processes import end_with
from engine.tuning import expect_a_large_calm_heap
from schemas.envelope import Fact, encode_fact
from schemas.facts import PERSONAL_TYPES
from schemas.normalise import normalise
from schemas.rejects import Reason, Rejected

# Lines that cross the border between two processes together. Too few: each crossing costs more than its lines. Too many: the
# other side waits for them.
BLOCK_LINES = 1_000
# Blocks that are with the helper or wait to be taken: enough that neither side waits, few enough to bound memory.
AHEAD_BLOCKS = 8
# A helper takes half a second to start; a file that is done by then needs none.
ALONE_BLOCKS = 5


@dataclass(slots=True)
class Block:
    """What some lines are: facts as the log holds them, and what was refused, as (number of the line, why)."""

    events: int = 0
    values: list[bytes] = field(default_factory=list)
    refused: list[tuple[int, Reason, str, str]] = field(default_factory=list)


def normalised(lines: Iterable[bytes], recorded_at: str, recorded_at_us: int, secret: bytes) -> Iterator[Block]:
    """Yield the lines' blocks in their order.

    Args:
        lines: CloudEvents in JSON; empty ones are no events.
        recorded_at, recorded_at_us: the same moment, stamped on every fact.
        secret: seals profiles, see `EphemeralVault`.

    Raises:
        BrokenProcessPool: the helper was killed.
    """
    blocks = _blocks(lines)
    alone = ALONE_BLOCKS if (os.cpu_count() or 1) > 1 else None
    for block in islice(blocks, alone):
        yield normalised_block(*block, recorded_at, recorded_at_us, secret)
    first = next(blocks, None)
    if first is not None:
        with _helper() as helper:
            yield from _helped(helper, chain((first,), blocks), recorded_at, recorded_at_us, secret)


def normalised_block(start: int, lines: Sequence[bytes], recorded_at: str, recorded_at_us: int, secret: bytes) -> Block:
    """Return what ``lines`` are, the first of which has the number ``start``."""
    block = Block()
    for number, line in enumerate(lines, start):
        if not line.strip():
            continue
        block.events += 1
        try:
            fact = normalise(line, recorded_at, recorded_at_us)
            block.values.append(encode_fact(_sealed(fact, secret) if fact.type in PERSONAL_TYPES else fact))
        except Rejected as rejected:
            block.refused.append((number, rejected.reason, rejected.message, rejected.field))
    return block


def _sealed(fact: Fact, secret: bytes) -> Fact:
    # Only here, because it brings the ledger and the rules along: they take a helper longer to import than all it needs.
    from engine.vault.vault import EphemeralVault  # noqa: PLC0415

    return EphemeralVault(secret).seal(fact)


def _blocks(lines: Iterable[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    """Number of the first line, and the lines."""
    rest, start = iter(lines), 1
    while block := list(islice(rest, BLOCK_LINES)):
        yield start, block
        start += len(block)


@contextmanager
def _helper() -> Iterator[ProcessPoolExecutor]:
    """One process that normalises. It ends with this one, however that ends."""
    # spawn, not fork: the loader's queue has a thread by now, which a fork would leave half alive.
    context = multiprocessing.get_context("spawn")
    helper = ProcessPoolExecutor(1, context, initializer=_begin, initargs=(os.getpid(),))
    try:
        yield helper
    finally:
        helper.shutdown(wait=True, cancel_futures=True)


def _begin(parent: int) -> None:
    end_with(parent)
    expect_a_large_calm_heap()


def _helped(
    helper: ProcessPoolExecutor,
    blocks: Iterable[tuple[int, Sequence[bytes]]],
    recorded_at: str,
    recorded_at_us: int,
    secret: bytes,
) -> Iterator[Block]:
    started = helper.submit(os.getpid)
    ahead: deque[Future[Block]] = deque()
    for start, lines in blocks:
        if not started.done():
            yield normalised_block(start, lines, recorded_at, recorded_at_us, secret)
            continue
        ahead.append(helper.submit(normalised_block, start, lines, recorded_at, recorded_at_us, secret))
        if len(ahead) == AHEAD_BLOCKS:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()
