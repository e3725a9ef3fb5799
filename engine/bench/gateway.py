"""The gateway under load, beside a bare Starlette handler that does the same produce: requests a second, p50 and p99.

The servers run as shipped, on uvicorn, in a process of their own; the load comes over loopback sockets that are kept open, from
another process that only writes requests and reads statuses, so that it costs little beside what it measures.

Fair, because both send each event with acks=all on an idempotent producer, keyed by its member, and answer when the brokers have
it. The bare handler has less: no key, no limit, no check of the event, no metrics, no problem documents.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.bench import data
from engine.bench.figures import Run
from engine.bench.jobs import Job, Tell
from engine.bench.stopwatch import Stopwatch
from engine.broker import free_port
from engine.gateway.content import STRUCTURED
from engine.gateway.keyfile import add_key
from engine.gateway.serving import GatewaySettings, Server, serve
from engine.stream.clients import Cluster
from engine.stream.topics import SHOP_EVENTS
from engine.telemetry import Health, Metrics

HOST = "127.0.0.1"
#: Requests at once: as many as keep a server busy, and as few as tills that ask for a member at the same moment.
CONNECTIONS, TILLS = 32, 4
#: Sent before anything is timed.
WARM_UP = 200
EVENTS, MEMBERS = "events", "members"
LOOK_S = 0.05


async def product(cluster: Cluster, job: Job, tell: Tell) -> Run:
    """Serve the gateway on a free port until the process is ended; tells the port and a key once it is ready."""
    with tempfile.TemporaryDirectory(prefix="stammgast-bench-") as folder:
        keys = Path(folder, "keys.yaml")
        scopes: dict[str, Any] = {"types": ["*"], "topic": SHOP_EVENTS, "events_per_second": 1e9, "signed": False}
        made = add_key(keys, "bench", sources=["*"], may=["publish", "read"], **scopes)
        health, port = Health(), free_port()
        settings = GatewaySettings(cluster, keys, HOST, port, job.prefix, clock="log")
        serving = asyncio.create_task(serve(settings, Metrics(with_process=False), health))
        while not health.ready()[0] and not serving.done():  # noqa: ASYNC110  it is a probe, nobody sets an event
            await asyncio.sleep(LOOK_S)
        await _listening(port)
        tell({"port": port, "key": made["secret"]})
        await serving
    return Run()


async def bare(cluster: Cluster, job: Job, tell: Tell) -> Run:
    """Serve the least that does the same produce, until the process is ended."""
    topic = job.prefix + SHOP_EVENTS
    async with cluster.producer(idempotent=job.transactions) as producer:

        async def events(request: Request) -> Response:
            body = await request.body()
            key = orjson.loads(body)["subject"].encode()
            await (await producer.send(topic, body, key=key))
            return Response(status_code=202)

        app, port = Starlette(routes=[Route("/events", events, methods=["POST"])]), free_port()
        config = uvicorn.Config(app, HOST, port, log_config=None, access_log=False, lifespan="off")
        serving = asyncio.create_task(Server(config).serve())
        await _listening(port)
        tell({"port": port, "key": "none"})
        await serving
    return Run()


async def _listening(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(LOOK_S)
        else:
            writer.close()
            return


async def load(_cluster: Cluster, job: Job, _tell: Tell) -> Run:
    """Ask a server `expected` times over CONNECTIONS connections; figures are milliseconds per request.

    Args:
        job: `file` says PORT KEY, `shape` what is asked: events or members.

    Errors: RuntimeError for an answer that is no success.
    """
    port, key = job.file.split(" ")
    make = _events if job.shape == EVENTS else _members
    await _ask(int(port), make(key, WARM_UP, 1), WARM_UP)
    requests = make(key, job.expected, 2)
    watch = Stopwatch()
    watch.start()
    waits = await _ask(int(port), requests, job.expected, CONNECTIONS if job.shape == EVENTS else TILLS)
    watch.stop()
    ordered = sorted(wait * 1_000 for wait in waits)
    return watch.run(len(waits), p50_ms=_at(ordered, 0.5), p99_ms=_at(ordered, 0.99), max_ms=ordered[-1])


def _events(key: str, count: int, seed: int) -> Iterator[bytes]:
    head = f"POST /events HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\nContent-Type: {STRUCTURED}\r\n"
    for raw in data.events(data.TWO_LINES, count, seed):
        yield head.encode() + b"Content-Length: %d\r\n\r\n" % len(raw) + raw


def _members(key: str, count: int, _seed: int) -> Iterator[bytes]:
    keys = sorted({orjson.loads(raw)["subject"] for raw in data.events(data.TWO_LINES, count)})
    for _, member in zip(range(count), cycle(keys), strict=False):
        yield f"GET /members/{member} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


async def _ask(port: int, requests: Iterator[bytes], count: int, at_once: int = TILLS) -> Sequence[float]:
    waits: list[float] = []

    async def one_by_one() -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        for request in requests:
            began = time.perf_counter()
            writer.write(request)
            await _success(reader)
            waits.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(one_by_one() for _ in range(min(at_once, count))))
    return waits


async def _success(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    status, length = int(head[9:12]), 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    body = await reader.readexactly(length)
    if not 200 <= status < 300:
        raise RuntimeError(f"{status}: {body[:300].decode('utf-8', 'replace')}")


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
