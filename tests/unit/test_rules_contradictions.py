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
        (
            "when: {all: [{all: [{store: [s1, s2]}]}, {store: [s2, s3]}, {store: [s1, s3]}]}",
            "when: {all: [{all: [{store: [s1, s2]}]}, {store: [s2, s3]}, {store: s2}]}",
        ),
        (
            "when: {amount: {at_least: 5.00 EUR}, all: [{amount: {at_least: 20.00 EUR}}, {amount: {below: 9.00 EUR}}]}",
            "when: {amount: {at_least: 5.00 EUR}, all: [{amount: {at_least: 8.00 EUR}}, {amount: {below: 9.00 EUR}}]}",
        ),
        ("when: {all: [{first_purchase: true}, {every_nth: {n: 3}}]}", "when: {all: [{every_nth: {n: 3}}]}"),
        (
            "when: {all: [{from: 2026-06-01}, {until: 2026-05-31}, {from: 2026-02-01}, {until: 2026-12-31}]}",
            "when: {all: [{from: 2026-06-01}, {until: 2026-06-01}, {from: 2026-02-01}, {until: 2026-12-31}]}",
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
    for phase in (
        "award: {points: 1}, bonus: true, priority: 9",
        "multiply: {by: 2}, priority: 9",
        "badge: b, priority: 9",
    ):
        after = f"{stop}  - {{id: a, on: purchase, {phase}}}\nbadges: [{{id: b}}]\n"
        assert named(after) == [("never_fires", "earn.1")], phase
        assert named(after.replace("stop: true", "stop: true, exclusive: best")) == [], phase
    higher = rest.replace("id: z, on: purchase", "id: z, priority: 1, on: purchase")
    assert named(stop + higher) == []
    assert named(stop.replace("stop: true", "stop: true, until: 2026-12-31") + rest) == []
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
    assert named(BUY.format("priority: 1") + limit.replace("points: 4", "points: 5")) == []
    assert named(BUY.format("priority: 1") + limit.replace("purchase", "visit")) == []
    several = BUY.format("priority: 1") + SPEND + limit.replace("every: day", "every: day, only: [spend, a]")
    assert named(several) == [("cap_below_award", "earn.2.limit")]


def test_a_referrers_cap_below_his_award() -> None:
    """Each side of a referral has its own."""
    refer = "refer:\n  referrer: {points: 10, cap: {points: 9}}\n  referred: {points: 5, cap: {points: 5}}\n"

    assert named(refer) == [("cap_below_award", "refer.referrer.cap")]
    assert named(
        refer.replace("cap: {points: 5}", "cap: {points: 4}").replace("cap: {points: 9}", "cap: {points: 10}")
    ) == [("cap_below_award", "refer.referred.cap")]
    assert named("refer:\n  referred: {points: 10, cap: {times: 1}}\n") == []


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
    ("over", "cap", "most"),
    [
        ("calendar_year", "{points: 50, every: year}", 50),
        ("calendar_year", "{times: 1, every: week}", 270),
        ("calendar_year", "{times: 1, every: day}", 1830),
        ("calendar_year", "{points: 50}", 50),
        ("membership_year", "{points: 50, every: year}", 100),
        ("{rolling: 12 months}", "{points: 50, every: year}", 150),
        ("{rolling: 6 months}", "{points: 50, every: year}", 100),
        ("{rolling: 24 months}", "{times: 2, every: month}", 480),
        ("lifetime", "{points: 50, every: year}", None),
        ("lifetime", "{points: 50}", 50),
    ],
)
def test_a_tier_beyond_the_caps_of_its_window(over: str, cap: str, most: int | None) -> None:
    """A window touches so many calendar years, a rolling one of twelve months three at most; for ever only such caps bound."""
    said = "tiers: {{qualify: {{by: points, over: {over}}}, downgrade: none, levels: [{{id: g}}, {{id: r, from: {begin}}}]}}\n"
    earn = BUY.format(f"cap: {cap}")

    assert named(earn + said.format(over=over, begin=most or 1_000_000)) == []
    if most is not None:
        assert named(earn + said.format(over=over, begin=most + 1)) == [("unreachable_tier", "tiers.levels.1.from")]


