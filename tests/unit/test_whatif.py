"""A comparison agrees with what each side would be by itself: events and logs, members apart and in business with each other."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from engine.cli import main
from engine.demo.coffee_bar import week
from engine.imports.events import write_events
from engine.ledger.engine_facts import programme_fact, tick_fact
from engine.replay import Replay, replay
from engine.vault.vault import EphemeralVault
from engine.whatif.circles import Circles
from engine.whatif.from_tables import dump_lines
from engine.whatif.plan import WhatIfError, make_plan
from engine.whatif.running import Outcome, compare
from engine.whatif.shard import Job
from engine.whatif.tables import answers, tables
from rules.book import Programme, load_directory
from schemas.decisions import Decision, parse_decision
from schemas.envelope import Fact, encode_fact, parse_fact
from schemas.normalise import normalise
from schemas.times import DAY_US, to_text, to_us
from tests.unit.ledger import programme
from tests.unit.stream_fakes import Record
from tests.unit.verify_history import RECORDED, buy, event, refund
from tests.unit.written_logs import FACTS, POINTS_LOG, WrittenLogs

#: One event of every type; `.fact.json` is what intake makes of it.
GOLDEN = [
    path for path in sorted((Path(__file__).parents[1] / "golden").glob("*.json")) if not path.stem.endswith(".fact")
]
COFFEE_BAR = Path(__file__).parents[2] / "rules" / "programmes" / "coffee-bar"
RECORDED_US = to_us(RECORDED)
SINCE = to_us("2026-02-10T00:00:00+01:00")
MEMBERS = [f"m{number:02}" for number in range(16)]
RULES = """
points: {{worth: 0.01 EUR, expire: {{after: 20 days}}}}
claim: {{within: 30 days}}
transfer: {{at_least: 1}}
earn: [{{id: spend, on: purchase, award: {{points: {points}, per: 1.00 EUR}}}}]
refer: {{moment: {{every: purchase, for: 20 days}}, referrer: {{points: {referrer}}}, referred: {{points: 3}}}}
tiers: {{levels: [{{id: guest}}, {{id: gold, from: {gold}.00 EUR, multiply: 2}}]}}
rewards:
  - {{id: cake, cost: {cake}, stock: 9 per month, valid_for: 5 days}}
  - {{id: cup, cost: 25}}
