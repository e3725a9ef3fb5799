"""The product as it is, and with bugs planted on purpose: each must be found, or the simulation proves nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from engine.stream.batches import Progress
from engine.stream.outbox import Outbox
from engine.stream.rewards import Keepers
from engine.stream.snapshots import Snapshots, checkpoint_key
from engine.stream.tools import Delivery
from engine.stream.topics import FACTS, POINTS_LOG
from tests.simulation.logs import Broker, Transactions
from tests.simulation.worker import SimWorker


@dataclass(slots=True)
class Variant:
    """What a history runs.

    Attributes:
        patches: constants and classes of the product, by dotted name.
        fixed: options that every history of this variant has.
    """

    name: str = "sound"
    patches: dict[str, Any] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)

    def worker(self, history: Any, name: str) -> SimWorker:
        """One worker process."""
        return SimWorker(history, name)

    def keepers(self, tools: Any) -> Keepers:
        """The keepers of one worker."""
        return Keepers(tools)

    async def start_offset(self, worker: Any, place: Any) -> int | None:
        """Where the consumer begins."""
        offset: int | None = await worker._start_offset(place)
        return offset


class AckBeforeCommit(Variant):
    """A delivery is acknowledged when it is taken, not when its decisions are committed."""

    def keepers(self, tools: Any) -> Keepers:
        """Keepers that acknowledge at once."""
        return _Hasty(tools)


class _Hasty(Keepers):
    def offer(self, delivery: Delivery) -> None:
        super().offer(delivery)
        delivery.acknowledge()


class DecisionOutside(Variant):
    """Decisions are written by a producer of their own, beside the transaction of everything else."""

    def keepers(self, tools: Any) -> Keepers:
        """Keepers whose decisions show at once."""
        return Keepers(
            replace(tools, new_producer=lambda name: _Aside(tools.new_producer(name), tools.new_producer(None)))
        )


class _Aside:
    """A producer that sends decisions outside of its transaction."""

    def __init__(self, inner: Any, plain: Any) -> None:
        self._inner, self._plain = inner, plain

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        """Decisions go their own way."""
        way = self._plain if topic == POINTS_LOG else self._inner
        return await way.send_batch(batch, topic, partition=partition)


class _GapInside(Progress):
    """Knows the holes inside a batch, and not those between two."""

    def deliver(self, message: Any, end: int, size: int) -> None:
        super().deliver(message, message.offset + 1, size)
        self.next = end

    def skip(self, position: int) -> None:
        self.next = position

    def settle(self) -> int:
        while self._under_way and self._under_way[0].message.acked:
            oldest = self._under_way.popleft()
            self.size -= oldest.size
            if self.done is None or oldest.message.value[0].offset == self.done:
                self.done = oldest.end
        return self.size


class StartsFromGroup(Variant):
    """A keeper takes the consumer group's word for where it was."""

    async def start_offset(self, worker: Any, place: Any) -> int | None:
        """The group's offset."""
        offset = await super().start_offset(worker, place)
        if place.topic != FACTS:
            return offset
        keeper = worker.keepers.get(place.partition)
        start = int(await worker._thread.start_of_group(place))
        keeper._decider.next_offset = keeper._delivered = start
        return start


def _let_in(broker: Broker, name: str, epoch: int) -> Transactions:
    """The coordinator forgets to look at epochs."""
    return broker.transactions[name]


class _Early(Snapshots):
    """Writes the checkpoint first and its snapshots when there is time."""

    def add_some(self, outbox: Any, most: int, now_ms: int) -> int:
        if self._checkpoint is not None:
            outbox.add(self._place, checkpoint_key(self._partition), self._checkpoint.encode(), now_ms)
        return super().add_some(outbox, most, now_ms)


#: A checkpoint every few decisions, written one member at a time, by workers that are killed again and again.
OFTEN: dict[str, Any] = {"transactional": True, "checkpoint": 5, "lives": 8, "kinds": ("kill",), "meddling": ()}
SLOWLY: dict[str, Any] = {f"engine.stream.snapshots.{name}": 1 for name in ("TURN_LEAST", "TURN_MOST")}
SOUND = Variant()
PLANTED: tuple[Variant, ...] = (
    AckBeforeCommit("ack before commit"),
    DecisionOutside("decision outside the transaction", fixed={"transactional": True, "kinds": ("kill",), "lives": 8}),
    Variant("checkpoint before its snapshots", {"engine.stream.keeper.Snapshots": _Early} | SLOWLY, OFTEN),
    Variant("gap inside the batch only", {"engine.stream.batches.Progress": _GapInside}),
    StartsFromGroup("keeper starts from the group's offset", fixed={"meddling": ("offsets_deleted", "offsets_ahead")}),
    Variant(
        "batches side by side without transactions",
        {"engine.stream.outbox.Outbox.send_one_by_one": Outbox.send},
        {"transactional": False, "workers": 1, "fates": ("error_before",), "batch_records": 3, "deadly": 0},
    ),
    Variant("a broker that fences nobody", {"tests.simulation.logs.Broker._check": _let_in}),
)
