"""A person is forgotten: what intake keeps of a refused profile, what verify, dump and replay make of a key that is gone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest

from engine.commands.dump import _Answers, _line
from engine.ledger.engine_facts import programme_fact, tick_fact
from engine.ledger.member import CLOSED
from engine.lines import ReplayError
from engine.rejects.reading import refused_of
from engine.rejects.redriving import Desk, plan
from engine.replay import replay
from engine.stream.forgetting import _follow
from engine.stream.intake import Intake, rules_of
from engine.stream.topics import PROFILE_EVENTS, SHOP_EVENTS, Layout, default_inbound
from engine.vault.master import new_master, read_master
from engine.vault.store import KeyStore
from engine.vault.vault import NoVault, Rehearsal, StoreVault, Vault
from schemas import facts
from schemas.decisions import Decision, parse_decision
from schemas.envelope import FORGET_SOURCE, Fact, make_fact, parse_fact
from schemas.times import to_us
from tests.unit.ledger import programme
from tests.unit.stream_fakes import FakeProducer, Record
from tests.unit.test_vault import SECRET, said
from tests.unit.verify_history import RECORDED, buy, event, found
from tests.unit.written_logs import FACTS, POINTS_LOG, WrittenLogs

LAYOUT = Layout(partitions=4)
NOW_US = to_us("2026-04-02T09:20:00.123456Z")
BODY = (
    "earn:\n"
    "  - {id: spend, on: purchase, award: {points: 1, per: 1.00 EUR}}\n"
    "  - {id: german, on: purchase, when: {profile: {language: de}}, award: {points: 5}}\n"
)
STAFF = {"operator": "op-3", "reason": "lost_card"}


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    """A key store with its master key."""
    new_master(tmp_path / "master.key")
    return KeyStore(tmp_path / "keys.db", read_master(tmp_path / "master.key"), create=True)


def forget(member: str, event_id: str = "f1") -> Fact:
    """As the command writes it."""
    return make_fact(
        id=event_id,
        source=FORGET_SOURCE,
        type=facts.FORGET,
        subject=member,
        time_us=to_us("2026-03-20T10:00:00Z"),
        recorded_at=RECORDED,
        data={},
    )


def history(store: KeyStore) -> WrittenLogs:
    """Members with profiles, a card with one, purchases before and after anna was forgotten."""
    one, vault = programme(BODY), StoreVault(store)
    logs = WrittenLogs({one.hash: one}, 3, opens=vault.opens(gone=None))
    logs.tell([programme_fact(one, RECORDED)])
    for member, when in (("anna", "2026-02-01"), ("ben", "2026-02-01"), ("card", "2026-02-02")):
        logs.tell([vault.seal(said(member, f"p-{member}", f"{when}T08:00:00Z")[1]), buy(f"b0-{member}", member)])
    logs.tell([event("l0", "link", "card", {"member": "anna", **STAFF}, "2026-02-03T18:00:00Z")])
    logs.tell(buy(f"b1-{member}", member, when="2026-02-05T10:00:00Z") for member in ("anna", "ben", "card", "cora"))
    logs.tell([forget("card")])
    logs.tell(buy(f"b2-{member}", member, when="2026-04-05T10:00:00Z") for member in ("anna", "ben", "card"))
    logs.tell([tick_fact(0, to_us("2026-06-01T00:00:00Z"), RECORDED)])
    return logs


def answer(logs: WrittenLogs, fact_id: str, member: str) -> Decision:
    """The decision on a member's fact."""
    return next(
        decision
        for records in logs.topics[POINTS_LOG]
        for record in records
        if (decision := parse_decision(record.value or b"")).fact_id == fact_id and decision.member_id == member
    )


# -------------------------------------------------------------------------------------------------------------- intake


