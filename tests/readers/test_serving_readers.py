"""The server of named readers as the command starts it: over a file that is written, asked from other processes."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from engine.commands.readers import beside
from engine.readers import book, wire
from projections import sql
from projections.server import extension_path, free_port, load_extensions
from projections.warehouse import Warehouse
from tests.certificates import make_certificate
from tests.projections import given
from tests.projections.test_serving import ALLOWED, CLIENT, REFUSED

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-c", "from engine.cli import main; main()")
# The runaway's share: everything else that is asked here takes a fraction of a second on a quiet machine.
QUERY_SECONDS = 10
PAGE = ROOT / "docs" / "readers.md"
# What a machine under load may take.
PATIENCE_S = 120.0
RUNAWAY = "select count(*) from range(100000) a, range(100000) b, range(100000) c"


def stammgast(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)


class Reading:
    """A file that is written, and its server of named readers."""

    def __init__(self, folder: Path) -> None:
        self.db, self.book = folder / "shop.duckdb", folder / "readers.yaml"
        self.audit, self.log = folder / "audit.jsonl", folder / "server.log"
        visits = (
            {"type": "visit", "id": f"v{n}", "subject": f"m{n}", "time": "2026-03-01T10:00:00Z"} for n in range(2_000)
        )
        self._records = given.records(list(visits))
        self.warehouse = Warehouse.open(self.db, log_id="test", threads=2)
        self.written = 0
        self.write(500)
        self.tokens = {name: book.add(self.book, name) for name in ("anna", "ben", "cleo")}
        options = {
            "db": self.db, "readers": self.book, "readers-port": 0, "audit-log": self.audit, "refresh-seconds": 0.3,
            "query-seconds": QUERY_SECONDS, "memory-limit": "300MB", "datadir": folder, "metrics-port": 0,
        }  # fmt: skip
        command = [
            *COMMAND,
            "readers",
            "serve",
            *(str(part) for name, value in options.items() for part in (f"--{name}", value)),
        ]
        with self.log.open("w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        found = re.search(r"quack:127\.0\.0\.1:\d+", said)
        assert found, f"it said {said!r} and {self.log.read_text(encoding='utf-8')}"
        self.uri = found[0]

    def write(self, count: int) -> None:
        """Write the next records of both logs."""
        facts, decisions = self._records
        there = slice(self.written, self.written + count)
        self.warehouse.apply(facts[there], decisions[there])
        self.written += count

    def answers(self, token: str) -> bool:
        """Is this token one that holds?"""
        with duckdb.connect() as client:
            load_extensions(client)
            parameters = {"uri": self.uri, "query": "select 1", "token": token}
            try:
                return client.execute(sql.statements("serving/authoriser")["ask"], parameters).fetchone() == (1,)
            except duckdb.Error as error:
                if "Authentication failed" not in str(error):
                    raise
                return False

    def attach(self, token: str) -> duckdb.DuckDBPyConnection:
        """A reader's own DuckDB with the file in it."""
        connection = duckdb.connect()
        load_extensions(connection)
        connection.execute(f"create secret (type quack, token '{token}')")
        connection.execute(f"attach '{self.uri}' as shop")
        return connection

    def ask(self, name: str, *queries: str) -> list[tuple[bool, Any]]:
        """(allowed, rows or error) of each query, asked from another process."""
        said = json.dumps({"uri": self.uri, "token": self.tokens[name], "queries": queries})
        run = subprocess.run([sys.executable, "-c", CLIENT], input=said, capture_output=True, text=True, check=True)
        return [(bool(allowed), answer) for allowed, answer in json.loads(run.stdout)]

    def lines(self, **wanted: object) -> list[dict[str, Any]]:
        """Lines of the audit log with these values."""
        text = self.audit.read_text(encoding="utf-8") if self.audit.exists() else ""
        lines = [json.loads(line) for line in text.splitlines()]
        return [line for line in lines if all(line.get(name) == value for name, value in wanted.items())]

    def close(self) -> None:
        """Stop it; nothing is left behind."""
        self.process.terminate()
        assert self.process.wait(PATIENCE_S) == 0, self.log.read_text(encoding="utf-8")
        self.warehouse.close()
        assert list(self.db.parent.glob("stammgast-readers-*")) == []


