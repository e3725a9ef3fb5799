"""The gift shop's points, lots and tiers agree with a second computation straight from the till's file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from engine.cli import main
from tests.independent.compare import Tables, books, differences, expected, product
from tests.independent.programme import GIFT_SHOP

ROOT = Path(__file__).parents[2]
MONTH = ROOT / "engine/demo/data/online-retail-2010-12.csv.gz"
PROGRAMME = ROOT / "rules/programmes/gift-shop"
WHOLE_FILE = "STAMMGAST_ONLINE_RETAIL"


def replay_to(csv: Path, folder: Path) -> Path:
    """The product's file: `stammgast import`, then `stammgast replay`."""
    events, db = folder / "events.jsonl.gz", folder / "replayed.duckdb"
    for arguments in (
        ["import", csv, "--preset", "online-retail", "--out", events],
        ["replay", events, "--programme", PROGRAMME, "--db", db],
    ):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
    return db


def replayed(csv: Path, folder: Path) -> Tables:
    """Its tables."""
    return product(replay_to(csv, folder))


def test_the_bundled_month_agrees(tmp_path: Path) -> None:
    """Every entry, balance, lot and tier of December 2010 is the same in plain Python and in the product."""
    assert differences(MONTH, replayed(MONTH, tmp_path)) == []


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_whole_file_agrees(tmp_path: Path) -> None:
    """The same for the whole published file, which ends a calendar year of tiers on its way."""
    given = os.environ.get(WHOLE_FILE)
    if not given:
        pytest.skip(f"{WHOLE_FILE} names no file; only December 2010 is in the repository")
    csv = Path(given).resolve()

    assert differences(csv, replayed(csv, tmp_path)) == []


def test_the_month_has_something_to_compare() -> None:
    """The bundled month exercises what is compared: returns, every rule, every tier, points taken back."""
    tables = expected(MONTH)
    assert {row[3] for row in tables["points_entries"]} == {
        "spend", "early-bird", "large-basket", "tier:regular", "tier:gold",
    }  # fmt: skip
    assert {row[1] for row in tables["points_entries"]} == {"earn", "clawback"}
    assert {row[1] for row in tables["tiers"]} == {"guest", "regular", "gold"}
    assert any(0 < row[4] < row[3] for row in tables["lots"])


def test_lots_carry_the_balance() -> None:
    """In the second computation too, what is left of a member's lots is his balance, and never below zero."""
    for member in books(MONTH).members.values():
        left: dict[int, int] = {}
        for entry in member.entries:
            left[id(entry.of or entry)] = left.get(id(entry.of or entry), 0) + entry.points
        assert min(left.values(), default=0) >= 0


def test_the_restated_programme_is_the_shipped_one() -> None:
    """The numbers restated for the comparison are those of the programme's files, as far as the data go: to the end of 2011."""
    paths = [path for path in sorted(PROGRAMME.glob("*.yaml")) if path.stem < "2012"]
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths]
    assert [file["version"] for file in files] == [version.number for version in GIFT_SHOP]
    for file, version in zip(files, GIFT_SHOP, strict=True):
        assert str(file["valid"]["from"]) == f"{version.begins:%Y-%m-%d}"
        assert sorted(rule["id"] for rule in file["earn"]) == sorted(rule.id for rule in version.rules)
        said = {rule["id"]: rule for rule in file["earn"]}
        for rule in version.rules:
            award = said[rule.id].get("award", {})
            assert award.get("points", 0) == rule.points
            assert award.get("per", "0.00 GBP") == f"{rule.per / 100:.2f} GBP"
            assert said[rule.id].get("multiply", {}).get("by", 1) == rule.factor
            assert "cap" not in said[rule.id]
        tiers = file["tiers"]
        assert tiers["qualify"] == {"by": "spend", "over": "calendar_year"}
        levels = [(level["id"], level.get("from", "0.00 GBP"), level.get("multiply", 1)) for level in tiers["levels"]]
        assert levels == [(level.name, f"{level.since / 100:.2f} GBP", level.factor) for level in version.levels]
