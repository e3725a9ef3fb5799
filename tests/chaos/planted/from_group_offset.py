"""A keeper begins at the offset its consumer group committed, as most consumers do, and not at the position in the log."""

from __future__ import annotations

from typing import Any

from aiokafka import TopicPartition

from engine.stream import app
from engine.stream.keeper import Keeper
from engine.stream.topics import FACTS

TOLD: dict[str, Any] = {}


def plant() -> None:
    """Put the bug in."""
    right_init, right_recover = app.Worker.__init__, Keeper._recover

    def init(self: Any, settings: Any, *arguments: Any, **more: Any) -> None:
        TOLD["cluster"], TOLD["group"] = settings.cluster, settings.group
        right_init(self, settings, *arguments, **more)

    async def recover(self: Any) -> Any:
        found = await right_recover(self)
        place = TopicPartition(self._tools.layout.name(FACTS), self.partition)
        async with TOLD["cluster"].admin() as admin:
            kept = (await admin.list_consumer_group_offsets(TOLD["group"])).get(place)
        if kept is not None and kept.offset >= 0:
            found.next_offset = kept.offset
        return found

    app.Worker.__init__ = init  # type: ignore[method-assign]
    Keeper._recover = recover  # type: ignore[method-assign]
