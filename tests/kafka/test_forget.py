"""A whole deployment forgets a person: afterwards every file that it wrote is searched byte by byte."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from engine.ledger.member import Sealed
from engine.stream.clients import Cluster, first_offset, read_partition
from engine.stream.topics import MEMBER_SNAPSHOTS, PROFILE_EVENTS, SHOP_EVENTS, TOPICS
from engine.vault.master import new_master, read_master
from engine.vault.store import KeyStore
from engine.vault.vault import vault_of
from schemas import facts
from schemas.envelope import parse_fact
from tests.kafka.deployment import Deployment, Event, Role, event, purchase, until
from tests.kafka.harness import KafkaCluster, read_all

pytestmark = pytest.mark.timeout(300)
#: Of a broker: what is over goes within a second, and not after minutes.
AT_ONCE = {"log.initial.task.delay.ms": 0, "log.retention.check.interval.ms": 1000, "log.segment.delete.delay.ms": 0}
PROGRAMME = Path(__file__).parent / "programmes" / "profiles"
STAFF = {"operator": "op-3", "reason": "lost_card"}
#: What is looked for afterwards. Too odd to stand anywhere by chance, and of every kind that a profile can hold.
ANNA = {"birthday": "1961-11-23", "region": "Quxhagen-Wolzig", "attributes": {"name": "Zebulonia Ypsilantis"}}
CARD = {"region": "Klopstockheim", "attributes": {"note": "kommt mit dem Dackel Xaverl"}}
PLANTED = ("1961-11-23", "Quxhagen-Wolzig", "Zebulonia Ypsilantis", "Klopstockheim", "Dackel Xaverl")
REFUSED = ("Brunhilde Zwickelmeier", "1958-02-31")
BEN = "Theodorus Quandt-Ybbs"


def told() -> list[Event]:
    """Profiles of three members, one of them by a card that becomes hers."""
    consents = {"mail": True}
    return [
        event("p-anna", "profile", "anna", {"language": "de", "consents": consents, **ANNA}),
        event("p-card", "profile", "card", {"language": "de", **CARD}),
        event("p-ben", "profile", "ben", {"language": "de", "attributes": {"name": BEN}}),
    ]


def refused() -> list[Event | bytes]:
    """What intake refuses, with personal data in it."""
    bad = event("p-bad", "profile", "cora", {"birthday": REFUSED[1], "attributes": {"name": REFUSED[0]}})
    return [bad, json.dumps(bad).encode()[:-20], f"{REFUSED[0]}, born {REFUSED[1]}".encode()]


def bought(name: str, when: str) -> list[Event]:
    """An order of each member."""
    return [purchase(f"{name}-{member}", member, "12.00", when=when) for member in ("anna", "ben", "card", "cora")]


def forms(text: str) -> Iterator[bytes]:
    """A text as it may stand in a file: plain, in other encodings, as hex, inside base64 at each of its three places."""
    raw = text.encode()
    yield from (raw, raw.upper(), text.encode("utf-16-le"), raw.hex().encode(), raw.hex().upper().encode())
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + raw)
        # Without the characters at its ends that also hold bits of what stands before and behind.
        yield whole[0 if shift == 0 else 4 : len(whole) - 4]


def key_forms(key: bytes) -> Iterator[bytes]:
    """A key, or a half of one, as it may stand in a file."""
    for part in (key, key[:16], key[16:]):
        yield from (part, part.hex().encode(), part.hex().upper().encode(), base64.b64encode(part)[:20])


def search(folders: Sequence[Path], needles: Sequence[bytes]) -> list[str]:
    """Where something is found: file and what."""
    found = []
    for folder in folders:
        for path in (folder, *folder.rglob("*")) if folder.is_dir() else (folder,):
            if path.is_file():
                # Kafka's index files are 10 MB of zeros each, and every needle would look at all of them.
                text = path.read_bytes().rstrip(b"\0") + bytes(64)
                found += [f"{path.name} in {path.parent.name}: {needle!r}" for needle in needles if needle in text]
    return found


async def in_records(cluster: Cluster, prefix: str, partitions: int, needles: Sequence[bytes]) -> list[str]:
    """Where something is found in what a consumer gets, decompressed: topic and what."""
    found = []
    for topic in TOPICS:
        for partition in range(topic.partitions or partitions):
            name = prefix + topic.name
            begin = await first_offset(cluster, name, partition)
            async for records in read_partition(cluster, name, partition, begin):
                for record in records:
                    headers = (part for header, raw in record.headers for part in (header.encode(), raw))
                    text = b"\n".join(part or b"" for part in (record.key, record.value, *headers))
                    found += [f"{topic.name}: {needle!r}" for needle in needles if needle in text]
    return found


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `stammgast`."""
    start = [sys.executable, "-c", "from engine.cli import main; main()"]
    return subprocess.run([*start, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)


async def a_day_passes(cluster: Cluster, topic: str) -> None:
    """Turn the retention of a topic down, so that the brokers do at once what they do when its time is over."""
    async with cluster.admin() as admin:
        settings = {"retention.ms": "1", "message.timestamp.type": "LogAppendTime"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, settings)])


