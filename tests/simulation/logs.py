"""Simulated logs: offsets with holes, transactions that show when they end, readers that see committed records only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from aiokafka.errors import InvalidProducerEpoch, InvalidTxnState, KafkaError

from tests.simulation.network import Network

Place = tuple[str, int]
Header = tuple[str, bytes]
State = Literal["open", "committed", "aborted", "control", "removed"]


class ConcurrentTransactions(KafkaError):
    """The transaction before is not resolved everywhere; ask again."""


@dataclass(slots=True)
class Record:
    """As aiokafka hands it out, and whether readers may see it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: tuple[Header, ...] = ()
    state: State = "committed"
    serialized_key_size: int = 0
    serialized_value_size: int = 0


class Log:
    """One partition. The offset of a record is its index; what transactions and compaction leave are holes."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic, self.partition = topic, partition
        self.records: list[Record] = []
        self.begin = 0
        self.open: dict[str, list[Record]] = {}
        self.waiting: list[Any] = []

    @property
    def end(self) -> int:
        """Behind the newest record."""
        return len(self.records)

    @property
    def stable(self) -> int:
        """The last stable offset: behind it everything is resolved."""
        return min((records[0].offset for records in self.open.values()), default=len(self.records))

    def append(self, contents: Iterable[Any], state: State = "committed", writer: str = "") -> None:
        """Append (key, value, timestamp in ms, headers) each."""
        mine = self.open.setdefault(writer, []) if state == "open" else []
        for key, value, timestamp_ms, headers in contents:
            record = Record(
                self.topic, self.partition, len(self.records), key, value, timestamp_ms, tuple(headers), state,
                -1 if key is None else len(key), -1 if value is None else len(value),
            )  # fmt: skip
            self.records.append(record)
            mine.append(record)
        self.moved()

    def resolve(self, writer: str, state: State) -> list[Record]:
        """Write a marker: the writer's open records are committed or aborted."""
        mine = self.open.pop(writer, [])
        for record in mine:
            record.state = state
        self.records.append(Record(self.topic, self.partition, len(self.records), None, None, 0, (), "control"))
        self.moved()
        return mine

    def moved(self) -> None:
        """Wake those who wait for news."""
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def read(self, position: int, limit: int) -> tuple[list[Record], int]:
        """Committed records from a position on, and the position behind them and the holes after them."""
        found: list[Record] = []
        stable = self.stable
        while position < stable and len(found) < limit:
            record = self.records[position]
            if record.state == "committed":
                found.append(record)
            position += 1
        while position < stable and self.records[position].state != "committed":
            position += 1
        return found, position

    def committed(self, below: int | None = None) -> list[Record]:
        """What a reader can see now."""
        return [
            record for record in self.records[: self.stable if below is None else below] if record.state == "committed"
        ]

    def cut(self, offset: int) -> None:
        """Delete what stands below an offset; readers begin there."""
        self.begin = max(self.begin, offset)
        for record in self.records[:offset]:
            record.state = "removed"

    def compact(self) -> int:
        """Keep the newest record of each key and drop tombstones; returns how many went."""
        newest = {record.key: record.offset for record in self.committed()}
        gone = 0
        for record in self.committed():
            if newest[record.key] != record.offset or record.value is None:
                record.state = "removed"
                gone += 1
        return gone


@dataclass(slots=True)
class Transactions:
    """What the coordinator knows of one transactional id.

    Attributes:
        state: empty (none under way), ongoing, ending (decided; markers are being written).
        committed: how the last one ended.
    """

    epoch: int = -1
    state: Literal["empty", "ongoing", "ending"] = "empty"
    places: dict[Place, None] = field(default_factory=dict)
    committed: bool | None = None
    number: int = 0
    left: int = 0


class Broker:
    """All logs, the transaction coordinator and the clock that ends transactions nobody ends."""

    def __init__(self, network: Network, topics: dict[str, int], transaction_timeout_s: float) -> None:
        self.network = network
        self.logs = {(topic, number): Log(topic, number) for topic, count in topics.items() for number in range(count)}
        self.counts = topics
        self.transactions: dict[str, Transactions] = {}
        self.timed_out = 0
        self.listeners: list[Any] = []
        self._timeout_s = transaction_timeout_s

    # ----------------------------------------------------------------------------------------------------- transactions

    def begin_life(self, name: str) -> int:
        """A producer of this transactional id starts: whoever was before is fenced. Returns its epoch."""
        known = self.transactions.setdefault(name, Transactions())
        if known.state == "ongoing":
            known.epoch += 1
            self._end(name, known, commit=False)
        if known.state == "ending":
            raise ConcurrentTransactions
        known.epoch += 1
        known.committed = None
        return known.epoch

    def _check(self, name: str, epoch: int) -> Transactions:
        known = self.transactions[name]
        if epoch != known.epoch:
            raise InvalidProducerEpoch
        return known

    def write(self, name: str, epoch: int, place: Place, contents: Iterable[Any]) -> None:
        """Take records of a transaction, which begins with the first of them."""
        known = self._check(name, epoch)
        if known.state == "ending":
            raise ConcurrentTransactions
        if known.state == "empty":
            known.state, known.committed = "ongoing", None
            known.number += 1
            self.network.later(self._timeout_s, self._time_out, name, known.number)
        known.places[place] = None
        self.logs[place].append(contents, "open", name)

    def finish(self, name: str, epoch: int, *, commit: bool) -> None:
        """EndTxn: decided when this returns; readers see it when the markers are written."""
        known = self._check(name, epoch)
        if known.state == "ongoing":
            self._end(name, known, commit=commit)
        elif (known.state == "ending" or known.committed is not None) and known.committed is not commit:
            raise InvalidTxnState

    def _end(self, name: str, known: Transactions, *, commit: bool) -> None:
        known.state, known.committed, known.left = "ending", commit, len(known.places)
        for place in known.places:
            self.network.later(self.network.marker_delay(), self._mark, name, place, commit)

    def _mark(self, name: str, place: Place, commit: bool) -> None:
        known = self.transactions[name]
        records = self.logs[place].resolve(name, "committed" if commit else "aborted")
        known.left -= 1
        if known.left == 0:
            known.state = "empty"
            known.places.clear()
        if commit:
            for listener in self.listeners:
                listener(place, records)

    def _time_out(self, name: str, number: int) -> None:
        known = self.transactions[name]
        if known.state == "ongoing" and known.number == number:
            self.timed_out += 1
            known.epoch += 1
            self._end(name, known, commit=False)

    # ----------------------------------------------------------------------------------------------------------- plainly

    def write_plainly(self, place: Place, contents: Iterable[Any]) -> None:
        """Take records outside any transaction."""
        log = self.logs[place]
        start = log.end
        log.append(contents)
        for listener in self.listeners:
            listener(place, log.records[start:])

    def unresolved(self) -> bool:
        """Is any transaction under way?"""
        return any(known.state != "empty" for known in self.transactions.values())
