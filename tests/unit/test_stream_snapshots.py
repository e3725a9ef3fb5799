"""Checkpoints and snapshots: what is written when, and that recovery from them is the fold of the logs or nothing."""

from __future__ import annotations

import asyncio
import logging
import random
import zlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from engine.ledger.engine_facts import programme_fact
from engine.ledger.packing import STATE_FORMAT
from engine.ledger.partition import Partition
from engine.stream import snapshots
from engine.stream.keeper import Keeper
from engine.stream.recovery import LogsDisagree, Recovered, recover
from engine.stream.tools import Delivery
from rules.book import Programme
from schemas.decisions import parse_decision
from schemas.envelope import encode_fact, parse_fact
from schemas.normalise import normalise
from schemas.times import to_us
from tests.unit.ledger import RECORDED, programme
from tests.unit.stream_fakes import Bench, FakeBroker, FakeLogs, Record

RULES = programme("""
earn:
  - {id: goods, on: purchase, award: {points: 1, per: 1.00 EUR}}
tiers:
  qualify: {by: spend, over: calendar_year}
  downgrade: {to: earned_level, after: period_end}
  levels:
    - {id: guest}
    - {id: regular, from: 20.00 EUR}
""")
EVERY = 40
SHELF = ("member-snapshots", 0)


def facts(count: int, members: int = 12, first: int = 1) -> list[Record]:
    """Facts of one partition with holes between them; the programme's own comes first."""
    chance = random.Random(count)
    offset, found = 0, [Record("facts", 0, 0, None, encode_fact(programme_fact(RULES, RECORDED)))]
    for number in range(count):
        offset += chance.choice([1, 1, 1, 2, 7])
        member = f"m{chance.randrange(members)}"
        found.append(Record("facts", 0, offset, member.encode(), encode_fact(bought(f"p{number}", member, number))))
    return [record for record in found if record.offset >= first or first == 1]


def bought(event_id: str, member: str, minute: int) -> Any:
    """One purchase, in normal form."""
    line = {"sku": "ESP", "category": "coffee", "quantity": "1", "unit_price": "4.00"}
    data = {"order_id": event_id, "lines": [line], "total": "4.00", "currency": "EUR", "channel": "pos"}
    when = f"2026-02-{1 + minute // 1440:02d}T{minute // 60 % 24:02d}:{minute % 60:02d}:00Z"
    event = {"specversion": "1.0", "id": event_id, "source": "urn:test", "type": "stammgast.purchase.v1",
             "subject": member, "time": when, "data": data}  # fmt: skip
    return normalise(orjson.dumps(event), RECORDED, to_us(RECORDED))


def new_ledger(_partition: int = 0, versions: dict[str, Programme] | None = None) -> Partition:
    """The real one."""
    return Partition(0, {RULES.hash: RULES} if versions is None else versions)


def bench_on(broker: FakeBroker, every: int = EVERY, **more: Any) -> Bench:
    """A keeper's surroundings over a broker that may hold something already."""
    return Bench(broker=broker, new_ledger=new_ledger, checkpoint_decisions=every, **more)


async def feed(bench: Bench, keeper: Keeper, records: list[Record], turn: int = 7) -> None:
    """Deliver in small turns and wait until all are decided."""
    for start in range(0, len(records), turn):
        done = asyncio.Event()
        keeper.offer(Delivery(records[start : start + turn], done.set))
        await asyncio.wait_for(done.wait(), 90)
    assert not bench.deaths


async def stop_in_order(keeper: Keeper) -> None:
    """As a worker does that is told to stop."""
    await keeper.rest(1)
    await keeper.leave()
    await keeper.close()


async def killed(bench: Bench, records: list[Record], turn: int = 7) -> None:
    """A keeper that decides these and then dies without a good-bye."""
    keeper = await bench.keeper()
    await feed(bench, keeper, records, turn)
    await keeper.close()


async def recovered(broker: FakeBroker, **options: Any) -> Recovered:
    """What the next keeper finds."""
    return await recover(new_ledger, FakeLogs(broker), "facts[0]", **options)


