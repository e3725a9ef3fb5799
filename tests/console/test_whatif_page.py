"""The page of `stammgast whatif` in a real Chromium: what it says is what the tables say, and everybody can use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, Page

from engine.cli import main
from engine.demo.coffee_bar import week
from engine.imports.events import write_events
from tests.console.test_browser import VIEWS, examined

COFFEE_BAR = Path(__file__).parents[2] / "rules" / "programmes" / "coffee-bar"


def opened(browser: Browser, made: Path, view: str) -> tuple[Page, list[str]]:
    """The page, and everything that was asked for to show it."""
    page = browser.new_context(**VIEWS[view]).new_page()
    page.set_default_timeout(60_000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(made.as_uri())
    return page, asked


@pytest.mark.timeout(300)
def test_the_page_of_a_comparison(browser: Browser, tmp_path: Path) -> None:
    """Light on a desk, dark on a phone: nothing is loaded, axe-core finds nothing, nothing is wider than the screen."""
    events, new, made = (tmp_path / name for name in ("events.jsonl", "new.yaml", "page.html"))
    write_events(events, week())
    text = (COFFEE_BAR / "2026-03-05.yaml").read_text(encoding="utf-8")
    new.write_text(text.replace("points: 1, per: 1.00 EUR", "points: 3, per: 1.00 EUR"), encoding="utf-8")
    given = ["whatif", str(new), "--events", str(events), "--programme", str(COFFEE_BAR), "--jobs", "1", "--json"]
    told = CliRunner().invoke(main, [*given, "--html", str(made)])
    assert told.exit_code == 0, told.output
    total = json.loads(told.output)["summary"][0]

    for view in VIEWS:
        page, asked = opened(browser, made, view)
        words = page.inner_text("body")
        found, wide, screen = examined(page)
        assert f"{total['reached']:,}" in words, view
        assert f"{total['points_more']:+,}" in words, view
        assert asked == [made.as_uri()], view
        assert found == [], view
        assert wide <= screen, view
