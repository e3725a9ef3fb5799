"""Margin and goals in a programme: read exactly, checked, told in words, carried to the tables, and nothing to those without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.cli import main
from engine.ledger.engine_facts import programme_fact
from rules.book import load_directory
from rules.compiling import from_canonical
from rules.differing import differences
from rules.money import EXAMPLES
from rules.money_words import money_words
from schemas.metrics import GOAL_METRICS
from tests.unit.ledger import programme
from tests.unit.verify_history import RECORDED

BODY = """points: {worth: 0.01 EUR}
margin: {share: 60 %, categories: {beans: 35.5 %}}
goals:
  - {id: come-back, metric: retention, baseline: 31 %, target: 36 %, by: 2028-12-31}
  - {id: basket, metric: order_value, store: mitte, baseline: 8.40 EUR, target: 9.20 EUR, by: 2028-12-31}
  - {id: regulars, metric: active_members, baseline: 1200, target: 1500, by: 2028-06-30}
"""


def test_the_fact_of_a_version_carries_them_exactly() -> None:
    """Fractions and minor units, and canonical JSON reads back to the same."""
    one = programme(BODY)
    data = programme_fact(one, RECORDED).data

    assert data["point_minor"] == 1
    assert data["margin"] == {"share": "0.6", "categories": [{"category": "beans", "share": "0.355"}]}
    assert data["goals"] == [
        {"id": "come-back", "metric": "retention", "baseline": "0.31", "target": "0.36", "by": "2028-12-31"},
        {
            "id": "basket",
            "metric": "order_value",
            "baseline": "840",
            "target": "920",
            "by": "2028-12-31",
            "store": "mitte",
        },
        {"id": "regulars", "metric": "active_members", "baseline": "1200", "target": "1500", "by": "2028-06-30"},
    ]
    assert from_canonical(one.canonical_json()).hash == one.hash


def test_a_programme_without_them_is_what_it_was() -> None:
    """Neither its hash nor its fact knows of them."""
    one = programme("")

    assert not {"point_minor", "margin", "goals"} & set(programme_fact(one, RECORDED).data)
    assert not {"margin", "goals"} & set(json.loads(one.canonical_json()))


def test_they_are_told_in_words() -> None:
    """As `rules show` and `rules diff` say them."""
    old, new = programme(BODY), programme(BODY.replace("36 %", "38 %").replace("share: 60 %", "share: 55 %"))

    assert money_words(old.document) == [
        "Margin: 60 % of sales is kept, of beans 35.5 %",
        "Goal come-back: retention from 31 % to 36 % by 2028-12-31 (" + GOAL_METRICS["retention"].says + ")",
        "Goal basket: order_value in store mitte from 8.40 EUR to 9.20 EUR by 2028-12-31 (mean order of the month)",
        "Goal regulars: active_members from 1200 to 1500 by 2028-06-30 (members who bought within the churn horizon)",
    ]
    assert money_words(programme("margin: 40 %\n").document) == ["Margin: 40 % of sales is kept"]
    margin, goal = differences(old, new)
    assert margin.lines[0] == "60 % of sales is kept, of beans 35.5 % -> 55 % of sales is kept, of beans 35.5 %"
    assert goal.what == "goal come-back"
    assert "target: 36 % -> 38 %" in goal.lines
    gone = {change.what: change.how for change in differences(old, programme(""))}
    assert {gone[what] for what in ("margin", "goal come-back", "goal basket", "goal regulars")} == {"removed"}


@pytest.mark.parametrize(
    ("was", "now", "said", "mend"),
    [
        ("metric: retention", "metric: retenton", "there is no metric retenton", "did you mean retention?"),
        ("31 %", "31", "retention is a share, and 31 is not", "write it like 34 %"),
        ("8.40 EUR", "8.40 GBP", "is not in the programme's currency", "write 8.40 EUR"),
        ("31 %", "131 %", "no part of all", "at most 100 %"),
        ("1200", "many", "no value of a metric", "write it like 34 %"),
        ("31 %", "36.0 %", "the goal is reached before it begins", "name another target"),
        ("2028-06-30", "2020-01-01", "is not after", "name a later day"),
        ("2028-06-30", "2028-06-30 10:00", "a goal has a day, not an hour", "write 2028-06-30"),
        ("id: regulars,", "id: regulars, store: mitte,", "active_members is not told of each store", "order_value"),
        ("store: mitte", "store: mitte, channel: pos", "narrowed by store or by channel", "take one of them out"),
        ("id: regulars", "id: basket", "basket", ""),
        ("share: 60 %", "share: 160 %", "everybody", "write it like 10 %"),
        ("categories", "category", "unknown key category", "categories"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(tmp_path: Path, was: str, now: str, said: str, mend: str) -> None:
    """By line and key, from `rules check`."""
    head = "programme: x\nversion: 1\nvalid: {from: 2026-01-01}\ntime_zone: Europe/Berlin\ncurrency: EUR\n"
    file = tmp_path / "x.yaml"
    assert was in BODY
    file.write_text(head + BODY.replace(was, now, 1), encoding="utf-8")
    done = CliRunner().invoke(main, ["rules", "check", str(file)])

    assert done.exit_code == 1, done.output
    assert said in done.output
    assert mend in done.output


def test_the_page_lists_every_metric_as_it_is() -> None:
    """docs/costs.md has a row for each, with an example of its unit."""
    page = (Path(__file__).parents[2] / "docs" / "costs.md").read_text(encoding="utf-8")
    rows = [
        f"| `{name}` | {EXAMPLES[one.unit]} | {'yes' if one.by_place else 'no'} | {one.says} |\n"
        for name, one in GOAL_METRICS.items()
    ]

    assert "".join(rows) in page


def test_the_shipped_programmes_say_them() -> None:
    """The newest coffee bar shows both."""
    newest = load_directory(Path(__file__).parents[2] / "rules" / "programmes" / "coffee-bar")[-1]

    assert newest.document.margin is not None
    assert newest.document.goals
