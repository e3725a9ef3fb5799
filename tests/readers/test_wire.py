"""Messages of DuckDB's remote protocol: read off the installed server, and never guessed at."""

from __future__ import annotations

import random
import urllib.request
from collections.abc import Callable, Iterator

import duckdb
import pytest

from engine.readers import wire
from projections import sql
from projections.server import free_port, load_extensions

TOKEN = "a-token-for-tests"
Post = Callable[[bytes], wire.Message]


@pytest.fixture(scope="module")
def post() -> Iterator[Post]:
    """A server of the installed DuckDB, and how to send it a message."""
    with duckdb.connect() as served:
        load_extensions(served)
        port = free_port()
        serving = sql.statements("serving/authoriser")
        served.execute(serving["serve"], {"uri": f"quack:127.0.0.1:{port}", "token": TOKEN})

        def send(data: bytes) -> wire.Message:
            request = urllib.request.Request(f"http://127.0.0.1:{port}/quack", data=data)
            with urllib.request.urlopen(request, timeout=100) as answer:  # noqa: S310  our own server
                return wire.parse(answer.read())

        yield send
        served.execute(serving["stop"], {"uri": f"quack:127.0.0.1:{port}"})


def asked(post: Post, statement: str) -> tuple[list[wire.Message], int | None]:
    """All messages of an answer, and the rows that were counted in them."""
    session = post(wire.connect(TOKEN, f"v{duckdb.__version__}")).connection
    question = wire.with_first_text(wire.Message(wire.Kind.PREPARE, session, b"\x07", wire.END), statement)
    answers = [post(question.as_bytes())]
    types = wire.types_of(answers[0])
    if types is None:
        return answers, None
    rows, more = wire.rows_in(answers[0].body, types), wire.more_follows(answers[0], types)
    while more:
        fetch = wire.Message(wire.Kind.FETCH, session, b"\x07", b"\x01\x00" + result_number(answers[0]) + wire.END)
        answers.append(post(fetch.as_bytes()))
        rows += wire.rows_in(answers[-1].body, types)
        more = wire.CHUNK in answers[-1].body
    return answers, rows


def result_number(prepared: wire.Message) -> bytes:
    """The last field of an answer's head: by it the rest is fetched."""
    return prepared.body[prepared.body.rindex(b"\x05\x00") + 2 : -2]


def test_a_session_begins_with_the_token_and_has_a_number(post: Post) -> None:
    """CONNECT is answered by CONNECTED with a session, or by ERROR; our message is the client's."""
    assert post(wire.connect("another", "v1.5.5")).kind == wire.Kind.ERROR
    greeting = post(wire.connect(TOKEN, "v1.5.5"))
    assert (greeting.kind, len(greeting.connection)) == (wire.Kind.CONNECTED, 32)
    assert wire.parse(greeting.moved("0" * 32).as_bytes()).connection == "0" * 32


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        ("select 42 as answer", 1),
        ("select i from range(100000) t(i)", 100_000),
        ("select i, 'x' || i as text, i / 3, [i], {'a': i}, date '2026-01-01' + i::int from range(30000) t(i)", 30_000),
        ("select null as nothing, i::decimal(18, 2) as amount, i::varchar::blob as raw from range(5000) t(i)", 5_000),
        ("select 1 as chunk from range(2049)", 2_049),
        ("values (1, 'a'), (2, null)", 2),
    ],
)
def test_rows_are_counted_over_every_message_of_an_answer(post: Post, statement: str, rows: int) -> None:
    """What a reader got is what the audit log says, whatever the columns hold."""
    answers, counted = asked(post, statement)

    assert [one.kind for one in answers] == [wire.Kind.PREPARED] + [wire.Kind.FETCHED] * (len(answers) - 1)
    assert counted == rows


def test_an_answer_without_rows_and_one_that_failed(post: Post) -> None:
    """No chunk, no types; an error says why."""
    (empty,), counted = asked(post, "select 1 as a where false")
    assert (empty.kind, counted) == (wire.Kind.PREPARED, None)
    (failed,), _ = asked(post, "select error('because')")
    assert failed.kind == wire.Kind.ERROR
    assert "because" in wire.first_text(failed)


def test_every_message_of_ours_is_read_back() -> None:
    """Texts of any length, with and without a session."""
    for text in ("", "ü", "x" * 127, "x" * 128, "select '" + "y" * 70_000 + "'"):
        for session in ("", "A" * 32):
            message = wire.with_first_text(wire.Message(wire.Kind.PREPARE, session, wire.NO_QUERY, wire.END), text)
            read = wire.parse(message.as_bytes())
            assert read == message
            assert wire.first_text(read) == text
            assert wire.first_text(wire.with_first_text(read, "another")) == "another"
    assert wire.first_text(wire.parse(wire.error("no"))) == "no"
    assert wire.parse(wire.success()).kind == wire.Kind.SUCCESS
    assert wire.parse(wire.nothing_more()).kind == wire.Kind.FETCHED


def test_damaged_messages_are_refused_and_nothing_else_happens() -> None:
    """Cut off anywhere, changed anywhere: a message, or Malformed."""
    whole = wire.connect("token", "v1.5.5")
    chance = random.Random(20261123)
    for length in range(len(whole)):
        with pytest.raises(wire.Malformed):
            wire.parse(whole[:length])
    for _ in range(5_000):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            message = wire.parse(bytes(damaged))
            wire.first_text(message)
            wire.with_first_text(message, "x")
        except wire.Malformed:
            continue
