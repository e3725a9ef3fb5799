"""Logs that were written in memory, poured into a Kafka: the same offsets, keys, stamps and headers."""

from __future__ import annotations

from engine.stream.clients import Cluster, send_values
from engine.stream.topics import PROGRAMMES, Layout, ensure
from tests.unit.written_logs import REJECTS, WrittenLogs


async def pour(cluster: Cluster, logs: WrittenLogs) -> str:
    """Create the topics of the logs' prefix and write everything; returns the id of the logs."""
    assert not logs.hole, "a plain producer leaves no holes"
    log_id = await ensure(cluster, Layout(prefix=logs.prefix, partitions=logs.partitions))
    contents = [(one.hash.encode(), one.canonical_json(), None, ()) for one in logs.programmes.values()]
    async with cluster.producer() as producer:
        await send_values(producer, logs.prefix + PROGRAMMES, 0, contents)
        for topic, partitions in logs.topics.items():
            for number, records in enumerate(partitions):
                # Stamped now where a log forgets: a broker soon deletes what it holds to be months old.
                stamps = [None if topic == REJECTS else one.timestamp for one in records]
                values = [
                    (one.key, one.value, stamp, list(one.headers)) for one, stamp in zip(records, stamps, strict=True)
                ]
                await send_values(producer, logs.prefix + topic, number, values)
    return log_id
