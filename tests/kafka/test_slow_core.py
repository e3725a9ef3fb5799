"""Deciding that takes longer than a transaction may: the facts are decided all the same, in small transactions."""

from __future__ import annotations

import pytest

from engine.stream.clients import Cluster
from tests.kafka.deployment import Deployment, purchases

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
#: 250 facts, what a keeper once took without a break, would take 10 s: three times as long as a transaction may.
SLOW = """
import time
from engine.stream import clients, turn
clients.TRANSACTION_TIMEOUT_MS = 3_000
genuine = turn.Decider._decide_one
def slowly(self, record, fact, into):
    time.sleep(0.04)
    genuine(self, record, fact, into)
turn.Decider._decide_one = slowly
"""


async def test_a_slow_core_is_not_fenced(cluster: Cluster, prefix: str) -> None:
    """Given two partitions with a backlog that takes 10 s each to decide, when a transaction may take 3 s, then everything is
    decided once, in order, and nobody was fenced on the way."""
    with Deployment(cluster, prefix, partitions=2, patch=SLOW) as shop:
        worker = shop.start()
        await shop.ready(worker)
        await shop.append_facts(purchases(500))
        await shop.decided(500)
        await shop.audit()
        said = worker.said()
        worker.end()

    assert "fenced" not in said
    assert "quarantined" not in said
