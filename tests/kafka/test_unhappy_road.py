"""Bad input on the whole live road, logs that are not there, and files of events that break off."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord
from click.testing import CliRunner, Result

from engine.cli import main
from engine.stream.clients import Cluster, send_values
from schemas.rejects import INTAKE_REASONS, KEEPER_REASONS
from tests.kafka.deployment import Deployment, Event, purchase, until
from tests.kafka.harness import create_topic, read_all
from tests.kafka.test_intake import bad_events, headers, late_events

pytestmark = pytest.mark.timeout(300)
COFFEE = str(Path(__file__).parents[2] / "rules" / "programmes" / "coffee-bar")
HEAD = {"specversion": "1.0", "id": "hollow", "source": "urn:test", "type": "stammgast.purchase.v1", "subject": "m1",
        "time": "2026-02-02T10:00:00.000000Z", "recordedat": "2026-02-02T10:00:00.000000Z", "bodyhash": "0"}  # fmt: skip
HOLLOW = json.dumps(HEAD | {"data": {}}).encode()
#: Written past intake, straight into `facts`: noise, JSON that is no fact, and a fact's head with nothing in it.
GARBAGE: list[tuple[bytes | None, bytes, int, list[tuple[str, bytes]]]] = [
    (None, b"\xff garbage", 1, []),
    (b"k", b"[]", 2, []),
    (b"m1", HOLLOW, 3, []),
]


def stammgast(*arguments: object) -> Result:
    """Run a verb in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def asked(db: Path, statement: str) -> list[dict[str, object]]:
    """Rows that `stammgast query` answers."""
    result = stammgast("query", "--db", db, "--format", "json", statement)
    assert result.exit_code == 0, result.output
    rows: list[dict[str, object]] = json.loads(result.stdout)
    return rows


def row_of(record: ConsumerRecord) -> tuple[object, ...]:
    """What the table of rejects must say about a record of `rejects`."""
    told = headers(record)
    places = int(told["stammgast-partition"]), int(told["stammgast-offset"])
    return told["stammgast-reason"], told["stammgast-field"] or None, told["stammgast-message"], *places


