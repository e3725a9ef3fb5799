"""Keep one DuckDB file in step with the logs and its readers served, whatever happens to the file or to Kafka.

What passes by itself is waited for; a database that DuckDB invalidated is opened again; a file that is damaged, deleted or of
another version is built anew beside the old one, which readers go on reading until the new one takes its place. Where the
new one begins, no position of the old one decides. docs/projector.md says what is done about which trouble.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import structlog

from engine.settings import No, sentence
from engine.stream.clients import Cluster, Unreachable
from engine.telemetry import METRICS, Hearing, Metrics, Progress
from projections.files import draft_of, open_here, outgoing_of, put_in_place, remove, second_name
from projections.ledger_check import LedgerCheck
from projections.look_through import LookThrough
from projections.projector import Interrupted, Projector, logs_id
from projections.server import Server, announce, token_path, withdraw
from projections.trouble import FileTrouble, Kind, OtherLogs, OtherVersion
from projections.warehouse import Warehouse, log_id_of, other_logs

# The first wait for something to pass, doubled up to the longest. Too short: a full disk is written to all the time. Too
# long: the tables stand still although there is room again.
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0
# The server of the old file answers so much longer than the new one's start. Too short: questions under way break off. Too
# long: two databases are held in memory.
GRACE_S = 30.0
# At the start, a file may be held for so long by a reader who asks it just then. Too short: a question ends the projector. Too
# long: whoever starts a second one waits for the message.
QUESTION_S, QUESTION_LOOK_S = 3.0, 0.1
# A file that is let go of is open until the questions under way are answered. Too short: it is still written when another one
# bears its name. Too long: a question without end keeps the tables standing still.
LET_GO_S, LET_GO_LOOK_S = 30.0, 0.02
# A new file that DuckDB gives up again and again is no cure.
DRAFT_ATTEMPTS = 3

#: What passes by itself, or when somebody makes room.
PASSING = frozenset({Kind.DISK, Kind.MEMORY, Kind.HELD})
#: What ends a first start at once: whoever started it has named the wrong file, or two of them.
FINAL_AT_FIRST = frozenset({Kind.MEMORY, Kind.HELD})
#: Why a file is built anew, as readers and logs are told it.
REASONS: Mapping[str, str] = {
    "damaged": "the file was damaged",
    "fatal": "DuckDB gave up on the file twice at the same place",
    "deleted": "the file was deleted",
    "version": "the file was built by another version of stammgast",
    "unfinished": "an earlier rebuild was interrupted",
}

log = structlog.get_logger(__name__)


class RebuildNeeded(Exception):
    """The file cannot go on: build another. `reason` is one of `REASONS`."""

    def __init__(self, reason: str, because: str = "") -> None:
        super().__init__(because or REASONS[reason])
        self.reason = reason


class _Live(NamedTuple):
    """The file that is written, its server, who looks for damage in it, and who for points that do not add up."""

    warehouse: Warehouse
    server: Server
    look: LookThrough
    check: LedgerCheck

    def close(self, *, moving: bool) -> None:
        """Stop reading and serving; `moving`: another server follows."""
        self.look.close()
        self.check.close()
        self.server.close(moving=moving)


class _Wait(NamedTuple):
    """What is waited for, in one sentence, and since when (monotonic seconds)."""

    cause: str
    why: str
    since_s: float


class Upkeep:
    """Runs a projector over one file until it is told to stop.

    Args:
        cluster: where the logs are.
        db: the DuckDB file.
        prefix: of the topic names.
        options: how `Warehouse.open` opens the file.
    """

    def __init__(
        self,
        cluster: Cluster,
        db: Path,
        *,
        prefix: str = "",
        options: Mapping[str, Any] | None = None,
        metrics: Metrics = METRICS,
        progress: Progress | None = None,
        hearing: Hearing | None = None,
    ) -> None:
        self.applied_records = 0
        self._cluster, self._db, self._prefix, self._options = cluster, db, prefix, dict(options or {})
        self._metrics, self._progress, self._hearing = metrics, progress or Progress(), hearing or Hearing()
        for reason in REASONS:
            self._metrics.projector_rebuilds.labels(reason)  # begins at 0, so that the first one is an increase
        for reason in (*PASSING, "fatal", "replaced"):
            self._metrics.projector_reopens.labels(reason)
        for cause in (*PASSING, "kafka"):
            self._metrics.projector_waiting.labels(cause)
        self._log_id = ""
        self._live: _Live | None = None
        self._outgoing: Server | None = None
        self._token: str | None = None
        self._begun, self._began_s = False, 0.0
        self._state: tuple[bool, str] = (False, "not begun")
        self._waits: _Wait | None = None
        self._backoff_s = FIRST_WAIT_S
        self._gave_up_at: object = None

    def probe(self) -> tuple[bool, str]:
        """Ready or not, and why: is the file written, and can it be read?"""
        return self._state if self._waits is None else (False, f"waiting: {self._waits.why}")

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the file until `stop` is set; what was read by then is applied first.

        Raises:
            UsageError: the file was built from other logs, or is somebody else's.
            No: what no waiting and no rebuilding mends, such as a missing right, or a second projector at the start.
            KafkaTrouble: no logs, or logs that lost records.
        """
        self._log_id = await logs_id(self._cluster, self._prefix, stop)
        self._began_s = time.monotonic()
        try:
            while not stop.is_set():
                try:
                    await self._keep(stop)
                except RebuildNeeded as needed:
                    await self._rebuild(needed, stop)
        finally:
            await asyncio.to_thread(self._close)

    async def _keep(self, stop: asyncio.Event) -> None:
        """Open the file if it is not open, and let a projector write it until trouble comes; mend what can be mended."""
        try:
            if self._live is None:
                self._live = await asyncio.to_thread(self._open)
                self._serves()
            await self._project(self._live.warehouse, stop)
        except FileTrouble as trouble:
            if self._begun or trouble.kind not in FINAL_AT_FIRST:
                await self._mend(trouble, stop)
            elif trouble.kind is Kind.HELD and time.monotonic() < self._began_s + QUESTION_S:
                await asyncio.sleep(QUESTION_LOOK_S)
            else:
                raise
        except (Unreachable, Interrupted) as trouble:
            await self._wait("kafka", sentence(trouble), stop)

    def _open(self) -> _Live:
        """Open the file and serve it. Errors: RebuildNeeded, FileTrouble, OtherLogs, UsageError."""
        draft = draft_of(self._db)
        if not self._db.exists() and draft.exists():
            raise RebuildNeeded("unfinished")
        try:
            warehouse = Warehouse.open(self._db, log_id=self._log_id, **self._options)
        except OtherVersion as error:
            known = log_id_of(self._db)
            if known not in (None, self._log_id):
                raise OtherLogs(other_logs(self._db, known, self._log_id)) from error
            raise RebuildNeeded("version") from error
        except FileTrouble as trouble:
            # A projector that was killed leaves its token: what it wrote was its own file.
            own = trouble.kind is Kind.NO_DATABASE and token_path(self._db).exists()
            if own or trouble.kind in {Kind.DAMAGED, Kind.GAVE_UP}:
                raise RebuildNeeded("damaged", trouble.message) from trouble
            raise
        try:
            server = Server.start(warehouse.connection, self._db, token=self._token)
        except BaseException:
            warehouse.abandon()
            raise
        remove(draft)  # of a rebuild that is no longer needed
        return _Live(warehouse, server, LookThrough(warehouse), LedgerCheck(warehouse, self._metrics))

    def _serves(self) -> None:
        """The file is open and served: say so, and let the old one go when the questions it still answers are over."""
        if self._live is None:
            return
        self._begun, self._token = True, self._live.server.token
        self._state = (True, "the file is written and served")
        log.info("serving readers", file=str(self._db), server=self._live.server.endpoint.uri)
        if self._outgoing is not None:
            asyncio.get_running_loop().call_later(GRACE_S, self._retire, self._outgoing)
        remove(outgoing_of(self._db))

    async def _project(self, warehouse: Warehouse, stop: asyncio.Event, *, until_caught_up: bool = False) -> bool:
        """Apply what the logs hold; with `until_caught_up` only so far. Was that reached?"""
        leg = asyncio.Event() if until_caught_up else stop

        def applied(projector: Projector) -> None:
            self._recovered(wrote=projector.applied_records > 0)
            if self._live is not None and self._live.look.trouble is not None and not until_caught_up:
                raise self._live.look.trouble
            if until_caught_up and (projector.caught_up or stop.is_set()):
                leg.set()

        projector = Projector(
            self._cluster,
            warehouse,
            prefix=self._prefix,
            metrics=self._metrics,
            progress=self._progress,
            hearing=self._hearing,
            on_applied=applied,
        )
        try:
            await projector.run(leg)
        finally:
            self.applied_records += projector.applied_records
        return projector.caught_up

    # ------------------------------------------------------------------------------------------------ trouble

    async def _mend(self, trouble: FileTrouble, stop: asyncio.Event) -> None:
        """Do what helps against this trouble. Errors: RebuildNeeded, or the trouble itself when nothing does."""
        match trouble.kind:
            case Kind.DAMAGED:
                raise RebuildNeeded("damaged", trouble.message)
            case Kind.GONE if not self._db.exists():
                raise RebuildNeeded("deleted", trouble.message)
            case Kind.GONE:
                await self._let_go("replaced", trouble)
            case Kind.GAVE_UP:
                positions = None if self._live is None else self._live.warehouse.all_positions()
                if positions == self._gave_up_at:
                    raise RebuildNeeded("fatal", trouble.message)
                self._gave_up_at = positions
                await self._let_go("fatal", trouble)
            case kind if kind in PASSING:
                await self._wait(kind.value, trouble.message, stop)
                if self._live is not None and not self._live.warehouse.alive():
                    await self._let_go(kind.value, trouble)
            case _:
                raise trouble

    async def _let_go(self, reason: str, trouble: FileTrouble) -> None:
        """Close the file; the next turn opens it again."""
        self._metrics.projector_reopens.labels(reason).inc()
        self._state = (False, f"opening the file again: {trouble.message}")
        log.warning("opening the file again", file=str(self._db), reason=reason, because=trouble.message)
        await asyncio.to_thread(self._drop)

    async def _wait(self, cause: str, why: str, stop: asyncio.Event) -> None:
        """Wait a little, longer each time; one line when it begins, one when it is over (`_recovered`)."""
        if self._waits is None or self._waits.cause != cause:
            self._over()
            self._waits = _Wait(cause, why, time.monotonic())
            self._metrics.projector_waiting.labels(cause).set(1)
            log.warning("waiting; it goes on by itself", file=str(self._db), cause=cause, because=why)
        try:
            async with asyncio.timeout(self._backoff_s):
                await stop.wait()
        except TimeoutError:
            self._backoff_s = min(2 * self._backoff_s, LONGEST_WAIT_S)

    def _recovered(self, *, wrote: bool) -> None:
        """A projector runs again; what kept it from writing is over when it has written."""
        if self._waits is not None and (wrote or self._waits.cause in {"kafka", Kind.HELD}):
            self._over()

    def _over(self) -> None:
        if self._waits is not None:
            self._metrics.projector_waiting.labels(self._waits.cause).set(0)
            seconds = round(time.monotonic() - self._waits.since_s, 1)
            log.info("going on", file=str(self._db), after=self._waits.cause, seconds=seconds)
        self._waits, self._backoff_s = None, FIRST_WAIT_S

    # ----------------------------------------------------------------------------------------------- rebuild

    async def _rebuild(self, needed: RebuildNeeded, stop: asyncio.Event) -> None:
        """Build a new file from the logs alone and let it take the place of the old one."""
        began = time.monotonic()
        self._metrics.projector_rebuilds.labels(needed.reason).inc()
        self._state = (False, f"building the file anew: {needed}")
        readers = await asyncio.to_thread(self._keep_readers, needed.reason)
        log.warning(
            "building the file anew from the logs, beside the old one",
            file=str(self._db),
            reason=needed.reason,
            because=str(needed),
            readers=readers,
        )
        if await self._build_draft(stop):
            old = await asyncio.to_thread(self._swap, needed.reason)
            # The file is ours: whoever holds it now only asks it, in the moment between two servers, and is waited for.
            self._begun = True
            log.info(
                "the new file is complete",
                file=str(self._db),
                reason=needed.reason,
                set_aside=None if old is None else old.name,
                seconds=round(time.monotonic() - began, 1),
            )

    def _keep_readers(self, reason: str) -> str:
        """See to it that readers read the old rows or are told to wait; says which."""
        if reason == "deleted" and self._live is not None:
            return "served from the deleted file"  # it is open, and can be opened by nobody else
        self._drop()
        self._retire(self._outgoing)  # of a rebuild a moment ago
        name = second_name(self._db) if self._db.exists() else None
        try:
            if name is not None:
                self._outgoing = Server.reading(name, self._db, token=self._token)
                self._token = self._outgoing.token
                return "served from the old file"
        except (No, duckdb.Error):
            remove(outgoing_of(self._db))
        announce(self._db, f"it is being built anew from the logs, because {REASONS[reason]}")
        return "told to wait"

    async def _build_draft(self, stop: asyncio.Event) -> bool:
        """Build the draft until it has caught up; False when told to stop before, and the next start goes on with it."""
        attempts = 0
        while not stop.is_set():
            try:
                draft = await asyncio.to_thread(self._open_draft)
                try:
                    if await self._project(draft, stop, until_caught_up=True):
                        return True
                finally:
                    await asyncio.to_thread(draft.abandon)
            except FileTrouble as trouble:
                if trouble.kind is Kind.HELD:  # nobody but another projector of this file holds its draft
                    raise
                if trouble.kind not in PASSING:
                    attempts += 1
                    if attempts == DRAFT_ATTEMPTS:
                        raise
                    log.warning("beginning the new file once more", file=str(self._db), because=trouble.message)
                    await asyncio.to_thread(remove, draft_of(self._db))
                await self._wait(trouble.kind.value, trouble.message, stop)
            except (Unreachable, Interrupted) as trouble:
                await self._wait("kafka", sentence(trouble), stop)
        return False

    def _open_draft(self) -> Warehouse:
        """Open the draft of an interrupted rebuild to go on with it, or begin one."""
        path = draft_of(self._db)
        try:
            return Warehouse.open(path, log_id=self._log_id, **self._options)
        except (OtherLogs, OtherVersion, FileTrouble) as trouble:
            if isinstance(trouble, FileTrouble) and trouble.kind not in {Kind.DAMAGED, Kind.GAVE_UP, Kind.NO_DATABASE}:
                raise
            remove(path)
            return Warehouse.open(path, log_id=self._log_id, **self._options)

    def _swap(self, reason: str) -> Path | None:
        self._drop()
        return put_in_place(self._db, reason)

    # ------------------------------------------------------------------------------------------------- close

    def _drop(self) -> None:
        """Let go of the file as it is."""
        live, self._live = self._live, None
        if live is not None:
            live.close(moving=True)
            live.warehouse.abandon()
            # As long as DuckDB has it open, it writes its log under this name, whatever file bears the name by then.
            deadline = time.monotonic() + LET_GO_S
            while open_here(self._db) and time.monotonic() < deadline:
                time.sleep(LET_GO_LOOK_S)

    def _retire(self, outgoing: Server | None) -> None:
        """Stop serving the old file, if that was not done before."""
        if outgoing is not None and outgoing is self._outgoing:
            self._outgoing = None
            outgoing.close()

    def _close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.close(moving=False)
            live.warehouse.close()
        self._retire(self._outgoing)
        remove(outgoing_of(self._db))
        withdraw(self._db)
