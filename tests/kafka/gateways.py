"""A gateway process of a test deployment, its keys, and a client that speaks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from engine.broker import free_port
from engine.gateway.keyfile import add_key
from tests.kafka.deployment import Deployment, Role, until

EVERYTHING = ("publish", "quote", "redeem", "read", "rejects")


def make_key(
    path: Path,
    key_id: str = "till",
    sources: Sequence[str] = ("urn:test",),
    may: Sequence[str] = EVERYTHING,
    **more: Any,
) -> str:
    """A key with many rights; returns its secret."""
    scopes: dict[str, Any] = {"types": ["*"], "topic": "shop-events", "events_per_second": 1e6, "signed": False} | more
    return str(add_key(path, key_id, sources=sources, may=may, **scopes)["secret"])


class Gateway:
    """A `stammgast gateway` process and where it listens."""

    def __init__(self, shop: Deployment, keys: Path, *more: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        where = ("--bootstrap", shop.cluster.bootstrap, "--topic-prefix", shop.prefix, "--clock", "log")
        self.role: Role = shop.begin("gateway", [*where, "--keys", str(keys), "--port", str(self.port), *more])

    async def ready(self) -> None:
        """Wait until it takes events and knows the members."""

        async def is_ready() -> bool:
            return self.role.ask("/readyz")[0] == 200

        await until("the gateway is ready", is_ready)
        await until("the gateway listens", self._listens)

    async def _listens(self) -> bool:
        async with httpx.AsyncClient() as client:
            try:
                return (await client.get(f"{self.url}/healthz")).status_code == 200
            except httpx.HTTPError:
                return False

    @asynccontextmanager
    async def client(self, secret: str, timeout: float = 20.0) -> AsyncIterator[httpx.AsyncClient]:
        """A client that shows a key."""
        limits = httpx.Limits(max_connections=200)
        headers = {"Authorization": f"Bearer {secret}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=timeout, limits=limits) as client:
            yield client