def test_what_bounds_all_awards_together() -> None:
    """Caps add up; the lowest limit bounds the whole where all awards are on its fact; by line or by money nothing does."""
    reward = "rewards: [{{id: bag, cost: {0}}}]\n"
    two = BUY.format("cap: {points: 50}") + "  - {id: b, on: visit, award: {points: 5}, cap: {times: 3}}\n"
    limits = "  - {id: l, on: purchase, limit: {points: 40}}\n  - {id: k, on: purchase, limit: {points: 30}}\n"
    found = [("unaffordable_reward", "rewards.0.cost")]

    assert named(two + reward.format(65)) == []
    assert named(two + reward.format(66)) == found
    assert named(BUY.format("priority: 1") + limits + reward.format(30)) == []
    assert named(BUY.format("priority: 1") + limits + reward.format(31)) == found
    assert named(two + limits + reward.format(31)) == []
    assert named(BUY.format("priority: 1") + limits.replace("}}", ", only: a}}") + reward.format(99)) == []
    for award in ("{points: 1, per: 1.00 EUR}", "{points: 1, each: line}"):
        assert named(f"earn: [{{id: a, on: purchase, award: {award}, cap: {{times: 3}}}}]\n" + reward.format(99)) == []
    levels = "tiers: {{levels: [{{id: g}}, {{id: r, from: 9.00 EUR, multiply: {0}}}]}}\n"
    assert named(two + levels.format(2) + reward.format(66)) == []
    assert named(two + levels.format(1) + reward.format(66)) == found


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


TIERS = "tiers: {levels: [{id: guest}, {id: gold, from: 9.00 EUR}]}\n"


@pytest.mark.parametrize(
    ("bad", "good", "name", "place"),
    [
        (
            "on: birthday, when: {tier: gold, all: [{tier: guest}]}, award: {points: 1}",
            "on: birthday, when: {tier: gold, all: [{tier: [gold, guest]}]}, award: {points: 1}",
            "never_fires", "on",
        ),
        ("on: birthday, until: 2025-12-31, award: {points: 1}", "on: birthday, until: 2026-01-01, award: {points: 1}",
         "never_fires", "on"),
        ("on: birthday, from: 2026-05-01, when: {until: 2026-04-30}, award: {points: 1}",
         "on: birthday, from: 2026-05-01, when: {until: 2026-05-01}, award: {points: 1}", "never_fires", "on"),
        ("on: {points_expiring: {days_before: 7}}, award: {points: 1}", "on: {silence: {at_least: 7 days}}, award: {points: 1}",
         "never_fires", "on"),
        ("on: {tier_changed: {way: up, to: guest}}, award: {points: 1}",
         "on: {tier_changed: {way: down, to: guest}}, award: {points: 1}",
         "never_fires", "on"),
        ("on: {tier_changed: {way: down, to: gold}}, award: {points: 1}",
         "on: {tier_changed: {way: up, to: gold}}, award: {points: 1}",
         "never_fires", "on"),
        ("on: {tier_changed: {way: down, to: gold}}, award: {points: 1}",
         "on: {tier_changed: {way: down, to: [gold, guest]}}, award: {points: 1}", "never_fires", "on"),
        ("on: joined, award: {points: 5}, cap: {points: 4}", "on: joined, award: {points: 5}, cap: {points: 5}",
         "cap_below_award", "cap"),
        ('on: birthday, notice: {template: t, at: "09:00", expires: 9 hours}',
         'on: birthday, notice: {template: t, at: "09:00", expires: 10 hours}', "never_said", "notice.expires"),
        ('on: {silence: {at_least: 7 days}}, notice: {template: t, at: "09:00", expires: 8 hours}',
         'on: visit, notice: {template: t, at: "09:00", expires: 8 hours}', "never_said", "notice.expires"),
        ('on: anniversary, notice: {template: t, at: "09:00", expires: 8 hours}',
         "on: anniversary, notice: {template: t, expires: 8 hours}", "never_said", "notice.expires"),
    ],
)  # fmt: skip
def test_a_moment_that_never_comes_or_is_never_told(bad: str, good: str, name: str, place: str) -> None:
    """By its dates, its conditions or its own word; by a notice that is over before its hour; and the same one mended."""
    body = f"earn:\n{SPEND}{TIERS}moments:\n"

    assert named(f"{body}  - {{id: m, {bad}}}\n") == [(name, f"moments.0.{place}")]
    assert named(f"{body}  - {{id: m, {good}}}\n") == []


@pytest.mark.parametrize(
    "where",
    [
        "points: {expire: {after: 12 months}}\nearn:\n",
        "earn:\n  - {id: g, on: visit, award: {points: 1}, expire: {after: 1 year}}\n",
    ],
)
def test_points_that_expire_by_one_word_alone_can_be_told_of(where: str) -> None:
    """Of the programme or of one rule; where that word is none they never do."""
    moment = "moments:\n  - {id: m, on: {points_expiring: {days_before: 7}}, notice: {template: t}}\n"
    level = TIERS.replace("from: 9.00 EUR", "from: 9.00 EUR, expire: {after: 1 year}")

    assert named(where + SPEND + moment) == []
    assert named(f"earn:\n{SPEND}{level}{moment}") == []
    never = where.replace("{after: 12 months}", "none").replace("{after: 1 year}", "none")
    assert named(never + SPEND + moment) == [("never_fires", "moments.0.on")]


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
