"""Which records of `rejects` were sent back: the log itself is never changed, so it is noted beside it.

A mark stands in the topic `deployment`, which is compacted and kept: key `redriven:<partition>:<offset>` of rejects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from engine.rejects.reading import Place, Refused
from engine.stream.clients import Cluster, read_partition, send_values
from engine.stream.topics import DEPLOYMENT

_KEY = "redriven:"


async def read_marks(cluster: Cluster, prefix: str) -> dict[Place, dict[str, Any]]:
    """Return what was sent back: place in rejects -> {"at", "topic", "mended"}."""
    marks: dict[Place, dict[str, Any]] = {}
    async for records in read_partition(cluster, prefix + DEPLOYMENT, 0):
        for record in records:
            key = (record.key or b"").decode("utf-8", "replace")
            if key.startswith(_KEY) and record.value is not None:
                partition, _, offset = key.removeprefix(_KEY).partition(":")
                marks[int(partition), int(offset)] = orjson.loads(record.value)
    return marks


async def write_marks(producer: Any, prefix: str, sent: Sequence[Refused], mark: Mapping[str, Any]) -> None:
    """Note that these were sent back."""
    values = [(f"{_KEY}{one.name}".encode(), orjson.dumps(mark), None, ()) for one in sent]
    await send_values(producer, prefix + DEPLOYMENT, 0, values)
