"""The page of money, over invented moments, costs and goals: it says what the file says, and can be used in a real Chromium."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.console.conftest import Shown, showing
from tests.console.test_browser import VIEWS, enter, examined
from tests.console.test_pages import text_of
from tests.independent.test_independent_lift import SEED, Note, invented
from tests.projections import given

GOALS = [
    {"id": "guests-stay", "metric": "retention", "baseline": "0.5", "target": "0.9", "by": "2026-12-31"},
    {"id": "baskets", "metric": "order_value", "baseline": "4000", "target": "4600", "by": "2026-06-30", "channel": "web"},
    {"id": "not-too-dear", "metric": "programme_cost", "baseline": "90000", "target": "20000", "by": "2026-04-15"},
    {"id": "many", "metric": "active_members", "baseline": "40", "target": "120", "by": "2026-12-31"},
]  # fmt: skip


def told(chance: random.Random) -> Iterator[Note]:
    """A programme with worth, margin and goals, and a list of costs, some of them for a rule."""
    data = {
        "hash": "f00d", "programme": "test", "version": 1, "valid_from": "2026-01-01T00:00:00.000000Z", "currency": "GBP",
        "time_zone": "Europe/London", "base_tier": None, "point_minor": 2, "goals": GOALS,
        "margin": {"share": "0.6", "categories": [{"category": "beans", "share": "0.35"}]},
    }  # fmt: skip
    source, began = "urn:stammgast:programme", "2026-01-01T00:00:00Z"
    yield {"type": "programme", "id": "f00d", "source": source, "subject": None, "time": began, "data": data}
    for number in range(40):
        day = date(2026, 2, 10) + timedelta(chance.randrange(70))
        cost = {
            "day": str(day), "kind": chance.choice(("printing", "agency", "goodwill")), "foreseen": chance.random() < 0.7,
            "amount_minor": chance.randrange(200, 4_000), "currency": "GBP", "rule": chance.choice(("back", "top", None)),
        }  # fmt: skip
        yield {
            "type": "cost",
            "id": f"k{number}",
            "source": "urn:costs",
            "subject": None,
            "time": f"{day}T00:00:00Z",
            "data": cost,
        }


@pytest.fixture(scope="module")
def money(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """A console over a file that has all of it."""
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    notes = invented(chance)
    earned = {
        "entries": [{"entry_id": "e1", "points": 5000, "rule_id": "base", "expires_at": "2026-12-31T23:00:00.000000Z"}]
    }
    spent = {"entries": [{"entry_id": "s1", "kind": "redeem", "points": -1200, "burns": [["e1", 1200]]}]}
    asked, when = {"points": 1200}, "2026-04-02T10:00:00Z"
    points: list[Note] = [
        {"type": "purchase", "id": "big", "subject": "m1", "time": "2026-03-21T10:00:00Z", "decision": earned},
        {"type": "redemption", "id": "r", "subject": "m1", "time": when, "data": asked, "decision": spent},
    ]
    with given.warehouse([*told(chance), *points, *notes]) as warehouse:
        path = Path(warehouse.path)
    file = tmp_path_factory.mktemp("money") / "money.duckdb"
    shutil.copy(path, file)
    with showing(file, tmp_path_factory.mktemp("shown")) as shown:
        yield shown


def pounds(minor: object) -> str:
    """As the page writes it."""
    return f"{float(str(minor)) / 100:,.2f} GBP"


def test_the_page_says_what_the_tables_say(money: Shown) -> None:
    """Every goal with its state, every month's cost, each return with its interval, what is owed; gross with its caveat."""
    goals = money.ask("select goal_id, state, share_of_way from goal_progress")
    costs = money.ask("select cost_minor from programme_costs")
    returns = money.ask(
        "select rule_id, rule_version, gain_minor, roi, roi_low, roi_high from roi where basis = 'hold_out'"
    )
    ((owed,),) = money.ask("select sum(owed_minor) from liability_in_money")
    with money.client() as client:
        answer = client.get("/money")
    words = text_of(answer.text).replace("\N{NO-BREAK SPACE}", " ")

    assert answer.status_code == 200
    assert len(goals) == 4
    assert len({state for _, state, _ in goals}) >= 2
    for goal, state, way in goals:
        assert str(goal) in words
        assert str(state).replace("_", " ") in words
        assert f"{100 * float(str(way)):.1f} %" in words
    assert len(costs) >= 3
    assert all(pounds(cost) in words for (cost,) in costs), words
    assert len(returns) >= 3
    for rule, version, gain, roi, low, high in returns:
        shares = [f"{100 * float(str(one)):.1f} %" for one in (roi, low, high)]
        assert f"{shares[0]} {shares[1]} to {shares[2]}" in words, (rule, version)
        assert pounds(gain) in words
    assert pounds(owed) in words
    assert "Gross is a bound from above" in words


@pytest.mark.timeout(300)
@pytest.mark.parametrize("view", VIEWS)
def test_it_can_be_used_in_a_browser(browser: Browser, money: Shown, view: str) -> None:
    """Nothing complains, axe-core finds nothing, and nothing is wider than the screen."""
    page, complaints = enter(browser, money, view)
    page.click("nav a:has-text('Money')")
    page.wait_for_selector("h2:has-text('What comes back')")
    assert page.locator("svg g.interval").count() >= 3
    assert page.locator("progress").count() == 4
    found, wide, screen = examined(page)
    page.context.close()
    assert found == []
    assert wide <= screen
    assert complaints == []
