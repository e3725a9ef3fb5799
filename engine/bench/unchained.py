"""The worker without the tamper-evidence chain, to tell what the chain costs. No setting does this: a log without it proves
nothing."""

from __future__ import annotations

from typing import Any

from engine.bench import rewards_product
from engine.bench.figures import Run
from engine.bench.jobs import Job, Tell
from engine.stream import turn
from engine.stream.chain import CHAIN_HEADER
from engine.stream.clients import Cluster
from engine.stream.outbox import NONE, Outbox


async def run(cluster: Cluster, job: Job, tell: Tell) -> Run:
    """As `rewards_product`, but no link is computed and no record carries one. Only for a process of its own."""
    add = Outbox.add

    def add_unchained(self: Outbox, place: Any, key: Any, value: Any, timestamp_ms: int, headers: Any = NONE) -> None:
        chained = bool(headers) and headers[0][0] == CHAIN_HEADER
        add(self, place, key, value, timestamp_ms, NONE if chained else headers)

    vars(turn).update(link=_no_link)
    Outbox.add = add_unchained  # type: ignore[method-assign]
    return await rewards_product.run(cluster, job, tell)


def _no_link(previous: bytes, _value: bytes) -> bytes:
    return previous
