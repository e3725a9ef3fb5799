"""`rules diff` says in words what changed between two versions, and whom it touches; nothing stays unsaid."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.commands.rules import rules
from rules.differing import Change, differences
from tests.unit.held_words import hold
from tests.unit.ledger import programme

SHIPPED = Path(__file__).parents[2] / "rules" / "programmes" / "coffee-bar"
BASE = """
visit_gap: 30 minutes
earn:
  - {id: spend, on: purchase, award: {points: 1, per: 1.00 EUR}, cap: {points: 100, every: month}}
  - {id: visit, on: visit, award: {points: 2}}
refer: {moment: referral, referrer: {points: 10}}
tiers:
  downgrade: none
  levels:
    - {id: guest}
    - {id: regular, from: 100.00 EUR, multiply: 1.5}
"""


def changes(right: str, wrong: str) -> list[Change]:
    """What changes when a text of the base is another one."""
    assert right in BASE
    found = differences(programme(BASE), programme(BASE.replace(right, wrong), version=2))
    hold("differences", map(str, found))
    return found


def told(right: str, wrong: str) -> list[tuple[str, str, list[str], str]]:
    """The same, to be compared."""
    return [(change.what, change.how, change.lines, change.touches) for change in changes(right, wrong)]


def test_nothing_changed() -> None:
    """Another number alone is no change."""
    assert differences(programme(BASE), programme(BASE, version=2)) == []


def test_a_rule_that_gives_more() -> None:
    """What it gave and what it gives, in the words of `rules show`; its other words are not repeated."""
    assert told("award: {points: 2}", "award: {points: 3}") == [
        ("rule visit", "changed", ["gives: 2 points -> 3 points"], "every visit")
    ]


def test_a_rule_for_fewer() -> None:
    """Whom it touched, and whom it touches."""
    assert told("award: {points: 2}}", "award: {points: 2}, when: {store: s1}}") == [
        ("rule visit", "changed", ["when: always -> store s1"], "every visit or a visit, store s1")
    ]


def test_rules_come_and_go() -> None:
    """What they give and when, once."""
    line = "  - {id: visit, on: visit, award: {points: 2}}\n"

    assert told(line, "") == [("rule visit", "removed", ["on visit: 2 points", "when: always"], "every visit")]
    assert told(line, line + line.replace("id: visit", "id: more"))[0][:2] == ("rule more", "added")


def test_what_words_told_is_not_told_by_path_again() -> None:
    """Points, their dates and who is left out changed at once: a sentence for what it gives, one for when, and nothing else."""
    now = "award: {points: 3}, expire: {after: 1 year}, pending: {for: 3 days}, cap: {times: 2}}"
    (change,) = changes("award: {points: 2}}", now)
    assert [line.partition(":")[0] for line in change.lines] == ["gives"]
    (change,) = changes(
        "award: {points: 2}}", "award: {points: 2}, unless: {store: s1}, until: 2026-12-31, hold_out: 10 %, stop: true}"
    )
    assert [line.partition(":")[0] for line in change.lines] == ["when"]


def test_levels_come_and_go() -> None:
    """Whoever reaches one, or everybody for the base; below the first changed threshold nobody is touched."""
    level = "    - {id: regular, from: 100.00 EUR, multiply: 1.5}\n"
    more = level + level.replace("regular", "gold").replace("100", "300")
    (added,), (removed,) = changes(level, more), changes(level, "")
    assert (added.what, added.how, added.touches) == ("level gold", "added", "members from 300.00 EUR on")
    assert (removed.what, removed.how, removed.touches) == ("level regular", "removed", "members from 100.00 EUR on")
    base = [change for change in changes("{id: guest}", "{id: visitor}") if change.what.startswith("level")]
    assert [(change.what, change.how, change.touches) for change in base] == [
        ("level guest", "removed", "everybody"), ("level visitor", "added", "everybody"),
    ]  # fmt: skip
    (both,) = changes("100.00 EUR, multiply: 1.5", "90.00 EUR, multiply: 2")
    assert both.touches == "members from 90.00 EUR to below 100.00 EUR: they reach it now; members of regular"


def test_moments_are_told_by_name() -> None:
    """What one gives and when, where it comes or goes; by its path where it changes."""
    one = "moments: [{id: cake, on: birthday, award: {points: 5}}]\nvisit_gap"
    (added,) = changes("visit_gap", one)
    assert (added.what, added.how, added.lines) == (
        "moment cake",
        "added",
        ["gives: 5 points", "when: on the birthday"],
    )
    before, after = (
        programme(BASE.replace("visit_gap", one)),
        programme(BASE.replace("visit_gap", one.replace("5", "6"))),
    )
    (changed,) = differences(before, after)
    assert (changed.what, changed.how, changed.lines, changed.touches) == (
        "moment cake", "changed", ["award.points: 5 -> 6"], "on the birthday",
    )  # fmt: skip


def test_what_has_no_words_is_told_by_its_path() -> None:
    """The priority of a rule stands in no sentence."""
    assert told("on: visit,", "on: visit, priority: 3,") == [
        ("rule visit", "changed", ["priority: 0 -> 3"], "every visit")
    ]


def test_a_threshold_says_who_gains_and_who_loses() -> None:
    """Those between the old and the new one."""
    up = "members from 100.00 EUR to below 150.00 EUR: they no longer reach it"
    down = "members from 50.00 EUR to below 100.00 EUR: they reach it now"

    assert told("100.00 EUR, mul", "150.00 EUR, mul") == [
        ("level regular", "changed", ["from: 100.00 EUR -> 150.00 EUR"], up)
    ]
    assert changes("100.00 EUR, mul", "50.00 EUR, mul")[0].touches == down
    assert changes("multiply: 1.5", "multiply: 2")[0].touches == "members of regular"


@pytest.mark.parametrize(
    ("right", "wrong", "what", "line"),
    [
        ("visit_gap: 30", "visit_gap: 20", "visit gap", "30 minutes -> 20 minutes"),
        ("moment: referral", "moment: {first: purchase}", "referrals", 'moment: referral -> {"first": "purchase"}'),
        ("referrer: {points: 10}", "referrer: {points: 11}", "referrals", "referrer.points: 10 -> 11"),
        ("downgrade: none", "downgrade: {to: earned_level}", "tiers", "downgrade: none -> "),
        ("visit_gap", "accept_late: 30 days\nvisit_gap", "accept late", "30 days"),
    ],
)
def test_everything_else_is_told_too(right: str, wrong: str, what: str, line: str) -> None:
    """By its title and its path."""
    (change,) = changes(right, wrong)

    assert change.what == what
    assert any(said.startswith(line) for said in change.lines)


def test_what_show_has_words_for_is_said_in_them_first() -> None:
    """Then by its paths, so that nothing is left out."""
    (points,) = changes("visit_gap: 30", "points: {expire: {after: 12 months}}\nvisit_gap: 30")
    (refer,) = changes("referrer: {points: 10}", "referrer: {points: 11}")

    assert points.lines[0] == "expire after 12 months"
    assert refer.lines == [
        "referrer 10 points; at the referral -> referrer 11 points; at the referral",
        "referrer.points: 10 -> 11",
    ]


def test_the_command_reads_directories_and_files() -> None:
    """Of a directory the newest version; --json says the same."""
    old, new = str(SHIPPED / "2026-01-01.yaml"), str(SHIPPED / "2026-03-05.yaml")
    result = CliRunner().invoke(rules, ["diff", old, new])

    assert result.exit_code == 0, result.output
    assert "coffee-bar version 1 -> coffee-bar version 2" in result.output
    assert "rule bakery added" in result.output
    assert "between 14:00 and 17:00 -> channel pos" in result.output
    said = json.loads(CliRunner().invoke(rules, ["diff", old, new, "--json"]).output)
    assert {change["what"] for change in said["changes"]} >= {"rule happy-hour", "rule coffee-for-two", "referrals"}
    newest = CliRunner().invoke(rules, ["diff", old, str(SHIPPED)]).output
    assert "coffee-bar version 1 -> coffee-bar version 4" in newest
    assert "touches: an activity, named sport" in newest
    assert "nothing that a guest would notice" in CliRunner().invoke(rules, ["diff", old, old]).output
    assert CliRunner().invoke(rules, ["diff", old, "nowhere.yaml"]).exit_code == 2
