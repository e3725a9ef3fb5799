"""Topics: declared once, created with explicit settings, and refused when they do not fit."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from engine.stream import topics
from engine.stream.clients import Cluster
from engine.stream.topics import Layout
from tests.kafka.harness import create_topic


@pytest.fixture
def layout(prefix: str) -> Layout:
    return Layout(prefix=prefix, partitions=3)


async def settings_of(cluster: Cluster, name: str) -> dict[str, str]:
    async with cluster.admin() as admin:
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    return {entry[0]: entry[1] for entry in answer.resources[0][4]}


async def test_topics_are_created_as_declared(any_cluster: Cluster, layout: Layout) -> None:
    """A fresh broker gets every topic with its partitions; a second call changes nothing and returns the same id."""
    first = await topics.ensure(any_cluster, layout)
    second = await topics.ensure(any_cluster, layout)

    assert first == second
    assert len(first) == 32
    counts = {topic.name: await topics.partition_count(any_cluster, layout.name(topic.name)) for topic in topics.TOPICS}
    assert counts == {topic.name: topic.partitions or 3 for topic in topics.TOPICS}


async def test_the_logs_are_kept_for_ever(any_cluster: Cluster, layout: Layout) -> None:
    """facts and points-log have no retention and no compaction; rejects are kept for the days asked for."""
    await topics.ensure(any_cluster, replace(layout, rejects_days=7))

    for log in topics.LOGS:
        settings = await settings_of(any_cluster, layout.name(log))
        assert settings["retention.ms"] == settings["retention.bytes"] == "-1"
        assert settings["cleanup.policy"] == "delete"
        assert settings["message.timestamp.type"] == "CreateTime"
        assert settings["unclean.leader.election.enable"] == "false"
    assert (await settings_of(any_cluster, layout.name(topics.REJECTS)))["retention.ms"] == str(7 * topics.DAY_MS)


async def test_another_partition_count_is_refused(any_cluster: Cluster, layout: Layout) -> None:
    """Partitions count only at creation: a different count later is refused, and the message says which one fits."""
    await topics.ensure(any_cluster, layout)

    with pytest.raises(topics.PartitionCountDiffers, match="start with --partitions 3"):
        await topics.ensure(any_cluster, replace(layout, partitions=4))


async def test_an_inbound_topic_may_have_any_partition_count(any_cluster: Cluster, layout: Layout) -> None:
    """Inbound topics belong to their publishers, so their partition count is theirs to choose."""
    await create_topic(any_cluster, layout.name(topics.SHOP_EVENTS), partitions=7)

    await topics.ensure(any_cluster, layout)


async def test_a_missing_log_is_not_an_empty_one(any_cluster: Cluster, layout: Layout) -> None:
    """When one of the two logs is gone nothing is created in its place."""
    await create_topic(any_cluster, layout.name(topics.FACTS), partitions=3)

    with pytest.raises(topics.LogMissing, match="restore it from a backup"):
        await topics.ensure(any_cluster, layout)
    with pytest.raises(topics.LogMissing):
        await topics.partition_count(any_cluster, layout.name(topics.POINTS_LOG))


async def test_a_reader_creates_nothing(any_cluster: Cluster, layout: Layout) -> None:
    """`require` refuses a deployment that was never started, and leaves the broker as it was."""
    with pytest.raises(topics.LogMissing, match="stammgast worker"):
        await topics.require(any_cluster, layout)
    with pytest.raises(topics.LogMissing, match="has no topic"):
        await topics.partition_count(any_cluster, layout.name(topics.FACTS))


async def test_a_log_that_forgets_is_refused(any_cluster: Cluster, layout: Layout) -> None:
    """A compacted or expiring log, made by hand, stops the start and names the setting to change."""
    await create_topic(any_cluster, layout.name(topics.FACTS), 3, retention_ms="604800000", cleanup_policy="delete")
    await create_topic(any_cluster, layout.name(topics.POINTS_LOG), 3, retention_ms="-1", cleanup_policy="compact")

    with pytest.raises(topics.LogUnsafe, match="would lose records"):
        await topics.ensure(any_cluster, layout)


async def test_workers_that_start_together_agree(any_cluster: Cluster, layout: Layout) -> None:
    """Several workers may create the topics at once; all end with the same id of the logs."""
    await asyncio.gather(*(topics.ensure(any_cluster, layout) for _ in range(3)))

    identities = [await topics.require(any_cluster, layout) for _ in range(2)]
    assert len(set(identities)) == 1


async def test_two_deployments_share_a_broker(any_cluster: Cluster, layout: Layout) -> None:
    """Another prefix is another deployment with logs and an id of its own."""
    other = replace(layout, prefix=layout.prefix + "b-", partitions=2)

    assert await topics.ensure(any_cluster, layout) != await topics.ensure(any_cluster, other)