def state(found: Recovered) -> dict[str, Any]:
    """Everything that a fold must agree on."""
    ledger: Any = found.ledger
    return {
        "members": {key: ledger.snapshot(key) for key in sorted(ledger.members.keys())},
        "outline": ledger.outline(),
        "due": ledger.next_due_us,
        "place": (found.next_offset, found.log_end, found.link, found.last_tick_us, found.parts_written),
    }


def shelf_of(broker: FakeBroker) -> list[Record]:
    """What stands in `member-snapshots`, but for the marker of attempts."""
    return [record for record in broker.logs.get(SHELF, []) if record.key != b"attempt:0"]


@pytest.mark.parametrize("count", [60, 90, 200, 333])
async def test_recovery_from_snapshots_is_the_fold_of_the_logs(count: int) -> None:
    """Given checkpoints written while facts came, when a keeper died, then the next finds what a fold from the start finds."""
    broker = FakeBroker()
    records = facts(count)
    broker.hold(records)

    await killed(bench_on(broker), records)

    short, whole = await recovered(broker), await recovered(broker, snapshots=False)
    assert (short.source, whole.source) == ("snapshot", "start")
    assert state(short) == state(whole)
    assert short.facts < whole.facts == count + 1


async def test_a_member_snapshotted_after_the_checkpoints_place_is_not_folded_twice() -> None:
    """Given a member in every turn, when the checkpoint comes many turns after its place, then he counts every fact once."""
    broker = FakeBroker()
    records = facts(300, members=2)
    broker.hold(records)

    await killed(bench_on(broker), records, turn=3)

    found = await recovered(broker)
    ledger: Any = found.ledger
    points = [sum(e.points for e in parse_decision(r.value or b"").entries) for r in broker.logs["points-log", 0]]
    assert found.source == "snapshot"
    assert sum(ledger.members[key].balance for key in ledger.members) == sum(points) == 4 * 300


async def test_the_checkpoint_comes_in_the_transaction_of_the_last_snapshot_of_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Given two snapshots a turn, when a checkpoint is written, then everybody who changed before its place is there."""
    monkeypatch.setattr(snapshots, "TURN_LEAST", 2)
    monkeypatch.setattr(snapshots, "TURN_MOST", 2)
    broker = FakeBroker()
    records = facts(240)
    broker.hold(records)

    await killed(bench_on(broker), records, turn=5)

    written = [(record.key or b"").decode() for record in shelf_of(broker)]
    places = [number for number, key in enumerate(written) if key == "checkpoint:0"]
    first = orjson.loads(shelf_of(broker)[places[0]].value or b"")
    before = {parse_fact(record.value or b"").key for record in records if record.offset < first["facts"]} - {None}
    assert {f"member:{key}" for key in before} == set(written[: places[0]])
    assert first["outline"]["members"] == len(before) > 2
    assert shelf_of(broker)[places[0]].offset == shelf_of(broker)[places[0] - 1].offset + 1, (
        "one transaction, no marker between"
    )


async def test_a_death_between_snapshots_and_checkpoint_is_a_recovery_from_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Given a keeper that dies while a later checkpoint is half written, when the next starts, then it finds the same state."""
    monkeypatch.setattr(snapshots, "TURN_LEAST", 1)
    monkeypatch.setattr(snapshots, "TURN_MOST", 1)
    for count in range(100, 130):
        broker = FakeBroker()
        records = facts(count)
        broker.hold(records)
        await killed(bench_on(broker), records, turn=3)

        short, whole = await recovered(broker), await recovered(broker, snapshots=False)

        assert short.source == "snapshot"
        assert state(short) == state(whole), f"{count} facts"


async def test_keepers_that_follow_each_other_go_on_with_checkpoints() -> None:
    """Given ten keepers in a row, when each dies after some facts, then states stay equal and folds stay short."""
    broker = FakeBroker()
    records = facts(600)
    broker.hold(records)

    for start in range(0, 600, 60):
        await killed(bench_on(broker), records[start : start + 60])
        short, whole = await recovered(broker), await recovered(broker, snapshots=False)
        assert state(short) == state(whole)
        assert start == 0 or short.facts <= 2 * EVERY


