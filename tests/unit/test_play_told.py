"""What a member plays, as tills, members and analysts are told of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from engine.commands.explain import explain
from engine.gateway.card import card
from engine.ledger.engine_facts import programme_fact
from engine.ledger.packing import pack, unpack
from rules.book import load_directory
from schemas.normalise import normalise
from schemas.times import to_us
from tests.stories.telling import read_event
from tests.unit.ledger import HEADER, RECORDED, Stage, programme

PLAY = """
challenges:
  - {id: five, label: Five visits, on: visit, need: 3, window: {every: week}, then: {points: 20, badge: early}}
  - {id: tea, on: purchase, when: {category: tea}, need: 30.00 EUR, window: {from: 2026-03-01, until: 2026-03-31},
     then: {points: 9}}
  - {id: sprint, on: visit, need: 9, window: {within: 2 days, begins: accepted}, then: {points: 5}}
  - {id: walker, on: visit, need: 9, window: {every: month}, opt_in: true, then: {points: 5}}
  - {id: hidden, on: visit, need: 1, window: {within: 2 days, begins: segment, segment: gone}, then: {points: 5}}
badges: [{id: early, label: Early bird}]
raffles: [{id: summer, label: Summer, from: 2026-03-01, until: 2026-06-30, commitment: %s}]
earn: [{id: ticket, on: purchase, raffle: {name: summer, tickets: 2}}]
""" % ("0" * 64)
FACTS: list[dict[str, Any]] = [
    {"at": "2026-03-02 10:00", "id": "v1", "visit": "s1"},
    {"at": "2026-03-03 10:00", "id": "v2", "visit": "s1"},
    {"at": "2026-03-04 10:00", "id": "v3", "visit": "s1"},
    {"at": "2026-03-04 11:00", "id": "p1", "purchase": "o1", "lines": ["green 12.00 in tea"]},
    {"at": "2026-03-04 12:00", "id": "a1", "activity": "challenge_accepted", "attributes": {"challenge": "sprint"}},
]


def told(at: str) -> dict[str, Any]:
    """The card of a member after these facts, at a moment; his state went through bytes."""
    stage = Stage(programme(PLAY))
    for number, fact in enumerate(FACTS):
        event = read_event(fact).encoded(number, stage.partition.book.versions[0].time_zone)
        stage.answer(normalise(event, RECORDED, to_us(RECORDED)))
    member = stage.partition.members.get("anna")
    assert member is not None
    assert unpack("anna", pack(member)) == member
    return card(member, stage.partition.book, to_us(at))


def test_a_till_sees_how_far_a_member_is() -> None:
    """Open windows with progress, need and end; what nobody began for him is not there; badges and tickets by name."""
    seen = told("2026-03-05T10:00:00Z")
    found = {one["challenge"]: one for one in seen["challenges"]}
    assert sorted(found) == ["five", "sprint", "tea", "walker"]
    five, tea, sprint, walker = found["five"], found["tea"], found["sprint"], found["walker"]
    assert (five["window"], five["progress"], five["need"], five["left"], five["met"]) == ("2026-W10", 3, 3, 0, True)
    assert (five["label"], five["counted_in"], five["until"]) == ("Five visits", "visit", "2026-03-08T23:00:00.000000Z")
    assert (tea["progress"], tea["need"], tea["counted_in"], tea["met"]) == (1200, 3000, "EUR", False)
    assert tea["until"] == "2026-03-31T22:00:00.000000Z"
    assert (sprint["progress"], sprint["accepted"], sprint["until"]) == (0, True, "2026-03-06T11:00:00.000000Z")
    assert (walker["progress"], walker["accepted"]) == (0, False)
    assert seen["badges"] == [{"badge": "early", "label": "Early bird", "since": "2026-03-04T09:00:00.000000Z"}]
    (tickets,) = seen["tickets"]
    assert (tickets["raffle"], tickets["label"], tickets["count"]) == ("summer", "Summer", 2)
    assert [name[-5:] for name in tickets["tickets"]] == ["-0001", "-0002"]


def test_a_week_later_everything_begins_anew() -> None:
    """The window that is open now counts; one of the member's own that is over can be accepted again."""
    found = {one["challenge"]: one for one in told("2026-04-10T10:00:00Z")["challenges"]}
    assert sorted(found) == ["five", "sprint", "walker"]
    assert (found["five"]["window"], found["five"]["progress"], found["five"]["met_times"]) == ("2026-W15", 0, 1)
    assert (found["sprint"]["window"], found["sprint"]["accepted"]) == (None, False)


