"""`stammgast deliver` on a real Kafka: what is said once, what is tried again, what a death leaves, and what is never told."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiokafka.structs import TopicPartition
from click.testing import CliRunner

from engine.cli import main
from engine.deliver.config import read_config
from engine.deliver.serving import DeliverSettings, serve
from engine.stream.clients import Cluster, KafkaTrouble
from engine.stream.topics import Layout, ensure
from engine.telemetry import Health, Metrics
from engine.vault.master import new_master
from projections.reading import ask_file
from schemas.notices import NoticeEvent, encode_event
from schemas.times import to_text
from tests.kafka.deployment import SESSION_S, Deployment, Role, event, purchase, until
from tests.kafka.harness import KafkaCluster, read_all
from tests.unit.deliver_world import SECRET, Received, Receiver, notice, receiving
from tests.unit.test_deliver_smtp import mail_server

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

PARTITIONS = 2
PROGRAMME = Path(__file__).parent / "programmes" / "moments"
_SHORT = f"from engine.deliver import serving; serving.SESSION_S = {SESSION_S}"
#: Notices soon that nothing is acknowledged.
_SOON = f"{_SHORT}; from engine.deliver import telling; telling.ACK_SECONDS = 3.0"


def configured(folder: Path, receiver: Receiver, **more: Any) -> Path:
    """A configuration with one webhook on this machine."""
    (folder / "push.whsec").write_text(SECRET + "\n")
    push = {
        "sender": "webhook", "url": receiver.url, "secret_files": ["push.whsec"], "allow_private": True, "allow_http": True,
        "first_retry_seconds": 0.1, "longest_retry_seconds": 0.2, "timeout_seconds": 60,
    }  # fmt: skip
    path = folder / "deliver.yaml"
    path.write_text(yaml.safe_dump({"channels": {"push": push | more}}))
    return path


def start(shop: Deployment, config: Path, *more: str) -> Role:
    """A process that delivers."""
    where = ("--bootstrap", shop.cluster.bootstrap, "--topic-prefix", shop.prefix, "--shutdown-seconds", "5")
    return shop.begin("deliver", [*where, "--config", str(config), *more])


async def made(shop: Deployment, notices: Iterable[NoticeEvent]) -> None:
    """Write notices as a keeper does: keyed by member, in a transaction, so that offsets have holes."""
    producer = shop.cluster.new_producer(transactional_id=f"{shop.prefix}makes-{time.time_ns()}")
    await producer.start()
    try:
        for one in notices:
            async with producer.transaction():
                await producer.send(shop.topic("incentives"), encode_event(one), key=one["subject"].encode())
    finally:
        await producer.stop()


async def outcomes(shop: Deployment) -> list[tuple[str, str, str | None]]:
    """(notice, outcome, reason) of everything told on app-events."""
    told = []
    for partition in range(PARTITIONS):
        for record in await read_all(shop.cluster, shop.topic("app-events"), partition):
            event = json.loads(record.value)
            assert (event["source"], record.key) == ("urn:deliver:stammgast", event["subject"].encode())
            told.append((event["data"]["notice"], event["data"]["outcome"], event["data"]["reason"]))
    return told


async def told(shop: Deployment, number: int) -> list[tuple[str, str, str | None]]:
    """The outcomes, once there are so many."""

    async def enough() -> bool:
        return len(await outcomes(shop)) >= number

    await until(f"{number} outcomes told", enough)
    return await outcomes(shop)


async def committed(shop: Deployment) -> int:
    """The sum of all offsets that are committed."""
    async with shop.cluster.admin() as admin:
        places = [TopicPartition(shop.topic("incentives"), number) for number in range(PARTITIONS)]
        found = await admin.list_consumer_group_offsets(f"{shop.prefix}stammgast-deliver", partitions=places)
    return sum(max(0, one.offset) for one in found.values())


async def deliver(shop: Deployment, *arguments: str) -> Any:
    """A command beside the process."""
    where = ["--bootstrap", shop.cluster.bootstrap, "--topic-prefix", shop.prefix]
    return await asyncio.to_thread(CliRunner().invoke, main, ["deliver", *arguments, *where])


async def begun(cluster: Cluster, prefix: str, patch: str = _SHORT) -> Deployment:
    """A deployment with its topics and no worker."""
    await ensure(cluster, Layout(prefix, PARTITIONS))
    return Deployment(cluster, prefix, PARTITIONS, patch=patch)


async def test_a_webhook_that_fails_at_first_gets_every_notice(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Given a receiver that answers each notice 503, then 429 with Retry-After, then takes it, and one that it never takes, then
    each is there, signed, with one outcome; the one that fails for good is a dead letter that can be tried again."""
    seen: Counter[str] = Counter()
    hopeless = notice(99, "bert")["id"]

    def behave(one: Received) -> tuple[int, dict[str, str]]:
        seen[one.id] += 1
        if one.id == hopeless:
            return 422, {}
        return {1: (503, {}), 2: (429, {"Retry-After": "0"})}.get(seen[one.id], (200, {}))

    notices = [notice(number, f"m{number % 7}") for number in range(20)]
    with receiving(behave) as receiver, await begun(cluster, prefix) as shop:
        role = start(shop, configured(tmp_path, receiver))
        await made(shop, [*notices, notice(99, "bert"), notice(98, "bert", channel="fax")])
        found = await told(shop, 22)
        listed = await deliver(shop, "dead", "list", "--json")
        before = json.loads(listed.output)
        receiver.behave = lambda _: (200, {})
        again = await deliver(shop, "dead", "retry", hopeless, "--config", str(tmp_path / "deliver.yaml"))
        after = json.loads((await deliver(shop, "dead", "list", "--json")).output)
        still = await deliver(shop, "dead", "retry", "--all", "--config", str(tmp_path / "deliver.yaml"))
        samples = role.samples()
        status = role.ask("/readyz")[0]
        code = role.end(60)
        log = role.said()

    assert sorted(one[0] for one in found if one[1] == "sent") == sorted(one["id"] for one in notices)
    assert {one for one in found if one[1] != "sent"} == {
        (hopeless, "failed", "status_422"),
        (notice(98)["id"], "failed", "no_sender"),
    }
    assert all(one.signed_by(SECRET) for one in receiver.got)
    assert {(one["id"], one["reason"]) for one in before} == {(hopeless, "status_422"), (notice(98)["id"], "no_sender")}
    assert again.exit_code == 0, again.output
    assert [one["id"] for one in after] == [notice(98)["id"]]
    assert still.exit_code == 1
    assert samples["stammgast_deliver_attempts_total", frozenset({("channel", "push"), ("answer", "later")})] == 40
    assert (status, code) == (200, 0)
    for secret in (SECRET, "bert", "m3"):
        assert secret not in log.replace(str(tmp_path), ""), f"{secret} stands in the log"


