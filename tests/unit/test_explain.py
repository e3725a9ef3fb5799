"""`stammgast explain` says why: every condition with the value it saw, what clipped, what was touched, what followed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine.commands.explain import explain
from engine.ledger.engine_facts import programme_fact
from rules.book import load_directory
from rules.draft import read_yaml
from schemas.envelope import encode_fact
from tests.stories.semantics import story_files
from tests.stories.telling import read_event
from tests.unit.ledger import RECORDED

PROGRAMME = Path(__file__).parent / "explain_programme.yaml"
FACTS: list[dict[str, Any]] = [
    {"at": "2026-03-02 10:00", "id": "p1", "purchase": "o1", "lines": ["mug 10.00", "card 5.00 in gift_card"]},
    {"at": "2026-03-03 10:00", "id": "p2", "purchase": "o2", "lines": ["mug 9.00"], "channel": "app"},
    {"at": "2026-03-04 10:00", "id": "p3", "purchase": "o2", "lines": ["mug 9.00"]},
    {"at": "2026-03-05 10:00", "id": "r1", "refund": "o1", "lines": ["1 x mug"]},
    {"at": "2026-03-05 11:00", "id": "v1", "who": "ben", "review": "mug", "rating": 5},
    {"at": "2026-03-05 11:00", "id": "v1", "who": "ben", "source": "urn:other", "review": "bean", "rating": 5},
]


@pytest.fixture
def shop(tmp_path: Path) -> list[str]:
    """Events of two members and their programme, as options."""
    versions = tmp_path / "programme"
    versions.mkdir()
    (versions / "1.yaml").write_text(PROGRAMME.read_text(encoding="utf-8"), encoding="utf-8")
    zone = load_directory(versions)[0].time_zone
    events = tmp_path / "events.jsonl"
    events.write_bytes(b"\n".join(read_event(fact).encoded(n, zone) for n, fact in enumerate(FACTS)))
    return ["--events", str(events), "--programme", str(versions)]


def ask(*args: str, code: int = 0) -> str:
    """Run the command and return what it says."""
    result = CliRunner().invoke(explain, args)
    assert result.exit_code == code, result.output
    return result.output


def asked(*args: str) -> dict[str, Any]:
    """Run the command with --json."""
    found: dict[str, Any] = json.loads(ask(*args, "--json"))
    return found


def rule(found: dict[str, Any], name: str) -> dict[str, Any]:
    """One rule of an answer."""
    return next(rule for rule in found["rules"] if rule["rule"] == name)


def test_a_rule_that_applied_says_what_it_saw(shop: list[str]) -> None:
    """Lines that met it, points, and the entry it left."""
    spend = rule(asked("p1", *shop), "spend")

    assert (spend["applies"], spend["lines"], spend["points"], spend["why"]) == (True, [1], 10, "")
    assert spend["conditions"][0]["says"] == "unless category gift_card"
    assert spend["conditions"][0]["saw"] == "nothing, gift_card"


def test_why_a_rule_gave_nothing(shop: list[str]) -> None:
    """The condition that failed with its value, the better rule of the group, dates."""
    found = asked("p1", *shop)

    assert rule(found, "app-or-harbour")["applies"] is False
    either, never = rule(found, "app-or-harbour")["conditions"]
    assert [(part["says"], part["holds"], part["saw"]) for part in either["parts"]] == [
        ("channel app", False, "pos"),
        ("store harbour", False, "nothing"),
    ]
    assert (never["holds"], never["parts"][0]["saw"]) == (True, "mon")
    assert rule(found, "flat")["why"] == "of group extra only the best applies, and by-money gave more"
    loyal = {part["says"]: part["saw"] for part in rule(found, "loyal")["conditions"]}
    assert loyal["days since last purchase below 3"] == "never"
    assert loyal["spent 100.00 EUR or more within 30 days before"] == "0.00 EUR"
    assert rule(found, "second")["conditions"][0]["saw"] == "order number 1"
    assert rule(found, "last")["why"] == "from 2026-05-01: it saw 2026-03-02 10:00:00"


def test_a_cap_that_clipped_is_named(shop: list[str]) -> None:
    """15 a month, 10 were used: 5 of 9."""
    found = asked("p2", *shop)

    assert rule(found, "spend")["points"] == 5
    assert rule(found, "spend")["why"] == "capped: at most 15 points per member every month: 9 due, 5 granted"
    assert found["before"] == {"balance": 17, "tier": "guest"}
    assert {part["saw"] for part in rule(found, "loyal")["conditions"]} == {"15.00 EUR", "1 day"}


def test_an_entry_says_what_followed(shop: list[str]) -> None:
    """The refund names the lot it took from, and the lot's own story names the refund."""
    entry = next(e for e in asked("p1", *shop)["entries"] if e["rule_id"] == "spend")
    found = asked(entry["entry_id"], *shop)

    assert found["entry_id"] == entry["entry_id"]
    assert [(e["fact_id"], e["points"]) for e in found["followed"] if e["rule_id"] == "spend"] == [("r1", -10)]
    words = ask(entry["entry_id"], *shop)
    assert f"> earn +10 by spend (version 1), order urn:till:7|o1, entry {entry['entry_id']}" in words
    assert "its lot has 0 of 10 left" in words
    assert f"takes 10 from lot {entry['entry_id']} (spend of 2026-03-02)" in ask("r1", *shop)


