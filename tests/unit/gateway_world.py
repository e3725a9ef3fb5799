"""A gateway without Kafka: what is sent is decided at once by the same core, and the read model follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from engine.gateway.app import Rooms, create
from engine.gateway.following import Follower
from engine.gateway.keyfile import add_key
from engine.gateway.keys import Keyring
from engine.gateway.limits import Limiter
from engine.gateway.metrics import GatewayMetrics
from engine.gateway.model import ReadModel
from engine.gateway.problems import Problem
from engine.gateway.publishing import Publisher
from engine.gateway.sending import Parcel
from engine.ledger.engine_facts import programme_fact
from engine.ledger.partition import Partition
from engine.stream.clients import Cluster
from engine.stream.topics import Layout, default_inbound
from engine.telemetry import Health
from rules.book import load_directory
from schemas.decisions import encode_decision
from schemas.envelope import Fact, encode_fact
from schemas.normalise import normalise
from schemas.times import to_text, to_us

TILL = Path(__file__).parents[1] / "kafka" / "programmes" / "till"
RIGHTS = ("publish", "quote", "redeem", "read", "rejects")
NOW_US = to_us("2026-02-02T10:00:00Z")


@dataclass
class World:
    """One partition, decided at once; `away` makes the brokers silent, `deaf` decides nothing."""

    folder: Path
    away: bool = False
    deaf: bool = False
    now_us: int = NOW_US
    sent: list[Parcel] = field(default_factory=list)

    def __post_init__(self) -> None:
        versions = {version.hash: version for version in load_directory(TILL)}
        self.seconds = 0.0
        self._keeper, self._offset, self._record = Partition(0, versions), 0, 0
        self.model = ReadModel(Cluster("nowhere:1"), Layout(partitions=1), 100, lambda: self.now_us // 1_000)
        self._follower = Follower(0, Partition(0, versions), 0, 0)
        self.model._followers = [self._follower]
        self.model.ready = True
        self.keys = self.folder / "keys.yaml"
        for version in versions.values():
            self.write(programme_fact(version, to_text(self.now_us)))

    def key(self, key_id: str = "till", **more: Any) -> str:
        """A key with every right, or as it is said; returns its secret."""
        scopes: dict[str, Any] = {
            "sources": ["urn:test"], "types": ["*"], "may": RIGHTS, "topic": "shop-events", "events_per_second": 1e6,
            "signed": False,
        }  # fmt: skip
        return str(add_key(self.keys, key_id, **scopes | more)["secret"])

    async def send(self, parcels: Sequence[Parcel]) -> list[Problem | None]:
        """What the sender does: all copies have it, or nobody knows."""
        if self.away:
            return [Problem("kafka_away", "no answer", retry_after=2)] * len(parcels)
        self.sent += parcels
        for parcel in parcels:
            self.write(normalise(parcel.value, to_text(self.now_us), self.now_us))
        return [None] * len(parcels)

    def write(self, fact: Fact) -> None:
        """Append a fact, decide it, and what follows from it, and let the read model hear of it."""
        todo = [fact]
        while todo and not self.deaf:
            one = todo.pop(0)
            answer = self._keeper.answer(one, self._offset)
            self._follower.feed_facts([SimpleNamespace(offset=self._offset, value=encode_fact(one))])
            for decision in answer.decisions:
                record = SimpleNamespace(offset=self._record, value=encode_decision(decision))
                self._follower.feed_decisions([record])
                self._record += 1
            self.model._heard(self._follower.fold())
            self._offset += 1
            todo += answer.derived

    def app(self) -> FastAPI:
        """The application; call it after the first key was made."""
        rooms = Rooms(
            Keyring(self.keys, lambda: self.now_us),
            Publisher(self, Layout(partitions=1), default_inbound()),  # type: ignore[arg-type]
            self,
            self.model,
            GatewayMetrics(CollectorRegistry()),
            Health(),
            wait_seconds=0.05,
            now_us=lambda: self.now_us,
            limiter=Limiter(lambda: self.seconds),
        )
        return create(rooms, "0")

    def client(self, secret: str | None, app: FastAPI | None = None) -> httpx.AsyncClient:
        """A client that shows a key; an error inside the application is an answer, not an exception."""
        transport = httpx.ASGITransport(app or self.app(), raise_app_exceptions=False)
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        return httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers)