async def taken(
    store: KeyStore | None, *values: bytes, topic: str = PROFILE_EVENTS
) -> list[tuple[str, dict[str, Any]]]:
    """What intake writes of records: (topic, record)."""
    producer = FakeProducer()
    vault = NoVault() if store is None else StoreVault(store)
    intake = Intake(producer, LAYOUT, rules_of(default_inbound(), LAYOUT), lambda: NOW_US, vault)
    records = [
        Record(topic, 1, n, SECRET.encode(), value, headers=[("name", SECRET.encode())])
        for n, value in enumerate(values)
    ]
    await (await intake.take(records)).outbox.send()
    return [(name, record) for name, _, record in producer.log]


async def test_intake_seals_a_profile(store: KeyStore) -> None:
    """Under the member's key as Kafka key, and nothing of what it says in clear."""
    [(topic, record)] = await taken(store, said()[0])

    assert topic == FACTS
    assert record["key"] == b"anna"
    assert SECRET.encode() not in repr(record).encode()
    assert parse_fact(record["value"]).data.keys() == {"member", "key", "sealed"}


@pytest.mark.parametrize(
    ("value", "topic", "reason"),
    [
        (said()[0].replace(b'"de"', b'"Zebulon-Ypsilanti"'), PROFILE_EVENTS, b"invalid"),
        (said()[0], SHOP_EVENTS, b"not_allowed"),
        (said()[0][:-9], PROFILE_EVENTS, b"not_json"),
        (said()[0].replace(b'"anna"', b'"zebulon@ypsilanti.org"'), PROFILE_EVENTS, b"personal_subject"),
        (said(time="2027-01-01T00:00:00Z")[0], PROFILE_EVENTS, b"future_time"),
    ],
    ids=["invalid", "other-topic", "cut-off", "address", "future"],
)
async def test_a_refused_profile_leaves_nothing_in_rejects(
    store: KeyStore, value: bytes, topic: str, reason: bytes
) -> None:
    """Neither in the value nor in key, headers or message."""
    [(where, record)] = await taken(store, value, topic=topic)

    assert where == "rejects"
    headers = dict(record["headers"])
    assert headers["stammgast-reason"] == reason
    assert headers["stammgast-left-out"] == b"data"
    written = repr(record)
    assert SECRET not in written
    assert "zebulon" not in written.lower()


async def test_a_refused_profile_cannot_be_sent_back_but_a_mended_one_can(store: KeyStore) -> None:
    """What was not kept cannot be sent: the plan says so. A copy that the source mended goes its way, and is rehearsed."""
    [(_, record)] = await taken(store, said(time="2027-01-01T00:00:00Z")[0])
    one = refused_of(Record("rejects", 0, 0, None, record["value"], 0, record["headers"]), "")
    desk = Desk(default_inbound(), NOW_US, 300_000_000, 900_000)
    logs = history(store)

    [again] = plan(logs, logs.programmes, [one], desk)
    [mended] = plan(logs, logs.programmes, [one], desk, [(said("dora")[0], PROFILE_EVENTS)])

    assert one.left_out
    assert again.outcome == "refused"
    assert "was not kept" in again.refusal
    assert (mended.outcome, mended.topic) == ("decided", PROFILE_EVENTS)


async def test_what_depends_on_a_profile_is_rehearsed_with_the_keys(store: KeyStore) -> None:
    """A sale told with a naive time, mended: with the keys its rule for German speakers is foretold, without them the plan says
    what is missing; a corrected profile and a sale after it are rehearsed together, and no key is made for it."""
    [(_, record)] = await taken(store, _sale("ben", "2026-02-06T10:00:00"), topic=SHOP_EVENTS)
    one = refused_of(Record("rejects", 0, 0, None, record["value"], 0, record["headers"]), "")
    bare = Desk(default_inbound(), NOW_US, 300_000_000, 900_000)
    keyed = replace(bare, vault=Rehearsal(StoreVault(store)))
    logs = history(store)
    mended = [(_sale("ben", "2026-02-06T10:00:00Z"), SHOP_EVENTS)]

    [blind] = plan(logs, logs.programmes, [one], bare, mended)
    [seen] = plan(logs, logs.programmes, [one], keyed, mended)
    new = [(said("dora")[0], PROFILE_EVENTS), (_sale("dora", "2026-04-01T10:00:00Z"), SHOP_EVENTS)]
    _, dora = plan(logs, logs.programmes, [one, one], keyed, new)

    assert blind.effect is not None
    assert "give --profile-key-file" in blind.effect.message
    assert blind.effect.entries == []
    assert seen.effect is not None
    assert seen.effect.entries == [("german", 5), ("spend", 8)]
    assert dora.effect is not None
    assert ("german", 5) in dora.effect.entries
    assert not store.knows("dora")


