"""The roles work on a broker with exactly the rules of deploy/kafka/acls.sh, and may do nothing beside them."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import CreateAclsRequest_v1
from aiokafka.protocol.api import Request
from click.testing import CliRunner, Result

from engine.cli import main
from engine.settings import KafkaSecurity, Secret
from engine.stream.clients import Cluster, KafkaTrouble, read_partition, send_values
from tests.kafka.deployment import PROGRAMMES, Deployment, purchase, purchases, samples_of, until
from tests.kafka.gateways import Gateway, make_key
from tests.kafka.harness import KafkaCluster, Login
from tests.kafka.test_gateway import has
from tests.unit.test_gateway import STRUCTURED

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
SCRIPT = Path(__file__).parents[2] / "deploy" / "kafka" / "acls.sh"
ROLES = ("operator", "worker", "projector", "reader", "publisher", "gateway")
PASSWORD = "beans-and-milk"
PREFIX = "acl-"
PARTITIONS = 2
#: Numbers of Kafka's protocol: resource types, pattern types, operations; ALLOW is 3.
TYPES = {"--topic": 2, "--group": 3, "--transactional-id": 5}
PATTERNS = {"literal": 3, "prefixed": 4}
OPERATIONS = {"All": 2, "Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}


class CreateAcls(Request[CreateAclsRequest_v1]):
    """Several rules at once; aiokafka's own takes one."""

    API_KEY = 30

    def __init__(self, rules: list[tuple[int, str, int, str, str, int, int]]) -> None:
        self._rules = rules

    def build(self, request_struct_class: type[CreateAclsRequest_v1]) -> CreateAclsRequest_v1:
        """The request as it goes to the broker."""
        return request_struct_class(self._rules)


def rules_of(arguments: list[str]) -> Iterator[tuple[int, str, int, str, str, int, int]]:
    """What one call of kafka-acls asks for: a rule for each resource and operation."""
    pairs = list(itertools.pairwise(arguments))
    principal = next(value for flag, value in pairs if flag == "--allow-principal")
    pattern = PATTERNS[next((value for flag, value in pairs if flag == "--resource-pattern-type"), "literal")]
    for flag, name in pairs:
        if flag in TYPES:
            for operation in (value for word, value in pairs if word == "--operation"):
                yield TYPES[flag], name, pattern, principal, "*", OPERATIONS[operation], 3


def asked_for(role: str, folder: Path, *topics: str) -> list[tuple[int, str, int, str, str, int, int]]:
    """The rules that the script asks for; `kafka-acls` is a stand-in that writes down how it was called."""
    said = folder / f"{role}.jsonl"
    note = "import json, sys; open(sys.argv[1], 'a').write(json.dumps(sys.argv[2:]) + chr(10))"
    (folder / "kafka-acls.py").write_text(note, encoding="utf-8")
    stand_in = shlex.join([sys.executable, str(folder / "kafka-acls.py"), str(said)])
    environment = os.environ | {"KAFKA_ACLS": stand_in, "PREFIX": PREFIX}
    subprocess.run([str(SCRIPT), role, f"User:{role}", *topics], env=environment, check=True)
    return [rule for line in said.read_text(encoding="utf-8").splitlines() for rule in rules_of(json.loads(line))]


async def allow(cluster: Cluster, rules: list[tuple[int, str, int, str, str, int, int]]) -> None:
    """Write the rules into the broker."""
    async with cluster.admin() as admin:
        answer = await admin._send_request(CreateAcls(rules))
    assert {code for code, _ in answer.creation_responses} == {0}, answer


