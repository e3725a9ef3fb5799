"""The room with desks that answer as the test says: what is ended, what is asked again, what is written down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from engine.readers import book, room, wire
from engine.readers.audit import Audit
from engine.readers.book import Book
from engine.readers.desk import Desk, Gone
from engine.readers.room import Limits, Room
from projections import snapshot
from projections.snapshot import Snapshot, State
from projections.stamp import Stamp

Answering = Callable[["FakeDesk", wire.Message], Awaitable[bytes]]
STAMP = Stamp("log", "2026-03-01", "2026-03-01T10:00:00+00:00", "UTC", "EUR", "t", "v", {}, (), {})


class FakeDesk:
    """A desk that answers as it is told."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self.copies: frozenset[Path] = frozenset()
        self.ended = ""

    @property
    def alive(self) -> bool:
        """Until it is ended."""
        return not self.ended

    async def connect(self, copy: Path) -> tuple[int, wire.Message]:
        """Always lets in."""
        self.copies |= {copy}
        return 1, wire.Message(wire.Kind.CONNECTED, "I" * 32, wire.NO_QUERY, wire.END)

    async def post(self, port: int, data: bytes) -> bytes:
        """What the test says."""
        assert port == 1
        return await self._answering(self, wire.parse(data))

    async def close_copy(self, copy: Path) -> None:
        """Forgets it."""
        self.copies -= {copy}

    async def end(self, why: str) -> None:
        """Ends."""
        self.ended = self.ended or why


class World:
    """A room, its reader's token, its desks in the order of their starts, and what it wrote down."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, answering: Answering, seconds: float) -> None:
        self.token = book.add(folder / "readers.yaml", "anna")
        self.audit = folder / "audit.jsonl"
        self.room = Room(
            folder / "x.duckdb",
            folder / "copies",
            Book(folder / "readers.yaml"),
            Audit(self.audit, "text"),
            Limits(seconds),
        )
        self.desks: list[FakeDesk] = []
        self.states = 0

        async def start(_memory: str, _threads: int) -> FakeDesk:
            self.desks.append(FakeDesk(answering))
            return self.desks[-1]

        def take(db: Path, at: Path, *, memory_limit: str) -> Snapshot:
            return Snapshot(at / f"{self.states}.duckdb", STAMP, self._state(db), 0.0, 0.0)

        monkeypatch.setattr(Desk, "start", start)
        monkeypatch.setattr(snapshot, "take", take)
        monkeypatch.setattr(snapshot, "state_of", self._state)

    def _state(self, _db: Path) -> State:
        return State(str(self.states).encode(), None)

    async def session(self) -> str:
        """Connect."""
        await self.room.refresh()
        answer = wire.parse(await self.room.answer(wire.connect(self.token, "v1"), stays))
        assert answer.kind == wire.Kind.CONNECTED, wire.first_text(answer)
        return answer.connection

    async def ask(self, session: str, text: str = "select 1", left: room.Left | None = None) -> wire.Message:
        """Ask a question."""
        message = wire.with_first_text(wire.Message(wire.Kind.PREPARE, session, b"\x01", wire.END), text)
        return wire.parse(await self.room.answer(message.as_bytes(), left or stays))

    def lines(self) -> list[dict[str, Any]]:
        """What was written down."""
        return [json.loads(line) for line in self.audit.read_text(encoding="utf-8").splitlines()]


async def stays() -> bool:
    """The client waits for its answer."""
    return False


async def never(_desk: FakeDesk, _message: wire.Message) -> bytes:
    """A runaway."""
    await asyncio.Event().wait()
    return b""


async def at_once(_desk: FakeDesk, _message: wire.Message) -> bytes:
    """An answer without rows."""
    return wire.Message(wire.Kind.PREPARED, "", wire.NO_QUERY, b"\x01\x00\x00" + wire.END).as_bytes()


def test_a_question_that_takes_too_long_is_ended_with_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader is told, the line says so, and the next question begins at a new process."""

    async def answering(desk: FakeDesk, message: wire.Message) -> bytes:
        return await (never if desk is world.desks[0] else at_once)(desk, message)

    world = World(tmp_path, monkeypatch, answering, seconds=0.05)

    async def story() -> None:
        session = await world.session()
        answer = await world.ask(session, "select runaway")
        assert "longer than 0.05 seconds" in wire.first_text(answer)
        assert not world.desks[0].alive
        assert (await world.ask(session, "select next")).kind == wire.Kind.PREPARED

    asyncio.run(story())
    assert [(one["statement"], one["outcome"]) for one in world.lines()] == [
        ("select runaway", "too_long"),
        ("select next", "answered"),
    ]
    assert world.lines()[0]["seconds"] >= 0.05


