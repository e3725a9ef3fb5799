"""Other stream processors beside the worker: their environments are locked, their programs decide what ours decides."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from engine.bench import data, peers
from engine.bench.children import Command, MeasurementFailed, measured
from engine.bench.figures import NAMES, ONLY_NAMED, Report, Run
from engine.bench.jobs import Job
from engine.bench.report import RATES, TITLES
from engine.cli import main
from engine.stream.clients import Cluster, send_values
from schemas.decisions import encode_decision
from tests.kafka.harness import create_topic
from tests.unit.test_tidy import lock_findings

ROOT = Path(__file__).parents[2]
NOWHERE = Cluster("localhost:1")


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What all programs share; it needs none of the frameworks."""
    monkeypatch.syspath_prepend(str(peers.PROGRAMS))
    monkeypatch.setenv("STAMMGAST_BOOTSTRAP", "localhost:1")
    monkeypatch.delitem(sys.modules, "work", raising=False)
    return importlib.import_module("work")


def test_a_peer_decides_what_our_ledger_decides(work: ModuleType) -> None:
    """The same bytes and points, and it knows when it is done."""
    # given
    count = 60
    facts = list(data.facts(data.TWO_LINES, count))
    values = data.fact_values(data.TWO_LINES, count)
    ledger = data.fresh_ledger(data.programmes())
    first = ledger.next_offset
    ours = [ledger.answer(fact, first + place).decisions[0] for place, fact in enumerate(facts)]

    # when
    peer: Any = work.Work({"prefix": "p-", "partitions": 2, "expected": count})
    peer.ledgers[1] = data.fresh_ledger(data.programmes(), 1)
    theirs = [peer.answer(1, first + place, value) for place, value in enumerate(values)]

    # then
    assert theirs == [[encode_decision(decision)] for decision in ours]
    assert peer.points == sum(entry.points for decision in ours for entry in decision.entries) > 0
    assert peer.done


def test_the_environments_are_locked() -> None:
    """Hashes, no addresses, and the contender that was asked for."""
    for peer, distribution in (("quix", "quixstreams"), ("bytewax", "bytewax")):
        lock = (peers.PROGRAMS / f"{peer}.lock").read_text(encoding="utf-8")
        wanted = next(
            line.split()[0].replace("[kafka]", "")
            for line in (peers.PROGRAMS / f"{peer}.in").read_text(encoding="utf-8").splitlines()
            if line.startswith(distribution)
        )
        assert list(lock_findings(lock)) == []
        assert f"\n{wanted} " in f"\n{lock}"
        assert peers.versions()[distribution].startswith(wanted.partition("==")[2])


def test_every_program_is_there_and_says_why_it_is_fair() -> None:
    """Each contender has a program, its environment is one that the Makefile makes, and the report knows it."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for peer in peers.PEERS:
        assert "Fair, because" in (peers.PROGRAMS / peer.program).read_text(encoding="utf-8")
        assert f"$(PEERS)/{peer.environment}/.installed" in makefile
        assert RATES[peer.name] == ("facts/s", "peers worker")
        assert peer.name in TITLES
    assert len({peers.topic_of(peer) for peer in peers.PEERS}) == len(peers.PEERS)


def test_peers_are_measured_only_when_they_are_asked_for() -> None:
    """They want environments of their own, which `stammgast bench` alone cannot expect."""
    assert "peers" in NAMES
    assert "peers" in ONLY_NAMED


def test_without_their_environments_the_bench_says_how_to_make_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1 and the command, before anything is filled or measured."""
    # given
    monkeypatch.setattr(peers, "ENVIRONMENTS", tmp_path)

    # when
    with pytest.raises(MeasurementFailed, match="make bench-peers"):
        peers.BYTEWAX.command()

    # then
    monkeypatch.setattr(peers, "PEERS", (peers.BYTEWAX,))
    result = CliRunner().invoke(main, ["bench", "--only", "peers", "--runs", "1", "--facts", "100"])
    assert result.exit_code == 1
    assert "make bench-peers" in result.stderr


async def test_a_program_is_started_with_our_core_on_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its interpreter, its program, this checkout; what it tells is taken as any other contender's."""
    # given
    environment = tmp_path / "bytewax" / "bin"
    environment.mkdir(parents=True)
    (environment / "python").symlink_to(sys.executable)
    program = tmp_path / "stand_in.py"
    program.write_text(
        "import os, sys, orjson\n"
        "from engine.ledger.partition import Partition\n"
        "job = orjson.loads(sys.stdin.buffer.readline())\n"
        "assert os.environ['STAMMGAST_BOOTSTRAP'] == 'localhost:1' and Partition\n"
        "print(orjson.dumps({'run': {'records': job['expected'], 'seconds': 2.0}}).decode())\n"
    )
    monkeypatch.setattr(peers, "ENVIRONMENTS", tmp_path)
    monkeypatch.setattr(peers, "PROGRAMS", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(orjson.__file__).parents[1]))

    # when
    command = peers.Peer("bytewax", "bytewax", "stand_in.py").command()
    packages = f"{command.environment['PYTHONPATH']}:{Path(orjson.__file__).parents[1]}"
    run = await measured(Job("bytewax", expected=7), NOWHERE, Command(command.arguments, {"PYTHONPATH": packages}))

    # then
    assert (run.records, run.rate) == (7, 3.5)


async def test_what_was_written_is_compared_whatever_its_order(any_bench_cluster: Cluster) -> None:
    """Two logs with the same values are the same; one value more or another one is not."""
    # given
    names = [f"bench-written-{time.time_ns()}-{number}" for number in range(3)]
    for name in names:
        await create_topic(any_bench_cluster, name, 4)
    async with any_bench_cluster.producer() as producer:
        await send_values(producer, names[0], 0, [(None, b"a", None, ()), (None, b"b", None, ())])
        await send_values(producer, names[1], 0, [(None, b"b", None, ())])
        await send_values(producer, names[1], 3, [(None, b"a", None, ())])
        await send_values(producer, names[2], 0, [(None, b"a", None, ()), (None, b"a", None, ())])

    # when
    one, two, three = [await peers.written(any_bench_cluster, name) for name in names]

    # then
    assert one == two
    assert one != three


@pytest.fixture
def any_bench_cluster() -> Any:
    """The embedded broker."""
    from engine.broker import EmbeddedBroker

    with EmbeddedBroker() as broker:
        yield Cluster(broker.bootstrap)


def test_ahead_of_quix_and_bytewax_is_a_goal() -> None:
    """Each ratio is held against one."""
    # given
    report = Report()
    rates = {"peers worker": 100.0, "quix exactly-once": 80.0, "quix exactly-once, state kept": 50.0, "bytewax": 125.0}
    for name, rate in rates.items():
        report.add(name, Run(round(rate * 10), 10.0))

    # when
    goals = {goal.name: (goal.value, goal.met) for goal in report.goals()}

    # then
    assert goals == {
        "rewards: worker over Quix Streams, exactly-once": (1.25, True),
        "rewards: worker over Quix Streams, exactly-once and state kept": (2.0, True),
        "rewards: worker over Bytewax": (0.8, False),
    }
