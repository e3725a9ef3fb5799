"""`stammgast dump`: the facts log as a file from which replay makes the very same decisions."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from engine.broker import free_port
from engine.cli import main
from engine.commands.tick import append
from engine.replay import Replay
from engine.stream.clients import Cluster, send_values
from engine.stream.topics import FACTS, POINTS_LOG, Layout, ensure
from rules.book import load_directory
from schemas.envelope import encode_fact
from schemas.facts import REFERRAL_AWARD, TICK
from schemas.times import to_us
from tests.kafka.deployment import Deployment, event, normal_form, purchase, until

PARTITIONS = 3


def dump(cluster: Cluster, prefix: str, out: Path, *more: str) -> Result:
    """Run the command."""
    arguments = ["--bootstrap", cluster.bootstrap, "--topic-prefix", prefix, "--out", str(out), *more]
    return CliRunner().invoke(main, ["dump", *arguments])


def whatif(cluster: Cluster, prefix: str, programme: Path, out: Path) -> Result:
    """Try the programme that is in force on what the logs hold, from the day on that all events have."""
    where = ["--bootstrap", cluster.bootstrap, "--topic-prefix", prefix, "--out", str(out), "--jobs", "2", "--json"]
    return CliRunner().invoke(main, ["whatif", str(programme), "--since", "2026-02-01", *where])


async def filled(cluster: Cluster, prefix: str, values: Mapping[int, Sequence[bytes | None]]) -> None:
    """A `facts` topic that holds these values."""
    layout = Layout(prefix, PARTITIONS)
    await ensure(cluster, layout)
    async with cluster.producer() as producer:
        for partition, lane in values.items():
            records = [(b"k", value, 1_770_000_000_000 + number, ()) for number, value in enumerate(lane)]
            await send_values(producer, layout.name(FACTS), partition, records)


def fact_value(number: int) -> bytes:
    """One fact as the log holds it."""
    return encode_fact(normal_form(purchase(f"p{number}", "m1")))


async def test_replay_of_a_dump_decides_as_the_worker_did(any_cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Given a live deployment with refunds, duplicates, referrals and a tick, when its facts are dumped and replayed, then the
    decisions are the bytes of its points log, partition by partition."""
    # given
    with Deployment(any_cluster, prefix, partitions=PARTITIONS) as shop:
        worker = shop.start()
        await shop.ready(worker)
        events = [event(f"r{n}", "referral", f"m{n:03d}", {"referrer": f"m{n + 1:03d}"}) for n in range(0, 20, 2)]
        events += [purchase(f"p{n}", f"m{n % 20:03d}", "30.00") for n in range(120)]
        back = {"order_id": "p7", "lines": [{"line": 1, "quantity": "1"}], "currency": "EUR"}
        events += [event("back", "refund", "m007", back), purchase("anonymous", None)]
        await shop.publish([*events, events[15]])
        await shop.everything_decided([*events, events[15]])
        await append(any_cluster, prefix, to_us("2028-01-01T00:00:00Z"))
        await until("the tick is decided", lambda: _ticks(shop))
        live = await shop.records(POINTS_LOG)
        derived = sum(decision.type == REFERRAL_AWARD for decision in await shop.decisions())
        out = tmp_path / "facts.jsonl.gz"

        # when
        result = await asyncio.to_thread(dump, any_cluster, prefix, out, "--json")
        tried = await asyncio.to_thread(whatif, any_cluster, prefix, shop.programme, tmp_path / "tried.duckdb")
        after = await shop.records(POINTS_LOG)

    # then
    assert result.exit_code == 0, result.output
    assert derived == 10, "without derived facts this proves less"
    replayed: dict[int, list[bytes]] = {number: [] for number in range(PARTITIONS)}
    with gzip.open(out) as lines:
        for batch in Replay(load_directory(shop.programme)).dump(iter(lines), out.name):
            for partition, value in zip(batch.decisions.partitions, batch.decisions.values, strict=True):
                replayed[partition].append(value)
    assert [replayed[number] for number in replayed] == [[record.value for record in lane] for lane in live]
    summary = json.loads(result.stdout)
    assert summary["facts"] == sum(len(lane) for lane in replayed.values())
    assert (summary["partitions"], summary["unreadable"]) == (PARTITIONS, 0)

    # The same programme in a shadow changes nothing, and nobody but its own file knows of it.
    assert tried.exit_code == 0, tried.output
    found = json.loads(tried.stdout)
    assert found["summary"][0]["members"] >= 20
    assert (found["summary"][0]["reached"], found["summary"][0]["points_more"]) == (0, 0)
    assert found["run"][0]["decisions_recorded"] > 100
    assert [len(lane) for lane in after] == [len(lane) for lane in live]


