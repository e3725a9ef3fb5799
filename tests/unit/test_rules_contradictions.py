"""`rules check` names what is correct and cannot be meant; each contradiction is seen beside its nearest innocent neighbour."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.commands.rules import rules
from rules.contradictions import contradictions
from rules.files import contradictions_in
from tests.unit.held_words import hold
from tests.unit.ledger import HEADER, programme

SHIPPED = Path(__file__).parents[2] / "rules" / "programmes"
BUY = "earn:\n  - {{id: a, on: purchase, award: {{points: 5}}, {0}}}\n"
SPEND = "  - {id: spend, on: purchase, award: {points: 1, per: 1.00 EUR}}\n"


def named(body: str) -> list[tuple[str, str]]:
    """Name and place of each contradiction."""
    found = contradictions(programme(body).document)
    hold("contradictions", map(str, found))
    return [(one.name, ".".join(map(str, one.path))) for one in found]


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ("until: 2025-12-31", "until: 2026-01-01"),
        ("from: 2026-05-01, when: {until: 2026-04-30}", "from: 2026-05-01, when: {until: 2026-05-01}"),
        ("when: {channel: app, all: [{channel: [web, pos]}]}", "when: {channel: app, all: [{channel: [web, app]}]}"),
        (
            "when: {channel: app}, unless: {channel: [app, web]}",
            "when: {channel: [app, pos]}, unless: {channel: [app, web]}",
        ),
        ("when: {channel: app}, unless: {channel: app}", "when: {channel: app}, unless: {channel: app, store: s1}"),
        ("when: {store: s1, not: {store: s1}}", "when: {store: s1, not: {store: s2}}"),
        (
            "when: {amount: {at_least: 10.00 EUR}, all: [{amount: {below: 10.00 EUR}}]}",
            "when: {amount: {at_least: 10.00 EUR}, all: [{amount: {below: 10.01 EUR}}]}",
        ),
        (
            "when: {first_purchase: true, days_since_last_purchase: {at_least: 1}}",
            "when: {first_purchase: false, days_since_last_purchase: {at_least: 1}}",
        ),
        (
            "when: {first_purchase: true, spent: {at_least: 1.00 EUR, within: 3 days}}",
            "when: {first_purchase: true, spent: {at_least: 0.00 EUR, within: 3 days}}",
        ),
        (
            "when: {first_purchase: true, all: [{first_purchase: false}]}",
            "when: {any: [{first_purchase: true}, {first_purchase: false}]}",
        ),
        ("when: {first_purchase: true, every_nth: {n: 2}}", "when: {every_nth: {n: 2}}"),
        (
            "when: {store: s1, channel: app}, unless: {store: s1, channel: app}",
            "when: {store: s1}, unless: {store: s1, channel: app}",
        ),
    ],
)
def test_a_rule_that_can_never_fire(bad: str, good: str) -> None:
    """One rule that contradicts itself or its version, and the same one mended."""
    assert named(BUY.format(bad)) == [("never_fires", "earn.0")]
    assert named(BUY.format(good)) == []


def test_a_cap_below_its_award() -> None:
    """The award never comes whole."""
    assert named(BUY.format("cap: {points: 4}")) == [("cap_below_award", "earn.0.cap")]
    assert named(BUY.format("cap: {points: 5}")) == []


def test_a_rule_after_one_that_always_stops() -> None:
    """Nothing comes after it but limits; a rule on another fact, and one before it, are not meant."""
    stop = "earn:\n  - {id: m, on: purchase, award: {points: 1}, stop: true}\n"
    rest = "  - {id: z, on: purchase, award: {points: 1}}\n  - {id: b, on: purchase, award: {points: 1}}\n"
    rest += "  - {id: v, on: visit, award: {points: 1}}\n  - {id: l, on: purchase, limit: {points: 9}}\n"

    assert named(stop + rest) == [("never_fires", "earn.1")]
    assert named(stop.replace("stop: true", "stop: true, when: {channel: app}") + rest) == []


def test_a_multiplier_of_rules_that_never_fire() -> None:
    """It has nothing to multiply."""
    body = BUY.format("until: 2025-12-31") + "  - {id: m, on: purchase, multiply: {by: 2, only: a}}\n"

    assert named(body) == [("never_fires", "earn.0"), ("never_fires", "earn.1.multiply.only")]


def test_a_limit_below_an_award() -> None:
    """It is about that rule, and on the same fact."""
    limit = "  - {id: l, on: purchase, limit: {points: 4, every: day}}\n"

    assert named(BUY.format("priority: 1") + limit) == [("cap_below_award", "earn.1.limit")]
    assert named(BUY.format("priority: 1") + SPEND + limit.replace("every: day", "every: day, only: spend")) == []


def test_a_referrers_cap_below_his_award() -> None:
    """Each side of a referral has its own."""
    refer = "refer:\n  referrer: {points: 10, cap: {points: 9}}\n  referred: {points: 5, cap: {points: 5}}\n"

    assert named(refer) == [("cap_below_award", "refer.referrer.cap")]


@pytest.mark.parametrize(
    ("earn", "most"),
    [
        (BUY.format("cap: {points: 50, every: year}"), 50),
        (BUY.format("cap: {points: 50, every: quarter}"), 200),
        (BUY.format("cap: {times: 2, every: month}"), 120),
        (BUY.format("priority: 1") + "  - {id: l, on: purchase, limit: {points: 7, every: month}}\n", 84),
        (BUY.format("cap: {points: 50, per: [member, place], every: year}"), None),
        (BUY.format("cap: {points: 50, every: year}") + SPEND, None),
        (BUY.format("cap: {points: 50, every: year}") + "  - {id: m, on: purchase, multiply: {by: 2}}\n", None),
    ],
)
def test_a_tier_beyond_all_caps(earn: str, most: int | None) -> None:
    """By points: what all caps together leave in the window is the most that anybody reaches."""

    def tiers(begin: int) -> str:
        return f"tiers: {{qualify: {{by: points}}, levels: [{{id: g}}, {{id: r, from: {begin}}}]}}\n"

    assert named(earn + tiers(1_000_000 if most is None else most)) == []
    if most is not None:
        assert named(earn + tiers(most + 1)) == [("unreachable_tier", "tiers.levels.1.from")]


@pytest.mark.parametrize(
    ("cap", "cost", "found"),
    [
        ("{points: 50}", 51, [("unaffordable_reward", "rewards.0.cost")]),
        ("{points: 50}", 50, []),
        ("{times: 3}", 16, [("unaffordable_reward", "rewards.0.cost")]),
        ("{points: 50, every: year}", 51, []),
    ],
)
def test_a_reward_that_nobody_can_afford(cap: str, cost: int, found: list[tuple[str, str]]) -> None:
    """Where every award is bounded for ever, their sum is the most that anybody has."""
    body = BUY.format(f"cap: {cap}") + f"rewards:\n  - {{id: bag, cost: {cost}}}\n"

    assert named(body) == found
    assert named(body + "refer: {referrer: {points: 1}}\n") == []


@pytest.mark.parametrize("when", ["{rating: {at_least: 4}}", "{any: [{verified: true}, {not: {rating: {below: 3}}}]}"])
def test_an_award_that_depends_on_the_rating(when: str) -> None:
    """Whoever pays for good reviews gets no reviews."""
    body = f"earn:\n  - {{id: r, on: review, when: {when}, award: {{points: 1}}}}\n"

    assert named(body) == [("award_depends_on_rating", "earn.0.when")]
    assert named(body.replace(when, "{verified: true}")) == []


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ('notice: {template: t, channels: "a|b"}', "notice: {template: t, channels: a-b}"),
        ('notice: {template: t, channels: ["a|b"]}', 'notice: {template: t, channels: ["a|b", mail]}'),
        (
            "unless: {consent: [mail, push]}, notice: {template: t, channels: mail}",
            "unless: {consent: [push]}, notice: {template: t, channels: [mail, push]}",
        ),
        (
            "unless: {consent: mail}, notice: {template: t, channels: mail}",
            "unless: {consent: mail, tier: gold}, notice: {template: t, channels: mail}",
        ),
    ],
)
def test_a_notice_by_channels_that_nobody_gives(bad: str, good: str) -> None:
    """A channel that no profile can name; or that only those have who are left out."""
    body = f"earn:\n{SPEND}tiers: {{levels: [{{id: guest}}, {{id: gold, from: 9.00 EUR}}]}}\nmoments:\n"

    assert named(f"{body}  - {{id: m, on: visit, {bad}}}\n") == [("never_said", "moments.0.notice.channels")]
    assert named(f"{body}  - {{id: m, on: visit, {good}}}\n") == []


def test_check_tells_contradictions_by_name(tmp_path: Path) -> None:
    """File, line, place, name, how to mend it; exit code 1."""
    file = tmp_path / "1.yaml"
    text = HEADER.format(version=1, start="2026-01-01") + BUY.format("cap: {points: 4}")
    file.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(rules, ["check", str(file)])

    assert result.exit_code == 1
    assert (
        f"{file}:{text.count(chr(10))}: earn[a].cap: cap_below_award: it awards 5 at a time, and its cap leaves 4"
        in result.output
    )
    assert "write points: 5 or more" in result.output
    assert '"message": "cap_below_award: ' in CliRunner().invoke(rules, ["check", str(file), "--json"]).output


@pytest.mark.parametrize("name", sorted(path.name for path in SHIPPED.iterdir()))
def test_the_shipped_programmes_contradict_nothing(name: str) -> None:
    """What we ship as examples means what it says."""
    assert contradictions_in(SHIPPED / name) == []
