"""The whole road offline: the same core over files, no Kafka, the same DuckDB tables as live.

This process decides, a second one loads DuckDB, a third normalises (`engine.normalising`); bounded queues lie between them.
A file of raw events is one partition in file order, with every derived fact right after its cause. A dump of the ``facts``
log keeps its partitions and offsets, and its derived facts, ticks and programme facts are in it already.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from engine.ledger.engine_facts import midnight_before, programme_fact, tick_fact
from engine.ledger.member import CLOSED, ProfileUnavailable
from engine.ledger.partition import Answer, Partition
from engine.lines import CHUNK_FACTS, Progress, ReplayError, reading
from engine.loading import Batch, loading
from engine.normalising import Block, Stamp, normalised, normalised_file
from engine.settings import No, UsageError
from engine.tuning import expect_a_large_calm_heap, without_collector
from engine.vault.vault import EphemeralVault, NoVault, Vault
from projections.files import require_free, set_aside
from projections.warehouse import Reject
from rules.book import Programme
from schemas.decisions import Decision, decision_of, encode_decision
from schemas.envelope import Fact, encode_fact, fact_of, parse_fact
from schemas.rejects import Rejected
from schemas.times import MILLISECOND_US, to_text, to_us

# Facts that cross to the loader together: few enough to lie in the processor's caches still when they are packed.
BATCH_FACTS = 1_000
# Members kept unpacked while a file of events, which is one partition, is decided. Too few: packing and unpacking them takes
# as long as deciding (a worker has many partitions and 5,000 in each). Too many: some 20 KB of memory each.
LIVE_MEMBERS = 20_000


@dataclass(slots=True)
class Summary:
    """What a replay did."""

    events: int = 0
    facts: int = 0
    decisions: int = 0
    rejects: int = 0
    seconds: float = 0.0
    settled_to: str | None = None
    outcomes: dict[str, int] = field(default_factory=dict)
    as_given: int = 0


class Replay:
    """Turns files into batches of log records; holds all state of one replay."""

    def __init__(
        self, programmes: Sequence[Programme], recorded_us: int | None = None, vault: Vault | None = None
    ) -> None:
        """Prepare a replay.

        Args:
            programmes: every version.
            recorded_us: stands as recorded_at of every fact; default: now.
            vault: opens profiles of a dump; default: those stay closed. Profiles of events need none.
        """
        self.events_vault = vault if isinstance(vault, EphemeralVault) else EphemeralVault()
        self._opens = (vault or NoVault()).opens(gone=CLOSED)
        now_us = time.time_ns() // 1_000 if recorded_us is None else recorded_us
        self._recorded_us = now_us - now_us % MILLISECOND_US
        self._recorded_at = to_text(self._recorded_us)
        self._stamp = Stamp(self._recorded_at, self._recorded_us, self.events_vault.secret)
        self._timestamp_ms = self._recorded_us // MILLISECOND_US
        self._programmes = {programme.hash: programme for programme in programmes}
        self._partitions: dict[int, Partition] = {}
        self._decided: dict[int, int] = {}
        self.summary = Summary()

    def events(self, lines: Iterable[bytes], name: str, until_us: int | None = None) -> Iterator[Batch]:
        """Yield batches for inbound events, one per line, then settle everybody; all in this process.

        Args:
            lines: CloudEvents in JSON.
            name: of the file, for rejects.
            until_us: settle to this moment; default: the programme's midnight at or before the newest fact.
        """
        blocks = normalised(lines, self._stamp)
        yield from self._decided_blocks(blocks, name, until_us)

    def file(
        self, path: Path, until_us: int | None = None, progress: Progress = lambda _done, _total: None
    ) -> Generator[Batch, None, None]:
        """Yield the same for a file, normalised beside this process.

        Args:
            path: plain, gzip or Parquet.
            progress: called with bytes read and bytes in all.

        Raises:
            ReplayError: it cannot be read, or the normalising process was killed.
        """
        blocks = normalised_file(path, self._stamp, progress)
        with closing(blocks):
            yield from self._decided_blocks(blocks, path.name, until_us)

    def _decided_blocks(self, blocks: Iterable[Block], name: str, until_us: int | None) -> Iterator[Batch]:
        partition = self._partitions[0] = Partition(
            0, self._programmes, LIVE_MEMBERS, self.events_vault.opens(gone=None)
        )
        self._decided[0] = 0
        batch = Batch()
        known = sorted(self._programmes.values(), key=lambda version: version.valid_from_us)
        self._write(partition, _encoded(programme_fact(version, self._recorded_at) for version in known), batch)
        for block in blocks:
            self.summary.events += block.events
            for number, reason, message, field_name in block.refused:
                self._reject(Rejected(reason, message, field_name), name, 0, number, batch)
            for start in range(0, len(block.values), CHUNK_FACTS):
                values = block.values[start : start + CHUNK_FACTS]
                self._write(partition, [(parse_fact(value), value) for value in values], batch)
            if len(batch.facts.values) >= BATCH_FACTS:
                yield batch
                batch = Batch()
        settle_us = until_us if until_us is not None else self._last_midnight(partition)
        if settle_us is not None:
            self._write(partition, _encoded([tick_fact(0, settle_us, self._recorded_at)]), batch)
            self.summary.settled_to = to_text(settle_us)
        yield batch

    def _last_midnight(self, partition: Partition) -> int | None:
        if partition.newest_us is None:
            return None
        programme = partition.book.at(partition.newest_us) or next(iter(partition.book.versions), None)
        return None if programme is None else midnight_before(partition.newest_us, programme)

    def dump(self, lines: Iterator[bytes], name: str) -> Iterator[Batch]:
        """Yield batches for a dump of the ``facts`` log: lines of ``{"partition", "offset", "timestamp_ms", "fact"}``, with
        ``"quarantined": {"reason", "text"}`` where that was the answer, and with ``"decided"``, the answer, where it may depend
        on a profile.

        Raises:
            ReplayError: a line is no such record.
        """
        batch = Batch()
        for number, line in enumerate(lines, 1):
            self.summary.events += 1
            try:
                record = orjson.loads(line)
                value, fact = orjson.dumps(record["fact"]), fact_of(record["fact"])
                at = (record["partition"], record["offset"], record["timestamp_ms"])
                given = record.get("quarantined")
                quarantine = None if given is None else (str(given["text"]), str(given["reason"]))
            except (ValueError, KeyError, TypeError) as error:
                raise ReplayError(
                    f"{name}:{number}: no record of a facts dump ({error}): make it with `stammgast dump`"
                ) from error
            batch.facts.append(*at, value)
            try:
                decisions = self._answer(self._partition(at[0]), fact, at[1], batch, quarantine).decisions
            except ProfileUnavailable as closed:
                if record.get("decided") is None:
                    raise ReplayError(f"{name}:{number}: {closed}: give the keys, or dump the log anew") from closed
                decisions = [self._as_given(at[0], fact, record["decided"])]
            self._keep(at[0], decisions, at[2], batch)
            if len(batch.facts.values) >= BATCH_FACTS:
                yield batch
                batch = Batch()
        yield batch

    def dump_file(self, path: Path, progress: Progress = lambda _done, _total: None) -> Generator[Batch, None, None]:
        """Yield the same for a file, plain or gzip. Errors: ReplayError."""
        with reading(path, progress) as lines:
            yield from self.dump(lines, path.name)

    def _as_given(self, number: int, fact: Fact, decided: Mapping[str, Any]) -> Decision:
        """Take in the answer that the log has, where a profile does not open any more."""
        decision = decision_of(decided)
        self._partition(number).recall(fact, decision)
        self.summary.facts += 1
        self.summary.as_given += 1
        return decision

    def _partition(self, number: int) -> Partition:
        if number not in self._partitions:
            self._partitions[number] = Partition(number, self._programmes, opens=self._opens)
            self._decided[number] = 0
        return self._partitions[number]

    def _write(self, partition: Partition, given: Sequence[tuple[Fact, bytes]], batch: Batch) -> None:
        """Append facts and their decisions, each fact followed by what follows from it for others."""
        began = partition.next_offset
        written: list[bytes] = []
        decisions: list[Decision] = []
        waiting = list(reversed(given))
        while waiting:
            fact, value = waiting.pop()
            answer = self._answer(partition, fact, began + len(written), batch)
            written.append(value)
            decisions += answer.decisions
            if answer.derived:
                waiting += _encoded(reversed(answer.derived))
        batch.facts.extend(partition.number, began, self._timestamp_ms, written)
        self._keep(partition.number, decisions, self._timestamp_ms, batch)

    def _answer(
        self, partition: Partition, fact: Fact, offset: int, batch: Batch, quarantine: tuple[str, str] | None = None
    ) -> Answer:
        """Decide a fact; a quarantine that stands in the log is taken as given, as (text, reason)."""
        answer = (
            partition.answer(fact, offset) if quarantine is None else partition.quarantine(fact, offset, *quarantine)
        )
        if answer.reject is not None:
            self._reject(answer.reject, "facts", partition.number, offset, batch)
        self.summary.facts += 1
        return answer

    def _keep(self, number: int, decisions: Sequence[Decision], timestamp_ms: int, batch: Batch) -> None:
        values = [encode_decision(decision) for decision in decisions]
        batch.decisions.extend(number, self._decided[number], timestamp_ms, values)
        outcomes = self.summary.outcomes
        for outcome, count in Counter([decision.outcome for decision in decisions]).items():
            outcomes[outcome] = outcomes.get(outcome, 0) + count
        self._decided[number] += len(decisions)
        self.summary.decisions += len(decisions)

    def _reject(self, rejected: Rejected, topic: str, partition: int, position: int, batch: Batch) -> None:
        batch.rejects.append(
            Reject(
                partition=0,
                offset=self.summary.rejects,
                timestamp_ms=self._timestamp_ms,
                reason=rejected.reason,
                field=rejected.field,
                message=rejected.message,
                topic=topic,
                source_partition=partition,
                source_position=position,
                received_at=self._recorded_at,
            )
        )
        self.summary.rejects += 1


def _encoded(facts: Iterable[Fact]) -> list[tuple[Fact, bytes]]:
    return [(fact, encode_fact(fact)) for fact in facts]


def replay(
    path: Path,
    programmes: Sequence[Programme],
    db: Path,
    *,
    until_us: int | None = None,
    dump: bool = False,
    vault: Vault | None = None,
    warehouse_options: Mapping[str, object] | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Summary:
    """Replay a file into a new DuckDB file.

    Args:
        path: inbound events (plain, gzip or Parquet), or with ``dump`` a dump of the ``facts`` log (plain or gzip).
        programmes: every version of the programme.
        db: the file to make; one that exists is refused unless ``warehouse_options`` says ``fresh``.
        until_us: settle to this moment, see `Replay.events`.
        vault: opens profiles of a dump.
        progress: called with bytes read and bytes in all.

    Raises:
        ReplayError: the input cannot be read, or is no dump.
        projections' errors about the DuckDB file (UsageError, No).
    """
    began = time.monotonic()
    expect_a_large_calm_heap()
    run = Replay(programmes, vault=vault)
    with reading(path, lambda _done, _total: None):
        pass  # what cannot be read is refused before anything is started
    with (
        _whole(db, dict(warehouse_options or {})) as (made, options),
        loading(made, options) as load,
        closing(run.dump_file(path, progress) if dump else run.file(path, until_us, progress)) as batches,
        without_collector(),
    ):
        for batch in batches:
            load(batch)
    run.summary.seconds = time.monotonic() - began
    return run.summary


@contextmanager
def _whole(db: Path, options: dict[str, object]) -> Iterator[tuple[Path, dict[str, object]]]:
    """A path beside ``db``, moved to its place in the end: the file appears whole or not at all, an old one stays till then.

    Yields the path and the options for it.
    """
    fresh = bool(options.pop("fresh", False))
    if db.exists() and not fresh:
        raise ReplayError(f"{db} exists already: name another file, or say --fresh to set it aside.")
    require_free(db)
    beside = db.with_name(f".{db.name}.part")
    log = beside.with_name(f"{beside.name}.wal")
    try:
        beside.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
        yield beside, options
        set_aside(db)
        beside.replace(db)
    except (No, UsageError) as error:
        raise type(error)(error.message.replace(beside.name, db.name)) from error
    except OSError as error:
        raise ReplayError(
            f"{db}: cannot be written ({error.strerror or error}): name another file with --db."
        ) from error
    finally:
        with suppress(OSError):  # no folder, or no right in it: then nothing of ours is there either
            beside.unlink(missing_ok=True)
            log.unlink(missing_ok=True)


def parse_moment(text: str) -> int:
    """Return microseconds since the epoch of an RFC 3339 moment.

    Raises:
        ValueError: no such moment, or no offset.
    """
    return to_us(text.upper())