async def _ticks(shop: Deployment) -> bool:
    return sum(decision.type == TICK for decision in await shop.decisions()) == PARTITIONS


def test_the_same_log_gives_the_same_bytes(embedded_cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Lines stand by partition, then offset, the fact as it is in the log; plain or gzip, a second dump is the same file."""
    # given
    values = {2: [fact_value(5)], 0: [fact_value(number) for number in range(3)]}
    asyncio.run(filled(embedded_cluster, prefix, values))
    plain, packed, again = (tmp_path / name for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl.gz"))

    # when
    results = [dump(embedded_cluster, prefix, out) for out in (plain, packed, again)]

    # then
    assert [result.exit_code for result in results] == [0, 0, 0], results[0].output
    assert packed.read_bytes() == again.read_bytes()
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    lines = plain.read_bytes().splitlines()
    places: list[Any] = [orjson.loads(line) for line in lines]
    assert [(one["partition"], one["offset"]) for one in places] == [(0, 0), (0, 1), (0, 2), (2, 0)]
    assert [one["timestamp_ms"] for one in places[:2]] == [1_770_000_000_000, 1_770_000_000_001]
    assert lines[0].endswith(b',"fact":' + values[0][0] + b"}")
    assert "4 facts of 3 partitions" in results[0].output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl.gz", "c.jsonl.gz"]


def test_what_is_no_fact_is_left_out_and_counted(embedded_cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """A record that no engine wrote, which the worker quarantined, is not in the file; the summary says how many there were."""
    # given
    asyncio.run(filled(embedded_cluster, prefix, {1: [fact_value(1), b"not a fact", None, b"[1]", fact_value(2)]}))
    out = tmp_path / "facts.jsonl"

    # when
    result = dump(embedded_cluster, prefix, out, "--json")

    # then
    assert json.loads(result.stdout) | {"seconds": 0} == {
        "topic": f"{prefix}facts",
        "partitions": PARTITIONS,
        "facts": 2,
        "unreadable": 3,
        "programmes": None,
        "seconds": 0,
    }
    assert [orjson.loads(line)["offset"] for line in out.read_bytes().splitlines()] == [0, 4]


def test_without_logs_it_says_so_and_writes_nothing(embedded_cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """A topic that is not there is wrong usage, and asking does not create it."""
    # when
    result = dump(embedded_cluster, prefix, tmp_path / "facts.jsonl")

    # then
    assert result.exit_code == 2
    assert f"has no topic {prefix}facts" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_kafka_that_does_not_answer_is_one_message(tmp_path: Path) -> None:
    """Exit code 2, the address in the message, no file."""
    # given
    nobody = Cluster(f"127.0.0.1:{free_port()}")

    # when
    result = dump(nobody, "", tmp_path / "facts.jsonl")

    # then
    assert result.exit_code == 2
    assert nobody.bootstrap in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_message(embedded_cluster: Cluster, tmp_path: Path, prefix: str) -> None:
    """Exit code 2 with the path."""
    # when
    result = dump(embedded_cluster, prefix, tmp_path / "nowhere" / "facts.jsonl")

    # then
    assert result.exit_code == 2
    assert "nowhere" in result.output
    assert "cannot be written" in result.output


@pytest.mark.parametrize("flags", [[], ["--bootstrap", "localhost"], ["--bootstrap", "localhost:9092"]])
def test_wrong_usage_is_refused(flags: list[str]) -> None:
    """Without an address, with half of one, without a file: exit code 2."""
    # then
    assert CliRunner().invoke(main, ["dump", *flags]).exit_code == 2
