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


@pytest.mark.parametrize(("arguments", "words"), [(("--lake", "ducklake:x"), "one of both"), ((), "--db")])
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
