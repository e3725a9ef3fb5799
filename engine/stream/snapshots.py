"""Snapshots of members and the checkpoint: what shortens recovery, and nothing that anybody relies on.

They stand in `member-snapshots`, in the partition that the facts have: under `member:<key>` a member's packed state, under
`checkpoint:<partition>` the place in both logs up to which every member that had changed stands beside it. The keeper writes
them a few at a time, each few in the transaction of a turn. They need not be of one moment: a snapshot says up to which fact
it goes, and recovery leaves out what it holds already. Deleting all of it changes nothing but the time a start takes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from engine.ledger.packing import STATE_FORMAT
from engine.stream.chain import LINK_BYTES
from engine.stream.clients import BATCH_BYTES
from engine.stream.outbox import Header, Outbox, Place

CHECKPOINT_FORMAT = 1

#: How many decisions after the last one a checkpoint is begun. Too small: members of busy partitions are written again and
#: again, and the log of snapshots outgrows the log of decisions. Too large: a start folds that many decisions, some 30,000
#: a second, and as many again that came while the checkpoint was being written.
CHECKPOINT_DECISIONS = 100_000
#: So many that none is begun, not by an idle partition either: for measuring what decisions cost alone.
NO_CHECKPOINTS = 10**9
#: A checkpoint is paced to be written when the next one is due, so the fold of a start is never longer than two intervals.
#: In a turn go at least and at most so many snapshots, and no more than so many bytes. Too few: a checkpoint is long in
#: coming. Too many: turns, and with them decisions, take longer while one is written.
TURN_LEAST, TURN_MOST = 100, 4_000
TURN_BYTES = 4_194_304
#: A partition that had nothing to do for so long writes so many snapshots in a turn of their own, if that many decisions came
#: since the last checkpoint.
IDLE_SECONDS = 1.0
IDLE_DECISIONS = 1_000
IDLE_MOST = 2_000
#: A keeper that is closed in order writes what is left, if that is no more than this and done in time.
LEAVE_MOST = 20_000
LEAVE_SECONDS = 3.0

MEMBER = "member:"
#: A member's state that does not fit into one record goes on under `more:<number from 1>:<key>`.
MORE = "more:"
CHECKPOINT = "checkpoint:"
ATTEMPT = "attempt:"
#: Offset of the newest fact in a snapshot; how its state is packed; of how many records it consists, when not of one.
OFFSET_HEADER, STATE_HEADER, PARTS_HEADER = "stammgast-offset", "stammgast-state", "stammgast-parts"


class Unusable(Exception):
    """What stands in `member-snapshots` cannot shorten this recovery; the message says why."""


class Snapshotted(Protocol):
    """What is needed of `engine.ledger.partition.Partition`."""

    def changed(self) -> list[str]:
        """Keys of the members changed since the last call; forgets them."""
        ...

    def snapshot(self, key: str) -> tuple[int, bytes]:
        """Offset of the member's newest fact, and his state."""
        ...

    def outline(self) -> dict[str, Any]:
        """Everything that is no member."""
        ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in both logs, and what a keeper knew there besides the members.

    Attributes:
        facts: offset after the last decided fact.
        points_log: offset after the last decision's record.
        link: of that record.
        last_tick_us: time of the newest tick that was decided.
        begins: where this partition of `member-snapshots` began. Compaction does not move that; if it begins elsewhere
            later, records were deleted and members may be missing.
        outline: see `Partition.outline`.
    """

    facts: int
    points_log: int
    link: bytes
    last_tick_us: int
    begins: int
    outline: Mapping[str, Any]
    state_format: int = STATE_FORMAT

    def encode(self) -> bytes:
        """The record's value."""
        return orjson.dumps(
            {
                "format": CHECKPOINT_FORMAT,
                "facts": self.facts,
                "points_log": self.points_log,
                "state_format": self.state_format,
                "chain": self.link.hex(),
                "last_tick_us": self.last_tick_us,
                "begins": self.begins,
                "outline": self.outline,
            }
        )

    @classmethod
    def parse(cls, value: bytes) -> Checkpoint:
        """Errors: Unusable for another format, or for what is no checkpoint."""
        try:
            said = orjson.loads(value)
            if said["format"] != CHECKPOINT_FORMAT:
                raise Unusable(f"the checkpoint has format {said['format']}, known is {CHECKPOINT_FORMAT}")
            if said["state_format"] != STATE_FORMAT:
                raise Unusable(f"members are packed in format {said['state_format']}, known is {STATE_FORMAT}")
            numbers = [said[name] for name in ("facts", "points_log", "last_tick_us", "begins")]
            link, outline = bytes.fromhex(said["chain"]), said["outline"]
        except (ValueError, KeyError, TypeError) as error:
            raise Unusable(f"the checkpoint cannot be read ({type(error).__name__})") from error
        if not all(isinstance(number, int) for number in numbers) or len(link) != LINK_BYTES:
            raise Unusable("the checkpoint cannot be read")
        facts, points_log, last_tick_us, begins = numbers
        if min(facts, points_log) < 1 or not isinstance(outline, dict) or not isinstance(outline.get("members"), int):
            raise Unusable("the checkpoint cannot be read")
        return cls(facts, points_log, link, last_tick_us, begins, outline)


