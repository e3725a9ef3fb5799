"""The console in a real Chromium: every page, light and dark, on a desk and on a phone; by keyboard; looked at by axe-core."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.console.conftest import Shown

AXE = gzip.decompress((Path(__file__).parent / "assets" / "axe.min.js.gz").read_bytes()).decode()
VIEWS: dict[str, Any] = {
    "desk, light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "phone, dark": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}


def examined(page: Page) -> tuple[list[tuple[str, str, str]], int, int]:
    """Serious findings of axe-core (rule, impact, element), and how wide page and screen are, in pixels."""
    # Debugging reaches past the policy that forbids the page itself to run this.
    page.evaluate(AXE)
    found = page.evaluate("axe.run()")["violations"]
    wide, screen = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    return [(one["id"], one["impact"], one["nodes"][0]["html"][:200]) for one in serious], wide, screen


def enter(browser: Browser, shown: Shown, view: str, **more: Any) -> tuple[Page, list[str]]:
    """A page that is logged in, and what its console complains about."""
    page = browser.new_context(**VIEWS[view], **more).new_page()
    page.set_default_timeout(60_000)
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    # Leaving a page ends what it was still loading; everything else that fails is a complaint.
    page.on(
        "requestfailed",
        lambda request: (
            complaints.append(f"failed: {request.url} {request.failure}")
            if request.failure != "net::ERR_ABORTED"
            else None
        ),
    )
    page.goto(f"{shown.url}/")
    page.fill("#token", shown.token)
    page.press("#token", "Enter")
    page.wait_for_url(f"{shown.url}/")
    return page, complaints


@pytest.mark.timeout(300)
@pytest.mark.parametrize("view", VIEWS)
def test_every_page_opens_without_complaints_and_everybody_can_use_it(
    browser: Browser, shown: Shown, view: str
) -> None:
    """No error in the browser's console with the policy in force, no finding of axe-core, no page wider than the screen."""
    ((member,),) = shown.ask("select member_id from points_entries group by 1 order by count(*) desc, 1 limit 1")
    page, complaints = enter(browser, shown, view)
    findings = []
    paths = (
        "/",
        "/cohorts",
        "/rfm?segment=loyal",
        "/flows",
        "/churn",
        "/lift",
        "/money",
        "/play",
        "/loyalty",
        "/points",
        "/members",
        f"/members/{member}",
        "/sql?question=cohorts",
        "/login",
    )
    for path in paths:
        page.goto(shown.url + path)
        found, wide, screen = examined(page)
        findings += [(path, *one) for one in found]
        assert wide <= screen, path
        assert page.locator("h1").count() == 1, path

    page.context.close()
    assert findings == []
    assert complaints == []


@pytest.mark.timeout(300)
def test_everything_works_by_keyboard(browser: Browser, shown: Shown) -> None:
    """The skip link comes first, a question is asked from within the box, and the answer is where reading goes on."""
    page, complaints = enter(browser, shown, "desk, light")
    page.goto(f"{shown.url}/sql")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "sql"
    page.keyboard.type("select tier, count(*) as members from tiers group by tier")
    page.select_option("#chart", "bar")
    page.focus("#sql")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#answer")

    assert page.evaluate("document.activeElement.id") == "answer"
    assert page.locator("svg .bar.s0").count() >= 1
    assert page.locator("#sql").input_value().startswith("select tier")
    page.context.close()
    assert complaints == []


@pytest.mark.timeout(300)
def test_pages_work_without_script(browser: Browser, shown: Shown) -> None:
    """Script is a comfort: without it, buttons do the same."""
    page, _ = enter(browser, shown, "desk, light", java_script_enabled=False)
    page.goto(f"{shown.url}/sql")
    page.fill("#sql", "select 41 + 1 as answer")
    page.click("button:has-text('Ask')")
    page.wait_for_selector("td:has-text('42')")
    with page.expect_download() as download:
        page.click("button:has-text('CSV')")

    assert Path(download.value.path()).read_text(encoding="utf-8") == "answer\n42\n"
    page.context.close()
