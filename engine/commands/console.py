"""`stammgast console`: pages about members, points and money for a browser on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
import structlog

from engine import settings
from engine.settings import No, UsageError
from engine.telemetry import set_up_logging
from projections.files import remove_own, write_private

if TYPE_CHECKING:
    import uvicorn

    from engine.console.app import Options
    from projections.desks import Desks

log = structlog.get_logger(__name__)
HOST = "127.0.0.1"


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
@settings.option("log_format")
@settings.option("log_level")
def console(
    *,
    db: Path,
    console_port: int,
    query_seconds: float,
    refresh_seconds: float,
    memory_limit: str,
    questions: Path | None,
    datadir: Path | None,
    log_format: str,
    log_level: str,
) -> None:
    """Show FILE in a browser, read-only, while a projector writes it or nobody does.

    It listens on 127.0.0.1 only and asks for the token that stands in FILE.console-token (mode 0600, a new one at every
    start). Pages are answered from a copy that is renewed when the file has changed; every page says how old it is. A
    question that takes too long is ended, and cannot hold back the projector. Exit codes: 0 stopped when asked to, 1 the
    file cannot be copied or the port is taken, 2 wrong usage.
    """
    from engine.console.app import Options
    from engine.console.asking import saved
    from projections import snapshot
    from projections.desks import Desks

    set_up_logging(log_format, log_level)  # type: ignore[arg-type]  # click.Choice has checked it
    own = saved(questions)
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(console_port))
        try:
            folder = snapshot.private_folder(datadir)
        except OSError as error:
            raise UsageError(f"--datadir {datadir}: {error.strerror}.") from error
        stack.callback(snapshot.discard, folder)
        desks = Desks(db, folder, memory_limit=memory_limit)
        port, token = listener.getsockname()[1], secrets.token_urlsafe(32)
        options = Options(token, port, query_seconds, refresh_seconds, db.name, own)
        asyncio.run(_serve(desks, options, db, listener))


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise No(
            f"port {port} of {HOST} cannot be had ({error.strerror}): name another with --console-port, or 0 for a free one."
        ) from error
    return listener


async def _serve(desks: Desks, options: Options, db: Path, listener: socket.socket) -> None:
    """Take the first copy, say where to log in, answer until SIGTERM or SIGINT."""
    import uvicorn

    from engine.console.app import make_app

    await desks.refresh()
    token_file = Path(f"{db}.console-token")
    write_private(token_file, options.token)
    url = f"http://{HOST}:{options.port}/"
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(desks, options), log_config=None, access_log=False, server_header=False, limit_concurrency=100
        )
    )
    # uvicorn would end the process by the signal itself, before anything is put away.
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, _stop, server)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    click.echo(f"Console of {db}: {url}   log in with the token in {token_file}")
    log.info("console is open", url=url, stamp=desks.copy.stamp.short())
    try:
        await server.serve(sockets=[listener])
    finally:
        remove_own(token_file, options.token)


def _stop(server: uvicorn.Server) -> None:
    server.should_exit = True
