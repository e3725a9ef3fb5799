"""When a day is over members are scored and months kept; scores that want too much memory hold nobody up."""

from __future__ import annotations

import duckdb
import pytest
import structlog

from projections.day_end import AGAIN_S, LOOK_S, DayEnd


class Told:
    """A warehouse that notes what it is asked, and has some months to keep."""

    path = "shop.duckdb"

    def __init__(self, months: int = 0, errors: tuple[Exception, ...] = ()) -> None:
        self.asked: list[str] = []
        self._months, self._errors = months, list(errors)

    def score_if_due(self) -> bool:
        self.asked.append("score")
        if self._errors:
            raise self._errors.pop(0)
        return True

    def keep_month_if_due(self) -> bool:
        self.asked.append("month")
        self._months -= 1
        return self._months >= 0


def day_end(told: Told, now: list[float]) -> DayEnd:
    return DayEnd(told, clock=lambda: now[0])  # type: ignore[arg-type]  # what of a warehouse it asks for


def test_it_looks_now_and_then_and_at_once_while_months_are_left() -> None:
    """One month a look, so that the next facts do not wait for all of them."""
    told, now = Told(months=2), [1.0]
    end = day_end(told, now)
    for moment in (1.0, 2.0, 3.0, 4.0, 3.0 + LOOK_S, 3.1 + LOOK_S):
        now[0] = moment
        end.look()
    assert told.asked == ["score", "month"] * 4


def test_scores_that_want_too_much_memory_wait_an_hour_and_months_do_not() -> None:
    """It is told what to do, and nothing stops."""
    told, now = (
        Told(errors=(duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate\nSolutions: ..."),)),
        [1.0],
    )
    end = day_end(told, now)
    with structlog.testing.capture_logs() as logs:
        for moment in (1.0, 100.0, AGAIN_S - 20, 2.0 + AGAIN_S):
            now[0] = moment
            end.look()
    assert told.asked == ["score", "month", "month", "month", "score", "month"]
    assert [line["event"].partition(":")[0] for line in logs] == ["members not scored", "members scored"]
    assert "--memory-limit" in logs[0]["event"]
    assert logs[0]["detail"] == "Out of Memory Error: failed to allocate"


def test_other_trouble_with_the_file_is_not_swallowed() -> None:
    """A full disk is told to whoever opens the file again."""
    end = day_end(Told(errors=(duckdb.IOException("disk full"),)), [1.0])
    with pytest.raises(duckdb.IOException, match="disk full"):
        end.look()