def until(seen: Callable[[], object]) -> Any:
    """Wait for something to be true, and return it."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := seen()):
        assert time.monotonic() < deadline, f"not seen within {PATIENCE_S:g} s"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    """One server for all questions of this module."""
    one = Reading(tmp_path_factory.mktemp("reading"))
    yield one
    one.close()


def test_only_what_is_on_the_lists_passes_and_everything_is_written_down(reading: Reading) -> None:
    """The same questions and attacks as on the projector's own server, and a line for each of them."""
    refused = [query.format(folder=reading.db.parent) if "{folder}" in query else query for query in REFUSED]
    allowed_answers = dict(zip(ALLOWED, reading.ask("anna", *ALLOWED), strict=True))
    refused_answers = dict(zip(refused, reading.ask("ben", *refused), strict=True))

    assert [(query, said) for query, (allowed, said) in allowed_answers.items() if not allowed] == []
    assert [query for query, (allowed, _) in refused_answers.items() if allowed] == []
    assert {query for query, (_, error) in refused_answers.items() if "refused: " not in str(error)} == set()
    assert list(reading.db.parent.glob("stolen*")) == []
    assert sorted(line["statement"] for line in reading.lines(reader="ben", outcome="refused")) == sorted(refused)
    lines = {line["statement"]: line for line in reading.lines(reader="anna", outcome="answered")}
    wrong = {
        query: (rows, lines[query]["rows"])
        for query, (_, rows) in allowed_answers.items()
        if rows != lines[query]["rows"]
    }
    assert wrong == {}
    assert {line["as_of"] for line in lines.values()} == {"2026-03-01T10:00:00+00:00"}


