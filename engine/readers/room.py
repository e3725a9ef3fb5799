"""The reading room: sessions of named readers, each reader at a desk of his own, all over the newest copy of the file."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from engine.readers import wire
from engine.readers.audit import Audit, Outcome
from engine.readers.book import Book
from engine.readers.desk import Desk, Gone
from engine.settings import No, UsageError
from projections import snapshot
from projections.files import remove
from projections.snapshot import Snapshot

# A new copy is taken at most after so many times what the last one cost: copying is kept under a twentieth of the time.
COST_SHARE = 20
# Questions of one reader that run at a time; a client opens several connections for one query. The next ones wait.
AT_A_TIME = 8
SESSIONS_EACH = 200
# A process without a question is ended, a session without one forgotten. Too short: starts. Too long: memory for nobody.
IDLE_DESK_S, IDLE_SESSION_S = 600.0, 12 * 3600.0
# The rest of an answer that is not fetched keeps a copy on the disk.
IDLE_ANSWER_S = 120.0
# Between two questions of one query of the client a session stays on its copy. Too short: a join sees two. Too long: disk.
IDLE_COPY_S = 30.0
WRONG_TOKEN_S = 0.3
# How soon a question is ended whose client has gone.
LEFT_LOOK_S = 0.2

log = structlog.get_logger(__name__)
Left = Callable[[], Awaitable[bool]]


@dataclass(slots=True)
class Question:
    """A question and what of its answer was sent."""

    statement: str
    as_of: str | None
    types: bytes | None = None
    rows: int | None = 0
    seconds: float = 0.0
    touched_s: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Session:
    """One connection of a reader's client, and where it is answered at the moment."""

    number: str
    reader: str
    desk: Desk | None = None
    copy: Snapshot | None = None
    port: int = 0
    inner: str = ""
    query: bytes = b""
    question: Question | None = None
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    touched_s: float = field(default_factory=time.monotonic)