# -------------------------------------------------------------------------------------------------------------- writing


class Snapshots:
    """Writes down what the next recovery would have to fold, a little in every turn. Belongs to one keeper.

    Attributes:
        since: decisions since the place of the last checkpoint, or of the one that is being written.
        written, checkpoints: how many since the last `counted`.
    """

    def __init__(
        self, partition: int, topic: str, ledger: Snapshotted, since: int, every: int = CHECKPOINT_DECISIONS
    ) -> None:
        self.since = since
        self.every = every
        self.written = self.checkpoints = 0
        self._partition = partition
        self._place: Place = (topic, partition)
        self._ledger = ledger
        self._frozen: deque[str] = deque()
        self._pace = 0.0
        self._checkpoint: Checkpoint | None = None

    @property
    def under_way(self) -> bool:
        """Is a checkpoint being written?"""
        return self._checkpoint is not None

    @property
    def due(self) -> bool:
        """Is it time to begin one?"""
        return not self.under_way and self.since >= self.every

    @property
    def idle_work(self) -> bool:
        """Is there something for a partition to do that has no facts?"""
        return self.under_way or (self.every < NO_CHECKPOINTS and self.since >= min(IDLE_DECISIONS, self.every))

    def begin(self, checkpoint: Checkpoint) -> int:
        """From here on, write every member that changed before this place, then the checkpoint; returns how many those are.

        Args:
            checkpoint: of this very moment: all is committed, nothing else is decided.
        """
        left = dict.fromkeys(self._frozen)
        left.update(dict.fromkeys(self._ledger.changed()))
        self._frozen = deque(left)
        self._pace = len(left) / self.every
        self._checkpoint = checkpoint
        self.since = 0
        return len(left)

    def share(self, facts: int) -> int:
        """How many snapshots befit a turn of so many facts."""
        return min(max(round(facts * self._pace), TURN_LEAST), TURN_MOST)

    def add_some(self, outbox: Outbox, most: int, now_ms: int) -> int:
        """Put so many snapshots into the outbox of a turn, and after the last the checkpoint; returns the number of records.

        What was put there counts as written: a turn that fails must end its keeper.
        """
        if self._checkpoint is None:
            return 0
        spent, before = 0, outbox.records
        while self._frozen and most and spent < TURN_BYTES:
            spent += self._add(self._frozen.popleft(), outbox, now_ms)
            most -= 1
            self.written += 1
        if not self._frozen:
            outbox.add(self._place, checkpoint_key(self._partition), self._checkpoint.encode(), now_ms)
            self._checkpoint = None
            self.checkpoints += 1
        return outbox.records - before

    def _add(self, key: str, outbox: Outbox, now_ms: int) -> int:
        offset, packed = self._ledger.snapshot(key)
        headers = [(OFFSET_HEADER, b"%d" % offset), (STATE_HEADER, b"%d" % STATE_FORMAT)]
        pieces = [packed[start : start + BATCH_BYTES] for start in range(0, len(packed), BATCH_BYTES)] or [b""]
        if len(pieces) > 1:
            headers.append((PARTS_HEADER, b"%d" % len(pieces)))
        for number, piece in enumerate(pieces):
            name = f"{MORE}{number}:{key}" if number else f"{MEMBER}{key}"
            outbox.add(self._place, name.encode(), piece, now_ms, headers)
        return len(packed)

    def counted(self) -> tuple[int, int]:
        """(snapshots, checkpoints) written since the last call."""
        counts = self.written, self.checkpoints
        self.written = self.checkpoints = 0
        return counts