def test_duckdbs_own_command_line_attaches_as_the_page_says(reading: Reading, tmp_path: Path) -> None:
    """Given the page's block and the token's file, when an analyst runs the block, then every line of it is answered, and only to
    that token."""
    (block,) = re.findall(r"```sql\n(install quack.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    loads = "".join(f"load '{extension_path(name)}';" for name in ("httpfs", "quack"))
    lines = block.replace("install quack; load quack;", loads).replace("quack:127.0.0.1:8390", reading.uri)
    lines += "select 'own copy', count(*) from balances;"

    def run(token: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "anna.token").write_text(token, encoding="utf-8")
        command, home = [str(Path(sys.executable).with_name("duckdb")), "-csv", "-bail"], {"HOME": str(tmp_path)}
        return subprocess.run(command, input=lines, env=home, cwd=tmp_path, capture_output=True, text=True, check=False)

    answer, stranger = run(reading.tokens["anna"] + "\n"), run("sgr_nobody")

    assert (answer.returncode, answer.stderr) == (0, "")
    assert "\nrfm_segments\n" in answer.stdout, "the list of tables"
    assert answer.stdout.splitlines()[-1].startswith("own copy,")
    assert "Authentication failed" in stranger.stderr
    assert "rfm_segments" not in stranger.stdout


def test_a_runaway_hurts_nobody(reading: Reading) -> None:
    """It is ended; others are answered meanwhile, and its own reader goes on in the session from before."""
    anna, ben = reading.attach(reading.tokens["anna"]), reading.attach(reading.tokens["ben"])
    ends: list[str] = []

    def run_away() -> None:
        ends.append(str(reading.ask("anna", RUNAWAY)))

    runaway, meanwhile = threading.Thread(target=run_away), 0
    runaway.start()
    while runaway.is_alive():
        assert ben.execute("select count(*) from shop.facts").fetchone() == (reading.written,)
        meanwhile += 1

    assert meanwhile > 1, "nobody else was answered while it ran"
    assert f"longer than {QUERY_SECONDS} seconds" in ends[0]
    assert anna.execute("select count(*) from shop.facts").fetchone() == (reading.written,)
    assert [line["reader"] for line in reading.lines(outcome="too_long", statement=RUNAWAY)] == ["anna"]


def test_a_question_that_wants_more_memory_fails_alone(reading: Reading) -> None:
    """DuckDB's limit for each reader."""
    ((allowed, error),) = reading.ask("anna", "select len(list(i)) from range(500000000) t(i)")
    assert not allowed, error
    assert reading.ask("anna", "select 1") == [(True, 1)]
    assert reading.ask("ben", "select 1") == [(True, 1)]


def test_a_session_sees_what_is_written(reading: Reading) -> None:
    """The copy is renewed and the session goes on without attaching again."""
    ben = reading.attach(reading.tokens["ben"])
    before = ben.execute("select count(*) from shop.facts").fetchone()
    reading.write(100)

    after = until(lambda: (found := ben.execute("select count(*) from shop.facts").fetchone()) != before and found)
    assert after == (reading.written,)


def test_tokens_are_changed_while_it_runs(reading: Reading) -> None:
    """A second token holds beside the first; then the first ends; then the reader is taken out."""
    old = reading.tokens.pop("cleo")
    with reading.attach(old) as session:
        new = book.rotate(reading.book, "cleo", 1)
        until(lambda: reading.answers(new))
        assert reading.answers(old)

        newest = book.rotate(reading.book, "cleo", 0)
        until(lambda: reading.answers(newest))
        assert not reading.answers(old)
        assert not reading.answers(new)
        assert session.execute("select count(*) > 0 from shop.facts").fetchone() == (True,)

        book.remove(reading.book, "cleo")
        until(lambda: not reading.answers(newest))
        with pytest.raises(duckdb.Error, match="session is over"):
            session.execute("select count(*) from shop.facts").fetchone()
    assert reading.lines(outcome="no_token", reader=None)


def test_rows_cannot_be_pushed_in(reading: Reading) -> None:
    """The protocol's own message for rows passes no check of statements: it is refused here."""

    def post(data: bytes) -> wire.Message:
        request = urllib.request.Request(f"http://{reading.uri.removeprefix('quack:')}/quack", data=data)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310  our own server
            return wire.parse(answer.read())

    session = post(wire.connect(reading.tokens["anna"], "v1.5.5")).connection
    pushed = wire.with_first_text(wire.Message(wire.Kind.APPEND, session, wire.NO_QUERY, wire.END), "staging")

    assert "refused" in wire.first_text(post(pushed.as_bytes()))


def test_no_token_is_in_a_log_or_a_list_of_processes(reading: Reading) -> None:
    """Neither readers' tokens, nor those that the server gives its own processes."""
    reading.ask("anna", f"select '{reading.tokens['anna']}'", "select 1")
    assert reading.ask("ben", "select 1") == [(True, 1)]
    family = [reading.process.pid, *_children(reading.process.pid)]
    shown = [Path(f"/proc/{pid}/{what}").read_bytes() for pid in family for what in ("cmdline", "environ")]
    files = [path.read_bytes() for path in (reading.log, reading.audit, reading.book)]

    assert len(family) >= 3, "the server and a process for each of two readers"
    secrets = [token.encode() for token in reading.tokens.values()]
    assert [secret for secret in secrets if any(secret in text for text in shown + files)] == []
    assert reading.audit.stat().st_mode & 0o077 == 0


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    if not tasks.exists():
        pytest.skip("no /proc on this system")
    return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]


def test_what_is_wrong_with_a_start_is_told(tmp_path: Path) -> None:
    """No file of readers, a port that is taken, an address that others reach without encryption."""
    db, path = tmp_path / "x.duckdb", tmp_path / "readers.yaml"
    missing = stammgast("readers", "serve", "--db", db, "--readers", path)
    assert (missing.returncode, "No such file" in missing.stderr) == (2, True)

    assert stammgast("readers", "add", "anna", "--readers", path, "--token-file", tmp_path / "t").stdout == ""
    assert (tmp_path / "t").stat().st_mode & 0o777 == 0o600
    open_to_all = stammgast("readers", "serve", "--db", db, "--readers", path, "--host", "0.0.0.0")  # noqa: S104
    assert (open_to_all.returncode, "--tls-certfile" in open_to_all.stderr) == (2, True)
    listed = json.loads(stammgast("readers", "list", "--readers", path, "--json").stdout)
    assert listed == [{"name": "anna", "tokens": [{"until": None}]}]