async def test_killed_between_the_post_and_the_commit(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Given a process that is killed while the receiver has the request and no answer went back, when another starts, then the
    same notice comes again under the same webhook-id; what was finished before does not, and nothing does after that."""
    waits = notice(1, "anna", not_before=to_text((time.time_ns() // 1_000) + 3_600_000_000))
    first = [notice(number, "anna") for number in (2, 3)]
    late = notice(4, "anna")
    with receiving() as receiver, await begun(cluster, prefix) as shop:
        config = configured(tmp_path, receiver)
        role = start(shop, config)
        # The first of the partition waits until tomorrow, so the group's offset stays before all the others.
        await made(shop, [waits, *first])
        await told(shop, 2)
        await until("it is noted what is finished", lambda: _noted(shop))
        receiver.behave = lambda _: None
        await made(shop, [late])
        await receiver.until(lambda got: any(one.id == late["id"] for one in got))
        role.kill()
        receiver.behave = lambda _: (200, {})
        receiver.over.set()
        other = start(shop, config)
        await told(shop, 3)
        await until("it is noted, too", lambda: _noted(shop, 3))
        assert other.end(60) == 0
        third = start(shop, config)
        more = notice(5, "anna")
        await made(shop, [more])
        found = await told(shop, 4)
        third.end(60)

    ids = Counter(receiver.ids())
    assert ids == Counter([one["id"] for one in first] + [late["id"]] * 2 + [more["id"]])
    assert Counter(one[0] for one in found) == Counter({one["id"]: 1 for one in (*first, late, more)})


async def _noted(shop: Deployment, finished: int = 2) -> bool:
    from engine.deliver.progress import decode

    async with shop.cluster.admin() as admin:
        places = [TopicPartition(shop.topic("incentives"), number) for number in range(PARTITIONS)]
        found = await admin.list_consumer_group_offsets(f"{shop.prefix}stammgast-deliver", partitions=places)
    done = [set(decode(one.offset, one.metadata or "")) for one in found.values()]
    # Between two notices lies the mark of a transaction, which counts as finished, too.
    return max((len(one) for one in done), default=0) >= 2 * finished - 1


async def test_a_broker_that_is_killed_and_comes_back(own_kafka: KafkaCluster, prefix: str, tmp_path: Path) -> None:
    """Given notices that are posted while the only broker is killed, when it is started again, then the process has said so and
    goes on by itself, every notice was sent and told, and whoever takes over sends none of them again."""
    notices, node = [notice(number, f"m{number}") for number in range(30)], own_kafka.nodes[0]
    with receiving(lambda _: None) as receiver, await begun(Cluster(own_kafka.bootstrap), prefix, _SOON) as shop:
        config = configured(tmp_path, receiver, concurrency=4)
        role = start(shop, config)
        await made(shop, notices[:20])
        await receiver.until(lambda got: len(got) >= 4)
        await asyncio.to_thread(node.stop, hard=True)
        receiver.behave = lambda _: (200, {})
        receiver.over.set()
        await until("it says that it cannot write", lambda: asyncio.to_thread(lambda: role.ask("/readyz")[0] == 503))
        own_kafka.restart(node)
        await asyncio.to_thread(own_kafka.wait)
        await made(shop, notices[20:])
        await until("all are told", lambda: _all_sent(shop, notices))
        await until("it is ready again", lambda: asyncio.to_thread(lambda: role.ask("/readyz")[0] == 200))
        assert role.end(60) == 0
        before, other, last = len(receiver.got), start(shop, config), notice(99, "m1")
        await made(shop, [last])
        await until("the last is told", lambda: _all_sent(shop, [*notices, last]))
        assert other.end(60) == 0

    assert set(receiver.ids()[:before]) == {one["id"] for one in notices}
    assert receiver.ids()[before:] == [last["id"]]


async def _all_sent(shop: Deployment, notices: list[NoticeEvent]) -> bool:
    return {one[0] for one in await outcomes(shop) if one[1] == "sent"} == {one["id"] for one in notices}


async def test_two_share_the_work_and_one_that_ends_hands_it_over(
    cluster: Cluster, prefix: str, tmp_path: Path
) -> None:
    """Given two processes of one group, when one is asked to end in the middle, then every notice is sent."""
    notices = [notice(number, f"m{number}") for number in range(60)]
    with receiving() as receiver, await begun(cluster, prefix) as shop:
        config = configured(tmp_path, receiver, concurrency=2)
        roles = [start(shop, config), start(shop, config)]
        await made(shop, notices[:30])
        await told(shop, 30)
        roles[0].signal(signal.SIGTERM)
        await made(shop, notices[30:])
        found = await told(shop, 60)
        codes = [roles[0].process.wait(60), roles[1].end(60)]

    assert codes == [0, 0]
    assert {one[0] for one in found if one[1] == "sent"} == {one["id"] for one in notices}
    assert set(receiver.ids()) == {one["id"] for one in notices}


async def test_from_a_purchase_to_a_click_in_the_tables(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Given members of whom half are held out and one consents to nothing, when they buy and one clicks, then exactly the others'
    notices are posted, and the tables tell each of them: made, held out, not consented, sent, clicked."""
    new_master(tmp_path / "master.key")
    keys = ("--profile-key-file", str(tmp_path / "master.key"), "--profile-keys", str(tmp_path / "keys.db"))
    members, db = [f"m{number}" for number in range(12)], tmp_path / "t.duckdb"
    profiles = [event(f"f-{who}", "profile", who, {"consents": {"push": who != "m0"}}) for who in members]
    bought = [purchase(f"p-{who}", who, when="2026-02-03T10:00:00+01:00") for who in members]
    with receiving() as receiver, Deployment(cluster, prefix, PARTITIONS, PROGRAMME, _SHORT) as shop:
        worker = shop.start(*keys)
        await shop.ready(worker)
        await shop.publish(profiles, "profile-events")
        await shop.everything_decided(profiles)
        await shop.publish(bought)
        await shop.everything_decided([*profiles, *bought])
        made_of = [one for decision in await shop.decisions() for one in decision.notices]
        told_of = {one.id: one.member_id for one in made_of if one.state == "made"}
        role, projector = start(shop, configured(tmp_path, receiver)), shop.project(db)
        sent = await told(shop, len(told_of))
        first = sent[0][0]
        click = {"notice": first, "outcome": "clicked", "channel": "push"}
        await shop.publish([event("c1", "notice_outcome", told_of[first], click)], "app-events")
        await until("all is in the tables", lambda: asyncio.to_thread(_told_by, db, len(told_of)))
        (row,) = ask_file(db, FUNNEL).all_rows()
        ((points,),) = ask_file(db, "select sum(points) from points_entries where rule_id = 'thanks'").all_rows()
        for one in (role, projector, worker):
            assert one.end(60) == 0

    held = sum(one.reason == "held_out" for one in made_of)
    assert sorted(receiver.ids()) == sorted(told_of)
    assert {json.loads(one.body)["subject"] for one in receiver.got} == set(told_of.values())
    assert 0 < held < len(members)
    assert "m0" not in told_of.values()
    pushed = sum(one.reason == "held_out" and one.channel == "push" for one in made_of)
    assert row == (len(told_of), len(told_of), 1, pushed)
    assert points == 5 * (len(members) - held)


FUNNEL = "select made, sent, clicked, held_out from notice_funnel where channel = 'push'"


def _told_by(db: Path, sent: int) -> bool:
    if not db.with_name(f"{db.name}.endpoint").exists():
        return False
    return any(row[1:3] == (sent, 1) for row in ask_file(db, FUNNEL).all_rows())


async def test_mails_and_what_is_over_and_what_is_no_notice(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Given a mail server that refuses one address, a notice that is over and a record that is none, then outcomes say so, and
    neither log nor topics nor metrics hold an address."""
    (tmp_path / "templates" / "birthday").mkdir(parents=True)
    (tmp_path / "templates" / "birthday" / "en.txt").write_text("Subject: {{ days }} days\n\n{{ points }} points\n")
    (tmp_path / "book.csv").write_text("member,address\nanna,anna.secret@example.org\n")
    with mail_server() as server, await begun(cluster, prefix) as shop:
        mail = {
            "sender": "smtp", "host": "127.0.0.1", "port": server.port, "tls": "none", "from": "s@shop.example",
            "templates": "templates", "addresses": {"csv": "book.csv"},
        }  # fmt: skip
        (tmp_path / "deliver.yaml").write_text(yaml.safe_dump({"channels": {"mail": mail}}))
        role = start(shop, tmp_path / "deliver.yaml")
        over = notice(2, "anna", "mail", expires_at="2026-03-05T00:00:00.000000Z")
        await made(shop, [notice(1, "anna", "mail"), over, notice(3, "nobody", "mail")])
        async with cluster.producer() as producer:
            await producer.send_and_wait(shop.topic("incentives"), b"{}", key=b"x")
        found = await told(shop, 3)

        async def all_dead() -> bool:
            return len(await read_all(cluster, shop.topic("dead-notices"), 0)) == 2

        await until("two dead letters", all_dead)
        metrics = role.ask("/metrics")[1]
        role.end(60)
        log = role.said()
        listed = await deliver(shop, "dead", "list")
        topics = [
            record.value
            for part in range(PARTITIONS)
            for record in await read_all(cluster, shop.topic("app-events"), part)
        ]
        topics += [record.value for record in await read_all(cluster, shop.topic("dead-notices"), 0)]

    assert {(one[0][-1], one[1], one[2]) for one in found} == {
        ("1", "sent", None),
        ("2", "expired", None),
        ("3", "failed", "no_address"),
    }
    assert [to for to, _ in server.mails] == ["anna.secret@example.org"]
    # What the alerts ask for.
    assert b'stammgast_deliver_overdue_seconds{channel="mail"} ' in metrics
    assert b'stammgast_deliver_dead_total{channel="mail",reason="no_address"} 1.0' in metrics
    assert "unreadable" in listed.output
    assert "no_address" in listed.output
    for place in (log.encode(), metrics, listed.output.encode(), *topics):
        assert b"anna.secret" not in place


async def test_without_topics_it_says_how_to_make_them(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """The process and its commands: one sentence, and nothing is made by asking."""
    with receiving() as receiver, Deployment(cluster, prefix) as shop:
        config = read_config(configured(tmp_path, receiver))
        settings = DeliverSettings(cluster, config, prefix=prefix)
        with pytest.raises(KafkaTrouble, match="stammgast topics create"):
            await serve(settings, Metrics(with_process=False), Health(), asyncio.Event())
        listed = await deliver(shop, "dead", "list")
    assert listed.exit_code == 2
    assert "stammgast topics create" in listed.output
