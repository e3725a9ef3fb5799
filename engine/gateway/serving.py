"""The gateway as a process: clients, the read model and the HTTP server, started and stopped in their order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import structlog
import uvicorn

from engine.gateway.app import WAIT_SECONDS, Rooms, create, wall_us
from engine.gateway.keys import Keyring
from engine.gateway.metrics import GatewayMetrics
from engine.gateway.model import ReadModel
from engine.gateway.publishing import Publisher
from engine.gateway.sending import Sender
from engine.ledger.members import LIVE_MEMBERS
from engine.stream.app import on_signals
from engine.stream.clients import Cluster
from engine.stream.generations import living
from engine.stream.topics import FACTS, Inbound, Layout, default_inbound, partition_count, require
from engine.telemetry import Health, Metrics
from engine.tuning import expect_a_large_calm_heap
from engine.vault.vault import NoVault, Vault
from schemas.normalise import MAX_CLOCK_SKEW_US, MAX_EVENT_BYTES

#: Requests under way that may end after a stop was asked for.
GRACE_SECONDS = 10
#: Connections at once; more are answered 503 by the server.
CONNECTIONS_MOST = 2_000
LOOK_SECONDS = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What a gateway needs to know; the command fills it from its options."""

    cluster: Cluster
    keys: Path
    host: str = "127.0.0.1"
    port: int = 8080
    prefix: str = ""
    inbound: Mapping[str, Inbound] = field(default_factory=default_inbound)
    clock: str = "wall"
    max_clock_skew_us: int = MAX_CLOCK_SKEW_US
    max_event_bytes: int = MAX_EVENT_BYTES
    live_members: int = LIVE_MEMBERS
    wait_seconds: float = WAIT_SECONDS
    certificate: Path | None = None
    certificate_key: Path | None = None
    vault: Vault = field(default_factory=NoVault)


class Server(uvicorn.Server):
    """Uvicorn's, which leaves the signals to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is caught here: `on_signals` has them."""
        yield


async def serve(settings: GatewaySettings, metrics: Metrics, health: Health) -> None:
    """Run until SIGTERM or SIGINT. Errors: KeyFileBroken, KafkaTrouble, OSError when the address cannot be had."""
    keyring = Keyring(settings.keys, wall_us)
    layout = Layout(settings.prefix, inbound=tuple(settings.inbound))
    partitions = await partition_count(settings.cluster, layout.name(FACTS))
    layout = await living(settings.cluster, Layout(settings.prefix, partitions, inbound=tuple(settings.inbound)))
    await require(settings.cluster, layout)
    counters = GatewayMetrics(metrics.registry)
    sender = Sender(settings.cluster)
    await sender.start()
    model = ReadModel(settings.cluster, layout, settings.live_members, opens=settings.vault.opens(gone=None))
    health.add("events", sender.probe)
    health.add("model", model.probe)
    publisher = Publisher(sender, layout, settings.inbound, settings.max_clock_skew_us, settings.max_event_bytes)
    rooms = Rooms(keyring, publisher, sender, model, counters, health, settings.clock, settings.wait_seconds)
    server = Server(_config(settings, rooms))
    on_signals(lambda: setattr(server, "should_exit", True))
    expect_a_large_calm_heap()
    running = [asyncio.create_task(model.run()), asyncio.create_task(_measure(model, counters))]
    log.info(
        "gateway starts", kafka=settings.cluster.bootstrap, at=f"{settings.host}:{settings.port}", topics=partitions
    )
    try:
        await server.serve()
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=2)
        await sender.stop()
        log.info("gateway stopped")


def _config(settings: GatewaySettings, rooms: Rooms) -> uvicorn.Config:
    return uvicorn.Config(
        create(rooms, version("stammgast")),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        limit_concurrency=CONNECTIONS_MOST,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.certificate_key,
    )


async def _measure(model: ReadModel, counters: GatewayMetrics) -> None:
    while True:
        fresh = model.freshness()
        counters.behind.set(sum(one.behind for one in fresh))
        counters.age.set(max((one.age_seconds for one in fresh), default=0.0))
        await asyncio.sleep(LOOK_SECONDS)