def test_who_leaves_ends_the_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed connection is a cancel."""
    world = World(tmp_path, monkeypatch, never, seconds=600)

    async def goes() -> bool:
        return True

    async def story() -> None:
        await world.ask(await world.session(), "select left", goes)

    asyncio.run(story())
    assert [(one["outcome"], one["reader"]) for one in world.lines()] == [("left", "anna")]
    assert not world.desks[0].alive


def test_a_question_that_went_down_with_another_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runaway of the same reader costs the others nothing; a process that dies over a question is told once."""

    async def answering(desk: FakeDesk, message: wire.Message) -> bytes:
        if desk is world.desks[0]:
            await desk.end("ended together with another question")
            raise Gone(desk.ended)
        return await at_once(desk, message)

    world = World(tmp_path, monkeypatch, answering, seconds=600)

    async def story() -> None:
        assert (await world.ask(await world.session())).kind == wire.Kind.PREPARED

    asyncio.run(story())
    assert [one["outcome"] for one in world.lines()] == ["answered"]


def test_a_process_that_died_is_told_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For want of memory, say."""

    async def answering(desk: FakeDesk, message: wire.Message) -> bytes:
        if desk is world.desks[0]:
            desk.ended = "dead"
            raise Gone("")
        return await at_once(desk, message)

    world = World(tmp_path, monkeypatch, answering, seconds=600)

    async def story() -> None:
        session = await world.session()
        assert "want of memory" in wire.first_text(await world.ask(session))
        assert (await world.ask(session)).kind == wire.Kind.PREPARED

    asyncio.run(story())
    assert [one["outcome"] for one in world.lines()] == ["failed", "answered"]


def test_nothing_but_questions_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """APPEND would write rows past every check of statements; unknown messages and sessions are refused, too."""
    world = World(tmp_path, monkeypatch, never, seconds=600)

    async def story() -> None:
        session = await world.session()
        for kind in (wire.Kind.APPEND, 5, 42):
            message = wire.Message(kind, session, b"\x01", wire.END)
            assert "refused" in wire.first_text(wire.parse(await world.room.answer(message.as_bytes(), stays)))
        assert "over" in wire.first_text(await world.ask("F" * 32))
        assert wire.parse(await world.room.answer(b"GET / HTTP", stays)).kind == wire.Kind.ERROR

    asyncio.run(story())
    assert [one["outcome"] for one in world.lines()] == ["refused"] * 3


def test_a_new_copy_is_asked_by_the_next_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions move on by themselves; within one query they stay."""
    world = World(tmp_path, monkeypatch, at_once, seconds=600)

    async def story() -> None:
        session = await world.session()
        await world.ask(session)
        world.states = 1
        await world.room.refresh()
        await world.ask(session)
        assert world.desks[0].copies == {tmp_path / "copies" / "0.duckdb"}
        message = wire.with_first_text(wire.Message(wire.Kind.PREPARE, session, b"\x02", wire.END), "select 2")
        await world.room.answer(message.as_bytes(), stays)
        assert tmp_path / "copies" / "1.duckdb" in world.desks[0].copies

    asyncio.run(story())


def test_no_answer_without_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the audit log cannot be written, nobody gets rows."""
    world = World(tmp_path, monkeypatch, at_once, seconds=600)

    async def story() -> None:
        session = await world.session()
        world.audit.mkdir()
        assert "audit log" in wire.first_text(await world.ask(session))

    asyncio.run(story())


def test_a_line_can_do_without_the_text_and_never_holds_a_token(tmp_path: Path) -> None:
    """`hash` writes the statement's SHA-256 alone; what reads like a token is withheld from the text."""
    token = "sgr_" + "x" * 43
    Audit(tmp_path / "a", "hash").write("failed", reader="anna", statement=f"select '{token}'", why="select secret")
    Audit(tmp_path / "b", "text").write("failed", reader="anna", statement=f"select '{token}'", why=token)

    assert "select" not in (tmp_path / "a").read_text(encoding="utf-8")
    assert "sgr_***" in (tmp_path / "b").read_text(encoding="utf-8")
    assert token not in (tmp_path / "b").read_text(encoding="utf-8")


def test_a_copy_that_a_session_is_on_its_way_to_is_not_put_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow process opens a copy while the next one is taken: the older one stays until the session sits."""
    world = World(tmp_path, monkeypatch, at_once, seconds=600)
    old = tmp_path / "copies" / "0.duckdb"

    async def story() -> None:
        arrived, go_on = asyncio.Event(), asyncio.Event()
        connected = FakeDesk.connect

        async def slow(desk: FakeDesk, copy: Path) -> tuple[int, wire.Message]:
            answer = await connected(desk, copy)
            arrived.set()
            await go_on.wait()
            return answer

        monkeypatch.setattr(FakeDesk, "connect", slow)
        coming = asyncio.create_task(world.session())
        await arrived.wait()
        old.parent.mkdir(exist_ok=True)
        old.touch()
        world.states = 1
        await world.room.refresh()
        await world.room._put_away()
        assert world.desks[0].copies == {old}
        assert old.exists()
        go_on.set()
        await coming
        await world.room._put_away()
        assert old in world.desks[0].copies, "its session sits there now"

    asyncio.run(story())