class _Place:
    """What belongs to one reader."""

    def __init__(self) -> None:
        self.desk: Desk | None = None
        self.starting = asyncio.Lock()
        # Copies that sessions are on their way to: nobody may put one away under them.
        self.wanted: list[Path] = []
        self.at_a_time = asyncio.Semaphore(AT_A_TIME)
        self.used_s = time.monotonic()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a question may cost."""

    seconds: float
    memory: str = "1GB"
    threads: int = 2


class Room:
    """Answers messages. Belongs to one event loop.

    Args:
        db: the DuckDB file that is copied.
        folder: where copies lie.
        book: who may read.
        audit: gets a line per question.
    """

    def __init__(self, db: Path, folder: Path, book: Book, audit: Audit, limits: Limits) -> None:
        self._db, self._folder, self._book, self._audit, self._limits = db, folder, book, audit, limits
        self._copy: Snapshot | None = None
        self._sessions: dict[str, Session] = {}
        self._places: dict[str, _Place] = {}
        self._old: set[Path] = set()
        self.trouble = "no copy of the file was taken yet"
        self.looked_at = 0.0

    # ---------------------------------------------------------------------------------------------------- copies

    async def refresh(self) -> None:
        """Take a new copy if the file has changed. Errors: No, UsageError, OSError; the last copy goes on answering."""
        now = time.time()
        if self._copy is None or snapshot.state_of(self._db) != self._copy.state:
            taken = await asyncio.to_thread(snapshot.take, self._db, self._folder, memory_limit=self._limits.memory)
            if self._copy is not None:
                self._old.add(self._copy.path)
            self._copy = taken
        self.looked_at, self.trouble = now, ""

    async def look(self) -> None:
        """Renew the copy if it can be renewed; what keeps it from that is in `trouble`, and in the log once."""
        try:
            await self.refresh()
        except (No, UsageError, OSError) as error:
            trouble = str(getattr(error, "message", error))
            if trouble != self.trouble:
                log.warning("readers keep the older copy", why=trouble)
            self.trouble = trouble

    async def keep(self, every: float) -> None:
        """Renew the copy and put away what nobody uses, for ever."""
        while True:
            await self.look()
            await self._put_away()
            await asyncio.sleep(max(every, COST_SHARE * (self._copy.seconds if self._copy else 0.0)))

    async def _put_away(self) -> None:
        """Let go of idle sessions, desks and copies, and of readers who were taken out of the file."""
        now, allowed = time.monotonic(), self._book.names()
        for session in list(self._sessions.values()):
            if session.busy.locked():
                continue
            if session.reader not in allowed or session.touched_s < now - IDLE_SESSION_S:
                self._forget(session)
            elif session.question is not None and session.question.touched_s < now - IDLE_ANSWER_S:
                self._over(session, "left", "the rest of the answer was not fetched")
            if session.question is None and session.copy is not self._copy and session.touched_s < now - IDLE_COPY_S:
                session.desk = None  # the next question begins on the newest copy
        for name, place in self._places.items():
            desk = place.desk
            if desk is None:
                continue
            if name not in allowed or place.used_s < now - IDLE_DESK_S or not desk.alive:
                place.desk = None
                await desk.end("the reader was taken out" if name not in allowed else "nobody asked for a while")
                continue
            used = {one.copy.path for one in self._sessions.values() if one.desk is desk and one.copy is not None}
            for copy in desk.copies - used - set(place.wanted) - ({self._copy.path} if self._copy else set()):
                await desk.close_copy(copy)
        held = {copy for place in self._places.values() if place.desk is not None for copy in place.desk.copies}
        wanted = {copy for place in self._places.values() for copy in place.wanted}
        for copy in self._old - held - wanted:
            remove(copy)
            self._old.discard(copy)

    async def close(self) -> None:
        """End every desk and forget the copies."""
        for place in self._places.values():
            if place.desk is not None:
                await place.desk.end("the server stopped")
        snapshot.discard(self._folder)

    # ------------------------------------------------------------------------------------------------- messages

    async def answer(self, data: bytes, left: Left) -> bytes:
        """The answer to a message; `left` tells whether who sent it has gone meanwhile."""
        try:
            message = wire.parse(data)
            if message.kind == wire.Kind.CONNECT:
                return await self._connect(message)
            session = self._sessions.get(message.connection)
            if session is None or session.reader not in self._book.names():
                return wire.error("this session is over: attach again")
            async with session.busy:
                session.touched_s = time.monotonic()
                return await self._in_session(session, message, left)
        except wire.Malformed as error:
            return wire.error(f"this is no message of quack version 1: {error}")
        except OSError as error:
            log.error("a question could not be written down", why=error.strerror)
            return wire.error("no question is answered now: the audit log cannot be written")

    async def _in_session(self, session: Session, message: wire.Message, left: Left) -> bytes:
        match message.kind:
            case wire.Kind.PREPARE:
                self._over(session, "left", "another question followed")
                return await self._prepare(session, message, left)
            case wire.Kind.FETCH:
                return await self._fetch(session, message, left)
            case wire.Kind.DISCONNECT:
                self._over(session, "left", "disconnected before the end")
                self._forget(session)
                if session.desk is not None and session.desk.alive:
                    with contextlib.suppress(Gone):
                        await session.desk.post(session.port, message.moved(session.inner).as_bytes())
                return wire.success()
            case _:
                statement = f"message {message.kind}"
                self._audit.write("refused", reader=session.reader, session=session.number, statement=statement)
                return wire.error("refused: readers may ask, nothing else")

    async def _connect(self, message: wire.Message) -> bytes:
        reader = self._book.who(wire.first_text(message))
        if reader is None:
            self._audit.write("no_token", why="a token that is nobody's, or holds no more")
            await asyncio.sleep(WRONG_TOKEN_S)
            return wire.error("Authentication failed")
        if sum(one.reader == reader for one in self._sessions.values()) >= SESSIONS_EACH:
            return wire.error(f"{reader} has {SESSIONS_EACH} sessions open: close some")
        session = Session(secrets.token_hex(16).upper(), reader)
        try:
            answer = await self._move(session)
        except (Gone, No) as error:
            return wire.error(f"nobody can be asked now: {getattr(error, 'message', None) or 'the process ended'}")
        self._sessions[session.number] = session
        return answer.moved(session.number).as_bytes()

    async def _move(self, session: Session) -> wire.Message:
        """Sit the session at its reader's desk, on the newest copy; returns the server's greeting. Errors: Gone, No."""
        copy, place = self._copy, self._places.setdefault(session.reader, _Place())
        if copy is None:
            raise No(self.trouble)
        place.used_s = time.monotonic()
        place.wanted.append(copy.path)
        try:
            async with place.starting:
                if place.desk is None or not place.desk.alive:
                    place.desk = await Desk.start(self._limits.memory, self._limits.threads)
                desk = place.desk
            session.port, greeting = await desk.connect(copy.path)
            session.desk, session.copy, session.inner = desk, copy, greeting.connection
        finally:
            place.wanted.remove(copy.path)
        return greeting

    async def _prepare(self, session: Session, message: wire.Message, left: Left) -> bytes:
        place = self._places[session.reader]
        session.question = Question(wire.first_text(message), None)
        async with place.at_a_time:
            for again in (False, True):
                desk = session.desk
                stale = session.copy is not self._copy and session.query != message.query
                try:
                    if desk is None or not desk.alive or stale:
                        await self._move(session)
                    session.query = message.query
                    session.question.as_of = session.copy.stamp.settled_at if session.copy else None
                    return self._prepared(session, await self._timed(session, message, left))
                except Gone as gone:
                    # Ended over another question of this reader: this one did nothing wrong, and changes nothing.
                    if again or not gone.why or session.question is None:
                        return self._failed(session, gone)
                except No as error:
                    self._over(session, "failed", error.message)
                    return wire.error(error.message)
        raise AssertionError("unreachable: the second attempt returns")

    def _prepared(self, session: Session, data: bytes) -> bytes:
        answer, question = wire.parse(data), session.question
        if question is None or answer.kind == wire.Kind.ERROR:
            why = wire.first_text(answer)
            self._over(session, "refused" if "refused: " in why[:60] else "failed", why)
        elif answer.kind == wire.Kind.PREPARED:
            question.types = wire.types_of(answer)
            more = False
            if question.types is not None:
                question.rows = wire.rows_in(answer.body, question.types)
                more = wire.more_follows(answer, question.types)
            if not more:
                self._over(session, "answered")
        return data

    async def _fetch(self, session: Session, message: wire.Message, left: Left) -> bytes:
        question = session.question
        if question is None:
            # Several threads of a client fetch one answer; whoever comes after its end gets nothing more.
            return wire.nothing_more()
        try:
            data = await self._timed(session, message, left)
        except Gone as gone:
            return self._failed(session, gone)
        answer = wire.parse(data)
        found = wire.rows_in(answer.body, question.types) if question.types is not None else 0
        question.rows = None if question.rows is None else question.rows + found
        if answer.kind == wire.Kind.ERROR:
            self._over(session, "failed", wire.first_text(answer))
        elif not found and wire.CHUNK not in answer.body:
            self._over(session, "answered")
        return data

    async def _timed(self, session: Session, message: wire.Message, left: Left) -> bytes:
        """Pass a message on. The process is ended where the question's seconds are over, or who asked has left. Errors: Gone."""
        desk, question, place = session.desk, session.question, self._places[session.reader]
        if desk is None or question is None:
            raise Gone("")
        began = time.monotonic()
        asking = asyncio.create_task(desk.post(session.port, message.moved(session.inner).as_bytes()))
        leaving = asyncio.create_task(_until(left))
        try:
            allowed = max(0.0, self._limits.seconds - question.seconds)
            await asyncio.wait({asking, leaving}, timeout=allowed, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                outcome: Outcome = "left" if leaving.done() else "too_long"
                why = "the client went away" if leaving.done() else f"longer than {self._limits.seconds:g} seconds"
                question.seconds += time.monotonic() - began
                self._over(session, outcome, f"ended: {why}")
                await desk.end(f"ended together with another question, {why}")
                raise Gone("")
            return await asking
        finally:
            question.seconds += 0.0 if session.question is None else time.monotonic() - began
            question.touched_s = place.used_s = time.monotonic()
            for task in (asking, leaving):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Gone):
                    await task

    def _failed(self, session: Session, gone: Gone) -> bytes:
        """The process is gone: over this question, another one, or for want of memory."""
        if session.question is None:
            return wire.error(f"ended: the answer took longer than {self._limits.seconds:g} seconds")
        why = (
            gone.why or "the process that looked for the answer died, probably for want of memory: ask for less at once"
        )
        self._over(session, "failed", why)
        return wire.error(why)

    def _over(self, session: Session, outcome: Outcome, why: str = "") -> None:
        """A question has ended: write its line."""
        question, session.question = session.question, None
        if question is not None:
            self._audit.write(
                outcome, reader=session.reader, session=session.number, statement=question.statement,
                rows=question.rows, seconds=question.seconds, as_of=question.as_of, why=why,
            )  # fmt: skip

    def _forget(self, session: Session) -> None:
        self._sessions.pop(session.number, None)


async def _until(left: Left) -> None:
    while not await left():  # noqa: ASYNC110  the server's framework tells when it is asked, and only then
        await asyncio.sleep(LEFT_LOOK_S)
