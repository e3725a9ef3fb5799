"""Other stream processors beside the worker: the same core over the same `facts`, each in an environment of its own.

Their programs are in `peers/` of a checkout and say why they are fair; `make bench-peers` makes the environments. What each wrote
must be what the worker wrote, byte for byte, in whatever order of the members.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import engine
from engine.bench.children import Command, MeasurementFailed
from engine.bench.jobs import PARTITIONS
from engine.stream.clients import Cluster, read_partition

ROOT = Path(engine.__file__).parents[1]
PROGRAMS = ROOT / "peers"
ENVIRONMENTS = ROOT / ".venv-peers"
HOW = "run `make bench-peers` in a checkout, which makes their environments"


@dataclass(frozen=True, slots=True)
class Peer:
    """One contender.

    Attributes:
        name: of the measurement, and what its program is told.
        environment: folder of its environment.
        program: file in `peers/`.
    """

    name: str
    environment: str
    program: str

    def command(self) -> Command:
        """How its process is started. Errors: MeasurementFailed where its environment is missing."""
        python = ENVIRONMENTS / self.environment / "bin" / "python"
        program = PROGRAMS / self.program
        if not (python.exists() and program.exists()):
            raise MeasurementFailed(f"{self.name}: {python} or {program} is not there: {HOW}")
        return Command((str(python), str(program)), {"PYTHONPATH": str(ROOT)})


QUIX = Peer("quix exactly-once", "quix", "rewards_quix.py")
QUIX_STATE = Peer("quix exactly-once, state kept", "quix", "rewards_quix.py")
QUIX_AT_LEAST_ONCE = Peer("quix at-least-once", "quix", "rewards_quix.py")
BYTEWAX = Peer("bytewax", "bytewax", "rewards_bytewax.py")
PEERS = (QUIX, QUIX_STATE, QUIX_AT_LEAST_ONCE, BYTEWAX)


def check() -> None:
    """Are all environments there? Errors: MeasurementFailed with how to make them."""
    for peer in PEERS:
        peer.command()


def versions() -> dict[str, str]:
    """What is locked for them: the frameworks and the Kafka client under each."""
    found = {}
    for environment in sorted({peer.environment for peer in PEERS}):
        lock = (PROGRAMS / f"{environment}.lock").read_text(encoding="utf-8")
        pins = dict(re.findall(r"^([\w-]+)==(\S+)", lock, flags=re.MULTILINE))
        framework = next(name for name in pins if name.startswith(environment))
        found[framework] = f"{pins[framework]} on confluent-kafka {pins['confluent-kafka']}"
    return found


def topic_of(peer: Peer) -> str:
    """Name of the topic it writes to, without the deployment's prefix."""
    return peer.name.replace(", ", "-").replace(" ", "-") + "-log"


async def written(cluster: Cluster, topic: str) -> str:
    """A digest of all values of a log, whatever their order and partition.

    Programme facts have no key, so each contender puts what it answers to them somewhere else; members keep their order in
    all of them, and the position of its fact is in every decision.
    """
    digests = []
    for partition in range(PARTITIONS):
        async for records in read_partition(cluster, topic, partition):
            digests += [blake2b(record.value, digest_size=16).digest() for record in records]
    return f"{len(digests)} values, {blake2b(b''.join(sorted(digests)), digest_size=16).hexdigest()}"
