"""Generations of a deployment's topics: which one lives, which is being filled, and where one was moved to.

It stands in the topic `deployment` of each generation, beside the id of its logs, so that no worker can decide in logs that
another generation has taken over, or that are still being written by the copy.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import orjson

from engine.stream.clients import Cluster, KafkaTrouble, Outgoing, read_partition, send_values
from engine.stream.topics import DEPLOYMENT, Layout, partition_count
from engine.stream.topics import LogMissing as Missing

KEY = b"generation"
FORMAT = 1
State = Literal["filling", "ready", "moved"]


class GenerationInTheWay(KafkaTrouble):
    """These logs are not the living ones."""


@dataclass(frozen=True, slots=True)
class Lane:
    """How far one partition of the old generation was copied.

    Attributes:
        facts, decisions: next offsets of both logs.
        key_ms, tick_us, peopled: as in `engine.stream.merging.Standing`.
    """

    facts: int = 0
    decisions: int = 0
    key_ms: int = 0
    tick_us: int = 0
    peopled: bool = False


@dataclass(frozen=True, slots=True)
class Generation:
    """What a generation says of itself.

    Attributes:
        state: `filling` is being copied into, `ready` lives (or may begin to), `moved` lives on in `to`.
        other: prefix of the generation it came from, or of the one it was moved to.
        inbound: prefix of the inbound topics, which stay where they are.
        lanes: per partition of the old generation; versions, announced, crossed: of the merge.
        ends: per partition of the new generation, where both logs ended at the cut-over, as [facts, decisions].
        counts: what was copied.
    """

    state: State
    other: str
    inbound: str = ""
    partitions: int = 0
    lanes: tuple[Lane, ...] = ()
    versions: tuple[str, ...] = ()
    announced: tuple[str, ...] = ()
    crossed: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    ends: tuple[tuple[int, int], ...] = ()

    def record(self) -> Outgoing:
        """As it stands in `deployment`."""
        return KEY, orjson.dumps({"format": FORMAT, **asdict(self)}), None, ()


def _parsed(value: bytes, prefix: str) -> Generation:
    told: dict[str, Any] = orjson.loads(value)
    if told.pop("format", None) != FORMAT:
        raise GenerationInTheWay(f"topic {prefix}{DEPLOYMENT} was written by a newer version: use that one")
    told["lanes"] = tuple(Lane(**lane) for lane in told["lanes"])
    told["ends"] = tuple((facts, decisions) for facts, decisions in told["ends"])
    told["versions"], told["announced"] = tuple(told["versions"]), tuple(told["announced"])
    return Generation(**told)


async def read_generation(cluster: Cluster, prefix: str) -> Generation | None:
    """What the generation with this prefix says of itself; None for one that was never copied, or is not there.

    Errors: GenerationInTheWay for a record of a newer version; KafkaTrouble.
    """
    found = None
    try:
        await partition_count(cluster, prefix + DEPLOYMENT)
    except Missing:
        return None
    async for records in read_partition(cluster, prefix + DEPLOYMENT, 0):
        for record in records:
            if record.key == KEY and record.value is not None:
                found = _parsed(record.value, prefix)
    return found


async def write_generation(cluster: Cluster, prefix: str, told: Generation) -> None:
    """Say something of a generation. Errors: KafkaTrouble, KafkaError."""
    async with cluster.producer() as producer:
        await send_values(producer, prefix + DEPLOYMENT, 0, [told.record()])


async def living(cluster: Cluster, layout: Layout) -> Layout:
    """The layout as a worker or a publisher must use it: where inbound topics stayed in an older generation, under their names.

    Errors: GenerationInTheWay where these logs were moved, or are being filled.
    """
    told = await read_generation(cluster, layout.prefix)
    if told is None:
        return layout
    if told.state == "moved":
        raise GenerationInTheWay(
            f"the logs with --topic-prefix {layout.prefix!r} were moved and take nothing more: use "
            f"--topic-prefix {told.other!r} --partitions {told.partitions}"
        )
    if told.state == "filling":
        raise GenerationInTheWay(
            f"the logs with --topic-prefix {layout.prefix!r} are still being filled: end it with `stammgast repartition "
            f"--topic-prefix {told.other!r} --to-prefix {layout.prefix!r} --partitions {told.partitions} --cut-over`"
        )
    return replace(layout, inbound_prefix=told.inbound)


async def inbound_prefix(cluster: Cluster, prefix: str) -> str:
    """What stands before the names of inbound topics in a deployment: its prefix, or that of the generation it began with."""
    told = await read_generation(cluster, prefix)
    return prefix if told is None or told.state == "filling" else told.inbound
