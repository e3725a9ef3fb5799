"""The reading room behind HTTP: what a DuckDB client talks to."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from engine.readers.room import Room

# A message holds one statement.
MESSAGE_BYTES = 1 << 20
CONNECTIONS_MOST = 500

log = structlog.get_logger(__name__)


def make_app(room: Room, refresh_s: float) -> Starlette:
    """The application; while it runs, the copy is kept fresh."""

    async def quack(request: Request) -> Response:
        data = b""
        async for part in request.stream():
            data += part
            if len(data) > MESSAGE_BYTES:
                return PlainTextResponse("A message may have 1 MB.", 413)
        return Response(await room.answer(data, request.is_disconnected), media_type="application/vnd.duckdb")

    async def banner(_: Request) -> Response:
        return PlainTextResponse("stammgast: named readers attach here, with DuckDB and a token.\n")

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        keeping = asyncio.create_task(room.keep(refresh_s))
        try:
            yield
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
            await room.close()

    routes = [Route("/quack", quack, methods=["POST"]), Route("/", banner)]
    return Starlette(routes=routes, lifespan=lifespan)


async def serve(
    room: Room, listener: socket.socket, refresh_s: float, *, certfile: Path | None = None, keyfile: Path | None = None
) -> None:
    """Take the first copy if there is a file yet, and answer until SIGTERM or SIGINT."""
    await room.look()
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(room, refresh_s), log_config=None, access_log=False, server_header=False,
            limit_concurrency=CONNECTIONS_MOST, ssl_certfile=certfile, ssl_keyfile=keyfile, timeout_graceful_shutdown=5,
        )
    )  # fmt: skip

    def stop() -> None:
        server.should_exit = True

    # uvicorn would end the process by the signal itself, before anything is put away.
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    await server.serve(sockets=[listener])