def _sale(member: str, time: str) -> bytes:
    """A purchase of 8 EUR as a till writes it."""
    line = {"sku": "A", "quantity": "1", "unit_price": "8.00"}
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": f"sale-{member}",
            "source": "urn:till:9",
            "type": "stammgast.purchase.v1",
            "subject": member,
            "time": time,
            "data": {"order_id": member, "lines": [line], "total": "8.00", "currency": "EUR", "channel": "pos"},
        }
    )


async def test_without_keys_profiles_are_refused_with_how_to_mend_it() -> None:
    """And nothing of them is kept."""
    [(where, record)] = await taken(None, said()[0])

    assert where == "rejects"
    headers = dict(record["headers"])
    assert headers["stammgast-reason"] == b"no_profile_keys"
    assert b"--profile-key-file" in headers["stammgast-message"]
    assert SECRET not in repr(record)


# -------------------------------------------------------------------------------------------------------------- verify


def test_everything_is_proven_while_the_keys_are_there(store: KeyStore) -> None:
    """Nothing has to be taken as given; the facts of forgetting are announced as they must be."""
    logs = history(store)
    report = found(logs, opens=StoreVault(store).opens(gone=CLOSED))

    assert report.findings.first == []
    assert report.as_given == 0
    assert [entry.rule_id for entry in answer(logs, "b1-anna", "anna").entries] == ["german", "spend"]
    assert [entry.rule_id for entry in answer(logs, "b2-anna", "anna").entries] == ["spend"]


def test_after_forgetting_the_rest_is_still_proven(store: KeyStore) -> None:
    """What depended on the destroyed profile is taken as it stands and counted; ben's is decided again."""
    logs = history(store)
    compared = found(logs, opens=StoreVault(store).opens(gone=CLOSED)).compared
    for member in ("anna", "card"):
        store.destroy(member, NOW_US)

    report = found(logs, opens=StoreVault(store).opens(gone=CLOSED))

    assert report.findings.first == []
    assert report.as_given == 4  # b0 and b1 of anna, b0 of the card before it was hers, b1 that the card passed on
    assert report.compared == compared - 4


def test_without_keys_verify_says_so_and_proves_the_rest(store: KeyStore) -> None:
    """An auditor who may not see profiles."""
    report = found(history(store))

    assert report.findings.first == []
    assert report.as_given == 7  # ben's three as well
    assert report.as_json()["as_given"] == 7


def test_a_changed_sum_is_found_although_its_profile_is_gone(store: KeyStore) -> None:
    """Taken as given is not taken without looking: the chain and the books still speak."""
    logs = history(store)
    store.destroy("anna", NOW_US)
    for records in logs.topics[POINTS_LOG]:
        for index, record in enumerate(records):
            if b'"fact_id":"b1-anna"' in (record.value or b""):
                changed = (record.value or b"").replace(b'"points":5', b'"points":50')
                records[index] = Record(
                    record.topic, record.partition, record.offset, record.key, changed, record.timestamp, record.headers
                )

    report = found(logs, opens=StoreVault(store).opens(gone=CLOSED))

    assert "chain_broken" in report.findings.counts


# ------------------------------------------------------------------------------------------------------ dump and replay


async def dumped(logs: WrittenLogs, path: Path) -> Path:
    """What `stammgast dump` writes."""

    async def batches(records: Sequence[Record]) -> AsyncGenerator[Sequence[Record]]:
        yield records

    with path.open("wb") as file:
        for partition in range(logs.partitions):
            answers = _Answers(batches(logs.topics[POINTS_LOG][partition]))
            for record in logs.topics[FACTS][partition]:
                file.write(_line(record, {}, await answers.of(record)) or b"")
    return path