def checkpoint_key(partition: int) -> bytes:
    """The key of a partition's checkpoint."""
    return f"{CHECKPOINT}{partition}".encode()


def attempt_key(partition: int) -> bytes:
    """The key of a partition's attempt marker."""
    return f"{ATTEMPT}{partition}".encode()


# -------------------------------------------------------------------------------------------------------------- reading


@dataclass(slots=True)
class Shelf:
    """What stands in a partition of `member-snapshots`: the newest value of every key.

    Attributes:
        checkpoint, attempt: their values, None without.
        begins: the first offset that the partition still holds.
    """

    partition: int
    begins: int = 0
    checkpoint: bytes | None = None
    attempt: bytes | None = None
    _members: dict[str, tuple[bytes, Sequence[Header]]] = field(default_factory=dict)
    _more: dict[str, tuple[bytes, Sequence[Header]]] = field(default_factory=dict)

    def put(self, records: Iterable[Any]) -> None:
        """Take fetched records in, in their order."""
        checkpoint, attempt = checkpoint_key(self.partition), attempt_key(self.partition)
        for record in records:
            if record.key is None:
                continue
            if record.key == checkpoint:
                self.checkpoint = record.value
            elif record.key == attempt:
                self.attempt = record.value
            else:
                self._put_state(record.key.decode("utf-8", "replace"), record)

    def _put_state(self, name: str, record: Any) -> None:
        kind, key = (self._members, name[len(MEMBER) :]) if name.startswith(MEMBER) else (self._more, name)
        if record.value is None:
            kind.pop(key, None)
        else:
            kind[key] = record.value, record.headers

    def __len__(self) -> int:
        return len(self._members)

    def states(self) -> Iterator[tuple[str, int, bytes]]:
        """(member key, offset of his newest fact, packed state) of everybody; what was handed out is forgotten.

        Errors: Unusable when one of them is of another format, has parts missing, or is no snapshot.
        """
        while self._members:
            key, (value, headers) = self._members.popitem()
            said = dict(headers)
            try:
                offset, state_format = int(said[OFFSET_HEADER]), int(said[STATE_HEADER])
                parts = int(said.get(PARTS_HEADER, b"1"))
            except (KeyError, ValueError) as error:
                raise Unusable("a snapshot has no legible headers") from error
            if state_format != STATE_FORMAT:
                raise Unusable(f"a member is packed in format {state_format}, known is {STATE_FORMAT}")
            if parts > 1:
                value = self._joined(key, value, parts, said)
            yield key, offset, value

    def _joined(self, key: str, first: bytes, parts: int, said: Mapping[str, bytes]) -> bytes:
        pieces = [first]
        for number in range(1, parts):
            value, headers = self._more.get(f"{MORE}{number}:{key}", (b"", ()))
            if dict(headers) != said:
                raise Unusable("a snapshot in parts is not complete")
            pieces.append(value)
        return b"".join(pieces)