@pytest.fixture
def shop(tmp_path: Path) -> list[str]:
    """The same facts and programme as files, as options of a command."""
    (tmp_path / "programme").mkdir()
    (tmp_path / "programme" / "1.yaml").write_text(
        HEADER.format(version=1, start="2026-01-01") + PLAY, encoding="utf-8"
    )
    zone = load_directory(tmp_path / "programme")[0].time_zone
    (tmp_path / "events.jsonl").write_bytes(
        b"\n".join(read_event(fact).encoded(n, zone) for n, fact in enumerate(FACTS))
    )
    return ["--events", str(tmp_path / "events.jsonl"), "--programme", str(tmp_path / "programme")]


def test_explain_says_what_a_fact_counted_for_and_met(shop: list[str]) -> None:
    """In words and as data, of a fact and of the member."""
    met = CliRunner().invoke(explain, ["v3", *shop])
    assert met.exit_code == 0, met.output
    for line in (
        "counts +1 for challenge five (2026-W10)", "challenge five (2026-W10) is met", "badge early is earned",
        "earn +20 by challenge:five",
    ):  # fmt: skip
        assert line in met.output
    found = json.loads(CliRunner().invoke(explain, ["p1", *shop, "--json"]).output)
    assert found["counted"] == [{"challenge": "tea|2026-03-01", "by": 1200}]
    (rule,) = found["rules"]
    assert (rule["rule"], rule["gives"], rule["why"]) == ("ticket", "2 tickets of summer", "")
    whole = CliRunner().invoke(explain, ["anna", *shop])
    assert "  challenge tea: 12.00 EUR of 30.00 EUR, until 2026-03-31T22:00:00.000000Z" in whole.output
    assert "  badge early, since 2026-03-04T09:00:00.000000Z, by challenge:five" in whole.output
    assert "  2 tickets of summer" in whole.output
    data = orjson.loads(CliRunner().invoke(explain, ["anna", *shop, "--json"]).output)
    assert [one["badge"] for one in data["badges"]] == ["early"]
    assert len(data["tickets"]["summer"]) == 2


WINDOWS = """
challenges:
  - {id: a-day, on: visit, need: 2, window: {every: day}, then: {points: 1}}
  - {id: b-month, on: visit, need: 2, window: {every: month}, then: {points: 1}}
  - {id: c-quarter, on: visit, need: 2, window: {every: quarter}, then: {points: 1}}
  - {id: d-year, on: visit, need: 2, window: {every: year}, then: {points: 1}}
  - {id: e-once, on: visit, need: 1, times: 1, window: {within: 2 days}, then: {points: 1}}
  - {id: f-twice, on: visit, need: 1, times: 2, window: {within: 2 days}, then: {points: 1}}
"""


def test_every_kind_of_window_ends_at_its_own_midnight() -> None:
    """Day, month, quarter, year, in the time zone of the programme; one that may be met once is not open a second time."""
    stage = Stage(programme(WINDOWS))
    stage.say("stammgast.visit.v1", "anna", "2026-03-02T10:00:00Z", {"store": "s1"})
    member = stage.partition.members["anna"]

    def open_at(at: str) -> dict[str, Any]:
        return {one["challenge"]: one for one in card(member, stage.partition.book, to_us(at))["challenges"]}

    found = open_at("2026-03-02T11:00:00Z")
    assert {name: (one["window"], one["until"]) for name, one in found.items() if name < "e"} == {
        "a-day": ("2026-03-02", "2026-03-02T23:00:00.000000Z"),
        "b-month": ("2026-03", "2026-03-31T22:00:00.000000Z"),
        "c-quarter": ("2026-Q1", "2026-03-31T22:00:00.000000Z"),
        "d-year": ("2026", "2026-12-31T23:00:00.000000Z"),
    }
    assert (found["e-once"]["met"], found["e-once"]["until"]) == (True, "2026-03-04T10:00:00.000000Z")
    later = open_at("2026-03-08T22:59:00Z")
    assert sorted(later) == ["a-day", "b-month", "c-quarter", "d-year", "f-twice"]
    assert (later["a-day"]["window"], later["a-day"]["progress"]) == ("2026-03-08", 0)
    assert (later["b-month"]["progress"], later["b-month"]["left"]) == (1, 1)
    twice = later["f-twice"]
    assert (twice["window"], twice["progress"], twice["met"], twice["met_times"], twice["accepted"], twice["until"]) == (
        None, 0, False, 1, True, None
    )  # fmt: skip


