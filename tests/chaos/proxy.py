"""A TCP proxy that can be slow, stuck or rude: `python -m tests.chaos.proxy LISTEN:TARGET ...`, told what to do on stdin.

Each line on stdin is one JSON object about one listening port: {"port": 4001, "latency_ms": 200, "stuck": false,
"refuse": false, "reset": true}. What is left out stays as it is; `reset` ends every connection with a TCP reset, once. The
end of stdin ends the proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import sys
from dataclasses import dataclass, field
from typing import Any

CHUNK_BYTES = 256 * 1024
#: Chunks on their way through one direction of a connection: bounds memory while a side is slow.
WAITING_CHUNKS = 64
#: SO_LINGER on, zero seconds: closing throws away what is unsent and answers with a reset.
RUDELY = struct.pack("ii", 1, 0)


@dataclass(eq=False)
class Gate:
    """One listening port and what is wrong with it."""

    port: int
    target: int
    latency_s: float = 0.0
    refuse: bool = False
    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either side ends."""
        if self.refuse:
            return rude(writer)
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.target, limit=CHUNK_BYTES)
        except OSError:
            return rude(writer)
        self.open |= {writer, to_writer}
        try:
            await asyncio.gather(self.carry(reader, to_writer), self.carry(to_reader, writer))
        finally:
            self.open -= {writer, to_writer}

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction: what comes goes on after the latency; the end or a reset of one side ends the other."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(WAITING_CHUNKS)

        async def hand_on() -> None:
            while True:
                due, chunk = await waiting.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                await self.flowing.wait()
                if not chunk:
                    return
                writer.write(chunk)
                await writer.drain()

        handing = asyncio.create_task(hand_on())
        with contextlib.suppress(OSError):
            while True:
                chunk = await reader.read(CHUNK_BYTES)
                await waiting.put((loop.time() + self.latency_s, chunk))
                if not chunk or handing.done():
                    break
            await handing
        handing.cancel()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await handing
        with contextlib.suppress(OSError):
            writer.close()

    def told(self, wish: dict[str, Any]) -> None:
        """Change what is wrong."""
        self.latency_s = wish.get("latency_ms", self.latency_s * 1000) / 1000
        self.refuse = wish.get("refuse", self.refuse)
        if "stuck" in wish:
            (self.flowing.clear if wish["stuck"] else self.flowing.set)()
        if wish.get("reset"):
            for writer in list(self.open):
                rude(writer)


def rude(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset."""
    with contextlib.suppress(OSError, AttributeError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RUDELY)
    writer.transport.abort()


async def serve(pairs: list[tuple[int, int]]) -> None:
    """Listen on every port and do what stdin says, until it ends."""
    gates = {port: Gate(port, target) for port, target in pairs}
    for gate in gates.values():
        gate.flowing.set()
        await asyncio.start_server(gate.connected, "127.0.0.1", gate.port, limit=CHUNK_BYTES)
    wishes = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(wishes)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while line := await wishes.readline():
        wish = json.loads(line)
        gates[wish["port"]].told(wish)


if __name__ == "__main__":
    asyncio.run(serve([(int(one), int(other)) for one, other in (pair.split(":") for pair in sys.argv[1:])]))
