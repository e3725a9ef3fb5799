"""The audit finds what it is for: each kind of damage done to a good pair of logs, and nothing in the good pair itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from engine.ledger.engine_facts import programme_fact
from engine.ledger.partition import Partition
from schemas.decisions import encode_decision, parse_decision
from schemas.envelope import encode_fact, parse_fact
from schemas.facts import PROFILE, TRANSFER_ANSWER
from schemas.normalise import normalise
from schemas.notices import encode_event, event_of
from schemas.rejects import Rejected
from schemas.times import to_us
from tests.chaos.audit import CHAIN_HEADER, GENESIS, Across, Findings, PartitionAudit, Stored, chain_of, link
from tests.chaos.dealings import Dealings
from tests.chaos.plans import PLANS
from tests.chaos.publisher import mark_of
from tests.chaos.traffic import Outgoing, Traffic
from tests.properties.writing import compiled
from tests.simulation import business
from tests.simulation.conservation import Conservation
from tests.simulation.profiles import PlainVault, opens

RECORDED_AT = "2026-11-01T00:00:00.000000Z"
Logs = tuple[list[Stored], list[Stored]]


@cache
def good(shop: str = "bar") -> Logs:
    """Both logs of one partition that answered some hundred events, holes and chain included."""
    programmes = business.programmes() if shop == "business" else [compiled(plan) for plan in PLANS]
    versions = {version.hash: version for version in programmes}
    ledger = Partition(0, versions, opens=opens)
    waiting = [programme_fact(version, RECORDED_AT) for version in versions.values()]
    traffic = Dealings(seed=4, expected=600) if shop == "business" else Traffic(seed=4, expected=600)
    for _ in range(600):
        try:
            fact = normalise(next(traffic).value, RECORDED_AT, to_us(RECORDED_AT))
            waiting.append(PlainVault().seal(fact) if fact.type == PROFILE else fact)
        except Rejected:
            continue
    facts: list[Stored] = []
    log: list[Stored] = []
    chain = GENESIS
    while waiting:
        fact = waiting.pop(0)
        key = None if fact.key is None else fact.key.encode()
        facts.append(Stored(0, 2 * len(facts), 1_000, key, encode_fact(fact)))
        answer = ledger.answer(fact, facts[-1].offset)
        for decision in answer.decisions:
            value = encode_decision(decision)
            chain = link(chain, value)
            log.append(Stored(0, 2 * len(log), 1_000, key, value, chain))
        waiting += answer.derived
    return facts, log


def audited(facts: list[Stored], log: list[Stored]) -> tuple[Findings, PartitionAudit]:
    """Run the audit over a pair of logs."""
    findings, across = Findings(), Across()
    audit = PartitionAudit(0, findings, across)
    audit.facts.extend(facts)
    audit.log.extend(log)
    audit.work()
    audit.finish()
    across.rejects.update(dict.fromkeys(across.refused, 1))
    across.finish(findings)
    return findings, audit


def told_by(log: list[Stored]) -> list[Stored]:
    """What stands in incentives beside a log of decisions."""
    made = (notice for one in log for notice in parse_decision(one.value).notices)
    events = ((notice.member_id.encode(), event) for notice in made if (event := event_of(notice)) is not None)
    return [Stored(0, number, 1_000, key, encode_event(event)) for number, (key, event) in enumerate(events)]


def noticed(told: list[Stored]) -> Findings:
    """Run the audit over the good logs of members who deal, with these records in incentives."""
    facts, log = good("business")
    findings, across = Findings(), Across()
    audit = PartitionAudit(0, findings, across, Conservation(), opens)
    audit.facts.extend(facts)
    audit.log.extend(log)
    audit.work()
    across.rejects.update(dict.fromkeys(across.refused, 1))
    for record in told:
        across.tell(record)
    across.finish(findings)
    assert {"made", "no_consent", "quiet"} <= across.notices.keys(), across.notices
    return findings


def test_each_notice_stands_in_incentives_once_and_in_order() -> None:
    """Given the notices that decisions made, when one is missing, twice, changed, under another key, or before another, then it
    is found; and nothing else is."""
    told = told_by(good("business")[1])
    assert len(told) > 20
    other = replace(told[3], value=told[3].value.replace(b'"template":"', b'"template":"not-'))

    assert not noticed(told).counts
    assert noticed(told[:-1]).counts == {"notices lost": 1}
    assert noticed([*told, told[5]]).counts == {"notices doubled": 1}
    assert noticed([*told[:3], other, *told[4:]]).counts == {"notices lost": 1, "notices doubled": 1}
    assert noticed([replace(told[0], key=b"x"), *told[1:]]).counts == {"notices lost": 1, "notices doubled": 1}
    assert noticed([told[1], told[0], *told[2:]]).counts == {"notices out of order": 1}


def test_members_who_deal_with_each_other_add_up() -> None:
    """Given the logs of members who deal with each other, when they are audited, then nothing is wrong; and when the answer
    to a transfer never comes, then a transfer is half done, somebody waits for ever, and the fact that follows is lost."""
    facts, log = good("business")
    last = max(n for n, one in enumerate(facts) if parse_fact(one.value).type == TRANSFER_ANSWER)
    for cut in (len(facts), last):
        findings, across, conservation = Findings(), Across(), Conservation()
        audit = PartitionAudit(0, findings, across, conservation, opens)
        for record in told_by(log[:cut]):
            across.tell(record)
        audit.facts.extend(facts[:cut])
        audit.log.extend(log[:cut])
        audit.work()
        audit.finish()
        across.rejects.update(dict.fromkeys(across.refused, 1))
        across.finish(findings)
        wrong = list(conservation.findings([audit.ledger]))
        if cut == len(facts):
            assert not findings.counts, findings.shown
            assert not wrong
            assert {"decided", "duplicate", "forwarded"} <= across.outcomes.keys()
            assert len(conservation.transfers) > 20
        else:
            assert findings.counts["derived facts lost"] > 0
            assert any("waits for ever" in one for one in wrong), wrong
            assert any(one.startswith("transfer ") for one in wrong), wrong


def test_a_good_pair_of_logs_has_no_findings() -> None:
    """Given logs as the engine writes them, when they are audited, then all zeros are zero and every fact was compared."""
    facts, log = good()
    findings, audit = audited(facts, log)

    assert not findings.counts, findings.shown
    assert audit.answered == len(facts)
    assert audit.chained == len(log)
    assert sum(audit.across.announced.values()) > 0, "the traffic leads to no derived fact: it proves too little"
    assert {"decided", "duplicate"} <= audit.across.outcomes.keys()
    assert sum(audit.balances().values()) == sum(left for _, left in audit.lots().values())


def changed(record: Stored, **changes: object) -> Stored:
    """A decision with other content."""
    return replace(record, value=json.dumps(json.loads(record.value) | changes, separators=(",", ":")).encode())


def without(log: list[Stored], place: int) -> list[Stored]:
    """One record less."""
    return log[:place] + log[place + 1 :]


def rechained(log: list[Stored]) -> list[Stored]:
    """A chain that fits, as a writer that made a mistake would write it."""
    chain, found = GENESIS, []
    for record in log:
        chain = link(chain, record.value)
        found.append(replace(record, chain=chain))
    return found


def with_entries(log: list[Stored], member_points: int) -> list[Stored]:
    """The first entry of all has other points."""
    place = next(n for n, record in enumerate(log) if b'"entries"' in record.value)
    entries = json.loads(log[place].value)["entries"]
    entries[0]["points"] += member_points
    return [*log[:place], changed(log[place], entries=entries), *log[place + 1 :]]


def first_derived(facts: list[Stored]) -> int:
    """Where the first derived fact stands."""
    return next(n for n, record in enumerate(facts) if b"urn:stammgast:referral" in record.value)


Damage = Callable[[list[Stored], list[Stored]], Logs]
DAMAGES: dict[str, tuple[str, Damage]] = {
    "a decision is missing": ("decisions lost", lambda facts, log: (facts, rechained(without(log, 30)))),
    "the last decision is missing": ("decisions lost", lambda facts, log: (facts, log[:-1])),
    "a decision stands twice": (
        "decisions doubled",
        lambda facts, log: (facts, rechained([*log[:31], log[30], *log[31:]])),
    ),
    "an old decision comes again": (
        "decisions doubled",
        lambda facts, log: (facts, rechained([*log[:50], log[30], *log[50:]])),
    ),
    "two decisions changed places": (
        "decisions out of order",
        lambda facts, log: (without(facts, 30), rechained(log)),
    ),
    "a decision says something else": (
        "decisions with other bytes",
        lambda facts, log: (facts, rechained([*log[:30], changed(log[30], reason="because"), *log[31:]])),
    ),
    "points that nobody earned": (
        "wrong running balances",
        lambda facts, log: (facts, rechained(with_entries(log, 7))),
    ),
    "points that the model did not grant": (
        "decisions that the naive model answers otherwise",
        lambda facts, log: (facts, rechained(with_entries(log, 7))),
    ),
    "another stamp": (
        "wrong keys or stamps",
        lambda facts, log: (facts, [*log[:30], replace(log[30], timestamp_ms=2), *log[31:]]),
    ),
    "a value changed behind the chain": (
        "broken chain links",
        lambda facts, log: (facts, [*log[:30], changed(log[30], reason="because"), *log[31:]]),
    ),
    "a quarantined fact": (
        "decisions quarantined",
        lambda facts, log: (facts, rechained([*log[:30], changed(log[30], outcome="quarantined"), *log[31:]])),
    ),
    "a derived fact that never came": (
        "derived facts lost",
        lambda facts, log: (facts[: first_derived(facts)], log[: first_derived(facts)]),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_found(damage: str) -> None:
    """Given logs with one damage, when they are audited, then the finding of its kind is there."""
    facts, log = good()
    kind, do = DAMAGES[damage]
    findings, _ = audited(*do(list(facts), list(log)))

    assert findings.counts[kind] > 0, findings.counts


def test_rejects_and_derived_facts_are_counted_over_partitions() -> None:
    """Given announcements and what is really there, when both are compared, then what is missing or twice is named."""
    findings, across = Findings(), Across()
    ours, till = "urn:stammgast:referral", "urn:till"
    across.announced.update([(ours, "once", "m"), (ours, "never", "m"), (ours, "twice", "m"), (till, "forwarded", "m")])
    across.derived.update(
        [(ours, "once", "m"), (ours, "twice", "m"), (ours, "twice", "m"), (ours, "from nowhere", "m")]
    )
    across.derived.update(
        [(till, "forwarded", "card"), (till, "forwarded", "m"), (till, "plain", "m"), (till, "plain", "m")]
    )
    across.refused = {(0, 1), (0, 2), (0, 3)}
    across.rejects.update([(0, 1), (0, 2), (0, 2), (1, 9)])
    across.finish(findings)

    assert findings.counts == {
        "derived facts lost": 1,
        "derived facts doubled": 2,
        "rejects lost": 1,
        "rejects doubled": 2,
    }


def test_an_acknowledged_event_must_be_somewhere() -> None:
    """Given a journal, when one of its events is neither a fact nor a reject, then it is lost."""
    broken = Outgoing("t", b"k", b"no json", None)
    fine = Outgoing("t", b"k", b"{}", ("urn:till", "1"))
    findings, across = Findings(), Across()
    across.facts_seen.add(mark_of(fine))
    across.refused_values.add(mark_of(broken))
    across.missing([mark_of(fine), mark_of(broken), "urn:till\t2"], findings)

    assert findings.shown == {"acknowledged events lost": ["urn:till\t2"]}


def test_the_chain_is_read_from_the_headers() -> None:
    """Given a record's headers, when the chain is asked for, then it is found, or nothing."""
    assert chain_of([("other", b"x"), (CHAIN_HEADER, b"y" * 16)]) == b"y" * 16
    assert chain_of([]) is None


def test_the_same_seed_makes_the_same_events() -> None:
    """Given a seed, when the traffic is made twice, then it is the same, and its shapes are all there."""
    first, second = Traffic(7, 2_000), Traffic(7, 2_000)
    made = [next(first) for _ in range(2_000)]

    assert made == [next(second) for _ in range(2_000)]
    kinds = {json.loads(one.value)["type"].split(".")[1] for one in made if one.identity}
    assert kinds == {"purchase", "refund", "visit", "review", "activity", "joined", "referral"}
    assert len({one.identity for one in made}) < len(made), "some are sent again"
    assert any(one.identity is None for one in made)
