"""`stammgast backtest-churn` on CDNOW: the flag is as good as said, and says so in words and in JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engine.cli import main
from projections.warehouse import Warehouse
from tests.projections import cdnow, given

HORIZON = (cdnow.END - cdnow.CUT).days


def run(db: Path, *arguments: object) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["backtest-churn", "--db", str(db), *map(str, arguments)])


@pytest.fixture(scope="module", params=[True, False], ids=["sample", "all"])
def answer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bool, Path, dict[str, Any]]:
    """CDNOW's tables and the answer for the cut of the papers."""
    db = tmp_path_factory.mktemp("cdnow") / "cdnow.duckdb"
    cdnow.warehouse(db, sample=request.param).close()
    result = run(db, "--churn-horizon-days", HORIZON, "--cut", cdnow.CUT, "--json")
    assert result.exit_code == 0, result.output
    return request.param, db, json.loads(result.output)


@pytest.mark.timeout(300)
def test_the_flag_ranks_better_than_the_published_models(answer: tuple[bool, Path, dict[str, Any]]) -> None:
    """39 weeks learnt, 39 weeks ahead: above BG/NBD's expected purchases, on the sample above Pareto/NBD's too."""
    sample, _, said = answer
    (cut,) = said["cuts"]
    assert cut["members"] == (2_357 if sample else 23_570)
    assert cut["auc"] >= (0.7787 if sample else 0.7630)
    assert cut["brier_calibrated"] <= (0.1579 if sample else 0.1588)
    assert abs(cut["mean_chance"] - cut["stayed_away"]) < 0.06
    assert cut["flagged"] * cut["precision"] == pytest.approx(cut["members"] * cut["stayed_away"] * cut["recall"])


@pytest.mark.timeout(300)
def test_the_reliability_table_holds_everybody(answer: tuple[bool, Path, dict[str, Any]]) -> None:
    """Every member is in one tenth, and where a higher chance was said more stayed away."""
    _, _, said = answer
    table = said["reliability"]
    assert sum(one["members"] for one in table) == said["cuts"][0]["members"]
    assert table[-1]["happened"] > table[0]["happened"]
    assert all(one["low"] <= one["mean_chance"] <= one["high"] for one in table)


@pytest.mark.timeout(300)
def test_words_and_several_cuts(answer: tuple[bool, Path, dict[str, Any]]) -> None:
    """Without --cut the newest days whose horizon is over are tested, thirty days apart; the tables say the same."""
    _, db, _ = answer
    result = run(db, "--churn-horizon-days", 90, "--cuts", 2)
    assert result.exit_code == 0, result.output
    assert "1998-03-02" in result.output
    assert "1998-04-01" in result.output
    assert "AUC" in result.output


def test_nothing_to_test_on(tmp_path: Path) -> None:
    """No purchase, too short a past, a cut without a future: exit 1, and what would help."""
    empty, short = tmp_path / "empty.duckdb", tmp_path / "short.duckdb"
    for db, notes in (
        (empty, []),
        (short, [{"type": "purchase", "id": "p", "subject": "anna", "time": "2026-01-01T10:00:00Z"}]),
    ):
        warehouse = Warehouse.open(db, log_id="test", threads=1)
        warehouse.apply(*given.records(notes))
        warehouse.close()
    for db, arguments, words in (
        (empty, (), "no purchase of a member yet"),
        (short, (), "Say a shorter --churn-horizon-days"),
        (short, ("--cut", "2026-06-01"), "2026-06-01 cannot be a cut"),
    ):
        result = run(db, *arguments)
        assert (result.exit_code, words in result.output) == (1, True), result.output
    assert run(tmp_path / "none.duckdb").exit_code == 2


def test_what_is_not_defined_is_null() -> None:
    """NaN is no JSON: it is written as null."""
    from engine.commands.backtest_churn import _plain

    assert _plain({"a": math.nan, "b": [1.0]}) == {"a": None, "b": [1.0]}