"""


def rules(points: int = 1, referrer: int = 5, gold: int = 120, cake: int = 10, **header: Any) -> Programme:
    """A programme with business between members."""
    return programme(RULES.format(points=points, referrer=referrer, gold=gold, cake=cake), **header)


def business(seed: int) -> list[Fact]:
    """Two months of a shop whose members deal with each other, in the order of time, with a tick every night."""
    chance = random.Random(seed)
    made: list[Fact] = []
    staff = {"operator": "op-3", "reason": "lost_card"}
    for number in range(400):
        at = to_us("2026-01-05T08:00:00Z") + number * DAY_US // 8
        when, member, other = to_text(at), chance.choice(MEMBERS), chance.choice(MEMBERS)
        name = f"f{number:03}"
        match chance.choice("ppppppparRttsskl" if number % 40 else "l"):
            case "a":
                made.append(buy(name, None, when=when))
            case "r":
                made.append(refund(name, member, f"f{chance.randrange(number + 1):03}", when))
            case "R":
                made.append(event(name, "referral", member, {"referrer": other}, when))
            case "t":
                made.append(event(name, "transfer", member, {"to": other, "points": chance.randint(1, 9)}, when))
            case "s":
                made.append(event(name, "redemption", member, {"reward": chance.choice(("cake", "cup"))}, when))
            case "k":
                made.append(event(name, "claim", member, {"order_id": f"f{chance.randrange(number + 1):03}"}, when))
            case "l":
                made.append(event(name, "link", f"card{number}", {"member": member, **staff}, when))
                made.append(buy(f"{name}x", f"card{number}", "7.00", when))
            case _:
                made.append(buy(name, member, f"{chance.randint(3, 40)}.00", when))
    days = range((made[-1].time_us - made[0].time_us) // DAY_US + 1)
    midnight = to_us("2026-01-05T23:00:00Z")
    ticks = [tick_fact(0, midnight + day * DAY_US, RECORDED) for day in days]
    return sorted([*made, *ticks], key=lambda fact: fact.time_us)


MOMENT = """
earn: [{id: spend, on: purchase, award: {points: 1, per: 1.00 EUR}}]
moments: [{id: champion, on: {segment_entered: {segment: champions}}, notice: {template: champion}}]
"""
SPEND = "earn: [{id: spend, on: purchase, award: {points: 1, per: 1.00 EUR}}]\n"
STOCKED = "rewards: [{id: mug, cost: 10, stock: 9 per month}]\n"


@dataclass
class Timed(WrittenLogs):
    """Logs whose records have times, one after the other."""

    clock: Iterator[int] = field(default_factory=lambda: itertools.count(1_700_000_000_000))

    def _append(self, *args: Any, **kwargs: Any) -> Record:
        record = super()._append(*args, **kwargs)
        record.timestamp = next(self.clock)
        return record


def log_of(seed: int, *versions: Programme, known: Sequence[Programme] | None = None, seconds: bool = False) -> Timed:
    """The log of that shop under these versions; ``known``: those that the log tells; ``seconds``: one taken in a second."""
    logs = Timed({version.hash: version for version in versions}, 4)
    logs.tell(programme_fact(version, RECORDED) for version in (versions if known is None else known))
    told = business(seed)
    if seconds:
        told = [
            replace(fact, recorded_at=to_text(RECORDED_US + 1_000_000 * number)) for number, fact in enumerate(told)
        ]
    logs.tell(told)
    return logs


def dumped(logs: WrittenLogs, path: Path, *, decided: bool) -> Path:
    """The same as `stammgast dump` writes it; ``decided``: with every recorded decision."""
    with path.open("wb") as file:
        for records, answered in zip(logs.topics[FACTS], logs.topics[POINTS_LOG], strict=True):
            recorded = {parse_decision(one.value or b"").offset: orjson.loads(one.value or b"") for one in answered}
            for record in records:
                place: dict[str, Any] = {
                    "partition": record.partition, "offset": record.offset, "timestamp_ms": record.timestamp,
                    "fact": orjson.loads(record.value or b""),
                }  # fmt: skip
                if decided:
                    place["decided"] = recorded[record.offset]
                file.write(orjson.dumps(place) + b"\n")
    return path


def job(path: Path, present: Sequence[Programme], new: Sequence[Programme], **more: Any) -> Job:
    """What `whatif` tells its processes."""
    old, young = (tuple(one.canonical_json() for one in versions) for versions in (present, new))
    given = {"since_us": None, "recorded_us": RECORDED_US + 10 * 366 * DAY_US, "shards": 1, "dump": True} | more
    return Job(path, given["dump"], old, young, given["since_us"], given["recorded_us"], given["shards"])


def moved(decisions: Iterator[Decision]) -> Counter[str]:
    """Points by member."""
    points: Counter[str] = Counter()
    for decision in decisions:
        for entry in decision.entries:
            points[entry.member_id] += entry.points
    return points


def logged(logs: WrittenLogs) -> Counter[str]:
    """Points by member, by the log."""
    return moved(parse_decision(one.value or b"") for log in logs.topics[POINTS_LOG] for one in log)


def ends(outcome: Outcome, side: int) -> Counter[str]:
    """Points by member, by a comparison."""
    return Counter({one.member_id: one.balance[side] for one in outcome.members if one.balance[side]})


def without_noughts(points: Counter[str]) -> Counter[str]:
    """Only who has something."""
    return Counter({key: value for key, value in points.items() if value})


def everything(outcome: Outcome) -> list[Any]:
    """All that a comparison found, in order."""
    return [
        outcome.members,
        *(sorted(one.items()) for one in (outcome.movements, outcome.tier_changes, outcome.notices)),
    ]


@pytest.mark.parametrize("decided", [False, True])
@pytest.mark.parametrize("seed", [2, 3, 5])
def test_both_sides_of_a_log_are_what_they_would_be_alone(tmp_path: Path, seed: int, decided: bool) -> None:
    """Now: as the log has it. New: as a log written under the new programme from that day on has it."""
    present = rules()
    new = rules(points=2, referrer=9, gold=60, cake=90, version=2, start="2026-02-10")
    logs = log_of(seed, present)
    path = dumped(logs, tmp_path / "facts.jsonl", decided=decided)

    # The newest tick of the log is the moment to which it is settled, so the log itself is the answer.
    outcome = compare(job(path, [present], [new]), None)

    assert ends(outcome, 0) == without_noughts(logged(logs)), f"seed {seed}"
    shadow = make_plan([present], [new])
    alone = log_of(seed, *shadow.shadow.values())
    assert ends(outcome, 1) == without_noughts(logged(alone)), f"seed {seed}"
    assert ends(outcome, 0) != ends(outcome, 1)
    assert outcome.counted["left_out"] + outcome.counted["followed_anew"] > 0, "nothing that follows differs"
    assert (outcome.counted["recorded"] > 0) is decided


@pytest.mark.parametrize("decided", [False, True])
def test_the_same_programme_changes_nothing(tmp_path: Path, decided: bool) -> None:
    """Under the same rules both sides are the same in everything, whatever the members deal."""
    present = rules()
    path = dumped(log_of(4, present), tmp_path / "facts.jsonl", decided=decided)

    outcome = compare(job(path, [present], [present], since_us=SINCE), None)

    # The version's number differs, nothing else: sums by member, month, rule and kind do not have it.
    assert all(values[:2] == values[2:] for values in outcome.movements.values())
    assert all(now == new for now, new in outcome.tier_changes.values())
    assert all(one.balance[0] == one.balance[1] and one.tier[0] == one.tier[1] for one in outcome.members)
    assert outcome.counted["left_out"] == outcome.counted["followed_anew"] == 0
    assert len(outcome.movements) > 50


def test_records_of_one_millisecond_have_no_order(tmp_path: Path) -> None:
    """What follows may then be read before its cause: the present side is right all the same, and the same rules do the same."""
    present = rules()
    logs = log_of(5, present)
    for log in logs.topics[FACTS]:
        for record in log:
            record.timestamp = 1_700_000_000_000
    path = dumped(logs, tmp_path / "facts.jsonl", decided=False)

    outcome = compare(job(path, [present], [present], since_us=SINCE), None)

    assert ends(outcome, 0) == without_noughts(logged(logs))


def test_several_processes_find_the_same(tmp_path: Path) -> None:
    """One process and three: every row is the same."""
    present, new = rules(), rules(points=3, version=2, start="2026-02-10")
    path = dumped(log_of(6, present), tmp_path / "facts.jsonl", decided=False)

    alone, together = (compare(job(path, [present], [new], shards=count), None) for count in (1, 3))

    assert together.shards == 3
    assert everything(alone) == everything(together)
    assert alone.counted | {"recorded": 0} == together.counted | {"recorded": 0}


def test_tables_say_the_same_as_the_log(tmp_path: Path) -> None:
    """Facts of four partitions out of a replay's file, members in business with each other: every row is that of the dump."""
    present, new = rules(), rules(points=3, version=2, start="2026-02-10")
    path = dumped(log_of(6, present, seconds=True), tmp_path / "facts.jsonl", decided=False)
    replay(path, [present], tmp_path / "shop.duckdb", dump=True)
    again = tmp_path / "again.jsonl"
    again.write_bytes(b"".join(dump_lines(tmp_path / "shop.duckdb", [present, new])))

    from_log, from_tables = (compare(job(one, [present], [new]), None) for one in (path, again))

    places = [[(line["partition"], line["offset"]) for line in map(orjson.loads, one.open())] for one in (path, again)]
    assert places[0] == places[1]
    facts = [[orjson.loads(line)["fact"] for line in one.open()] for one in (path, again)]
    assert facts[0] == facts[1]
    assert everything(from_tables) == everything(from_log)
    # Facts that follow have the time of their cause in the tables, so some come before it and are decided with it.
    assert from_tables.counted | {"compared": 0} == from_log.counted | {"compared": 0}


