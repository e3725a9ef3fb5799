"""The page of lift, over invented moments: what it says is what the file says, and it can be used in a real Chromium."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.console.conftest import Shown, showing
from tests.console.test_browser import VIEWS, enter, examined
from tests.console.test_pages import text_of
from tests.independent.test_independent_lift import SEED, Note, fact, invented, moment_of
from tests.projections import given


def told(notes: list[Note], chance: random.Random) -> Iterator[Note]:
    """What whoever sends told of the notices that were made."""
    for note in notes:
        for notice in note["decision"]["notices"]:
            if notice["state"] == "made" and chance.random() < 0.9:
                chain = (
                    ("sent", "opened", "clicked")[: chance.choice((1, 1, 2, 3))]
                    if chance.random() < 0.9
                    else ("bounced",)
                )
                for outcome in chain:
                    data = {"notice": notice["id"], "outcome": outcome, "channel": notice["channel"]}
                    yield fact(
                        "notice_outcome", f"{notice['id']}-{outcome}", note["subject"], moment_of(note["time"]), data
                    )


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """A console over a file with moments, hold-outs and outcomes."""
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    notes = invented(chance)
    file = tmp_path_factory.mktemp("moments") / "moments.duckdb"
    with given.warehouse([*notes, *told(notes, chance)]) as warehouse:
        path = Path(warehouse.path)
    shutil.copy(path, file)
    with showing(file, tmp_path_factory.mktemp("lift")) as shown:
        yield shown


def test_the_page_says_what_the_table_says(moments: Shown) -> None:
    """Every rule with its members, its difference and the ends of its interval; the price of a point; the funnel."""
    rows = moments.ask(
        "select rule_id, rule_version, converted, members, held_out_members, lift, lift_low, lift_high "
        "from lift_as_of((select as_of from meta), 14) where goal = 'visit' and channel = 'all' order by 1, 2"
    )
    ((made, sent),) = moments.ask(
        "select sum(made), sum(sent) from notice_funnel where rule_id = 'back' and channel = 'mail'"
    )
    assert len(rows) == 4
    with moments.client() as client:
        words = text_of(client.get("/lift?goal=visit&days=14&point=0.8").text).replace("\N{NO-BREAK SPACE}", " ")
        plain = client.get("/lift?days=14").text
        channels = client.get("/lift?days=14&channels=1").text
        odd = client.get("/lift?days=never&goal=love&point=dear")
    for rule, version, converted, members, held, lift, low, high in rows:
        said = f"{rule} v{version} all {converted} of {members} "
        assert said in words, said
        assert f" of {held} " in words
        interval = f"{100 * float(str(lift)):.1f} % {100 * float(str(low)):.1f} % to {100 * float(str(high)):.1f} %"
        assert interval in words, interval
    assert "Cost per regained" in words
    assert "Cost per regained" not in plain
    assert len(re.findall(r'<g class="interval', plain)) == 4
    assert len(re.findall(r'<g class="interval', channels)) == 12
    assert odd.status_code == 200
    assert int(str(made)) > int(str(sent)) > 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("view", VIEWS)
def test_it_can_be_used_in_a_browser(browser: Browser, moments: Shown, view: str) -> None:
    """By its links and its form; nothing complains, axe-core finds nothing, and nothing is wider than the screen."""
    page, complaints = enter(browser, moments, view)
    page.goto(f"{moments.url}/lift")
    page.click("nav.choice a:has-text('visit')")
    page.wait_for_url("**goal=visit**")
    page.click("nav.choice a:has-text('by channel')")
    page.wait_for_url("**channels=1**")
    page.fill("#point", "0.8")
    page.press("#point", "Enter")
    page.wait_for_selector("th:has-text('Cost per regained')")
    assert page.locator("svg g.interval").count() == 12
    found, wide, screen = examined(page)
    page.context.close()
    assert found == []
    assert wide <= screen
    assert complaints == []