@pytest.fixture(scope="module")
def guarded(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A Kafka on which everybody has a login and only the rules of the script; the topics and the programme are there."""
    folder = tmp_path_factory.mktemp("acls")
    others = tuple((role, PASSWORD) for role in ROLES)
    with KafkaCluster(login=Login("nobody", PASSWORD, others, rules=True)) as cluster:
        asyncio.run(prepared(cluster, folder))
        yield cluster


async def prepared(guarded: KafkaCluster, folder: Path) -> None:
    """The rules, and what an operator does before anything runs, with the operator's own."""
    for role in ROLES:
        rules = asked_for(role, folder, *(["shop-events"] if role == "publisher" else []))
        await allow(Cluster(guarded.bootstrap), rules)
    for arguments in (
        ["topics", "create", "--partitions", str(PARTITIONS)],
        ["rules", "publish", str(PROGRAMMES / "coffee-bar")],
    ):
        done = await run(guarded, "operator", *arguments)
        assert done.exit_code == 0, done.output


def as_role(guarded: KafkaCluster, role: str) -> Cluster:
    """The broker, as this role sees it."""
    security = KafkaSecurity("SASL_SSL", "SCRAM-SHA-512", role, Secret(PASSWORD), guarded.nodes[0].certificate)
    return Cluster(guarded.secure_bootstrap, security)


async def run(guarded: KafkaCluster, role: str, *arguments: str) -> Result:
    """A command of ours, logged in as a role."""
    cluster = as_role(guarded, role)
    where = ["--bootstrap", cluster.bootstrap, "--topic-prefix", PREFIX]
    environment = cluster.security.environment()
    return await asyncio.to_thread(
        lambda: CliRunner().invoke(main, [*arguments[:1], *arguments[1:], *where], env=environment)
    )


async def test_every_role_does_its_work_with_its_rules(
    guarded: KafkaCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher's events are decided by a worker, stand in a projector's tables, are proven by a reader; a gateway takes one
    more, and knows its member; an operator ticks."""
    events = tmp_path / "events.jsonl"
    events.write_text("".join(json.dumps(one) + "\n" for one in purchases(60)), encoding="utf-8")
    cluster = Cluster(guarded.bootstrap)
    where = ["--bootstrap", guarded.secure_bootstrap, "--topic-prefix", PREFIX]

    def log_in(role: str) -> None:
        for name, value in as_role(guarded, role).security.environment().items():
            monkeypatch.setenv(name, value)

    with Deployment(cluster, PREFIX, partitions=PARTITIONS) as shop:
        log_in("worker")
        worker = shop.begin("worker", [*where, "--partitions", str(PARTITIONS), "--clock", "off"])
        await shop.ready(worker)
        log_in("projector")
        projector = shop.begin("projector", [*where, "--db", str(tmp_path / "t.duckdb")])
        published = await run(guarded, "publisher", "publish", str(events))
        assert published.exit_code == 0, published.output
        await shop.decided(60)
        await shop.audit()

        async def in_the_tables() -> bool:
            text = await asyncio.to_thread(lambda: projector.ask("/metrics")[1])
            lags = [value for (name, _), value in samples_of(text).items() if name == "stammgast_projector_lag_records"]
            return bool(lags) and not any(lags)

        await until("all is in the tables", in_the_tables)
        log_in("gateway")
        secret = make_key(tmp_path / "keys.yaml")
        gateway = Gateway(shop, tmp_path / "keys.yaml", *where)
        await gateway.ready()
        async with gateway.client(secret) as client:
            sent = await client.post("/events", json=purchase("by-http", "gina"), headers=STRUCTURED)
            assert sent.status_code == 202, sent.text
            await has(client, "gina", 12)
            assert (await client.get("/rejects?source=urn:test")).status_code == 200
        ticked = await run(guarded, "operator", "tick", "--at", "2026-03-01T00:00:00Z")
        assert ticked.exit_code == 0, ticked.output
        dumped = await run(guarded, "reader", "dump", "--out", str(tmp_path / "facts.jsonl"))
        proven = await run(guarded, "reader", "verify")
        assert worker.end() == 0
    assert dumped.exit_code == 0, dumped.output
    assert proven.exit_code == 0, proven.output


async def refused(guarded: KafkaCluster, role: str, *, write: str = "", read: str = "", name: str = "") -> str:
    """The error that a role gets who tries this; empty when it may."""
    cluster = as_role(guarded, role)
    topic = PREFIX + (write or read)
    try:
        async with asyncio.timeout(90):
            if read:
                async for _ in read_partition(cluster, topic, 0):
                    pass
            else:
                settings: dict[str, Any] = {"transactional_id": name} if name else {}
                async with cluster.producer(**settings) as producer:
                    if name:
                        await producer.begin_transaction()
                    await send_values(producer, topic, 0, [(b"k", b"v", None, ())])
                    if name:
                        await producer.abort_transaction()
    except (KafkaError, KafkaTrouble, TimeoutError) as error:
        return type(error).__name__
    return ""


@pytest.mark.parametrize(
    ("role", "what"),
    [
        ("publisher", {"write": "facts"}),
        ("publisher", {"write": "staff-events"}),
        ("publisher", {"read": "points-log"}),
        ("projector", {"write": "facts"}),
        ("projector", {"write": "points-log"}),
        ("projector", {"read": "profile-events"}),
        ("reader", {"write": "facts"}),
        ("reader", {"read": "profile-events"}),
        ("worker", {"write": "staff-events"}),
        ("worker", {"write": "programmes"}),
        ("worker", {"write": "facts", "name": "somebody-else"}),
        ("gateway", {"write": "staff-events"}),
        ("gateway", {"write": "facts"}),
        ("nobody", {"read": "facts"}),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else value,
)
async def test_a_role_may_do_nothing_beside_its_work(guarded: KafkaCluster, role: str, what: dict[str, str]) -> None:
    """The broker refuses it."""
    assert await refused(guarded, role, **what) not in {"", "TimeoutError"}


async def test_what_is_allowed_is_allowed(guarded: KafkaCluster) -> None:
    """The same attempts succeed where the rules say so: the refusals above are about rights and nothing else."""
    assert await refused(guarded, "publisher", write="shop-events") == ""
    assert await refused(guarded, "reader", read="points-log") == ""
    assert await refused(guarded, "worker", write="rejects", name=f"{PREFIX}stammgast-rewards-7") == ""


def test_a_role_that_does_not_exist_is_wrong_usage() -> None:
    """Exit code 2 and how to say it; nothing is asked of the broker."""
    done = subprocess.run([str(SCRIPT), "king", "User:x"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "ROLE PRINCIPAL" in done.stderr
