"""What one measuring process is told, and the word it sends back. Both travel as one line of JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from engine.stream.batches import EMBEDDED_SESSION_S, SESSION_S
from engine.stream.snapshots import CHECKPOINT_DECISIONS

#: Partitions of the topics that are measured: enough for keepers to overlap, few enough for two cores.
PARTITIONS = 4


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement in a process of its own.

    Attributes:
        task: which one, see `engine.bench.contender`.
        prefix: of the topics; the logs under it are filled before the process starts.
        output: name of the topic that a baseline writes to; the product writes where it always does.
        shape: name of the kind of purchase.
        programme: name of the programme, where a task can measure under several.
        expected: records after which the measurement is over.
        transactions: can the broker?
        limit_s: after this many seconds the process ends itself, whatever happened to its parent.
        sampled: take a profile as well (the rate is then not used).
        checkpoint: decisions of a partition after which the worker begins a checkpoint.
        file: what a task reads, or where it writes.
        compiled: may it use the compiled core, where there is one?
    """

    task: str
    shape: str = "two-line purchases"
    programme: str = "gift-shop"
    expected: int = 0
    prefix: str = ""
    output: str = ""
    partitions: int = PARTITIONS
    transactions: bool = True
    limit_s: float = 120.0
    sampled: bool = False
    checkpoint: int = CHECKPOINT_DECISIONS
    file: str = ""
    compiled: bool = True

    @property
    def session_s(self) -> float:
        """For consumer groups; the embedded broker lets nobody join before it has passed."""
        return SESSION_S if self.transactions else EMBEDDED_SESSION_S

    def line(self) -> bytes:
        """As one line of JSON."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)


def read_job(line: bytes) -> Job:
    """The job of a line. Errors: TypeError, ValueError."""
    return Job(**orjson.loads(line))


#: How a task tells its parent something in between, as one line of JSON.
Tell = Callable[[dict[str, Any]], None]