def test_tables_hold_no_profiles(tmp_path: Path) -> None:
    """Where a moment may ask for one nothing is guessed; where none does, that it came is enough."""
    present = programme(SPEND)
    logs = Timed({present.hash: present}, 1)
    logs.tell([programme_fact(present, RECORDED)])
    profile = event("p1", "profile", "m1", {"birthday": "1990-05-01"}, "2026-02-20T09:00:00Z")
    logs.tell([buy("b1", "m1", "20.00", when="2026-02-20T10:00:00Z"), EphemeralVault().seal(profile)])
    replay(dumped(logs, tmp_path / "facts.jsonl", decided=False), [present], tmp_path / "shop.duckdb", dump=True)

    assert len(list(dump_lines(tmp_path / "shop.duckdb", [present]))) == 3
    with pytest.raises(WhatIfError, match="tables hold no profiles, and version 2"):
        list(dump_lines(tmp_path / "shop.duckdb", [present, programme(MOMENT, version=2)]))


def test_the_command_takes_tables(tmp_path: Path, bar_week: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of a replay of the same events: the same differences; a file that is none of ours is told."""
    made = CliRunner().invoke(
        main, ["replay", str(bar_week), "--programme", str(COFFEE_BAR), "--db", str(tmp_path / "bar.duckdb")]
    )
    assert made.exit_code == 0, made.output
    new = tmp_path / "new.yaml"
    text = (COFFEE_BAR / "2026-03-05.yaml").read_text(encoding="utf-8")
    new.write_text(text.replace("points: 1, per: 1.00 EUR", "points: 3, per: 1.00 EUR"), encoding="utf-8")
    given = new, "--programme", COFFEE_BAR, "--jobs", 1, "--json"

    tables, events = invoked(*given, "--db", tmp_path / "bar.duckdb"), invoked(*given, "--events", bar_week)
    nothing = invoked(*given, "--db", tmp_path / "none.duckdb")
    monkeypatch.setenv("STAMMGAST_DB", str(tmp_path / "bar.duckdb"))
    set_for_all, named = invoked(*given), invoked(*given, "--events", bar_week)

    # What is named goes before what is set for all.
    assert json.loads(set_for_all.output)["summary"] == json.loads(tables.output)["summary"]
    assert json.loads(named.output)["summary"] == json.loads(events.output)["summary"]
    assert tables.exit_code == 0, tables.output
    found, expected = json.loads(tables.output), json.loads(events.output)
    assert expected["summary"][0]["points_more"] > 0
    assert {name: rows for name, rows in found.items() if name != "run"} == {
        name: rows for name, rows in expected.items() if name != "run"
    }
    assert nothing.exit_code == 2
    assert "there is no" in nothing.output


def test_events_are_decided_as_replay_decides_them(tmp_path: Path) -> None:
    """The coffee bar's week under its versions, and under one that begins on the third day."""
    events = tmp_path / "events.jsonl.gz"
    write_events(events, week())
    present = load_directory(COFFEE_BAR)
    new = replace(rules(points=3, referrer=40), name="coffee-bar")
    since_us = to_us("2026-03-04T00:00:00+01:00")

    outcome = compare(job(events, present, [new], since_us=since_us, dump=False), None)

    for side, versions in enumerate((present, make_plan(present, [new], since_us).shadow.values())):
        run = Replay(list(versions), recorded_us=RECORDED_US + 10 * 366 * DAY_US)
        with gzip.open(events) as lines:
            batches = list(run.events(lines, "events", outcome.settled_us))
        decisions = (parse_decision(value) for batch in batches for value in batch.decisions.values)
        assert ends(outcome, side) == without_noughts(moved(decisions))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_an_event_made_a_fact_is_what_a_log_gives_back(path: Path) -> None:
    """So events can be decided without being written and read."""
    fact = normalise(path.read_bytes(), RECORDED, RECORDED_US + 20 * 366 * DAY_US)

    assert parse_fact(encode_fact(fact)) == fact


def test_before_the_day_nothing_differs(tmp_path: Path) -> None:
    """What happened before, also when it is told late, stays under what was published then: both sides move alike."""
    present, new = rules(), rules(points=7, version=2, start="2026-02-10")
    logs = Timed({present.hash: present}, 2)
    told = [programme_fact(present, RECORDED), buy("early", "anna", "10.00", "2026-02-09T10:00:00Z")]
    told += [
        buy("after", "ben", "10.00", "2026-02-11T10:00:00Z"),
        buy("after2", "anna", "10.00", "2026-02-11T10:00:00Z"),
    ]
    told += [buy("late", "anna", "10.00", "2026-02-09T12:00:00Z"), buy("late2", "ben", "10.00", "2026-02-09T12:00:00Z")]
    logs.tell(told)

    outcome = compare(
        job(dumped(logs, tmp_path / "f.jsonl", decided=False), [present], [new]), to_us("2026-02-12T00:00:00Z")
    )

    assert {one.member_id: one.balance for one in outcome.members} == {"anna": (30, 90), "ben": (20, 80)}
    assert set(outcome.movements) == {("anna", "2026-02-01", "spend", "earn"), ("ben", "2026-02-01", "spend", "earn")}
    assert outcome.movements["anna", "2026-02-01", "spend", "earn"] == [10, 1, 70, 1]


def test_the_tables_hold_together(tmp_path: Path) -> None:
    """Sums by month, rule, tier, segment and member are the same sums."""
    present, new = rules(), rules(points=2, gold=60, version=2, start="2026-02-10")
    path = dumped(log_of(7, present), tmp_path / "facts.jsonl", decided=False)
    outcome = compare(job(path, [present], [new]), None)

    with tables(outcome, tmp_path / "out.duckdb") as connection:
        found = answers(connection)

    total = found["summary"][0]
    assert sum(row["points_more"] for row in found["months"]) == sum(row["points_more"] for row in found["rules"])
    assert sum(row["points_more"] for row in found["segments"]) == total["points_more"]
    assert sum(row["points_more"] for row in found["tier_flows"]) == total["points_more"]
    assert sum(row["cost_minor"] for row in found["months"]) == total["cost_minor"] == total["points_more"]
    assert sum(row["outstanding_new"] for row in found["tiers"]) == total["outstanding_new"]
    assert total["outstanding_new"] == sum(one.outstanding[1] for one in outcome.members)
    assert total["liability_new_minor"] == total["outstanding_new"]
    assert (tmp_path / "out.duckdb").exists()
    assert [one.name for one in tmp_path.iterdir() if ".part" in one.name] == []


def told(event_id: str, kind: str, subject: str, data: dict[str, Any], when: str) -> bytes:
    """A line of a file of events."""
    about = {"specversion": "1.0", "id": event_id, "source": "urn:test", "type": f"stammgast.{kind}.v1"}
    return orjson.dumps(about | {"subject": subject, "time": when, "data": data}) + b"\n"


def test_notices_are_compared(tmp_path: Path) -> None:
    """A moment that the new programme adds: who would hear of it, and who would not, with the reason."""
    entered = {"segment": "champions", "entered": True, "as_of": "2026-02-14"}
    events = tmp_path / "events.jsonl"
    events.write_bytes(
        told("a1", "profile", "anna", {"consents": {"mail": True}}, "2026-02-01T10:00:00Z")
        + told("b1", "joined", "ben", {}, "2026-02-01T11:00:00Z")
        + told("a2", "segment", "anna", entered, "2026-02-15T10:00:00Z")
        + told("b2", "segment", "ben", entered, "2026-02-15T10:00:00Z")
    )
    new = programme(MOMENT, version=2, start="2026-02-10")

    outcome = compare(job(events, [rules()], [new], dump=False), None)

    with tables(outcome, None) as connection:
        found = answers(connection)
    about = [(row["rule_id"], row["moment"], row["channel"], row["state"], row["reason"]) for row in found["notices"]]
    assert about == [
        ("champion", "segment_entered", "mail", "made", None),
        ("champion", "segment_entered", None, "suppressed", "no_consent"),
    ]
    assert [(row["notices_now"], row["notices_new"]) for row in found["notices"]] == [(0, 1), (0, 1)]
    assert (found["summary"][0]["notices_new"], found["summary"][0]["reached"]) == (1, 2)


@pytest.mark.parametrize(
    ("body", "everybody"),
    [
        (STOCKED + "earn: [{id: a, on: purchase, award: {points: 1, per: 1.00 EUR}}]\n", False),
        (STOCKED + "earn: [{id: a, on: purchase, when: {first_purchase: true}, reward: mug}]\n", True),
        ("refund_by_receipt: true\nearn: [{id: a, on: purchase, award: {points: 1, per: 1.00 EUR}}]\n", True),
    ],
)
def test_where_any_fact_may_reach_others_everybody_is_in_one_circle(body: str, everybody: bool) -> None:
    """A rule that gives a reward out of a stock, and orders that know who bought them."""
    circles = Circles([programme(body)])

    assert circles.everybody is everybody
    assert ({circles.shard(f"m{number}", 8) for number in range(50)} == {0}) is everybody


def day_line(kind: str, time: str) -> bytes:
    """A line of a dump, as far as who deals with whom is concerned."""
    return orjson.dumps({"partition": 0, "fact": {"type": f"stammgast.{kind}.v1", "subject": "m", "time": time}})


@pytest.mark.parametrize(
    ("lines", "until", "everybody"),
    [
        ([day_line("purchase", "2026-05-01T10:00:00Z"), day_line("programme", "2027-01-01T00:00:00Z")], None, False),
        ([day_line("purchase", "2026-05-01T10:00:00Z")], "2027-01-02T00:00:00Z", True),
        ([day_line("purchase", "2026-12-31T23:30:00-02:00")], None, True),
        ([day_line("purchase", "2026-99-99T10:00:00Z")], None, True),
        ([], None, True),
    ],
    ids=["later than all", "settled after it began", "a moment with an offset", "no day", "nothing said"],
)
def test_a_version_that_begins_after_everything_joins_nobody(
    lines: list[bytes], until: str | None, everybody: bool
) -> None:
    """One that is published for next year does not put everybody into one process; where days are unknown it does."""
    circles = Circles([rules(), programme("refund_by_receipt: true\n" + SPEND, version=2, start="2027-01-01")])
    for line in lines:
        circles.look(line, dump=True)

    circles.leave_out_later(None if until is None else to_us(until))

    assert circles.everybody is everybody


def test_whoever_gets_further_than_it_seemed_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Days that were written in another way than expected: everybody is in one circle then, and every row is the same."""
    present, new = rules(), rules(points=3, version=2, start="2026-02-10")
    receipt = programme("refund_by_receipt: true\n" + SPEND, version=3, start="2026-02-20")
    path = dumped(log_of(6, present), tmp_path / "facts.jsonl", decided=False)
    rightly = compare(job(path, [present], [new, receipt], shards=2), None)

    monkeypatch.setattr("engine.whatif.circles._DAY", re.compile(rb'"time":"(2026-01-0\d)'))
    anew = compare(job(path, [present], [new, receipt], shards=2), None)

    assert (rightly.shards, anew.shards) == (1, 1)
    assert everything(anew) == everything(rightly)


def gone(*_given: object) -> None:
    """Take the place of a deciding process that is killed."""
    os._exit(9)


def test_a_process_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not waited for: what to try is said."""
    present, new = rules(), rules(points=3, version=2, start="2026-02-10")
    path = dumped(log_of(6, present), tmp_path / "facts.jsonl", decided=False)
    monkeypatch.setattr("engine.whatif.running._work", gone)

    with pytest.raises(WhatIfError, match="a deciding process died"):
        compare(job(path, [present], [new], shards=2), None)


def test_a_number_that_is_taken_is_another_number() -> None:
    """A draft often has the number of the version that it was copied from."""
    present, draft = rules(), rules(points=2, start="2026-02-10")

    plan = make_plan([present], [draft])

    assert plan.renumbered == ((1, 2),)
    assert [version.version for version in plan.shadow.values()] == [1, 2]


def test_what_was_published_for_later_does_not_come_in_between() -> None:
    """The new programme holds from its day on: versions that were to begin after it are not among the shadow's."""
    first, later = rules(), rules(points=5, version=2, start="2026-03-01")
    new = rules(points=2, version=7, start="2026-02-10")

    plan = make_plan([first, later], [new])

    assert [version.version for version in plan.shadow.values()] == [1, 7]


@pytest.mark.parametrize(
    ("new", "since", "words"),
    [
        (lambda: [rules()], None, "every version given is published as it stands"),
        (lambda: [replace(rules(points=2), currency="CHF")], SINCE, "one currency"),
        (lambda: [replace(rules(points=2), valid_until_us=SINCE - 1)], SINCE, "before it would take over"),
    ],
)
def test_what_cannot_be_compared_is_refused(new: Any, since: int | None, words: str) -> None:
    """With what is wrong and what to do."""
    with pytest.raises(WhatIfError, match=words):
        make_plan([rules()], new(), since)


def invoked(*arguments: object) -> Any:
    """The command, run in this process."""
    return CliRunner().invoke(main, ["whatif", *map(str, arguments)])


@pytest.fixture
def bar_week(tmp_path: Path) -> Path:
    """The events of the coffee bar's week."""
    path = tmp_path / "events.jsonl"
    write_events(path, week())
    return path


def test_the_command_shows_writes_and_tells(tmp_path: Path, bar_week: Path) -> None:
    """A terminal's tables, a page that loads nothing, a file of tables, JSON; and nothing else is written."""
    new = tmp_path / "new.yaml"
    text = (COFFEE_BAR / "2026-03-05.yaml").read_text(encoding="utf-8")
    new.write_text(text.replace("points: 1, per: 1.00 EUR", "points: 3, per: 1.00 EUR"), encoding="utf-8")
    given = new, "--events", bar_week, "--programme", COFFEE_BAR, "--jobs", 1
    before = {path.name for path in tmp_path.iterdir()}

    shown = invoked(*given, "--html", tmp_path / "page.html", "--out", tmp_path / "tables.duckdb")
    as_json = invoked(*given, "--json")

    assert shown.exit_code == 0, shown.output
    assert "Rule by rule" in shown.output
    assert "members reached" in shown.output
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("http-equiv", "")
    found = json.loads(as_json.output)
    assert found["summary"][0]["points_more"] > 0
    assert {row["rule_id"] for row in found["rules"]} >= {"spend"}
    assert {path.name for path in tmp_path.iterdir()} - before == {"page.html", "tables.duckdb"}


@pytest.mark.parametrize(
    ("more", "words", "code"),
    [
        (("--since", "soon"), "--since soon: write a day", 2),
        (("--since", "2027-06-01"), "no fact happened at or after", 2),
        (("--html", "here.html"), "exists already", 2),
        (("--facts", "EVENTS"), "say once where the facts are", 2),
    ],
)
def test_wrong_usage_is_told(
    tmp_path: Path, bar_week: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, str], words: str, code: int
) -> None:
    """One sentence each, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    Path("here.html").touch()
    name, value = more
    given = (name, str(bar_week) if value == "EVENTS" else value)

    result = invoked(
        COFFEE_BAR / "2026-03-05.yaml", "--events", bar_week, "--programme", COFFEE_BAR, "--jobs", 1, *given
    )

    assert result.exit_code == code, result.output
    assert words in result.output


def test_a_file_that_is_no_dump_is_told(tmp_path: Path, bar_week: Path) -> None:
    """Events given as a dump: the line, and the option that was meant."""
    given = COFFEE_BAR / "2026-03-05.yaml", "--facts", bar_week, "--programme", COFFEE_BAR, "--jobs", 1

    result = invoked(*given, "--since", "2026-03-05")

    assert result.exit_code == 2
    assert "no record of a facts dump" in result.output
    assert "--events" in result.output


def test_mistakes_in_the_new_programme_are_told(tmp_path: Path, bar_week: Path) -> None:
    """As `rules check` tells them."""
    new = tmp_path / "new.yaml"
    new.write_text((COFFEE_BAR / "2026-03-05.yaml").read_text(encoding="utf-8").replace("award:", "reward_:"))

    result = invoked(new, "--events", bar_week, "--programme", COFFEE_BAR)

    assert result.exit_code == 1
    assert "reward_" in result.output