async def test_a_checkpoint_is_paced_to_be_there_when_the_next_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given many more members than fit into a turn, when facts go on, then no start has to fold more than two intervals."""
    monkeypatch.setattr(snapshots, "TURN_LEAST", 1)
    broker = FakeBroker()
    records = facts(900, members=400)
    broker.hold(records)
    bench = bench_on(broker, every=200)
    keeper = await bench.keeper()

    for start in range(0, 900, 30):
        await feed(bench, keeper, records[start : start + 30], turn=10)
        assert start < 430 or (await recovered(broker)).facts <= 2 * 200 + 10

    await keeper.close()


# ------------------------------------------------------------------------------------------------ when something is wrong


def with_checkpoint(change: Callable[[dict[str, Any]], Any]) -> Callable[[FakeBroker], None]:
    """Write the newest checkpoint again, changed."""

    def write(broker: FakeBroker) -> None:
        newest = [record for record in shelf_of(broker) if record.key == b"checkpoint:0"][-1]
        said = orjson.loads(newest.value or b"")
        put(broker, b"checkpoint:0", orjson.dumps(change(said) or said))

    return write


def put(broker: FakeBroker, key: bytes, value: bytes | None, headers: Any = ()) -> None:
    """Append a record to `member-snapshots`."""
    broker.hold([Record(*SHELF, broker.ends[SHELF], key, value, headers=headers)])


def delete_some(broker: FakeBroker) -> None:
    """Somebody deletes the first records."""
    broker.begins[SHELF] = 5
    broker.logs[SHELF] = [record for record in broker.logs[SHELF] if record.offset >= 5]


def delete_all(broker: FakeBroker) -> None:
    """The topic was deleted and made again."""
    del broker.logs[SHELF]


def lose_members(broker: FakeBroker) -> None:
    """Records are gone that were there."""
    broker.logs[SHELF] = [record for record in shelf_of(broker) if not (record.key or b"").startswith(b"member:m1")]


THIS = bytes((STATE_FORMAT,))
WRONG: dict[str, tuple[Callable[[FakeBroker], None], str]] = {
    "another format": (with_checkpoint(lambda said: said.update(format=2)), "format 2"),
    "members packed otherwise": (with_checkpoint(lambda said: said.update(state_format=99)), "format 99"),
    "no number": (with_checkpoint(lambda said: said.update(facts="x")), "cannot be read"),
    "no outline": (with_checkpoint(lambda said: said.update(outline={})), "cannot be read"),
    "garbage": (lambda broker: put(broker, b"checkpoint:0", b"\xff"), "cannot be read"),
    "a tombstone": (lambda broker: put(broker, b"checkpoint:0", None), "no checkpoint"),
    "another chain": (with_checkpoint(lambda said: said.update(chain="00" * 16)), "another record"),
    "records deleted": (delete_some, "begins at offset 5"),
    "members missing": (lose_members, "members were written"),
    "a member without headers": (lambda broker: put(broker, b"member:m3", b"x"), "no legible headers"),
    "a member of a format to come": (
        lambda broker: put(broker, b"member:m3", b"x", [("stammgast-offset", b"9"), ("stammgast-state", b"99")]),
        "format 99",
    ),
    "a member that cannot be read": (
        lambda broker: put(
            broker, b"member:m3", THIS + b"x", [("stammgast-offset", b"9"), ("stammgast-state", b"%d" % STATE_FORMAT)]
        ),
        "the fold failed",
    ),
    "a part missing": (
        lambda broker: put(
            broker,
            b"member:m3",
            THIS + b"x",
            [("stammgast-offset", b"9"), ("stammgast-state", b"%d" % STATE_FORMAT), ("stammgast-parts", b"2")],
        ),
        "in parts",
    ),
    "everything gone": (delete_all, "no checkpoint"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_is_wrong_with_snapshots_costs_time_only(
    wrong: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Given snapshots that cannot be used, when a keeper starts, then it says why and folds both logs from the start."""
    broker = FakeBroker()
    records = facts(150)
    broker.hold(records)
    await killed(bench_on(broker), records)
    spoil, why = WRONG[wrong]
    spoil(broker)
    capsys.readouterr()
    caplog.clear()

    with caplog.at_level(logging.INFO):
        found = await recovered(broker)

    assert found.source == "start"
    # structlog prints by itself until some process of the product, or a test before this one, set up logging.
    assert why in capsys.readouterr().out + caplog.text
    assert state(found) == state(await recovered(broker, snapshots=False))