def test_a_projector_keeps_it_running_beside_itself(reading: Reading, tmp_path: Path) -> None:
    """What `projector --readers` starts answers, and ends with the projector."""
    port, token = free_port(), book.add(tmp_path / "readers.yaml", "dora")
    chosen = {
        "readers": tmp_path / "readers.yaml",
        "readers_port": port,
        "audit_log": tmp_path / "a",
        "log_level": "error",
    }

    def answered() -> bool:
        with duckdb.connect() as client:
            load_extensions(client)
            parameters = {"uri": f"quack:127.0.0.1:{port}", "query": "select 1", "token": token}
            try:
                return client.execute(sql.statements("serving/authoriser")["ask"], parameters).fetchone() == (1,)
            except duckdb.Error:
                return False  # not yet

    async def story() -> None:
        stop = asyncio.Event()
        keeping = asyncio.create_task(beside(chosen, reading.db)(stop))
        await asyncio.to_thread(until, answered)
        stop.set()
        await keeping

    asyncio.run(story())
    assert not answered()


def test_attaching_over_tls(reading: Reading, tmp_path: Path) -> None:
    """Given a server with a certificate, then who trusts it attaches as docs/readers.md says; who does not trust it, or speaks
    without TLS, is not answered."""
    made = make_certificate(tmp_path)
    options = {
        "db": reading.db, "readers": reading.book, "readers-port": 0, "audit-log": tmp_path / "a", "datadir": tmp_path,
        "tls-certfile": made.file, "tls-keyfile": made.key, "memory-limit": "300MB",
    }  # fmt: skip
    words = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    with subprocess.Popen([*COMMAND, "readers", "serve", *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
            assert found
            uri = f"quack:localhost:{found[1]}"
            assert _attached(uri, reading.tokens["anna"], made.file) == reading.written
            with pytest.raises(duckdb.Error, match="certificate"):
                _attached(uri, reading.tokens["anna"], None)
            with pytest.raises(duckdb.Error, match="http://"):
                _attached(uri, reading.tokens["anna"], made.file, "(disable_ssl true)")
        finally:
            process.terminate()
            assert process.wait(PATIENCE_S) == 0


def _attached(uri: str, token: str, trusted: Path | None, how: str = "(disable_ssl false)") -> int:
    """How many facts somebody sees who attaches so."""
    with duckdb.connect() as client:
        load_extensions(client)
        if trusted is not None:
            client.execute(f"set ca_cert_file = '{trusted}'")
        client.execute(f"create secret (type quack, token '{token}')")
        client.execute(f"attach '{uri}' as shop {how}")
        (count,) = client.execute("select count(*) from shop.facts").fetchone() or (0,)
    return int(count)


def test_everything_started_at_once_answers_named_readers(tmp_path: Path) -> None:
    """Given `up --readers` with its own broker, then a named reader attaches to what it builds, and it ends with everything."""
    port, token = free_port(), book.add(tmp_path / "readers.yaml", "anna")
    options = {
        "db": tmp_path / "t.duckdb", "readers": tmp_path / "readers.yaml", "readers-port": port, "audit-log": tmp_path / "a",
        "programme": "rules/programmes/gift-shop", "partitions": 1, "refresh-seconds": 0.3,
    }  # fmt: skip
    words = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    log = tmp_path / "up.log"
    with log.open("w", encoding="utf-8") as said:
        process = subprocess.Popen([*COMMAND, "up", *words], stdout=said, stderr=said, cwd=ROOT)

    def versions() -> int:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            return _attached(f"quack:localhost:{port}", token, None, "")
        except duckdb.Error:
            return 0  # not yet

    try:
        assert until(versions) >= 1, "the programme's versions are facts, too"
    finally:
        process.terminate()
        ended = process.wait(PATIENCE_S)
    assert ended == 0, log.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in (tmp_path / "a").read_text(encoding="utf-8").splitlines()]
    assert {line["reader"] for line in lines if line["outcome"] == "answered"} == {"anna"}
    with pytest.raises(duckdb.Error):
        _attached(f"quack:localhost:{port}", token, None, "")
