"""`stammgast projector` as a process: it serves what it writes, and leaves cleanly."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.broker import free_port
from engine.commands.projector import projector
from engine.commands.query import query
from engine.stream.clients import Cluster
from engine.stream.topics import Layout, ensure
from projections.server import endpoint_path
from projections.warehouse import DECISIONS, FACTS, Warehouse
from tests.projections import given
from tests.projections.test_projector import VISITS, send
from tests.projections.test_warehouse import small_disk

__all__ = ["small_disk"]

COMMAND = (sys.executable, "-c", "from engine.cli import main; main()", "projector")


def ask(file: Path, statement: str) -> list[list[str]]:
    """Rows of `stammgast query --format csv` without the header."""
    answer: Result = CliRunner().invoke(query, [statement, "--db", str(file), "--format", "csv"])
    assert answer.exit_code == 0, answer.output
    return list(csv.reader(io.StringIO(answer.stdout)))[1:]


def test_a_projector_serves_what_it_writes_and_stops_on_sigterm(embedded: str, prefix: str, tmp_path: Path) -> None:
    """A query finds the server beside the file; after SIGTERM the file is free, whole, and its endpoint is gone."""
    facts, decisions = given.records(VISITS)
    cluster, file = Cluster(embedded), tmp_path / "live.duckdb"

    async def fill() -> None:
        await ensure(cluster, Layout(prefix, partitions=1))
        await send(cluster, prefix + FACTS, facts)
        await send(cluster, prefix + DECISIONS, decisions)

    asyncio.run(fill())
    arguments = ("--bootstrap", embedded, "--topic-prefix", prefix, "--db", str(file), "--log-format", "json")
    with subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        started = next(line for line in process.stderr if "projector started" in line)
        threading.Thread(target=process.stderr.read, daemon=True).start()  # a full pipe would stop it
        while ask(file, "select count(*) from log_positions where position = 20") != [["2"]]:
            assert process.poll() is None
        balance = ask(file, "select member_id, available from balances")
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)

    assert started
    assert balance == [["anna", str(sum(range(1, 21)))]]
    assert code == 0
    assert not endpoint_path(file).exists()
    assert ask(file, "select member_id, available from balances") == balance


def test_an_unreachable_kafka_is_one_sentence(tmp_path: Path) -> None:
    """Exit code 2; not even an empty file is left behind, and --fresh sets nothing aside for nothing."""
    address = f"127.0.0.1:{free_port()}"
    kept = tmp_path / "kept.duckdb"
    Warehouse.open(kept).close()
    for arguments in (["--db", str(tmp_path / "a.duckdb")], ["--db", str(kept), "--fresh"]):
        answer = CliRunner().invoke(projector, ["--bootstrap", address, *arguments])

        assert answer.exit_code == 2
        assert f"no Kafka answers at {address}" in answer.output
        assert list(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize(("arguments", "words"), [(("--lake", "ducklake:x"), "not yet supported"), ((), "--db")])
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    """What cannot be is said before anything is touched."""
    db = ["--db", str(tmp_path / "a.duckdb")] if arguments else []
    answer = CliRunner().invoke(projector, ["--bootstrap", "127.0.0.1:1", *db, *arguments])

    assert (answer.exit_code, words in answer.output) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_held_file_is_exit_code_1(embedded: str, prefix: str, tmp_path: Path) -> None:
    """Two projectors never write one file."""
    file = tmp_path / "a.duckdb"
    asyncio.run(ensure(Cluster(embedded), Layout(prefix, partitions=1)))
    arguments = ("--bootstrap", embedded, "--topic-prefix", prefix, "--db", str(file))
    with Warehouse.open(file):
        run = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)

    assert run.returncode == 1
    assert f"PID {os.getpid()}" in run.stderr


def test_a_disk_that_fills_up_ends_it_and_loses_nothing(
    embedded: str, prefix: str, small_disk: Path, request: pytest.FixtureRequest
) -> None:
    """Given a projector at work, when its disk is full, then one sentence and exit code 1; with room again it goes on."""
    facts, decisions = given.records(
        [{"type": "visit", "id": f"v{n}", "subject": f"m{n}", "time": "2026-03-01T10:00:00Z"} for n in range(40_000)]
    )
    cluster, file, ballast = Cluster(embedded), small_disk / "live.duckdb", small_disk / "ballast"
    asyncio.run(ensure(cluster, Layout(prefix, partitions=1)))

    async def fill(start: int, end: int) -> None:
        await send(cluster, prefix + FACTS, facts[start:end])
        await send(cluster, prefix + DECISIONS, decisions[start:end])

    asyncio.run(fill(0, 100))
    ballast.write_bytes(os.urandom(8_000_000))
    arguments = ("--bootstrap", embedded, "--topic-prefix", prefix, "--db", str(file))
    with subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True) as process:
        request.addfinalizer(process.kill)
        assert process.stderr is not None
        assert any("projector started" in line for line in process.stderr)
        while ask(file, "select count(*) from log_positions where position >= 99") != [["2"]]:
            assert process.poll() is None
        asyncio.run(fill(100, len(facts)))
        said = process.stderr.read()
        code = process.wait(60)
    assert code == 1
    assert f"The disk that holds {file} is full" in said
    assert "Traceback" not in said
    assert not endpoint_path(file).exists()

    ballast.unlink()
    with Warehouse.open(file) as warehouse:
        reached = warehouse.positions(FACTS)[0]
        assert 99 <= reached < len(facts) - 1
        assert given.rows(warehouse, "select count(*) as n from facts") == [{"n": reached + 1}]
    with subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True) as process:
        request.addfinalizer(process.kill)
        assert process.stderr is not None
        assert any("projector started" in line for line in process.stderr)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        while ask(file, "select min(position) from log_positions") != [[str(len(facts) - 1)]]:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert ask(file, "select count(*) from facts") == [[str(len(facts))]]
