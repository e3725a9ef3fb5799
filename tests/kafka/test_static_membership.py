"""Workers that keep their name in the group: a restart within the session moves no partition, and nobody else pauses."""

from __future__ import annotations

import json

import pytest

from engine.stream.clients import Cluster
from tests.kafka.deployment import Deployment, Role, purchase, purchases

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

#: Longer than any restart on a machine that is busy with other things.
SESSION = "120"


def assigned(worker: Role) -> list[list[int]]:
    """What this worker was assigned, one after the other, as its log tells."""
    lines = [json.loads(line) for line in worker.said().splitlines() if line.startswith("{")]
    return [line["partitions"] for line in lines if line.get("event") == "assigned"]


async def generation_members(cluster: Cluster, group: str) -> tuple[str, set[str]]:
    """State of the group, and the ids of its members as the coordinator knows them."""
    async with cluster.admin() as admin:
        (response,) = await admin.describe_consumer_groups([group])
        _, _, state, _, _, members, *_ = response.groups[0]
        return state, {member[0] for member in members}


async def test_a_restart_within_the_session_moves_nobody(cluster: Cluster, prefix: str) -> None:
    """Given two workers with names, when one of them ends, killed or in order, and comes back under its name, then it has the
    partitions that it had, the other one is assigned nothing anew, and every fact has one decision."""
    with Deployment(cluster, prefix, partitions=4) as shop:
        named = [("--instance-id", f"worker-{number}", "--session-seconds", SESSION) for number in range(2)]
        first, second = (shop.start(*how_named) for how_named in named)
        await shop.ready(first, second)
        calm, mine = assigned(first), assigned(second)[-1]
        before = await generation_members(cluster, shop.group)
        assert before[0] == "Stable"
        assert all("worker-" in member for member in before[1]), before

        again = second
        for events, how in enumerate(("killed", "stopped"), 1):
            if how == "killed":
                again.kill()
            else:
                again.end()
            away = await generation_members(cluster, shop.group)
            await shop.publish(purchases(100, name=f"away{events}-"))
            again = shop.start(*named[1])
            await shop.ready(first, again)
            await shop.publish([purchase(f"back{events}", "m001")])
            await shop.decided(events * 101)

            assert away[0] == "Stable", "who ended is still a member, and the group does not rebalance"
            assert len(away[1]) == len(before[1])
            assert assigned(again) == [mine], again.said()
            assert assigned(first) == calm, first.said()
        await shop.audit()
