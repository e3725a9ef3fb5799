"""The geometry of plots: round axes, bars as high as their values, ribbons that lose nobody."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.console import plots
from engine.console.asking import saved, statements
from engine.console.words import Words, cell, heat, percent, type_name
from engine.settings import UsageError


@given(st.floats(-1e9, 1e9), st.floats(0.001, 1e9))
def test_an_axis_is_round_and_reaches_both_ends(low: float, span: float) -> None:
    """A few ticks, equally far apart, around every value."""
    ticks = plots.steps(low, low + span)

    assert 2 <= len(ticks) <= 8
    assert ticks[0] <= low + span * 1e-6
    assert ticks[-1] >= (low + span) - span * 1e-6
    gaps = [b - a for a, b in itertools.pairwise(ticks)]
    assert max(gaps) == pytest.approx(min(gaps), rel=1e-3)


def test_bars_stand_on_nought_and_are_as_high_as_their_values() -> None:
    """Twice the value is twice the height; below nought they hang."""
    chart = plots.bar(["a", "b", "c"], {"x": [1.0, 2.0, -1.0]})
    one, two, below = chart.bars

    assert two.height == pytest.approx(2 * one.height)
    assert one.y + one.height == pytest.approx(two.y + two.height) == pytest.approx(below.y)


def test_nothing_is_drawn_of_nothing() -> None:
    """No values, no failure."""
    assert plots.spark([], "x").lines == []
    assert plots.line([], {}).says == "nothing to show"
    assert plots.bar([], {"x": []}).bars == []
    assert plots.flows([], []).nodes == []


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.integers(1, 10_000)), min_size=1, max_size=12
    )
)
def test_flows_lose_nobody(moves: list[tuple[str, str, int]]) -> None:
    """Members on the left are members on the right, each node holds its own, and all fit into the picture."""
    picture = plots.flows(moves, "abcd")
    wanted = Counter[tuple[str, str]]()
    for before, after, count in moves:
        wanted["before", before] += count
        wanted["after", after] += count

    assert {(node.side, node.name): node.members for node in picture.nodes} == dict(wanted)
    assert all(node.y >= 0 and node.y + node.height <= picture.height + 1e-6 for node in picture.nodes)


@pytest.mark.parametrize(
    ("currency", "minor", "says"),
    [
        ("EUR", 123456, "1,234.56 EUR"),
        ("JPY", 1234, "1,234 JPY"),
        ("KWD", -1, "-0.001 KWD"),
        (None, 5, "0.05"),
        ("EUR", None, "-"),
    ],
)
def test_money_is_exact(currency: str | None, minor: int | None, says: str) -> None:
    """As many digits as the currency has."""
    assert Words(currency, None).money(minor) == says


def test_words() -> None:
    """Shares, heat and types as people read them."""
    assert percent(0.5) == "50.0\N{NO-BREAK SPACE}%"
    assert [heat(share) for share in (0.0, 0.55, 1.0, None)] == ["h0", "h5", "h9", ""]
    assert type_name("stammgast.redemption_cancelled.v1") == "redemption cancelled"
    assert [cell(value) for value in (None, True, 1.5, b"\x01", [1, None])] == ["-", "true", "1.5", "01", "[1, null]"]


def test_a_saved_question_needs_a_title_and_a_chart_that_exists(tmp_path: Path) -> None:
    """What is wrong with a file of one's own is said when the console starts."""
    (tmp_path / "a.sql").write_text("select 1", encoding="utf-8")
    with pytest.raises(UsageError, match="-- <title>"):
        saved(tmp_path)
    (tmp_path / "a.sql").write_text("-- A title\n-- chart: pie\nselect 1", encoding="utf-8")
    with pytest.raises(UsageError, match="none of none, line, bar"):
        saved(tmp_path)
    with pytest.raises(UsageError, match="is no folder"):
        saved(tmp_path / "missing")


def test_every_page_has_its_statements() -> None:
    """Each .sql file of a page holds named statements."""
    for page in ("overview", "cohorts", "rfm", "flows", "churn", "member"):
        assert all(text.strip() for text in statements(page).values()), page