def test_a_reason_is_read_aloud(shop: list[str]) -> None:
    """No rule is asked where the fact itself moves nothing."""
    found = asked("p3", *shop)

    assert (found["reason"], found["rules"], found["entries"]) == ("order_already_counted", [], [])
    assert "an order earns once, whoever sends it again" in ask("p3", *shop)


def test_a_member_stands_with_lots_and_newest_facts(shop: list[str]) -> None:
    """Sums, lots with something left, and a line per fact."""
    found = asked("anna", *shop, "--last", "2")

    assert found["balance"] == sum(lot["left"] for lot in found["lots"])
    assert [fact["fact_id"] for fact in found["facts"]] == ["p3", "r1"]
    assert found["facts_in_all"] == 4
    assert "purchase p3: nothing moves" in ask("anna", *shop)


def test_of_many_lots_those_that_are_spent_first_are_listed(shop: list[str]) -> None:
    """The rest is counted; `--lots all` lists them, JSON always does."""
    events = Path(shop[1])
    zone = load_directory(shop[3])[0].time_zone
    bought = [
        {"at": "2026-03-06 10:00", "id": f"m{n}", "who": "eva", "purchase": f"m{n}", "lines": ["mug 3.00"]}
        for n in range(4)
    ]
    more = [read_event(fact).encoded(90 + n, zone) for n, fact in enumerate(bought)]
    events.write_bytes(b"\n".join([events.read_bytes(), *more]))
    lots = asked("eva", *shop)["lots"]
    short, long = ask("eva", *shop, "--lots", "1"), ask("eva", *shop, "--lots", "all")

    assert len(lots) >= 4
    assert short.count(", lot ") == 1
    left = sum(lot["left"] for lot in lots) - int(short.split(" left of ")[0].rsplit(None, 3)[-3])
    assert f"and {len(lots) - 1} lots more with {left} points, which are spent after these: --lots all" in short
    assert long.count(", lot ") == len(lots)
    assert "--lots all" not in long
    assert "write a number from 1, or all" in ask("eva", *shop, "--lots", "0", code=2)


def test_a_member_hears_what_is_missing_to_the_next_tier(shop: list[str]) -> None:
    """24 euros were spent and 10 came back: 16 are missing to 30."""
    found = asked("anna", *shop)["outlook"]

    assert (found["tier"], found["progress"], found["next_tier"], found["to_next"]) == ("guest", 1400, "regular", 1600)
    assert "  guest since 2026-03-02: 16.00 EUR to regular" in ask("anna", *shop)


def test_a_fact_of_several_sources_must_be_named_with_one(shop: list[str]) -> None:
    """Ids are their source's own."""
    assert "--source urn:other or --source urn:till:7" in ask("v1", *shop, code=1)
    found = asked("v1", *shop, "--source", "urn:other")

    assert {part["says"]: part["saw"] for part in rule(found, "review")["conditions"]} == {
        "bought within 10 days before": "bean was not bought",
        "verified": "nothing",
    }


