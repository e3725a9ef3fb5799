"""Challenges, badges and raffles in a programme: mistakes, contradictions, words and differences."""

from __future__ import annotations

from typing import Any

import pytest

from rules.contradictions import contradictions
from rules.differing import differences
from rules.play_words import play_words
from tests.unit.held_words import hold
from tests.unit.ledger import programme
from tests.unit.rules_help import problems

CHALLENGE: dict[str, Any] = {
    "id": "five", "on": "visit", "need": 5, "window": {"every": "week"}, "then": {"points": 20},
}  # fmt: skip
OFFER = {"id": "offer", "on": "review", "challenge": "five"}
OFFERED = {"window": {"within": "7 days", "begins": "offered"}}
TIERS = {"levels": [{"id": "guest"}, {"id": "gold", "from": "10.00 EUR"}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"need": 0}, "it is met before it begins"),
        ({"need": "5.00 EUR"}, "a visit fact has no money"),
        ({"on": "purchase", "need": "0.00 EUR"}, "it is met before it begins"),
        ({"window": {}}, "a window is said in one way"),
        ({"window": {"every": "week", "within": "7 days"}}, "a window is said in one way"),
        ({"window": {"from": "2026-03-01"}}, "from and until belong together"),
        ({"window": {"every": "week", "begins": "accepted"}}, "begins goes with within"),
        (
            {"window": {"within": "7 days", "begins": "segment"}},
            "begins: segment and the segment's name belong together",
        ),
        ({"window": {"within": "400 days"}}, "a window of 400 days"),
        ({"window": {"from": "2026-01-01", "until": "2027-06-30"}}, "a window of 546 days"),
        (
            {"window": {"from": "2026-03-02", "until": "2026-03-01"}},
            "until 2026-03-01 is before from 2026-03-02",
        ),
        (
            {"window": {"within": "7 days"}, "opt_in": True},
            "a window of its own beginning needs no opt_in: begins: accepted says it",
        ),
        ({"when": {"streak": {"n": 3}}}, "a challenge counts itself: streak says nothing in it"),
        ({"when": {"not": {"streak": {"n": 3}}}}, "a challenge counts itself: streak says nothing in it"),
        ({"when": {"sku": "mug"}}, "sku says nothing about a visit fact"),
        ({"then": {}}, "the challenge gives nothing"),
        ({"then": {"badge": "early"}}, "there is no badge early"),
        ({"then": {"reward": "coffee"}}, "there is no reward coffee"),
        ({"then": {"raffle": {"name": "summer"}}}, "there is no raffle summer"),
        ({"then": {"tier": {"level": "golden", "for": "3 months"}}}, "there is no tier golden"),
        ({"when_returned": "perhaps"}, "when_returned cannot be perhaps"),
        ({"tenn": 3}, "unknown key tenn"),
    ],
)
def test_what_a_challenge_cannot_say(change: dict[str, Any], message: str) -> None:
    """Each mistake is named; without it the challenge is right."""
    assert problems(challenges=[CHALLENGE], tiers=TIERS) == []
    found = [problem.message for problem in problems(challenges=[CHALLENGE | change], tiers=TIERS)]
    assert found, f"{change} was taken"
    assert found[0].startswith(message), found


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"badge": "early"}, "there is no badge early"),
        ({"raffle": {"name": "summer"}}, "there is no raffle summer"),
        ({"challenge": "six"}, "there is no challenge six"),
        ({"challenge": "five"}, "five does not begin by being offered"),
        ({"badge": "early", "award": {"points": 1}}, "one rule has both award and badge"),
        ({"raffle": {"name": "summer"}, "cap": {"points": 1}}, "a raffle is counted in times"),
    ],
)
def test_what_a_rule_that_gives_such_things_cannot_say(rule: dict[str, Any], message: str) -> None:
    """What it names must be there."""
    found = problems(earn=[{"id": "a", "on": "visit"} | rule], challenges=[CHALLENGE])
    assert message in [problem.message for problem in found]


def test_two_challenges_badges_or_raffles_have_two_names() -> None:
    """As rules have."""
    raffle = {"id": "a", "from": "2026-01-01", "until": "2026-02-01", "commitment": "0" * 64}
    found = problems(challenges=[CHALLENGE, CHALLENGE], badges=[{"id": "a"}] * 2, raffles=[raffle] * 2)
    assert [problem.message.partition(", first")[0] for problem in found] == [
        "two challenges have the id five", "two badges have the id a", "two raffles have the id a",
    ]  # fmt: skip