async def test_after_a_fold_from_the_start_everybody_is_written_again() -> None:
    """Given deleted snapshots, when a keeper folded from the start and left in order, then the next one is quick again."""
    broker = FakeBroker()
    records = facts(150)
    broker.hold(records)
    await killed(bench_on(broker), records)
    delete_some(broker)

    keeper = await bench_on(broker).keeper()
    await stop_in_order(keeper)

    found = await recovered(broker)
    assert (found.source, found.facts) == ("snapshot", 0)
    assert state(found) == state(await recovered(broker, snapshots=False))


@pytest.mark.parametrize("log", ["points-log", "facts"])
@pytest.mark.parametrize("lost", [1, 60])
async def test_a_log_that_is_shorter_than_the_checkpoint_saw_is_refused(log: str, lost: int) -> None:
    """Given a log that lost its end after a checkpoint, when a keeper starts, then it refuses and says what to do."""
    broker = FakeBroker()
    records = facts(150)
    broker.hold(records)
    bench = bench_on(broker)
    keeper = await bench.keeper()
    await feed(bench, keeper, records)
    await stop_in_order(keeper)
    place = log, 0
    broker.ends[place] = broker.logs[place][-lost].offset
    del broker.logs[place][-lost:]

    with pytest.raises(LogsDisagree, match=r"records were lost|does not hold it"):
        await recovered(broker)


async def test_another_fact_at_a_decisions_place_is_refused() -> None:
    """Given a facts log that was replaced by another one, when a keeper starts, then it refuses, with and without snapshots."""
    broker = FakeBroker()
    records = facts(50)
    broker.hold(records)
    await killed(bench_on(broker, every=1_000), records)
    stranger = records[20]
    broker.logs["facts", 0][20] = Record("facts", 0, stranger.offset, b"x", encode_fact(bought("other", "x", 1)))

    with pytest.raises(LogsDisagree, match="another fact"):
        await recovered(broker)


# ------------------------------------------------------------------------------------------------ idle, leaving, large


async def test_an_idle_partition_writes_its_checkpoint_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given some decisions and then silence, when a moment has passed, then a checkpoint stands there without any fact."""
    monkeypatch.setattr("engine.stream.keeper.IDLE_SECONDS", 0.01)
    monkeypatch.setattr(snapshots, "IDLE_DECISIONS", 20)
    broker = FakeBroker()
    records = facts(30)
    broker.hold(records)
    bench = bench_on(broker, every=1_000)
    keeper = await bench.keeper()
    await feed(bench, keeper, records)

    async with asyncio.timeout(90):
        while not bench.watch.checkpoints:  # noqa: ASYNC110  the fake tells nobody
            await asyncio.sleep(0.01)
    commits = bench.producer.calls.count("commit")
    await asyncio.sleep(0.05)

    assert bench.producer.calls.count("commit") == commits, "nothing is left to write"
    assert (await recovered(broker)).facts == 0
    await keeper.close()


async def test_leaving_in_order_writes_what_is_left() -> None:
    """Given fewer decisions than a checkpoint takes, when the worker stops in order, then the next start folds nothing."""
    broker = FakeBroker()
    records = facts(30)
    broker.hold(records)
    bench = bench_on(broker, every=1_000)
    keeper = await bench.keeper()
    await feed(bench, keeper, records)

    await stop_in_order(keeper)

    found = await recovered(broker)
    assert (found.source, found.facts, found.members) == ("snapshot", 0, 11)


async def test_leaving_writes_nothing_when_too_much_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given more members than can be written quickly, when the worker stops, then it stops."""
    monkeypatch.setattr("engine.stream.keeper.LEAVE_MOST", 3)
    broker = FakeBroker()
    records = facts(30)
    broker.hold(records)
    bench = bench_on(broker, every=1_000)
    keeper = await bench.keeper()
    await feed(bench, keeper, records)

    await stop_in_order(keeper)

    assert not shelf_of(broker)