LABELLED = """
badges: [{id: early, label: Early bird}, {id: late}]
raffles:
  - {id: winter, from: 2026-03-01, until: 2026-06-30, commitment: "COMMITTED"}
  - {id: summer, label: Summer, from: 2026-03-01, until: 2026-06-30, commitment: "OTHERWISE"}
earn:
  - {id: b, on: visit, badge: late}
  - {id: a, on: visit, badge: early}
  - {id: t, on: visit, raffle: {name: winter, tickets: 1}}
  - {id: u, on: visit, raffle: {name: summer, tickets: 2}}
""".replace("COMMITTED", "0" * 64).replace("OTHERWISE", "1" * 64)


def test_what_the_programme_forgot_keeps_its_name() -> None:
    """A badge and tickets of a version that has neither any more are told by their ids; before that by their labels."""
    stage = Stage(programme(LABELLED), programme("", version=2, start="2026-05-01"))
    stage.say("stammgast.visit.v1", "anna", "2026-03-02T10:00:00Z", {"store": "s1"})
    stage.say("stammgast.visit.v1", "anna", "2026-03-03T10:00:00Z", {"store": "s1"})
    member, book = stage.partition.members["anna"], stage.partition.book

    now = card(member, book, to_us("2026-03-04T10:00:00Z"))
    assert [(one["badge"], one["label"], one["since"]) for one in now["badges"]] == [
        ("early", "Early bird", "2026-03-02T10:00:00.000000Z"), ("late", "late", "2026-03-02T10:00:00.000000Z"),
    ]  # fmt: skip
    assert [(one["raffle"], one["label"], one["count"]) for one in now["tickets"]] == [
        ("summer", "Summer", 4), ("winter", "winter", 2),
    ]  # fmt: skip
    later = card(member, book, to_us("2026-06-04T10:00:00Z"))
    assert [(one["badge"], one["label"]) for one in later["badges"]] == [("early", "early"), ("late", "late")]
    assert [(one["raffle"], one["label"], one["count"]) for one in later["tickets"]] == [
        ("summer", "summer", 4), ("winter", "winter", 2),
    ]  # fmt: skip
    assert later["challenges"] == []


def test_the_fact_of_a_version_names_what_is_played() -> None:
    """What the tables know challenges, badges and raffles by; a version without them says nothing of the kind."""
    data = programme_fact(programme(PLAY), RECORDED).data

    assert [(one["id"], one["label"], one["need"], one["money"]) for one in data["challenges"]] == [
        ("five", "Five visits", 3, False), ("hidden", "hidden", 1, False), ("sprint", "sprint", 9, False),
        ("tea", "tea", 3000, True), ("walker", "walker", 9, False),
    ]  # fmt: skip
    (tea,) = [one for one in data["challenges"] if "begins_at" in one]
    assert (tea["begins_at"], tea["ends_at"]) == ("2026-02-28T23:00:00.000000Z", "2026-03-31T22:00:00.000000Z")
    assert data["badges"] == [{"id": "early", "label": "Early bird"}]
    assert data["raffles"] == [
        {
            "id": "summer", "label": "Summer", "begins_at": "2026-02-28T23:00:00.000000Z",
            "ends_at": "2026-06-30T22:00:00.000000Z", "winners": 1, "wins_per_member": 1, "commitment": "0" * 64,
        }
    ]  # fmt: skip
    assert not {"challenges", "badges", "raffles"} & set(programme_fact(programme(""), RECORDED).data)