def test_a_forwarded_fact_is_explained_where_it_counted(shop: list[str]) -> None:
    """The alias forwarded it: the member's own answer is told, and the alias says whose it is."""
    events = Path(shop[1])
    zone = load_directory(shop[3])[0].time_zone
    link = {
        "at": "2026-03-05 12:00",
        "id": "l1",
        "who": "card",
        "link": "anna",
        "operator": "kim",
        "reason": "lost_card",
    }
    bought = {"at": "2026-03-06 10:00", "id": "p9", "who": "card", "purchase": "o9", "lines": ["mug 3.00"]}
    more = [read_event(fact).encoded(90 + n, zone) for n, fact in enumerate((link, bought))]
    events.write_bytes(b"\n".join([events.read_bytes(), *more]))
    found = asked("p9", *shop)

    assert (found["outcome"], rule(found, "spend")["points"]) == ("decided", 3)
    assert "card is an alias of anna: ask for that" in ask("card", *shop)
    assert "the member's own answer follows" in ask("card", *shop)


def test_every_reason_of_the_stories_is_read_aloud() -> None:
    """A reason without words is a riddle."""
    from engine.explain.words import REASONS

    stories = [read_yaml(path.read_text(encoding="utf-8"), path.name).tree for path in story_files()]
    told = {step["then"].get("reason") for story in stories for step in story["steps"]}

    assert told - {None} - {*REASONS} == set()


def test_what_is_not_there_is_said(shop: list[str]) -> None:
    """Exit code 1 for nothing of that name, 2 for a question that cannot be asked."""
    assert "nothing is called nope here" in ask("nope", *shop, code=1)
    assert "say where the facts are" in ask("anna", code=2)
    assert "need --programme DIR" in ask("anna", "--events", shop[1], code=2)
    assert "there is no such file" in ask("anna", "--facts", "no.jsonl", *shop[2:], code=2)


def test_a_dump_explains_the_same(shop: list[str], tmp_path: Path) -> None:
    """Facts in their partitions; a quarantine stands as given; a tick belongs to no member."""
    from engine.commands.explain import FileLogs
    from schemas.envelope import parse_fact

    versions = {version.hash: version for version in load_directory(shop[3])}
    lines = [*FileLogs(Path(shop[1]), versions, dump=False).facts()]
    dump = tmp_path / "facts.jsonl"
    records = [
        {"partition": 3, "offset": line.offset + 7, "timestamp_ms": 0, "fact": json.loads(line.value)} for line in lines
    ]
    first = next(record for record in records if record["fact"]["id"] == "p2")
    first["quarantined"] = {"reason": "quarantined", "text": "ValueError: no"}
    dump.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    options = ["--facts", str(dump), *shop[2:]]

    assert asked("p1", *options)["rules"] == asked("p1", *shop)["rules"]
    found = asked("p2", *options)
    assert (found["outcome"], found["entries"], found["position"]["partition"]) == ("quarantined", [], 3)
    tick = next(fact for fact in map(parse_fact, (line.value for line in lines)) if fact.type.endswith("tick.v1"))
    assert "is a tick: name a member it moved" in ask(tick.id, *options, code=1)
    dump.write_text("{}", encoding="utf-8")
    assert "no record of a facts dump" in ask("anna", *options, code=2)


def test_a_version_that_is_not_at_hand_is_asked_for(shop: list[str], tmp_path: Path) -> None:
    """A log decided under versions that --programme does not hold cannot be explained."""
    version = load_directory(shop[3])[0]
    other = tmp_path / "other"
    other.mkdir()
    text = PROGRAMME.read_text(encoding="utf-8").replace("points: 9", "points: 8")
    (other / "1.yaml").write_text(text, encoding="utf-8")
    dump = tmp_path / "facts.jsonl"
    facts = [programme_fact(version, RECORDED)]
    from schemas.normalise import normalise
    from schemas.times import to_us

    event = read_event(FACTS[0]).encoded(1, version.time_zone)
    facts.append(normalise(event, RECORDED, to_us(RECORDED)))
    records = [
        {"partition": 0, "offset": n, "timestamp_ms": 0, "fact": json.loads(encode_fact(fact))}
        for n, fact in enumerate(facts)
    ]
    dump.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")

    assert "--programme does not: give all versions" in ask(
        "p1", "--facts", str(dump), "--programme", str(other), code=2
    )
