"""Many readers ask while the tables are written: ``python -m tests.readers.measure_readers --readers 20 --rate 5000``.

A writer in a process of its own applies facts with their decisions at a rate, as a projector does; named readers, each a client
of its own in this one, ask one question after the other through `stammgast readers serve`; with --runaway one more asks what
never ends. Printed are questions, failures, seconds an answer took, how old its rows were, how far the writer fell behind its
rate, and CPU seconds, which a busy
machine changes least.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import duckdb

from engine.readers import book
from projections import sql
from projections.server import load_extensions
from projections.warehouse import Record, Warehouse
from tests.projections import given

QUESTIONS = (
    "select segment, count(*) from rfm_segments group by segment",
    "select count(*), sum(available) from balances",
    "select tier, count(*) from tiers group by tier",
    "from liability_as_of(timestamptz '2026-03-02')",
    "select count(*) filter (where flagged) from churn_flags",
)
RUNAWAY = "select count(*) from range(100000) a, range(100000) b, range(100000) c"
BATCH = 2_500
SPAWN = multiprocessing.get_context("spawn")
QUERY_SECONDS = 60
NEWEST = "select count(*) from facts"


@dataclass
class Told:
    """What happened."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    behind: list[float] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    written: int = 0


def write(db: Path, members: int, rate: int, seconds: int, told: Connection) -> None:
    """Apply batches at a rate; tell what is written and how late each batch was over, then the process's CPU seconds."""
    facts, decisions = shop(rate * seconds, members)
    with Warehouse.open(db, log_id="measure", threads=2) as warehouse:
        told.send(None)
        told.recv()
        began, used = time.monotonic(), time.process_time()
        for start in range(0, len(facts), BATCH):
            time.sleep(max(0.0, began + start / rate - time.monotonic()))
            warehouse.apply(facts[start : start + BATCH], decisions[start : start + BATCH])
            told.send((start + BATCH, max(0.0, time.monotonic() - began - (start + BATCH) / rate)))
        told.send(time.process_time() - used)


def shop(count: int, members: int) -> tuple[list[Record], list[Record]]:
    """Purchases of a day, each with its decision."""
    return given.records(
        {"type": "purchase", "id": f"p{n}", "subject": f"m{n % members}", "time": f"2026-03-01T{n % 24:02}:00:00Z",
         "data": {"total_minor": 100 + n % 900, "lines": []},
         "decision": {"entries": [{"entry_id": f"e{n}", "points": 1 + n % 9, "rule_id": "base"}]}}
        for n in range(count)
    )  # fmt: skip


def follow(writer: Connection, told: Told) -> float:
    """Take in what the writer tells until its end; returns its CPU seconds."""
    while isinstance(said := writer.recv(), tuple):
        told.written = said[0]
        told.behind.append(said[1])
    return float(said)


def ask(uri: str, token: str, first: int, told: Told, stop: threading.Event) -> None:
    """Ask one question after the other."""
    with duckdb.connect(config={"threads": 1}) as client:
        load_extensions(client)
        number = first
        while not stop.is_set():
            number += 1
            question = NEWEST if number % 6 == 0 else QUESTIONS[number % len(QUESTIONS)]
            parameters, before, began = {"uri": uri, "query": question, "token": token}, told.written, time.monotonic()
            try:
                rows = client.execute(sql.statements("serving/authoriser")["ask"], parameters).fetchall()
            except duckdb.Error as error:
                told.failures.append(str(error).splitlines()[0])
            else:
                told.seconds.append(time.monotonic() - began)
                if question == NEWEST:
                    told.missing.append(max(0, before - int(rows[0][0])))


def run_away(uri: str, token: str, told: Told, stop: threading.Event) -> None:
    """Ask what never ends, again and again."""
    with duckdb.connect() as client:
        load_extensions(client)
        while not stop.is_set():
            try:
                client.execute(
                    sql.statements("serving/authoriser")["ask"], {"uri": uri, "query": RUNAWAY, "token": token}
                ).fetchall()
            except duckdb.Error as error:
                if "longer than" not in str(error):
                    told.failures.append(str(error).splitlines()[0])


def share(values: list[float], part: float) -> float:
    """The smallest value that at least this part of all does not exceed."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


def main() -> None:
    """Write, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--rate", type=int, default=5_000)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--members", type=int, default=20_000)
    parser.add_argument("--runaway", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), chosen)


def measure(folder: Path, chosen: argparse.Namespace) -> None:
    """One run in a folder."""
    db, readers, told, stop = folder / "shop.duckdb", folder / "readers.yaml", Told(), threading.Event()
    tokens = [book.add(readers, f"r{n}") for n in range(chosen.readers + int(chosen.runaway))]
    here, there = SPAWN.Pipe()
    writer = SPAWN.Process(target=write, args=(db, chosen.members, chosen.rate, chosen.seconds, there), daemon=True)
    writer.start()
    here.recv()
    command = [sys.executable, "-c", "from engine.cli import main; main()", "readers", "serve", "--db", str(db)]
    command += [
        "--readers",
        str(readers),
        "--readers-port",
        "0",
        "--query-seconds",
        str(QUERY_SECONDS),
        "--log-level",
        "error",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        found = re.search(r"quack:[\d.:]+", server.stdout.readline() if server.stdout else "")
        assert found, "the server did not start"
        used = time.process_time()
        asking = [
            threading.Thread(target=ask, args=(found[0], token, n, told, stop))
            for n, token in enumerate(tokens[: chosen.readers])
        ]
        if chosen.runaway:
            asking.append(threading.Thread(target=run_away, args=(found[0], tokens[-1], told, stop)))
        for thread in asking:
            thread.start()
        here.send(None)
        writing = follow(here, told)
        stop.set()
        for thread in asking:
            thread.join()
        used = time.process_time() - used
        server.terminate()
    writer.join()
    report(chosen, told, writing, used)


def report(chosen: argparse.Namespace, told: Told, writing: float, used: float) -> None:
    """Print what happened."""
    theirs = resource.getrusage(resource.RUSAGE_CHILDREN)
    missing, reasons = [float(count) for count in told.missing], sorted(set(told.failures))[:3]
    print(
        f"{chosen.readers} readers{' and a runaway' if chosen.runaway else ''}, {chosen.rate:,} facts and decisions a second,"
    )
    print(
        f"{chosen.rate * chosen.seconds:,} in all; machine at load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
    )
    print(f"questions answered {len(told.seconds):,}, failed {len(told.failures)} {reasons}")
    print(f"answer s: p50 {share(told.seconds, 0.5):.2f}, p95 {share(told.seconds, 0.95):.2f}")
    print(f"facts not yet in the answer: p50 {share(missing, 0.5):,.0f}, most {max(missing, default=0):,.0f}")
    late, latest = (share(told.behind, part) for part in (0.5, 0.95))
    print(f"writer behind its rate, s: p50 {late:.2f}, p95 {latest:.2f}, most {max(told.behind):.2f}")
    serving = theirs.ru_utime + theirs.ru_stime - writing
    print(f"CPU s: writer {writing:.1f}, clients {used:.1f}, server and its processes about {serving:.1f}")


if __name__ == "__main__":
    main()
