"""`stammgast publish`: a file's order per member, acknowledged, with one clear message for everything that goes wrong."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.broker import free_port
from engine.commands.publish import publish
from engine.stream.clients import Cluster, partition_for
from tests.kafka.harness import create_topic, read_all

PARTITIONS = 3


def event(number: int, subject: str | None, order: str = "o1") -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": str(number),
        "source": "urn:test",
        "type": "stammgast.purchase.v1",
        "subject": subject,
        "time": "2026-01-01T10:00:00+00:00",
        "data": {"order_id": order},
    }


def write_events(path: Path, events: list[dict[str, object]]) -> Path:
    content = "".join(json.dumps(one) + "\n" for one in events).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(publish, [str(argument) for argument in arguments])


@pytest.fixture
async def topic(any_cluster: Cluster, prefix: str) -> str:
    return await create_topic(any_cluster, f"{prefix}shop-events", PARTITIONS)


async def in_thread(*arguments: object) -> Result:
    """The command starts an event loop of its own, so it runs in a thread of the test's."""
    import asyncio

    return await asyncio.to_thread(run, *arguments)


@pytest.mark.parametrize("name", ["events.jsonl", "events.jsonl.gz"])
async def test_events_keep_the_order_of_the_file(
    any_cluster: Cluster, topic: str, prefix: str, tmp_path: Path, name: str
) -> None:
    """Plain or gzipped: every member's events arrive in file order, in the partition of the member's key, unchanged."""
    events = [event(number, f"member-{number % 50}") for number in range(12_000)]
    path = write_events(tmp_path / name, events)

    result = await in_thread(path, "--bootstrap", any_cluster.bootstrap, "--topic-prefix", prefix, "--json")

    assert result.exit_code == 0, result.output
    summary = json.loads(result.output)
    assert summary["events"] == sum(summary["partitions"].values()) == 12_000
    assert summary["keys"] == {"subject": 12_000}
    arrived = defaultdict(list)
    for partition in range(PARTITIONS):
        for record in await read_all(any_cluster, topic, partition):
            one = json.loads(record.value)
            assert record.key.decode() == one["subject"]
            assert partition == partition_for(record.key, PARTITIONS)
            arrived[one["subject"]].append(one)
    wanted = defaultdict(list)
    for one in events:
        wanted[str(one["subject"])].append(one)
    assert arrived == wanted


async def test_an_anonymous_sale_is_keyed_by_its_order(
    any_cluster: Cluster, topic: str, prefix: str, tmp_path: Path
) -> None:
    """Without a subject the order's key decides the partition, so its refund follows the same road."""
    path = write_events(tmp_path / "e.jsonl", [event(1, None, "A7"), event(2, None, "A7")])

    result = await in_thread(path, "--bootstrap", any_cluster.bootstrap, "--topic-prefix", prefix)

    assert result.exit_code == 0, result.output
    assert "2 events published" in result.output
    key = b"order:urn:test:A7"
    records = await read_all(any_cluster, topic, partition_for(key, PARTITIONS))
    assert [record.key for record in records] == [key, key]


@pytest.mark.parametrize(("line", "said"), [("{oops", "no JSON"), ("[1]", "an event is a JSON object")])
async def test_an_unreadable_line_is_named(
    embedded_cluster: Cluster, prefix: str, tmp_path: Path, line: str, said: str
) -> None:
    """A line that is no JSON object ends the run with file:line and exit code 1; what stands before it is published."""
    topic = await create_topic(embedded_cluster, f"{prefix}shop-events")
    path = write_events(tmp_path / "e.jsonl", [event(1, "m1"), event(2, "m1")])
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n" + json.dumps(event(3, "m1")) + "\n")

    result = await in_thread(path, "--bootstrap", embedded_cluster.bootstrap, "--topic-prefix", prefix)

    assert result.exit_code == 1
    assert f"{path}:3:" in result.output
    assert said in result.output
    assert len(await read_all(embedded_cluster, topic)) == 2


async def test_a_cut_off_archive_is_named(embedded_cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """A gzip file that ends too early is reported as such, exit code 1."""
    await create_topic(embedded_cluster, f"{prefix}shop-events")
    path = write_events(tmp_path / "e.jsonl.gz", [event(number, "m1") for number in range(2_000)])
    path.write_bytes(path.read_bytes()[:-200])

    result = await in_thread(path, "--bootstrap", embedded_cluster.bootstrap, "--topic-prefix", prefix)

    assert result.exit_code == 1
    assert "damaged or cut off" in result.output


async def test_an_unknown_topic_is_not_created(embedded_cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """A topic that does not exist is refused with exit code 2 and a way to mend it."""
    path = write_events(tmp_path / "e.jsonl", [event(1, "m1")])

    result = await in_thread(path, "--bootstrap", embedded_cluster.bootstrap, "--topic-prefix", prefix)

    assert result.exit_code == 2
    assert f"has no topic {prefix}shop-events" in result.output
    assert "stammgast topics create" in result.output


def test_an_unreachable_broker_is_one_clear_message(tmp_path: Path) -> None:
    """Where nothing listens the command says so, with the address, and leaves with exit code 2."""
    path = write_events(tmp_path / "e.jsonl", [event(1, "m1")])
    nobody = f"127.0.0.1:{free_port()}"

    result = run(path, "--bootstrap", nobody)

    assert result.exit_code == 2
    assert f"no Kafka answers at {nobody}" in result.output
    assert "Traceback" not in result.output


def test_the_engines_own_topics_are_not_for_publishing(tmp_path: Path) -> None:
    """facts, points-log and the like take nothing from outside."""
    path = write_events(tmp_path / "e.jsonl", [event(1, "m1")])

    result = run(path, "--bootstrap", "127.0.0.1:1", "--topic", "facts")

    assert result.exit_code == 2
    assert "only the engine writes there" in result.output


def test_a_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    """A file that is not there is reported by name."""
    result = run(tmp_path / "nothing.jsonl", "--bootstrap", "127.0.0.1:1")

    assert result.exit_code == 2
    assert "nothing.jsonl" in result.output
