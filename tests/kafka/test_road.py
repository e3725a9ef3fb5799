"""The whole road on a real Kafka: import, publish, worker, projector; live and replayed rows are the same."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

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
from tests.independent.compare import differences, product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
MONTH = ROOT / "engine" / "demo" / "data" / "online-retail-2010-12.csv.gz"
EVERY_FEATURE = PROGRAMMES["every-feature"]
TABLES = ("points_entries", "balances", "lots", "tiers", "tier_history", "members", "purchases", "refunds", "rejects")
PLACES = {"partition", "position", "recorded_at", "fact_position", "ordinal", "received_at", "programme_hash"}
PLACES |= {"topic", "rejects_partition", "rejects_position"}


def events_of(csv: Path, path: Path) -> int:
    """Import a till's file; return how many events it became."""
    return write_events(path, convert(csv, Account(CURRENCY)))


@contextmanager
def live(shop: Shop, bootstrap: str, prefix: str, folder: Path) -> Iterator[Path]:
    """Run a shop's events through worker and projector; yields its file when both have stopped."""
    mine = replace(shop, name=f"{prefix}{shop.name}")
    db = folder / "live.duckdb"
    with ExitStack() as living:
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


def rows_of(db: Path, statement: str) -> list[tuple[object, ...]]:
    """What a statement answers."""
    with duckdb.connect(str(db), read_only=True) as connection:
        return connection.execute(statement).fetchall()


def assert_same(one: Path, other: Path, tables: tuple[str, ...] = TABLES) -> None:
    """Both files hold the same rows."""
    for table in tables:
        assert rows(one, table) == rows(other, table), table


def gift_shop(csv: Path) -> Shop:
    """The gift shop of the demo over another file of its till."""
    return replace(GIFT_SHOP, prepare=lambda path: (events_of(csv, path), ""))


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


def test_the_month_under_every_feature_at_once_is_the_same_live_and_replayed(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    """Points that wait, expire and are owed, counters, streaks, hold-outs, welcomes and grace: one answer, and verify agrees."""
    events, replayed = tmp_path / "events.jsonl.gz", tmp_path / "replayed.duckdb"
    events_of(MONTH, events)
    run("replay", events, "--programme", EVERY_FEATURE, "--db", replayed)
    shop = replace(gift_shop(MONTH), programme=EVERY_FEATURE)
    with live(shop, kafka, prefix, tmp_path) as db:
        assert_same(db, replayed)
        run("verify", "--bootstrap", kafka, "--topic-prefix", f"{prefix}{shop.name}-", "--db", db)
        kinds = {row[0] for row in rows_of(db, "select distinct kind from points_entries")}
    assert kinds >= {"earn", "clawback"}


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
