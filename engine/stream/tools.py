"""What a keeper works with: its ledger, the logs it reads, the consumer it steers, the clock. A simulation brings its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.stream.clients import KafkaTrouble
from engine.stream.snapshots import CHECKPOINT_DECISIONS
from engine.stream.topics import Layout
from engine.telemetry import Tally
from schemas.decisions import Decision
from schemas.envelope import Fact

#: Fetched records of one partition, in order, a list per fetch.
Batches = AsyncGenerator[Sequence[Any], None]


class Ledger(Protocol):
    """What a keeper needs of `engine.ledger.partition.Partition`."""

    newest_us: int | None

    @property
    def next_due_us(self) -> int | None:
        """When the next timer of any member is due."""
        ...

    def answer(self, fact: Fact, offset: int) -> Any:
        """Decide a fact and take the decision in: an object with `decisions`, `derived` and `reject`."""
        ...

    def recall(self, fact: Fact, decision: Decision) -> None:
        """Take a decision in that stands in the log."""
        ...

    def quarantine(self, fact: Fact, offset: int, error: str, reason: str = "quarantined") -> Any:
        """The answer to a fact that nobody could decide."""
        ...

    def changed(self) -> list[str]:
        """Keys of the members changed since the last call; forgets them."""
        ...

    def snapshot(self, key: str) -> tuple[int, bytes]:
        """Offset of the member's newest fact, and his state."""
        ...

    def restore(self, key: str, offset: int, packed: bytes) -> None:
        """Take a member in as `snapshot` gave him; before any decision."""
        ...

    def outline(self) -> dict[str, Any]:
        """Everything that is no member."""
        ...

    def restore_outline(self, outline: Mapping[str, Any]) -> None:
        """Take in what `outline` gave; before any decision."""
        ...


class Logs(Protocol):
    """The logs of one partition, as a reader of committed records sees them, each read to its end as of the call.

    Errors of each: LogEndsEarlier when the log ends before `start` or begins after it; other KafkaTrouble.
    """

    def decisions(self, start: int) -> Batches:
        """Records of `points-log` from this offset on."""
        ...

    def facts(self, start: int) -> Batches:
        """Records of `facts` from this offset on."""
        ...

    def snapshots(self) -> Batches:
        """Records of `member-snapshots` from its beginning on."""
        ...

    async def snapshots_begin(self) -> int:
        """The first offset of `member-snapshots` that is still there; compaction does not move it."""
        ...


class Flow(Protocol):
    """The consumer of `facts`, as far as a keeper steers it."""

    def pause(self, partition: int) -> None:
        """Fetch nothing more from this partition."""
        ...

    def resume(self, partition: int) -> None:
        """Fetch again, from where the reader stands."""
        ...

    def reopen(self, partition: int) -> None:
        """Ask the keeper for its position again, and read on from there."""
        ...


class Watch(Protocol):
    """Who is told what happened (metrics)."""

    def decided(self, tally: Tally, seconds: float) -> None:
        """A turn was committed."""
        ...

    def waiting(self, partition: int, records: int, oldest_ms: int | None) -> None:
        """So many facts are in memory and have no decision yet; when the oldest of them was recorded."""
        ...

    def recovered(self, seconds: float, source: str, decisions: int) -> None:
        """A partition was opened from a `snapshot` or from the `start` of its logs, and so many decisions were folded."""
        ...

    def snapshots(self, members: int, checkpoints: int) -> None:
        """So many were written and committed."""
        ...

    def attempt(self, kind: str) -> None:
        """After a death without progress `some` facts are tried, or `one`; or a fact is `given_up`."""
        ...

    def gone(self, partition: int) -> None:
        """This worker has the partition no longer."""
        ...


class MissingProgramme(KafkaTrouble):
    """A fact names a programme version that the `programmes` topic does not hold."""


class MissingKeys(KafkaTrouble):
    """A fact depends on a profile, and this worker has no keys that open it."""


@dataclass(slots=True)
class Delivery:
    """Records of one partition as fetched.

    Attributes:
        records: aiokafka's, in order, at least one.
        acknowledge: call when every record is decided in the log.
        after: the reader's position before these records, None when unknown: a delivery that does not follow on what
            was delivered before it is refused, so that no fact is skipped whatever the consumer did in between.
    """

    records: Sequence[Any]
    acknowledge: Callable[[], None]
    after: int | None = None


def loop_time() -> float:
    """Seconds of the running event loop's clock, which only moves forward."""
    return asyncio.get_running_loop().time()


def wall_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Tools:
    """What every keeper of a worker shares.

    Attributes:
        app: name of the deployment; transactional ids begin with it.
        new_producer: makes a producer; None as transactional id makes a plain one.
        logs: of a partition, for recovery.
        new_ledger: an empty ledger for a partition.
        reload_programmes: reads the `programmes` topic again.
        partition_of: the partition of `facts` for a key.
        died: told when something happened that no keeper can mend: the process must end.
        fenced: told the partition of a keeper that was fenced and closed itself.
        changed: told when a keeper may have become able to take deliveries.
        transactional: False on the embedded broker, which knows no transactions.
        seconds: a clock that only moves forward, for what takes how long.
        now_ms: the wall clock, milliseconds since 1970: stamps records in `rejects` and snapshots, decides nothing.
        checkpoint_decisions: how many decisions after the last one a checkpoint is begun.
        one_at_a_time: held while a fact is tried that may have killed a worker, so that a death says which one it was.
    """

    app: str
    layout: Layout
    new_producer: Callable[[str | None], Any]
    logs: Callable[[int], Logs]
    new_ledger: Callable[[int], Ledger]
    reload_programmes: Callable[[], Awaitable[None]]
    partition_of: Callable[[bytes], int]
    flow: Flow
    watch: Watch
    died: Callable[[BaseException], None]
    fenced: Callable[[int], None]
    changed: Callable[[], None]
    transactional: bool = True
    seconds: Callable[[], float] = loop_time
    now_ms: Callable[[], int] = wall_ms
    checkpoint_decisions: int = CHECKPOINT_DECISIONS
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)


__all__ = [
    "Batches",
    "Delivery",
    "Flow",
    "Ledger",
    "Logs",
    "MissingKeys",
    "MissingProgramme",
    "Tools",
    "Watch",
    "loop_time",
    "wall_ms",
]
