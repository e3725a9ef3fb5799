"""`stammgast console`: pages about members, points and money for a browser on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
import structlog

from engine import settings
from engine.commands.listening import listen, listening_options, require_encryption
from engine.settings import UsageError
from engine.telemetry import METRICS, Health, TelemetryServer, set_up_logging
from projections.files import remove_own, write_private

if TYPE_CHECKING:
    import uvicorn

    from engine.console.app import Options
    from projections.desks import Desks

log = structlog.get_logger(__name__)
#: Fewer characters can be guessed.
TOKEN_LENGTH = 20


@click.command()
@settings.option("db", required=True)
@settings.option("console_port")
@settings.option("query_seconds")
@settings.option("refresh_seconds")
@settings.option("memory_limit", default="1GB")
@click.option(
    "--questions",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder with questions of your own, one .sql file each, its first line `-- <title>`.",
)
@settings.option(
    "datadir", help="Where copies of the file are kept meanwhile; a fresh temporary folder when not given."
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the token to log in with, such as a mounted secret; otherwise every start makes a new one.",
)
@click.option(
    "--url",
    metavar="URL",
    help="Where browsers find it, if not where it listens: https://console.example, behind a proxy that keeps the Host.",
)
@listening_options
@settings.telemetry_options
def console(
    *,
    db: Path,
    console_port: int,
    query_seconds: float,
    refresh_seconds: float,
    memory_limit: str,
    questions: Path | None,
    datadir: Path | None,
    token_file: Path | None,
    url: str | None,
    host: str,
    tls_certfile: Path | None,
    tls_keyfile: Path | None,
    behind_tls: bool,
    log_format: Any,
    log_level: str,
    metrics_host: str,
    metrics_port: int,
) -> None:
    """Show FILE in a browser, read-only, while a projector writes it or nobody does.

    It listens on 127.0.0.1 unless told otherwise and asks for the token that stands in FILE.console-token (mode 0600, a new
    one at every start), or in --token-file. Pages are answered from a copy that is renewed when the file has changed; every
    page says how old it is. A question that takes too long is ended, and cannot hold back the projector. Exit codes: 0
    stopped when asked to, 1 the file cannot be copied or the port is taken, 2 wrong usage.
    """
    from engine.console.app import Options
    from engine.console.asking import saved
    from projections import snapshot
    from projections.desks import Desks

    set_up_logging(log_format, log_level)
    require_encryption(host, tls_certfile, tls_keyfile, behind_tls=behind_tls)
    elsewhere, own = _elsewhere(url), saved(questions)
    with ExitStack() as stack:
        token = stack.enter_context(_token(db, token_file))
        listener = stack.enter_context(listen(host, console_port, "--console-port"))
        try:
            folder = snapshot.private_folder(datadir)
        except OSError as error:
            raise UsageError(f"--datadir {datadir}: {error.strerror}.") from error
        stack.callback(snapshot.discard, folder)
        desks = Desks(db, folder, memory_limit=memory_limit)
        health = Health()
        health.add("copy", lambda: (not desks.trouble, desks.trouble or "pages show the newest copy"))
        stack.enter_context(TelemetryServer(metrics_host, metrics_port, METRICS, health))
        place = _Place(listener, host, tls_certfile, tls_keyfile)
        options = Options(
            token.text, place.port, place.hosts | elsewhere, place.encrypted or (url or "").startswith("https:"),
            query_seconds, refresh_seconds, db.name, own,
        )  # fmt: skip
        asyncio.run(_serve(desks, options, db, token.file, place))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where it listens."""

    listener: socket.socket
    host: str
    certfile: Path | None
    keyfile: Path | None

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    @property
    def encrypted(self) -> bool:
        return self.certfile is not None

    @property
    def url(self) -> str:
        return f"http{'s' if self.encrypted else ''}://{self.host}:{self.port}/"

    @property
    def hosts(self) -> set[str]:
        """What a browser may call it."""
        return {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", self.host)}


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    file: Path


@contextmanager
def _token(db: Path, file: Path | None) -> Iterator[_Token]:
    """The token of --token-file, or a new one whose file is taken away at the end. Errors: UsageError."""
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--token-file {file}: {getattr(error, 'strerror', None) or 'it is no text'}.") from error
        if len(text) < TOKEN_LENGTH:
            raise UsageError(
                f"--token-file {file} holds {len(text)} characters, which is easily guessed: `openssl rand -hex 32` makes one."
            )
        yield _Token(text, file)
        return
    made = _Token(secrets.token_urlsafe(32), Path(f"{db}.console-token"))
    try:
        yield made
    finally:
        remove_own(made.file, made.text)


def _elsewhere(url: str | None) -> set[str]:
    """The host that browsers name instead. Errors: UsageError."""
    if url is None:
        return set()
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc or parts.path not in ("", "/"):
        raise UsageError(f"--url {url}: write scheme and host alone, such as https://console.example; it has no path.")
    return {parts.netloc.lower()}


async def _serve(desks: Desks, options: Options, db: Path, token_file: Path, place: _Place) -> None:
    """Take the first copy, say where to log in, answer until SIGTERM or SIGINT."""
    import uvicorn

    from engine.console.app import make_app

    await desks.refresh()
    if token_file == Path(f"{db}.console-token"):
        write_private(token_file, options.token)
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(desks, options), log_config=None, access_log=False, server_header=False, limit_concurrency=100,
            ssl_certfile=place.certfile, ssl_keyfile=place.keyfile,
        )
    )  # fmt: skip
    # uvicorn would end the process by the signal itself, before anything is put away.
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, _stop, server)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    click.echo(f"Console of {db}: {place.url}   log in with the token in {token_file}")
    log.info("console is open", url=place.url, stamp=desks.copy.stamp.short())
    await server.serve(sockets=[place.listener])


def _stop(server: uvicorn.Server) -> None:
    server.should_exit = True
