"""`stammgast readers`: named readers of a file, their tokens, and the server they attach to."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import click
import structlog

from engine import settings
from engine.commands.listening import listen, listening_options, require_encryption
from engine.processes import ends_with_parent
from engine.settings import UsageError
from engine.telemetry import METRICS, Health, TelemetryServer, set_up_logging

#: What the server is told by whoever starts it as a child (`projector`, `up`).
SERVED_WITH = ("readers", "readers_port", "audit_log", "audit_statements", "query_seconds", "refresh_seconds")
_START = "from engine.cli import main; main()"
# A server that died is started again after so long, twice as long each time, at most so long.
BACKOFF_S, BACKOFF_MOST_S = 1.0, 30.0

log = structlog.get_logger(__name__)


@click.group()
def readers() -> None:
    """Named readers: who may attach to a file from DuckDB, and what each of them asked.

    `stammgast readers add NAME --readers FILE` makes a token, `stammgast readers serve` (or `projector --readers FILE`)
    answers: attach 'quack:127.0.0.1:8390' as shop. Each reader is answered by a process of his own, from a copy that is
    renewed when the file has changed; every question leaves a line in the audit log.
    """


@readers.command()
@settings.option("db", required=True)
@settings.option("readers", required=True)
@settings.options("readers_port", "audit_log", "audit_statements", "query_seconds", "refresh_seconds")
@settings.option("memory_limit", default="1GB", help="Memory that DuckDB may use for each reader.")
@settings.option(
    "datadir", help="Where copies of the file are kept meanwhile; a fresh temporary folder when not given."
)
@listening_options
@settings.telemetry_options
def serve(
    *,
    db: Path,
    readers: Path,
    readers_port: int,
    audit_log: Path | None,
    audit_statements: Literal["text", "hash"],
    query_seconds: float,
    refresh_seconds: float,
    memory_limit: str,
    datadir: Path | None,
    host: str,
    tls_certfile: Path | None,
    tls_keyfile: Path | None,
    behind_tls: bool,
    log_format: Any,
    log_level: str,
    metrics_host: str,
    metrics_port: int,
) -> None:
    """Answer named readers, while a projector writes the file or nobody does.

    Exit codes: 0 stopped when asked to, 1 the port is taken, 2 wrong usage: no such file of readers, a mistake in it.
    """
    from engine.readers.app import serve as answer
    from engine.readers.audit import Audit
    from engine.readers.book import Book
    from engine.readers.room import Limits, Room
    from projections import snapshot

    set_up_logging(log_format, log_level)
    book = Book(readers)
    require_encryption(host, tls_certfile, tls_keyfile, behind_tls=behind_tls)
    with ExitStack() as stack:
        listener = stack.enter_context(listen(host, readers_port, "--readers-port"))
        try:
            folder = snapshot.private_folder(datadir)
        except OSError as error:
            raise UsageError(f"--datadir {datadir}: {error.strerror}.") from error
        stack.callback(snapshot.discard, folder)
        audit = audit_log or Path(f"{db}.questions.jsonl")
        room = Room(db, folder, book, Audit(audit, audit_statements), Limits(query_seconds, memory_limit))
        health = Health()
        health.add("copy", lambda: (not room.trouble, room.trouble or "readers ask the newest copy"))
        stack.enter_context(TelemetryServer(metrics_host, metrics_port, METRICS, health))
        uri = f"quack:{host}:{listener.getsockname()[1]}"
        click.echo(f"Readers of {db}: {uri}   their questions: {audit}")
        log.info("readers are answered", server=uri, file=str(db), names=sorted(book.names()))
        asyncio.run(answer(room, listener, refresh_seconds, certfile=tls_certfile, keyfile=tls_keyfile))


@readers.command("add")
@click.argument("name")
@settings.option("readers", required=True)
@click.option("--rotate", type=click.FloatRange(0), metavar="DAYS", help="A new token for NAME; the old ones end then.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the token there (mode 0600), print nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def add(*, name: str, readers: Path, rotate: float | None, token_file: Path | None, as_json: bool) -> None:
    """Make the reader NAME, or with --rotate a new token. A server that runs takes it up within a second.

    The token is shown once; the file holds its hash alone.
    """
    from engine.readers import book
    from projections.files import write_private

    try:
        token = book.add(readers, name) if rotate is None else book.rotate(readers, name, rotate)
        if token_file is not None:
            write_private(token_file, token)
    except OSError as error:
        raise UsageError(f"{error.filename or readers}: {error.strerror or error}.") from error
    if as_json:
        click.echo(
            json.dumps(
                {
                    "name": name,
                    "token": token if token_file is None else None,
                    "token_file": token_file and str(token_file),
                }
            )
        )
    elif token_file is None:
        click.echo(token)
        click.echo(f"Written to {readers} as a hash: this is the only time you see it.", err=True)
    else:
        click.echo(f"The token of {name} is in {token_file}.", err=True)


@readers.command("remove")
@click.argument("name")
@settings.option("readers", required=True)
def remove(*, name: str, readers: Path) -> None:
    """Take the reader NAME out; a server that runs ends the reader's questions and sessions within seconds."""
    from engine.readers import book

    try:
        book.remove(readers, name)
    except OSError as error:
        raise UsageError(f"{readers}: {error.strerror or error}.") from error
    click.echo(f"{name} may read no more.", err=True)


@readers.command("list")
@settings.option("readers", required=True)
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def list_(*, readers: Path, as_json: bool) -> None:
    """List who may read, and until when their tokens hold."""
    from engine.readers import book

    found = book.read(readers)
    if as_json:
        click.echo(
            json.dumps([one.model_dump(mode="json", exclude={"tokens": {"__all__": {"sha256"}}}) for one in found])
        )
        return
    for one in found:
        ends = ", ".join("for good" if held.until is None else f"until {held.until.isoformat()}" for held in one.tokens)
        click.echo(f"{one.name}: {len(one.tokens)} {'token' if len(one.tokens) == 1 else 'tokens'}, {ends}")


def beside(chosen: dict[str, Any], db: Path) -> Callable[[asyncio.Event], Coroutine[None, None, None]]:
    """What keeps `readers serve` running as a child until told to stop, for a projector; `chosen` are settings by name."""
    environment = os.environ | settings.as_environment({**chosen, "db": db, "metrics_port": 0})

    async def keep(stop: asyncio.Event) -> None:
        backoff = BACKOFF_S
        while not stop.is_set():
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _START, "readers", "serve",
                env=environment, stdin=asyncio.subprocess.DEVNULL, start_new_session=True, preexec_fn=ends_with_parent(),
            )  # fmt: skip
            ended, stopping = asyncio.create_task(process.wait()), asyncio.create_task(stop.wait())
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                process.terminate()
                await ended
                return
            stopping.cancel()
            log.error(
                "the server of named readers ended; it is started again", code=process.returncode, seconds=backoff
            )
            try:
                async with asyncio.timeout(backoff):
                    await stop.wait()
            except TimeoutError:
                backoff = min(2 * backoff, BACKOFF_MOST_S)

    return keep
