"""The demo runs both shops through Kafka, and its tables are those of plain Python and of the offline replay."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.broker import BrokerUnavailable, EmbeddedBroker
from engine.cli import main
from engine.demo.shops import COFFEE_BAR, GIFT_SHOP_CSV
from tests.independent.compare import differences, product

START = "from engine.cli import main; main()"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The DuckDB file of a demo that has ended, and what it printed."""
    try:
        with EmbeddedBroker():
            pass
    except BrokerUnavailable as error:
        pytest.skip(str(error))
    db = tmp_path_factory.mktemp("demo") / "shop.duckdb"
    db.write_bytes(b"an earlier run")
    run = subprocess.run(
        [sys.executable, "-c", START, "demo", "--exit", "--db", str(db)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    return db, run.stdout


@pytest.mark.timeout(300)
def test_the_gift_shop_live_agrees_with_plain_python(demo: tuple[Path, str]) -> None:
    """The month through the embedded Kafka: every entry, balance, lot and tier as computed from the CSV."""
    assert differences(GIFT_SHOP_CSV, product(demo[0])) == []


@pytest.mark.timeout(300)
def test_the_coffee_bar_live_agrees_with_its_replay(demo: tuple[Path, str], tmp_path: Path) -> None:
    """The generated week through the embedded Kafka gives the entries, balances, lots and tiers of the offline replay.

    Since when a tier holds is left out: between members the log's order decides, and a referrer whose first fact is the
    award for a friend begins with whichever comes first in his partition.
    """
    events, db = tmp_path / "week.jsonl", tmp_path / "week.duckdb"
    COFFEE_BAR.prepare(events)
    arguments = ["replay", events, "--programme", COFFEE_BAR.programme, "--db", db]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output

    live, replayed = product(COFFEE_BAR.file(demo[0])), product(db)
    for tables in (live, replayed):
        tables["tiers"] = [(member, tier, until) for member, tier, _, until in tables["tiers"]]
    assert live == replayed


@pytest.mark.timeout(300)
def test_the_demo_says_what_it_shows(demo: tuple[Path, str]) -> None:
    """Attribution, seed, balances, tiers, segments, churn, the change of rules, and what to type next."""
    db, said = demo
    for words in ("CC BY 4.0", "seed 20260302", "ribbons", "Tiers", "Segments", "Churn", "rules changed", "Type next"):
        assert words in said
    assert f"stammgast query --db {db}" in said.replace("\n", "")


@pytest.mark.timeout(300)
def test_an_earlier_file_is_set_aside(demo: tuple[Path, str]) -> None:
    """What stood in FILE before is kept under another name."""
    aside = [path for path in demo[0].parent.iterdir() if path.name.endswith(".old")]
    assert [path.read_bytes() for path in aside] == [b"an earlier run"]