async def test_a_fenced_keeper_leaves_without_a_word() -> None:
    """Given another owner, when a keeper writes its last snapshots, then none of them shows and nobody dies."""
    broker = FakeBroker()
    records = facts(30)
    broker.hold(records)
    bench = bench_on(broker, every=1_000)
    keeper = await bench.keeper()
    await feed(bench, keeper, records)
    bench.producer.fenced = True

    await stop_in_order(keeper)

    assert not shelf_of(broker)
    assert not bench.deaths


async def test_a_member_larger_than_a_record_goes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given states that do not fit into a record, when they are written and later shrink, then each comes back whole."""
    monkeypatch.setattr(snapshots, "BATCH_BYTES", 100)
    broker = FakeBroker()
    records = facts(200)
    broker.hold(records)

    await killed(bench_on(broker), records)

    found = await recovered(broker)
    assert any((record.key or b"").startswith(b"more:2:m") for record in shelf_of(broker))
    assert found.source == "snapshot"
    assert state(found) == state(await recovered(broker, snapshots=False))


async def test_without_transactions_no_snapshot_is_written() -> None:
    """Given the embedded broker, when facts are decided and the worker stops, then `member-snapshots` stays empty."""
    broker = FakeBroker()
    records = facts(150)
    broker.hold(records)
    bench = bench_on(broker, transactional=False)
    keeper = await bench.keeper()
    await feed(bench, keeper, records)

    await stop_in_order(keeper)

    assert not shelf_of(broker)


async def test_a_programme_published_meanwhile_is_looked_up_at_recovery() -> None:
    """Given a worker that does not know a version yet, when it recovers a partition decided under it, then it reads them anew."""
    broker = FakeBroker()
    records = facts(60)
    broker.hold(records)
    await killed(bench_on(broker), records)
    versions: dict[str, Programme] = {}
    bench = Bench(broker=broker, new_ledger=lambda _: new_ledger(versions=versions))

    async def reload() -> None:
        versions[RULES.hash] = RULES

    object.__setattr__(bench.tools, "reload_programmes", reload)
    keeper = await bench.keeper()

    assert keeper.next_offset == records[-1].offset + 1
    assert bench.watch.recoveries[-1][0] == "snapshot"
    await keeper.close()


async def test_a_state_that_cannot_take_its_decision_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a snapshot whose damage shows only later, when a decision cannot be taken in, then the next start folds the logs."""
    broker = FakeBroker()
    records = facts(150)
    broker.hold(records[:-10])
    await killed(bench_on(broker), records[:-10])
    broker.hold(records[-10:])
    key = parse_fact(records[-10].value or b"").key or ""
    newest = [record for record in shelf_of(broker) if record.key == f"member:{key}".encode()][-1]
    state, check = (newest.value or b"")[5:40], (newest.value or b"")[:1]
    put(broker, newest.key or b"", check + zlib.crc32(state).to_bytes(4, "big") + state, newest.headers)
    bench = bench_on(broker)
    keeper = await bench.keeper()
    if not bench.deaths:
        keeper.offer(Delivery(records[-10:], lambda: None))
        async with asyncio.timeout(90):
            while not bench.deaths:  # noqa: ASYNC110  the fake tells nobody
                await asyncio.sleep(0)
    await asyncio.sleep(0.01)

    assert type(bench.deaths[0]).__name__ == "FoldFailed"
    assert (await recovered(broker)).source == "start"
