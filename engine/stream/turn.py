"""From facts to records: a turn of a keeper decides what waits and gathers everything that follows from it.

Nothing here is sent or awaited but the programmes; a turn that is not committed is thrown away with the ledger that made it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from engine.ledger.member import ProfileUnavailable
from engine.ledger.partition import FoldFailed, UnknownProgramme
from engine.stream.attempts import KILLER, KILLER_TEXT
from engine.stream.chain import CHAIN_HEADER, link
from engine.stream.clients import BATCH_BYTES
from engine.stream.outbox import Outbox, Place, reject_headers
from engine.stream.pace import Pace
from engine.stream.parts import records_of
from engine.stream.recovery import Recovered
from engine.stream.snapshots import Checkpoint
from engine.stream.tools import MissingKeys, MissingProgramme, Tools
from engine.stream.topics import FACTS, INCENTIVES, POINTS_LOG, REJECTS
from engine.telemetry import Tally, raised_at
from schemas.decisions import Decision
from schemas.envelope import UNREADABLE_SOURCE, Fact, encode_fact, readable
from schemas.facts import TICK
from schemas.notices import Notice, encode_event, event_of
from schemas.rejects import Rejected
from schemas.times import to_text

#: So many facts take each step together (parse, decide, encode), then other keepers, heartbeats and intake get the event
#: loop. Going through all steps fact by fact costs a third more: each step's code and data push those of the others out of
#: the processor's caches. More than some hundred gain nothing and hold the loop.
BREATH_RECORDS = 250
#: What a keeper takes in one step at first. A step that takes longer than the second time holds up the transactions of the
#: other keepers on this event loop: the next one is smaller. One that takes less than the first may be doubled.
FIRST_BREATH, BREATH_QUICK_S, BREATH_SLOW_S = 16, 0.1, 0.3
#: A turn that has decided for so long is written as it is; what is left comes in the next one.
DECIDE_SECONDS = 2.0
UNREADABLE = "stammgast.unreadable"
NO_FACT = Rejected("quarantined", "this record of facts is not a fact: only the engine may write to facts")

log = structlog.get_logger(__name__)


class Turn:
    """What one turn leads to.

    Attributes:
        outbox: decisions, in order, and snapshots.
        derived: facts for other members, and rejects: without transactions both are written before the decisions.
        facts: how many were decided.
        tally: what is counted once it is committed.
    """

    __slots__ = ("decided", "derived", "facts", "outbox", "tally")

    def __init__(self, producer: Any) -> None:
        self.outbox = Outbox(producer)
        self.derived = Outbox(producer)
        self.facts = 0
        self.tally = Tally()
        self.decided: list[tuple[Any, Sequence[Decision]]] = []


class Decider:
    """Decides the facts of one partition in the log's order, from where recovery ended.

    Attributes:
        ledger: the state that the decisions so far made.
        next_offset: of the first fact without a decision.
        last_tick_us: time of the newest tick that was decided.
        log_end: offset after the last committed decision's record; None when the brokers did not say it.
        link: of the last decision's record.
    """

    def __init__(self, partition: int, tools: Tools, found: Recovered) -> None:
        self.ledger = found.ledger
        self.next_offset = found.next_offset
        self.last_tick_us = found.last_tick_us
        self.link = found.link
        self.log_end: int | None = found.log_end
        self._begins = found.begins
        self._skip_parts = found.parts_written
        self._breath = Pace(FIRST_BREATH, BREATH_RECORDS, BREATH_QUICK_S, BREATH_SLOW_S)
        self._partition = partition
        self._tools = tools
        self._facts_topic = tools.layout.name(FACTS)
        self._where = f"{self._facts_topic}[{partition}]"
        self._log_place = (tools.layout.name(POINTS_LOG), partition)
        self._incentives_topic = tools.layout.name(INCENTIVES)
        self._rejects_place = (tools.layout.name(REJECTS), partition)

    def committed(self, ends: Mapping[Place, int | None]) -> None:
        """What was decided stands in the log; `ends` says where it ends now, see `Writer.write`."""
        self.log_end = ends.get(self._log_place, self.log_end)

    def checkpoint(self) -> Checkpoint | None:
        """Where this partition is, when all that was decided is committed; None when nobody knows the place in the log."""
        if not self.log_end:
            return None
        return Checkpoint(
            self.next_offset, self.log_end, self.link, self.last_tick_us, self._begins, self.ledger.outline()
        )

    def give_up(self, record: Any, turn: Turn, *, unread: bool) -> None:
        """Quarantine a fact that ended its worker whenever it was tried; `unread`: even when it was only read for its name."""
        turn.facts += 1
        fact = None if unread else readable(record.value)
        if unread:
            log.error("fact given up unread: it ended its worker", place=self._where, offset=record.offset)
            self._write_unreadable(record, turn, KILLER, Rejected("quarantined", KILLER_TEXT))
        elif fact is None:
            self._write_unreadable(record, turn)
        else:
            log.error("fact given up: it ended its worker", place=self._where, offset=record.offset, fact_id=fact.id)
            self._take(record, fact, self.ledger.quarantine(fact, record.offset, KILLER_TEXT, KILLER), turn)
        self.next_offset = record.offset + 1
        self._encode(turn)

    async def decide(self, records: Sequence[Any], turn: Turn) -> int:
        """Decide fetched records of `facts`, all of them or as many as there is time for; those that are decided already are
        passed over. Returns how many were taken, at least one.

        Errors: MissingProgramme; whatever else is raised leaves a ledger that must not be used on.
        """
        began, taken = self._tools.seconds(), 0
        while taken < len(records):
            step_began, step = self._tools.seconds(), records[taken : taken + self._breath.records]
            taken += len(step)
            # Read again after a rebalance, some may be decided already.
            chunk = [record for record in step if record.offset >= self.next_offset]
            facts = [readable(record.value) for record in chunk]
            turn.facts += len(chunk)
            for record, fact in zip(chunk, facts, strict=True):
                try:
                    self._decide_one(record, fact, turn)
                except UnknownProgramme:
                    await self._with_new_programmes(record, fact, turn)
                self.next_offset = record.offset + 1
            self._encode(turn)
            now = self._tools.seconds()
            self._breath.took(len(chunk), now - step_began)
            await asyncio.sleep(0)
            if now - began > DECIDE_SECONDS:
                break
        return taken

    async def _with_new_programmes(self, record: Any, fact: Fact | None, turn: Turn) -> None:
        """A version was published since this worker read the programmes: read them again, once."""
        await self._tools.reload_programmes()
        try:
            self._decide_one(record, fact, turn)
        except UnknownProgramme as still:
            raise MissingProgramme(
                f"{self._where} names programme version {still.hash} at offset {record.offset}, but the programmes "
                "topic does not hold it: publish that version again with `stammgast rules publish`, then start again"
            ) from still

    def _decide_one(self, record: Any, fact: Fact | None, turn: Turn) -> None:
        if fact is None:
            self._write_unreadable(record, turn)
            return
        try:
            answer = self.ledger.answer(fact, record.offset)
        except UnknownProgramme:
            raise
        except ProfileUnavailable as error:
            raise MissingKeys(
                f"{self._where} offset {record.offset} cannot be decided: {error}. Start the worker with the --profile-key-file "
                "and --profile-keys of this deployment; nothing is lost"
            ) from error
        except FoldFailed as error:
            self._log_error("decision cannot be taken in", record, fact, error)
            raise
        except Exception as error:  # noqa: BLE001  whatever a pure function raised, this fact cannot be decided
            self._log_error("fact quarantined", record, fact, error)
            answer = self.ledger.quarantine(fact, record.offset, f"{type(error).__name__}: {error}")
        self._take(record, fact, answer, turn)

    def _take(self, record: Any, fact: Fact, answer: Any, turn: Turn) -> None:
        turn.decided.append((record, answer.decisions))
        for derived in answer.derived:
            self._write_derived(derived, record.timestamp, turn)
        for decision in answer.decisions:
            if decision.notices:
                self._write_notices(decision.notices, turn)
        if answer.reject is not None:
            self._write_reject(record, answer.reject, fact.recorded_at, turn)
        if fact.type == TICK:
            self.last_tick_us = max(self.last_tick_us, fact.time_us)

    def _log_error(self, what: str, record: Any, fact: Fact, error: Exception) -> None:
        named = {"place": self._where, "offset": record.offset, "source": fact.source, "fact_id": fact.id}
        log.error(what, **named, error=type(error).__name__, raised_at=raised_at(error))

    def _encode(self, turn: Turn) -> None:
        """Turn what was decided into records."""
        for record, decisions in turn.decided:
            values = records_of(decisions, BATCH_BYTES)
            if self._skip_parts:
                # A writer without transactions died between two parts; the first ones stand in the log, the same bytes.
                values, self._skip_parts = values[self._skip_parts :], 0
            for value in values:
                self.link = link(self.link, value)
                turn.outbox.add(self._log_place, record.key, value, record.timestamp, [(CHAIN_HEADER, self.link)])
            turn.tally.take(decisions)
        turn.decided.clear()

    def _write_derived(self, fact: Fact, timestamp_ms: int, turn: Turn) -> None:
        key = (fact.key or "").encode()
        place = (self._facts_topic, self._tools.partition_of(key))
        turn.derived.add(place, key, encode_fact(fact), timestamp_ms)

    def _write_notices(self, notices: Sequence[Notice], turn: Turn) -> None:
        """Tell those who send: in the same transaction, so that no notice is lost and none is told twice.

        Stamped with now, not with the fact's time: the retention of incentives counts from the telling.
        """
        for notice in notices:
            event = event_of(notice)
            if event is not None:
                key = notice.member_id.encode()
                place = (self._incentives_topic, self._tools.partition_of(key))
                turn.derived.add(place, key, encode_event(event), self._tools.now_ms())

    def _write_reject(self, record: Any, rejected: Rejected, received_at: str, turn: Turn) -> None:
        headers = reject_headers(record, rejected, received_at)
        # Stamped with now, not with the fact's time: the retention of rejects counts from the refusal.
        turn.derived.add(self._rejects_place, record.key, record.value, self._tools.now_ms(), headers)
        turn.tally.rejects[rejected.reason] += 1

    def _write_unreadable(
        self, record: Any, turn: Turn, reason: str = "unreadable", rejected: Rejected = NO_FACT
    ) -> None:
        """Nobody can read this. It still gets its one decision, or the log would stop here."""
        if rejected is NO_FACT:
            log.error("record in facts is no fact", place=self._where, offset=record.offset)
        turn.decided.append((record, [unreadable_decision(self._partition, record.offset, reason)]))
        self._write_reject(record, rejected, "", turn)


def unreadable_decision(partition: int, offset: int, reason: str = "unreadable") -> Decision:
    """The decision on a record of `facts` that is no fact, or that nobody dares to read: quarantined, named after its place."""
    return Decision(
        source=UNREADABLE_SOURCE,
        fact_id=f"{partition}:{offset}",
        type=UNREADABLE,
        member_id=None,
        outcome="quarantined",
        reason=reason,
        programme=None,
        occurred_at=to_text(0),
        offset=offset,
    )