@pytest.fixture
def tidy_kafka(kafka: str) -> Iterator[KafkaCluster]:
    """A Kafka of its own that removes at once what is over by its retention."""
    with KafkaCluster(more=AT_ONCE) as cluster:
        yield cluster


@dataclass
class World:
    """A deployment with its files: whatever it writes stands below one of these."""

    cluster: Cluster
    shop: Deployment
    kafka: list[Path]
    folder: Path

    def __post_init__(self) -> None:
        self.kept, self.tables, self.said = self.folder / "keys", self.folder / "tables", self.folder / "said"
        for folder in (self.kept, self.tables, self.said):
            folder.mkdir()
        self.master, self.keys, self.db = self.kept / "master.key", self.kept / "keys.db", self.tables / "t.duckdb"
        new_master(self.master)
        self.options = ["--profile-key-file", str(self.master), "--profile-keys", str(self.keys)]

    async def command(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run `stammgast` on this deployment; what it says is kept."""
        where = ("--bootstrap", self.cluster.bootstrap, "--topic-prefix", self.shop.prefix)
        done = await asyncio.to_thread(command, *arguments, *where)
        (self.said / f"{arguments[0]}-{len(list(self.said.iterdir()))}").write_text(done.stdout + done.stderr)
        return done

    def places(self) -> list[Path]:
        """Everything that was written: brokers, processes, keys, tables, what commands and metrics said."""
        return [*self.kafka, Path(self.shop._folder.name), self.kept, self.tables, self.said]

    def key_forms(self, *members: str) -> list[bytes]:
        """The keys of members, as they are and as they are wrapped, in every form."""
        store = KeyStore(self.keys, read_master(self.master))
        keys = [store.key_for(member, 1 << 60, 0)[1] for member in members]
        keys += [store._live(member)[1] for member in members]  # type: ignore[index]
        store.close()
        return [form for key in keys for form in key_forms(key)]


async def live(world: World) -> tuple[Role, Role]:
    """Given profiles, also refused ones, orders, a card that becomes anna's, snapshots and tables."""
    shop, cluster, prefix = world.shop, world.cluster, world.shop.prefix
    worker = shop.start(*world.options, "--checkpoint-decisions", "1", "--log-level", "debug")
    await shop.ready(worker)
    projector = shop.project(world.db)
    await shop.publish([*told(), *refused()], PROFILE_EVENTS)
    await until("profiles are facts", lambda: _facts_of(cluster, prefix, facts.PROFILE, 3))
    before, middle = bought("o1", "2026-02-03T10:00:00+01:00"), bought("o2", "2026-02-05T10:00:00+01:00")
    await shop.publish(before)
    await shop.everything_decided([*told(), *before])
    link = event("l1", "link", "card", {"member": "anna", **STAFF}, "2026-02-04T10:00:00+01:00")
    await shop.publish([link], "staff-events")
    await shop.everything_decided([*told(), *before, link])
    await shop.publish(middle)
    await shop.everything_decided([*told(), *before, link, *middle])
    await until("anna is in a snapshot", lambda: _snapshot_of(cluster, prefix, "anna"))
    return worker, projector


async def forget_card(world: World) -> None:
    """When the person of the card is forgotten."""
    asked = await world.command("forget", "card", "--yes", "--json", "--profile-keys", world.keys)
    assert asked.returncode == 0, asked.stderr
    said = json.loads(asked.stdout)
    assert (said["person"], said["keys"], said["destroyed"]) == ("anna", ["anna", "card"], 2)
    assert said["emptied"] == len(told()) + len(refused())


async def go_on(world: World) -> None:
    """And life goes on: orders, a copy of her profile that comes late, one where none may be."""
    shop, after = world.shop, bought("o3", "2026-02-06T10:00:00+01:00")
    await shop.publish([*after, *told()[:1]])
    await shop.publish(told()[:1], PROFILE_EVENTS)
    await shop.everything_decided(after)
    for reason in ("forgotten", "not_allowed"):
        await until(f"refused: {reason}", partial(_refused, world.cluster, shop.prefix, reason))


async def proven(world: World) -> None:
    """Then verify proves the logs and the tables with keys and without: anna's four, ben's three as well."""
    for options, given in ((world.options, 4), ([], 7)):
        proof = await world.command("verify", "--db", world.db, "--json", *options)
        assert proof.returncode == 0, proof.stdout + proof.stderr
        report = json.loads(proof.stdout)
        assert (report["proven"], report["as_given"]) == (True, given)


async def test_nothing_of_a_forgotten_person_is_left(tidy_kafka: KafkaCluster, prefix: str, tmp_path: Path) -> None:
    """Given profiles in a deployment, when a person is forgotten by one of her cards, then no topic, segment, table, log,
    metric or key store holds anything of her or of her keys, every sum is what it was, and the other profile opens."""
    cluster = Cluster(tidy_kafka.bootstrap)
    needles = [form for text in (*PLANTED, *REFUSED) for form in forms(text)]
    with Deployment(cluster, prefix, partitions=2, programme=PROGRAMME) as shop:
        world = World(cluster, shop, [node.folder for node in tidy_kafka.nodes], tmp_path)
        worker, projector = await live(world)
        gone = world.key_forms("anna", "card")
        # The search finds what is there: in clear in the inbound segment, wrapped in the key store.
        assert search(world.kafka, [PLANTED[2].encode()])
        assert search(world.kafka, [REFUSED[0].encode()])
        assert search([world.kept], gone)
        # Anna's own orders and the one that her card passed on: 12 + 5 + 2 each; the card's before it was hers: 12 + 5.
        sums = {"anna": 3 * 19 + 17, "ben": 2 * 17, "card": 0, "cora": 2 * 12}
        await until("the tables have it", lambda: _balances_are(world.db, sums))

        await forget_card(world)

        assert await _balances_are(world.db, sums)
        await go_on(world)
        later = {"anna": sums["anna"] + 24, "ben": sums["ben"] + 17, "card": 0, "cora": sums["cora"] + 12}
        await until("the tables have it", lambda: _balances_are(world.db, later))
        (world.said / "metrics").write_bytes(worker.ask("/metrics")[1] + projector.ask("/metrics")[1])
        await proven(world)
        assert [projector.end(), worker.end()] == [0, 0]
        for topic in (PROFILE_EVENTS, SHOP_EVENTS):
            await a_day_passes(cluster, prefix + topic)
        await until("the inbound segments are gone", lambda: _nothing(world.kafka, needles))
        assert search(world.places(), [*needles, *gone]) == []
        assert await in_records(cluster, prefix, 2, [*needles, *gone]) == []
        assert await _opened(world) == {"anna": None, "card": None, "ben": BEN}


async def _facts_of(cluster: Cluster, prefix: str, kind: str, count: int) -> bool:
    records = [record for part in range(2) for record in await read_all(cluster, f"{prefix}facts", part)]
    return sum(parse_fact(record.value).type == kind for record in records) >= count


async def _snapshot_of(cluster: Cluster, prefix: str, member: str) -> bool:
    records = [record for part in range(2) for record in await read_all(cluster, prefix + MEMBER_SNAPSHOTS, part)]
    return any(
        record.key == f"member:{member}".encode() and b'"profile"' in (record.value or b"") for record in records
    )


async def _refused(cluster: Cluster, prefix: str, reason: str) -> bool:
    records = [record for part in range(2) for record in await read_all(cluster, f"{prefix}rejects", part)]
    return any(dict(record.headers).get("stammgast-reason") == reason.encode() for record in records)


async def _nothing(data: Sequence[Path], needles: Sequence[bytes]) -> bool:
    return not await asyncio.to_thread(search, data, needles)


async def _balances_are(db: Path, wanted: dict[str, int]) -> bool:
    asking = "select member_id, available from balances order by 1"
    answer = await asyncio.to_thread(command, "query", asking, "--db", db, "--format", "json")
    found = json.loads(answer.stdout) if answer.returncode == 0 else []
    return {row["member_id"]: row["available"] for row in found} == wanted


async def _opened(world: World) -> dict[str, Any]:
    """The names in all profiles of the log, as far as their keys are there."""
    opens, names = vault_of(world.master, world.keys).opens(gone=None), {}
    for part in range(2):
        for record in await read_all(world.cluster, world.shop.topic("facts"), part):
            fact = parse_fact(record.value)
            if fact.type == facts.PROFILE:
                data = fact.data
                sealed = Sealed(fact.time_us, data["member"], fact.source, fact.id, data["key"], data["sealed"])
                profile = opens(sealed)
                names[data["member"]] = None if profile is None else profile.attributes.get("name")
    return names
