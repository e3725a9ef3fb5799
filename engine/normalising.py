"""Events made facts beside this process: the part of a replay that needs no state, on a core of its own.

The order of the lines stays. The helper reads the file itself, from the line on that this process has come to when it has
started, so that lines never cross between the two; a small file starts none.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from engine.crossing import Inlet, Outlet, run_of
from engine.lines import Progress, ReplayError, reading
from engine.processes import end_with
from engine.tuning import expect_a_large_calm_heap
from schemas.envelope import Fact, encode_fact
from schemas.facts import PERSONAL_TYPES
from schemas.normalise import normalise
from schemas.rejects import Reason, Rejected

# Lines that cross the border between two processes together. Too few: each crossing costs more than its lines. Too many: the
# other side waits for them.
BLOCK_LINES = 1_000
# A helper takes half a second to start; a file that is done by then needs none.
ALONE_BLOCKS = 5


@dataclass(slots=True)
class Block:
    """What some lines are: facts as the log holds them, and what was refused, as (number of the line, why)."""

    events: int = 0
    values: list[bytes] = field(default_factory=list)
    refused: list[tuple[int, Reason, str, str]] = field(default_factory=list)


class Stamp(NamedTuple):
    """What stands on every fact of a replay: the moment it is recorded at, whole milliseconds, as text and in microseconds;
    and what seals its profiles, see `EphemeralVault`."""

    recorded_at: str
    recorded_at_us: int
    secret: bytes


def normalised(lines: Iterable[bytes], stamp: Stamp) -> Iterator[Block]:
    """Yield the blocks of lines, which are CloudEvents in JSON or empty, in their order, made in this process."""
    for start, some in _blocks(lines):
        yield normalised_block(start, some, stamp)


def normalised_file(path: Path, stamp: Stamp, progress: Progress) -> Generator[Block, None, None]:
    """Yield a file's blocks in their order, most of them made beside this process where there is a core for that.

    To be closed by whoever does not take all of them.

    Args:
        path: see `engine.lines.reading`.
        progress: told bytes read and bytes in all.

    Raises:
        ReplayError: the file cannot be read, or the helper was killed.
    """
    with reading(path, progress) as lines:
        blocks = _blocks(lines)
        first = list(islice(blocks, ALONE_BLOCKS + 1))
        waiting = chain(first, blocks)
        if len(first) > ALONE_BLOCKS and (os.cpu_count() or 1) > 1:
            with closing(_Helper(path, stamp)) as helper:
                if (yield from _until_started(helper, waiting, stamp)):
                    yield from helper.blocks(progress)
        else:
            yield from (normalised_block(*block, stamp) for block in waiting)


def _until_started(
    helper: _Helper, blocks: Iterator[tuple[int, Sequence[bytes]]], stamp: Stamp
) -> Generator[Block, None, bool]:
    """Normalise until the helper is there, and one block more while it makes its first; return whether lines are left to it."""
    for start, lines in blocks:
        started = helper.started()
        if started:
            helper.begin(start + len(lines))
        yield normalised_block(start, lines, stamp)
        if started:
            return True
    return False


def normalised_block(start: int, lines: Sequence[bytes], stamp: Stamp) -> Block:
    """Return what ``lines`` are, the first of which has the number ``start``."""
    block = Block()
    for number, line in enumerate(lines, start):
        if not line.strip():
            continue
        block.events += 1
        try:
            fact = normalise(line, stamp.recorded_at, stamp.recorded_at_us)
            block.values.append(encode_fact(_sealed(fact, stamp.secret) if fact.type in PERSONAL_TYPES else fact))
        except Rejected as rejected:
            block.refused.append((number, rejected.reason, rejected.message, rejected.field))
    return block


def _sealed(fact: Fact, secret: bytes) -> Fact:
    # Only here, because it brings the ledger and the rules along: they take a helper longer to import than all it needs.
    from engine.vault.vault import EphemeralVault  # noqa: PLC0415

    return EphemeralVault(secret).seal(fact)


def _blocks(lines: Iterable[bytes], start: int = 1) -> Iterator[tuple[int, Sequence[bytes]]]:
    """Number of the first line, and the lines."""
    rest = iter(lines)
    while block := list(islice(rest, BLOCK_LINES)):
        yield start, block
        start += len(block)


class _Helper:
    """A process that normalises a file from some line on. It ends with this one, however that ends."""

    def __init__(self, path: Path, stamp: Stamp) -> None:
        # /dev/stdin is another file there; and only what this process has begun to read may be gone on with.
        path = path.resolve()
        # spawn, not fork: DuckDB and Arrow have threads, which a fork would leave half alive.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        their_orders, self._orders = context.Pipe(duplex=False)
        args = (path, _identity(path), stamp, their_orders, theirs, os.getpid())
        self._process = context.Process(target=_help, args=args, name="stammgast-normalise", daemon=True)
        self._process.start()
        # What the helper holds is held by nobody else, so that either side learns when the other one has gone.
        theirs.close()
        their_orders.close()
        self._inlet = Inlet(ours)

    def started(self) -> bool:
        """Tell whether it can be told where to begin. Where it died instead, `blocks` says so."""
        return self._inlet.ready()

    def begin(self, number: int) -> None:
        """Have it normalise from the line with this number on."""
        with suppress(BrokenPipeError):  # `blocks` says so
            self._orders.send(number)

    def blocks(self, progress: Progress) -> Iterator[Block]:
        """Yield what it made, in the order of the lines.

        Raises:
            ReplayError: it was killed, or the file cannot be read to its end.
        """
        try:
            while True:
                head, runs = self._inlet.get()
                if isinstance(head, ReplayError):
                    raise head
                if head is None:
                    return
                if runs:
                    events, refused, read = head
                    progress(*read)
                    yield Block(events, runs[0].values(), refused)
        except EOFError:
            raise ReplayError("the normalising process was killed; nothing was made, start again") from None

    def close(self) -> None:
        """End it, wherever it is."""
        if self._process.is_alive():
            self._process.terminate()
        self._process.join()
        self._inlet.close()
        self._orders.close()


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


#: What a helper says when it can be told where to begin.
_STARTED = "started"


def _help(
    path: Path, identity: tuple[int, int], stamp: Stamp, orders: Connection, blocks: Connection, parent: int
) -> None:
    end_with(parent)
    expect_a_large_calm_heap()
    outlet = Outlet(blocks)
    read = (0, 0)

    def note(done: int, total: int) -> None:
        nonlocal read
        read = done, total

    try:
        outlet.put(_STARTED)
        begin = orders.recv()
        if _identity(path) != identity:
            raise ReplayError(f"{path}: another file took its place while it was read. Nothing was made; start again.")
        with reading(path, note) as lines:
            for start, some in _blocks(islice(lines, begin - 1, None), begin):
                block = normalised_block(start, some, stamp)
                outlet.put((block.events, block.refused, read), run_of(block.values))
        outlet.put(None)
    except ReplayError as error:
        outlet.put(error)
    except (BrokenPipeError, EOFError):
        pass  # nobody is left to do it for
