"""Every runbook names the tests that tried it, and they are there; runbooks and alerts name each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
TRIED = re.compile(r"`(tests/[\w/]+\.py)::(\*|\w+)`")
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.rules.yml"


def runbooks() -> dict[str, str]:
    """The text of each runbook by its title."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def alert_names() -> set[str]:
    """Every alert there is."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"] for group in groups for rule in group["rules"]}


@pytest.mark.parametrize("title", runbooks())
def test_a_runbook_was_tried_in_tests_that_are_there(title: str) -> None:
    """It names at least one test, and each is a function of that file (`*`: all of them)."""
    # when
    named = TRIED.findall(runbooks()[title].partition("Tried in:")[2])

    # then
    assert named, f"{title}: tried in no test"
    for path, function in named:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(r"def test_\w+\(" if function == "*" else rf"def {function}\(", text), f"{path}::{function}"


def test_runbooks_and_alerts_name_each_other() -> None:
    """What a runbook calls its alert exists, and each alert is named by the runbook it leads to."""
    # given
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    leads = {rule["alert"]: rule["annotations"]["runbook"].partition("#")[2] for one in groups for rule in one["rules"]}
    claimed = {title: set(re.findall(r"`(Stammgast\w+)`", text)) for title, text in runbooks().items()}

    # then
    assert set().union(*claimed.values()) == alert_names()
    for title, names in claimed.items():
        for name in names:
            assert leads[name] == title.lower().replace(" ", "-"), f"{name} leads elsewhere"
