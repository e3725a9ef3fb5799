"""The page of challenges and badges, over invented play: it says what the tables say, and can be used in a real Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.console.conftest import Shown, showing
from tests.console.test_browser import VIEWS, enter, examined
from tests.console.test_pages import text_of
from tests.projections import given

Note = dict[str, object]
PROGRAMME = {
    "hash": "f00d", "programme": "test", "version": 2, "valid_from": "2026-01-01T00:00:00.000000Z", "time_zone": "Europe/London",
    "currency": "GBP", "base_tier": "guest", "badges": [{"id": "early", "label": "Early bird"}],
    "challenges": [
        {"id": "five", "label": "Five visits", "need": 5, "money": False},
        {"id": "tea", "label": "Tea", "need": 3000, "money": True, "begins_at": "2026-03-01T00:00:00.000000Z",
         "ends_at": "2026-04-01T00:00:00.000000Z"},
    ],
}  # fmt: skip


def counted(who: str, number: int, fact: str, challenge: str, by: int, **more: object) -> Note:
    """A fact that counts for a challenge."""
    decision = {"counters": [[f"challenge {challenge}", by, 0, []]], **more}
    time = f"2026-03-02T{number // 60:02}:{number % 60:02}:00Z"
    return {"type": fact, "id": f"{challenge}-{number}", "subject": who, "time": time, "decision": decision}


def played() -> Iterator[Note]:
    """Forty members, of whom every fourth met one challenge; one has begun a window of his own."""
    source, began = "urn:stammgast:programme", "2026-01-01T00:00:00Z"
    yield {"type": "programme", "id": "f00d", "source": source, "subject": None, "time": began, "data": PROGRAMME}
    for number in range(40):
        done = number % 4 == 0
        met: dict[str, object] = {"states": [
            {"what": "challenge", "id": "five|2026-W10", "state": "met"},
            {"what": "challenge_by", "id": "five|2026-W10", "state": "2 5"},
            {"what": "badge", "id": "early", "state": "earned"},
            {"what": "badge_by", "id": "early", "state": "challenge:five 2 - challenge|five|2026-W10"},
        ]}  # fmt: skip
        yield counted(f"m{number}", number, "visit", "five|2026-W10", 5 if done else 2, **(met if done else {}))
    yield counted("m1", 50, "purchase", "tea|2026-03-01", 1500)
    span = {"what": "challenge_span", "id": "back|2026-03-06T10:00:00.000000Z",
            "state": "2026-03-06T10:00:00.000000Z/2026-03-20T10:00:00.000000Z"}  # fmt: skip
    yield {
        "type": "segment",
        "id": "s1",
        "subject": "m2",
        "time": "2026-03-06T10:00:00Z",
        "decision": {"states": [span]},
    }


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """A console over a file that has all of it."""
    with given.warehouse(list(played())) as warehouse:
        path = Path(warehouse.path)
    file = tmp_path_factory.mktemp("play") / "play.duckdb"
    shutil.copy(path, file)
    with showing(file, tmp_path_factory.mktemp("shown")) as shown:
        yield shown


def test_the_page_says_what_the_tables_say(play: Shown) -> None:
    """Each challenge with its window, its need, who is under way and who met it; each badge with how many have it."""
    ((had,),) = play.ask("select count(*) from badges")
    with play.client() as client:
        answer = client.get("/play")
        own = text_of(client.get("/members/m4").text)
        nothing = client.get("/members/m3").text
    words = text_of(answer.text).replace("\N{NO-BREAK SPACE}", " ")

    assert answer.status_code == 200
    # 10 of 40 are there, 30 have 2 of 5: on the mean 55 % of the way.
    assert "Five visits five 2026-W10 5 40 30 10 25.0 % 55.0 %" in words, words
    assert "Tea tea 2026-03-01 30.00 GBP 1 1 0 0.0 % 50.0 %" in words, words
    assert "back each member" in words, words[words.index("Challenge ") :]
    assert had == 10
    assert "Early bird 10" in words, words
    assert "Challenges and badges Early bird since 2026-03-02" in own, own
    assert "Five visits 2026-W10 5 5 2026-03-02" in own, own
    assert "Five visits" in nothing
    assert "Early bird" not in nothing


@pytest.mark.timeout(300)
@pytest.mark.parametrize("view", VIEWS)
def test_it_can_be_used_in_a_browser(browser: Browser, play: Shown, view: str) -> None:
    """Nothing complains, axe-core finds nothing, and nothing is wider than the screen."""
    page, complaints = enter(browser, play, view)
    page.click("nav a:has-text('Play')")
    page.wait_for_selector("h2:has-text('Badges')")
    assert page.locator("progress").count() == 2
    found, wide, screen = examined(page)
    page.goto(f"{play.url}/members/m4")
    beside, member_wide, screen = examined(page)
    page.context.close()
    assert (found, beside) == ([], [])
    assert max(wide, member_wide) <= screen
    assert complaints == []