def named(body: str) -> list[str]:
    """The contradictions of a programme, by name."""
    found = contradictions(programme(body).document)
    hold("contradictions", map(str, found))
    return [one.name for one in found]


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ("on: referral, need: 2, window: {every: year}", "on: referral, need: 1, window: {every: year}"),
        (
            "on: purchase, when: {first_purchase: true}, need: 2, window: {every: year}",
            "on: purchase, when: {first_purchase: true}, need: 1, window: {every: year}",
        ),
        (
            "on: visit, when: {store: s1}, need: 49, window: {every: day}",
            "on: visit, when: {store: [s1, s2]}, need: 49, window: {every: day}",
        ),
        (
            "on: purchase, when: {channel: app, not: {channel: app}}, need: 2, window: {every: day}",
            "on: purchase, when: {channel: app, not: {channel: web}}, need: 2, window: {every: day}",
        ),
        (
            "on: visit, need: 1, window: {from: 2020-01-01, until: 2020-02-01}",
            "on: visit, need: 1, window: {from: 2026-03-01, until: 2026-03-31}",
        ),
    ],
)
def test_a_challenge_that_nobody_can_meet(bad: str, good: str) -> None:
    """Seen beside its nearest innocent neighbour."""
    said = "challenges:\n  - {{id: a, {0}, then: {{points: 5}}}}\n"
    assert named(said.format(bad)) == ["unreachable_challenge"]
    assert named(said.format(good)) == []


def test_a_challenge_that_nobody_offers_and_a_raffle_that_nobody_can_check() -> None:
    """They are correct, and cannot be meant."""
    challenge = (
        "challenges:\n  - {id: a, on: visit, need: 1, window: {within: 7 days, begins: offered}, then: {points: 5}}\n"
    )
    assert named(challenge) == ["never_begins"]
    assert named(challenge + "earn: [{id: o, on: review, challenge: a}]\n") == []
    raffle = "raffles: [{id: r, from: 2026-06-01, until: 2026-06-30}]\n"
    assert sorted(named(raffle)) == ["raffle_without_commitment", "raffle_without_tickets"]
    whole = f"raffles: [{{id: r, from: 2026-06-01, until: 2026-06-30, commitment: {'0' * 63}a}}]\n"
    assert named(whole + "earn: [{id: t, on: visit, raffle: {name: r}}]\n") == []


PLAY = """
challenges:
  - {id: five, label: Five visits, on: visit, when: {store: s1}, need: 5, window: {every: week}, opt_in: true, times: 1,
     then: {points: 20, badge: early, tier: {level: gold, for: 3 months}, raffle: {name: summer, tickets: 2}}}
badges: [{id: early, label: Early bird, when_returned: keep}]
raffles: [{id: summer, from: 2026-06-01, until: 2026-06-30, winners: 3, commitment: %s}]
tiers: {levels: [{id: guest}, {id: gold, from: 10.00 EUR}]}
""" % ("0" * 64)


def test_it_reads_aloud() -> None:
    """As `rules show` says it."""
    assert play_words(programme(PLAY).document) == [
        (
            "Challenge five (Five visits): 5 x visit, store s1, in each week, for members who accepted it, at most 1 time: "
            "20 points, badge early, tier gold for 3 months, 2 tickets of summer"
        ),
        "Badge early (Early bird), kept when goods come back",
        f"Raffle summer: tickets from 2026-06-01 until 2026-06-30, 3 win, commitment {'0' * 64}",
    ]


def test_differences_are_told_in_words() -> None:
    """A challenge in the words of `rules show` and by path; a commitment that changed with a warning."""
    other = PLAY.replace("need: 5", "need: 4").replace("0" * 64, "1" * 64).replace("Early bird", "Earliest bird")
    challenge, badge, raffle = differences(programme(PLAY), programme(other))
    assert (challenge.what, challenge.how) == ("challenge five", "changed")
    assert challenge.lines[-1] == "need: 5 -> 4"
    assert "5 x visit" in challenge.lines[0]
    assert "4 x visit" in challenge.lines[0]
    assert badge.lines == ["label: Early bird -> Earliest bird"]
    assert raffle.lines[-1] == "its commitment was published: a draw with another one is worth nothing"
    (added, *_) = differences(
        programme("tiers: {levels: [{id: guest}, {id: gold, from: 10.00 EUR}]}\n"), programme(PLAY)
    )
    assert (added.what, added.how) == ("challenge five", "added")
