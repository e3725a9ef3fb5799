"""Members are scored on fixed days from what was known then: a rebuild gives the same rows."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from projections import sql
from projections.warehouse import Warehouse
from tests.projections import cdnow, given

FITS = "select model, parameter, value from model_fits order by all"


def scored(path: Path) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """CDNOW's sample built anew and scored: fits and values."""
    with cdnow.warehouse(path, sample=True, score_every_days=7) as warehouse:
        assert warehouse.score_if_due()
        assert not warehouse.score_if_due()
        for name in ("model_fits", "customer_values"):
            for invariant in sql.metric(name)["invariants"]:
                assert given.rows(warehouse, invariant["sql"]) == [], invariant["says"]
        return given.rows(warehouse, "from model_fits"), given.rows(
            warehouse, "from customer_values order by member_id"
        )


@pytest.mark.timeout(300)
def test_a_rebuild_scores_the_same(tmp_path: Path) -> None:
    """The newest whole day that is a multiple of seven, four models, every member; twice the same to the last digit."""
    fits, values = scored(tmp_path / "one.duckdb")
    day = date.fromisoformat(str(fits[0]["as_of"]))

    assert (day - date(1970, 1, 1)).days % 7 == 0
    assert date(1998, 6, 22) <= day <= date(1998, 6, 29)
    assert {str(fit["model"]) for fit in fits} == {"bg_nbd", "mbg_nbd", "pareto_nbd", "gamma_gamma"}
    assert len(values) == 2_357
    assert {row["band"] for row in values} <= {1, 2, 3, 4, 5}
    assert scored(tmp_path / "two.duckdb") == (fits, values)


def test_what_came_after_the_day_was_over_changes_nothing() -> None:
    """A purchase of the scored time that is recorded when the day was long over does not touch its scores."""
    late = {"type": "purchase", "id": "late", "subject": "c4", "time": "1998-06-01T10:00:00Z"}
    found = []
    for added in ([], [late]):
        facts, decisions = given.records([*cdnow.notes(sample=True, count=500), *added])
        if added:
            value = facts[-1].value.replace(b"06:13:20", b"09:13:20")
            assert value != facts[-1].value
            facts[-1] = facts[-1]._replace(value=value)
            decisions[-1] = decisions[-1]._replace(timestamp_ms=decisions[-1].timestamp_ms + 10_800_000)
        with Warehouse.open(":memory:", log_id="test", threads=1, score_every_days=1) as warehouse:
            warehouse.apply(facts, decisions)
            assert warehouse.score_if_due()
            values = given.rows(warehouse, "from customer_values order by member_id")
            found.append(
                (given.rows(warehouse, FITS), values, given.rows(warehouse, "select count(*) as n from purchases"))
            )

    assert found[0][:2] == found[1][:2]
    assert found[0][2] != found[1][2]
    assert found[0][1][0]["as_of"] == "1998-06-29"
