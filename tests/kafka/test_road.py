"""The whole road on a real Kafka: import, publish, worker, projector; live and replayed rows are the same."""

from __future__ import annotations

import io
import json
import os
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import duckdb
import pytest
from click.testing import CliRunner
from rich.console import Console

from engine.bench.data import PROGRAMMES
from engine.cli import main
from engine.demo.flow import one_shop
from engine.demo.shops import COFFEE_BAR, GIFT_SHOP, Shop
from engine.imports.account import Account
from engine.imports.events import write_events
from engine.imports.online_retail import CURRENCY, convert
from projections import sql
from tests.independent.compare import differences, product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
MONTH = ROOT / "engine" / "demo" / "data" / "online-retail-2010-12.csv.gz"
WOVEN_SEED = 20261123
EVERY_FEATURE = PROGRAMMES["every-feature"]
TABLES = ("points_entries", "balances", "lots", "tiers", "tier_history", "members", "purchases", "refunds", "rejects")
PLACES = {"partition", "position", "recorded_at", "fact_position", "ordinal", "received_at", "programme_hash"}
#: What tells of the logs themselves, and what is fitted (see `live`).
NOT_COMPARED = {"facts", "decisions", "meta", "stamp", "programmes", "model_fits", "customer_values"}
EVERY_TABLE = tuple(name for name in (*sql.names("marts"), *sql.METRICS) if name not in NOT_COMPARED)
PLACES |= {"topic", "rejects_partition", "rejects_position"}


def events_of(csv: Path, path: Path) -> int:
    """Import a till's file; return how many events it became."""
    return write_events(path, convert(csv, Account(CURRENCY)))


def woven(csv: Path, path: Path) -> int:
    """Import a till's file and weave in what else members do, by chance of a fixed seed; return how many events it became."""
    return write_events(path, _woven(convert(csv, Account(CURRENCY)), Random(WOVEN_SEED)))


def _woven(events: Iterator[dict[str, Any]], chance: Random) -> Iterator[dict[str, Any]]:
    for number, one in enumerate(events):
        yield one
        if "subject" not in one or "lines" not in one["data"]:
            continue
        told: dict[str, tuple[float, dict[str, Any]]] = {
            "stammgast.visit.v2": (0.2, {"store": chance.choice(("market", "harbour"))}),
            "stammgast.review.v1": (
                0.15,
                {
                    "sku": one["data"]["lines"][0]["sku"],
                    "rating": chance.randrange(11),
                    "verified": chance.random() < 0.7,
                },
            ),
            "stammgast.redemption.v1": (0.2, {"points": chance.choice((20, 100, 400))}),
            "stammgast.segment.v1": (
                0.1,
                {"segment": "champions", "entered": chance.random() < 0.7, "as_of": one["time"][:10]},
            ),
            "stammgast.activity.v1": (
                0.1,
                {"name": "complaint", "attributes": {"case": f"case-{number}", "state": "opened"}},
            ),
        }
        for kind, (share, data) in told.items():
            if chance.random() < share:
                name = f"woven:{number}:{kind}"
                head = {key: one[key] for key in ("specversion", "source", "subject", "time")}
                yield {**head, "id": name, "type": kind, "data": data}


@contextmanager
def live(shop: Shop, bootstrap: str, prefix: str, folder: Path) -> Iterator[Path]:
    """Run a shop's events through worker and projector; yields its file when both have stopped.

    No models are fitted: a live projector fits what it knows whenever it has caught up, so its fits are never compared,
    and while it does so its tables stand still.
    """
    mine = replace(shop, name=f"{prefix}{shop.name}")
    db = folder / "live.duckdb"
    with ExitStack() as living, patch.dict(os.environ, {"STAMMGAST_SCORE_EVERY_DAYS": "0"}):
        one_shop(mine, db, bootstrap, folder, living, Console(file=io.StringIO()), bars=False)
    yield db