async def test_a_dump_is_replayed_with_and_without_keys(store: KeyStore, tmp_path: Path) -> None:
    """The same rows either way: what does not open is taken as the log has it. The tables hold nothing of a profile."""
    logs = history(store)
    file = await dumped(logs, tmp_path / "facts.jsonl")
    vault = StoreVault(store)
    asking = "select entry_id, member_id, points, rule_id from points_entries order by all"
    payloads = "select payload from facts where type = 'stammgast.profile.v1' or payload::varchar like '%sealed%'"
    rows = []
    given: tuple[Vault, ...] = (vault, NoVault())
    for number, one in enumerate(given):
        db = tmp_path / f"{number}.duckdb"
        summary = replay(file, list(logs.programmes.values()), db, dump=True, vault=one)
        assert summary.as_given == (0 if number == 0 else 7)
        with duckdb.connect(db, read_only=True) as tables:
            rows.append(tables.sql(asking).fetchall())
            assert {row[0] for row in tables.sql(payloads).fetchall()} == {None}
            taken_over = "select payload from facts where type = 'stammgast.takeover.v1'"
            assert all("profile" not in orjson.loads(row[0]) for row in tables.sql(taken_over).fetchall())
    assert rows[0] == rows[1]
    assert {row[3] for row in rows[0]} == {"spend", "german", "link"}


async def test_a_dump_without_answers_is_refused_where_it_needs_them(store: KeyStore, tmp_path: Path) -> None:
    """An old one: how to mend it stands there."""
    logs = history(store)
    file = await dumped(logs, tmp_path / "facts.jsonl")
    bare = [orjson.loads(line) for line in file.read_bytes().splitlines()]
    file.write_bytes(b"".join(orjson.dumps(one | {"decided": None}) + b"\n" for one in bare))

    with pytest.raises(ReplayError, match="give the keys, or dump the log anew"):
        replay(file, list(logs.programmes.values()), tmp_path / "x.duckdb", dump=True)


def test_events_are_replayed_without_keys(tmp_path: Path) -> None:
    """Sealed with a key of the replay's own; rules know the profile, tables and file do not."""
    one = programme(BODY)
    purchase = {
        "specversion": "1.0", "id": "b1", "source": "urn:till", "type": facts.PURCHASE, "subject": "anna",
        "time": "2026-03-02T10:00:00Z",
        "data": {"order_id": "b1", "lines": [{"sku": "a", "quantity": 1, "unit_price": 3}], "total": 3,
                 "currency": "EUR", "channel": "pos"},
    }  # fmt: skip
    file, db = tmp_path / "events.jsonl", tmp_path / "x.duckdb"
    bad = said(event_id="p2")[0].replace(b'"de"', b'"Zebulon-Ypsilanti"')
    file.write_bytes(b"\n".join((said()[0], orjson.dumps(purchase), bad)))

    summary = replay(file, [one], db)

    assert (summary.rejects, summary.outcomes["decided"]) == (1, 4)
    with duckdb.connect(db, read_only=True) as tables:
        assert tables.sql("select rule_id from points_entries order by all").fetchall() == [("german",), ("spend",)]
    assert SECRET.encode() not in db.read_bytes()


# -------------------------------------------------------------------------------------------------------------- follow


async def test_an_alias_may_be_heard_before_its_member(store: KeyStore) -> None:
    """Answers come from several partitions in any order; all keys of the person are found."""
    logs = history(store)
    decisions = [
        parse_decision(record.value or b"") for records in logs.topics[POINTS_LOG] for record in records if record.value
    ]

    async def come(these: Sequence[Decision]) -> AsyncGenerator[Decision]:
        for one in these:
            yield one

    for these in (decisions, decisions[::-1]):
        assert await _follow(come(these), "f1", "card") == ("anna", ["anna", "card"])