@pytest.mark.kafka
async def test_every_reject_reason_on_the_whole_road(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Given a bad record for every reason among good ones, then all are in the tables as refused and the good ones decided."""
    bad, late = bad_events(), late_events()
    inbound: list[Event | bytes] = []
    for number, (value, _) in enumerate(bad.values()):
        inbound += [purchase(f"good{number}", f"m{number}"), value]
    inbound += late
    reasons = Counter([*INTAKE_REASONS, *KEEPER_REASONS, *["quarantined"] * (len(GARBAGE) - 1)])
    db = tmp_path / "t.duckdb"

    with Deployment(cluster, prefix, partitions=1) as shop:
        worker = shop.start()
        await shop.ready(worker)
        projector = shop.project(db)
        await shop.publish(inbound)
        await shop.decided(len(bad) + 3)
        async with cluster.producer() as producer:
            await send_values(producer, shop.topic("facts"), 0, GARBAGE)
        await shop.publish([purchase("good-last", "m1")])

        async def loaded() -> bool:
            if not db.with_name(f"{db.name}.endpoint").exists():
                return False
            (told,) = asked(db, "select count(*) as n from decisions where fact_id = 'good-last'")
            (refused,) = asked(db, "select count(*) as n from rejects")
            return (told["n"], refused["n"]) == (1, reasons.total())

        await until("everything decided and loaded", loaded)
        records = await read_all(cluster, shop.topic("rejects"))
        assert [worker.end(), projector.end()] == [0, 0]

    table = asked(db, "select reason, field, message, partition, position from rejects")
    outcomes = asked(db, "select outcome, count(*) as n from decisions where member_id is not null group by all")
    points = asked(db, "select count(distinct fact_id) as n from points_entries where fact_id like 'good%'")
    assert Counter(headers(record)["stammgast-reason"] for record in records) == reasons
    assert sorted(map(row_of, records), key=repr) == sorted((tuple(row.values()) for row in table), key=repr)
    assert {record.value for record in records} >= {value for value, _ in bad.values()} | {row[1] for row in GARBAGE}
    assert {str(row["outcome"]): row["n"] for row in outcomes} == {
        "decided": len(bad) + 2,
        "rejected": 3,
        "duplicate": 1,
        "quarantined": 1,
    }
    assert points == [{"n": len(bad) + 1}]


MISSING = [
    ("publish", "{f}/e.jsonl"),
    ("tick", "--at", "2026-03-01T00:00:00Z"),
    ("dump", "--out", "{f}/x.jsonl"),
    ("rules", "publish", COFFEE),
]


@pytest.mark.parametrize("arguments", MISSING, ids=[row[0] for row in MISSING])
def test_logs_that_are_not_there_are_never_taken_for_empty_ones(
    embedded: str, prefix: str, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Every verb that needs a topic names the missing one and how to get it; exit code 2, nothing written."""
    # given
    (tmp_path / "e.jsonl").write_text(json.dumps(purchase("p1", "m1")) + "\n")

    # when
    filled = (argument.replace("{f}", str(tmp_path)) for argument in arguments)
    result = stammgast(*filled, "--bootstrap", embedded, "--topic-prefix", prefix)

    # then
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2, result.output
    assert f"has no topic {prefix}" in result.output
    assert "--topic-prefix" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["e.jsonl"]


BREAKS_OFF = {
    "bad line.jsonl": (1, ("bad line.jsonl:2", "no JSON", "Every line before it is published"), 1),
    "no object.jsonl": (1, ("no object.jsonl:2", "a JSON object"), 1),
    "cut.jsonl.gz": (1, ("cut.jsonl.gz", "damaged or cut off"), None),
    "garbled.jsonl.gz": (1, ("garbled.jsonl.gz",), None),
    "noise.jsonl": (1, ("noise.jsonl:1", "no JSON"), 0),
    "empty.jsonl": (0, ("No event in the file",), 0),
}


def broken_file(name: str) -> bytes:
    """The bytes of a file that breaks off in some way."""
    line = json.dumps(purchase("p1", "m1")).encode() + b"\n"
    packed = gzip.compress(
        b"".join(json.dumps(purchase(f"p{n}", "m1")).encode() + b"\n" for n in range(2_000)), mtime=0
    )
    half = len(packed) // 2
    return {
        "bad line.jsonl": line + b"no event\n" + line,
        "no object.jsonl": line + b"[1]\n" + line,
        "cut.jsonl.gz": packed[:half],
        "garbled.jsonl.gz": packed[:half] + b"\xff" * 300 + packed[half + 300 :],
        "noise.jsonl": b"\x00\xff\xfe" * 100 + b"\n",
        "empty.jsonl": b"",
    }[name]


@pytest.mark.parametrize("name", BREAKS_OFF)
async def test_a_file_that_breaks_off_is_published_up_to_there(
    embedded_cluster: Cluster, prefix: str, tmp_path: Path, name: str
) -> None:
    """The message names the file, and the line where there is one; what stands before it is in the topic, unchanged."""
    import asyncio

    # given
    code, words, published = BREAKS_OFF[name]
    path = tmp_path / name
    path.write_bytes(broken_file(name))
    topic = await create_topic(embedded_cluster, f"{prefix}shop-events", 1)
    where = ("--bootstrap", embedded_cluster.bootstrap, "--topic-prefix", prefix)

    # when: in a thread, because the command starts an event loop of its own
    result = await asyncio.to_thread(stammgast, "publish", path, *where)

    # then
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == code, result.output
    for word in words:
        assert word in result.output
    records = await read_all(embedded_cluster, topic)
    assert all(json.loads(record.value)["type"] == "stammgast.purchase.v1" for record in records)
    if published is not None:
        assert len(records) == published