def run(*arguments: object) -> None:
    """Run a verb; it must succeed."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def rows(db: Path, table: str) -> list[tuple[object, ...]]:
    """A table without places in logs and without recorded_at, in one order."""
    with duckdb.connect(str(db), read_only=True) as connection:
        columns = [name for name, *_ in connection.table(table).description if name not in PLACES]
        found = connection.table(table).project(", ".join(f'"{name}"' for name in columns)).fetchall()
    return sorted(found, key=repr)


def rows_of(db: Path, statement: str) -> list[tuple[Any, ...]]:
    """What a statement answers."""
    with duckdb.connect(str(db), read_only=True) as connection:
        return connection.execute(statement).fetchall()


def assert_same(one: Path, other: Path, tables: tuple[str, ...] = TABLES) -> int:
    """Both files hold the same rows; how many they are."""
    count = 0
    for table in tables:
        found = rows(one, table)
        assert found == rows(other, table), table
        count += len(found)
    return count


def gift_shop(csv: Path, prepare: Callable[[Path, Path], int] = events_of) -> Shop:
    """The gift shop of the demo over another file of its till."""
    return replace(GIFT_SHOP, prepare=lambda path: (prepare(csv, path), ""))


def compare(csv: Path, kafka: str, prefix: str, folder: Path) -> None:
    """Live on Kafka, replayed from the file, and computed in plain Python: one answer."""
    events, replayed = folder / "events.jsonl.gz", folder / "replayed.duckdb"
    events_of(csv, events)
    run("replay", events, "--programme", GIFT_SHOP.programme, "--db", replayed)
    with live(gift_shop(csv), kafka, prefix, folder) as db:
        assert_same(db, replayed)
        assert differences(csv, product(db)) == []
        assert differences(csv, product(replayed)) == []


def test_the_bundled_month_is_the_same_live_replayed_and_computed(kafka: str, prefix: str, tmp_path: Path) -> None:
    """Row for row, through a real Apache Kafka, worker and projector as processes of their own."""
    compare(MONTH, kafka, prefix, tmp_path)


def every_feature(csv: Path, kafka: str, prefix: str, folder: Path, tables: tuple[str, ...]) -> dict[str, float]:
    """Live and replayed under every feature at once, verify, and points that add up; what it took."""
    events, replayed = folder / "events.jsonl.gz", folder / "replayed.duckdb"
    woven(csv, events)
    run("replay", events, "--programme", EVERY_FEATURE, "--db", replayed)
    shop = replace(gift_shop(csv, woven), programme=EVERY_FEATURE)
    began, before = time.monotonic(), processor_seconds()
    with live(shop, kafka, prefix, folder) as db:
        seconds, took = time.monotonic() - began, processor_seconds() - before
        count = assert_same(db, replayed, tables)
        run("verify", "--bootstrap", kafka, "--topic-prefix", f"{prefix}{shop.name}-", "--db", db)
        assert_points_add_up(db)
        assert {row[0] for row in rows_of(db, "select distinct kind from points_entries")} >= {
            "earn",
            "clawback",
            "redeem",
        }
        gave = {row[0] for row in rows_of(db, "select distinct rule_id from points_entries")}
        assert gave >= {"spend", "volume", "champions", "large-basket", "visit", "review", "tier:gold"}, gave
    return {"rows": count, "seconds": seconds, "processor_seconds": took}


def processor_seconds() -> float:
    """What this process's children that have ended took: those of a shop's road are worker and projector."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def assert_invariants(db: Path) -> None:
    """What is stated beside every mart and metric holds."""
    stated = {name: sql.mart(name) for name in sql.names("marts")} | {name: sql.metric(name) for name in sql.METRICS}
    with duckdb.connect(str(db), read_only=True) as connection:
        for name, said in stated.items():
            for invariant in said["invariants"]:
                assert connection.execute(invariant["sql"]).fetchall() == [], f"{name}: {invariant['says']}"


def assert_points_add_up(db: Path) -> None:
    """Per member what lots hold, less what is owed, is the balance and the sum of all movements; no lot is below nought."""
    held: Counter[str] = Counter()
    for member, left in rows_of(db, "select member_id, points_left from lots"):
        assert left >= 0, member
        held[member] += left
    moved: Counter[str] = Counter()
    for member, points in rows_of(db, "select member_id, points from points_entries"):
        moved[member] += points
    balances = rows_of(db, "select member_id, available, pending, debt from balances")
    assert len(balances) > 100
    for member, available, pending, debt in balances:
        assert held[member] - debt == available + pending - debt == moved[member], member


def test_the_month_under_every_feature_at_once_is_the_same_live_and_replayed(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    """Points that wait, expire and are owed, counters, streaks, hold-outs, welcomes and grace: one answer, and verify agrees."""
    every_feature(MONTH, kafka, prefix, tmp_path, TABLES)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_the_whole_file_under_every_feature_is_the_same_live_and_replayed(
    kafka: str, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every table and metric of the whole published file; what it takes of a processor beside the gift shop's programme."""
    given = os.environ.get("STAMMGAST_ONLINE_RETAIL")
    if not given:
        pytest.skip("STAMMGAST_ONLINE_RETAIL names no file; only December 2010 is in the repository")
    csv = Path(given).resolve()
    took = every_feature(csv, kafka, prefix, tmp_path, EVERY_TABLE)
    assert_invariants(tmp_path / "live.duckdb")
    before = processor_seconds()
    with live(gift_shop(csv, woven), kafka, f"{prefix}simple-", tmp_path):
        pass
    took["simple_processor_seconds"] = processor_seconds() - before
    with capsys.disabled():
        print(json.dumps(took))


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_the_whole_file_is_the_same_live_replayed_and_computed(kafka: str, prefix: str, tmp_path: Path) -> None:
    """The same for the whole published file (make test-full ONLINE_RETAIL=PATH)."""
    given = os.environ.get("STAMMGAST_ONLINE_RETAIL")
    if not given:
        pytest.skip("STAMMGAST_ONLINE_RETAIL names no file; only December 2010 is in the repository")
    compare(Path(given).resolve(), kafka, prefix, tmp_path)


def test_effects_between_members_are_the_same_when_the_facts_log_is_replayed(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    """The coffee bar's referrals cross partitions, so the log's own order decides: its dump gives the same rows."""
    dump, replayed = tmp_path / "facts.jsonl.gz", tmp_path / "replayed.duckdb"
    with live(COFFEE_BAR, kafka, prefix, tmp_path) as db:
        run("dump", "--bootstrap", kafka, "--topic-prefix", f"{prefix}coffee-bar-", "--out", dump)
        run("replay", dump, "--facts", "--programme", COFFEE_BAR.programme, "--db", replayed)
        tables = tuple(table for table in TABLES if table != "rejects")
        assert_same(db, replayed, tables)
        assert any(entry[0] for entry in rows(db, "points_entries"))
