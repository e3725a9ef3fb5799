"""A Kafka of one or three nodes whose clients go through the proxy, while brokers and the auditor talk to them directly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from engine.broker import free_port
from tests.kafka.harness import KafkaCluster, KafkaNode

HEAP = {1: "512m", 3: "384m"}
ROOT = Path(__file__).parents[2]


class ChaosNode(KafkaNode):
    """A node with a second listener, which tells clients the proxy's address."""

    def __init__(self, number: int, folder: Path, heap: str) -> None:
        super().__init__(number, folder, heap)
        self.outside_port = free_port()
        self.proxy_port = free_port()
        self.away = False

    def _settings(self, voters: str, copies: int) -> dict[str, object]:
        inside, outside = f"PLAINTEXT://127.0.0.1:{self.port}", f"OUTSIDE://127.0.0.1:{self.outside_port}"
        return super()._settings(voters, copies) | {
            "listeners": f"{inside},{outside},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"{inside},OUTSIDE://127.0.0.1:{self.proxy_port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
        }


class ChaosCluster(KafkaCluster):
    """One or three nodes behind a proxy; a context manager. Errors: NoKafka with the reason."""

    def __init__(self, nodes: int) -> None:
        super().__init__(nodes)
        root = Path(self._folder.name)
        self.members = [ChaosNode(number, root / f"node-{number}", HEAP[nodes]) for number in range(1, nodes + 1)]
        self.nodes = [*self.members]
        self._proxy: subprocess.Popen[bytes] | None = None

    @property
    def through_proxy(self) -> str:
        """The bootstrap of everybody who shall suffer."""
        return ",".join(f"127.0.0.1:{node.proxy_port}" for node in self.members)

    def start(self) -> Self:
        """Start the proxy and all nodes, and wait until they answer."""
        pairs = [f"{node.proxy_port}:{node.outside_port}" for node in self.members]
        self._proxy = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.proxy", *pairs], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._proxy.stdout is not None
        assert self._proxy.stdout.readline() == b"ready\n", "the proxy did not start"
        return super().start()

    def network(self, node: ChaosNode, **wish: Any) -> None:
        """Tell the proxy what shall be wrong on the way to a node (tests/chaos/proxy.py)."""
        assert self._proxy is not None
        assert self._proxy.stdin is not None
        self._proxy.stdin.write(json.dumps({"port": node.proxy_port, **wish}).encode() + b"\n")
        self._proxy.stdin.flush()

    def heal(self) -> None:
        """Nothing is wrong on any way any more."""
        for node in self.members:
            self.network(node, latency_ms=0, stuck=False, refuse=False)

    def stop(self) -> None:
        """Stop the proxy and every node and remove their data; safe to call twice."""
        proxy, self._proxy = self._proxy, None
        if proxy is not None:
            proxy.kill()
            proxy.wait(10)
        super().stop()
