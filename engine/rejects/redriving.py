"""Send refused records back to where they came from: events to their inbound topic, facts to `facts`.

What intake refused is an event, and intake looks at it again. What a keeper refused is a fact in normal form already, and
the keeper of its member decides it again. Either way a record that was decided before is answered as a duplicate and moves
nothing, so sending one twice is harmless.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.ledger.member import CLOSED
from engine.rejects.marks import write_marks
from engine.rejects.reading import Refused
from engine.rejects.rehearsal import Effect, rehearse
from engine.stream.clients import Cluster, Header, capabilities, partition_for, send_values
from engine.stream.generations import inbound_prefix
from engine.stream.topics import FACTS, Inbound, partition_count
from engine.vault.vault import NoVault, Rehearsal, Vault
from engine.verify.logs import Logs
from rules.book import Programme
from schemas.binary import structured, without_attributes
from schemas.envelope import Fact, readable
from schemas.facts import PERSONAL_TYPES
from schemas.normalise import normalise
from schemas.rejects import Rejected
from schemas.times import MILLISECOND_US, to_text, to_us

#: On a record that was sent back to an inbound topic: its place in rejects.
REDRIVEN = "stammgast-redriven"


@dataclass(slots=True)
class Plan:
    """What would become of one record.

    Attributes:
        topic: where it would go, without prefix. value: what would be sent there.
        fact: what it is, or would become at intake; None where it would be refused again there.
        refusal: why it cannot be sent back, or would be refused again.
        effect: what it would do; None where it has a refusal.
    """

    record: Refused
    topic: str
    value: bytes
    fact: Fact | None = None
    refusal: str = ""
    effect: Effect | None = None

    @property
    def outcome(self) -> str:
        """``decided``, ``duplicate``, ``refused``."""
        if self.effect is None or self.effect.outcome in ("rejected", "quarantined"):
            return "refused"
        return self.effect.outcome


@dataclass(frozen=True, slots=True)
class Desk:
    """How events are taken in: what each inbound topic may carry, when it is now, and who opens profiles."""

    inbound: Mapping[str, Inbound]
    now_us: int
    max_clock_skew_us: int
    max_bytes: int
    vault: Vault = field(default_factory=lambda: Rehearsal(NoVault()))

    def fact_of(self, value: bytes, topic: str) -> Fact:
        """The fact that intake would make. Errors: Rejected."""
        inbound = self.inbound.get(topic)
        if inbound is None:
            raise Rejected("not_allowed", f"{topic} is no inbound topic of this deployment: name it with --inbound")
        recorded_us = self.now_us - self.now_us % MILLISECOND_US
        policy = inbound.policy(self.max_clock_skew_us, self.max_bytes)
        fact = normalise(value, to_text(recorded_us), recorded_us, policy)
        if not inbound.admits(fact.source):
            raise Rejected("not_allowed", f"{topic} does not take events of this source", "source")
        if fact.type in PERSONAL_TYPES:
            fact = self.vault.seal(fact)  # as intake will, with a key of the member's own
        if fact.key is None:
            raise Rejected("invalid", "this event belongs to nobody: it needs a subject", "subject")
        return fact


def plan(
    logs: Logs,
    programmes: Mapping[str, Programme],
    records: Sequence[Refused],
    desk: Desk,
    mended: Sequence[tuple[bytes, str]] | None = None,
) -> list[Plan]:
    """Say what would become of records, if they were sent back now in this order.

    Args:
        mended: for each record the corrected event and the inbound topic that takes it.

    Errors: LogsBroken.
    """
    plans = []
    for number, record in enumerate(records):
        value, topic = (record.value or b"", record.topic) if mended is None else mended[number]
        plans.append(_draft(Plan(record, topic, value), desk))
    open_ones = [one for one in plans if one.fact is not None]
    given = [(one.fact, one.record.origin[0]) for one in open_ones if one.fact is not None]
    opens = desk.vault.opens(gone=CLOSED)
    for one, effect in zip(open_ones, rehearse(logs, programmes, given, opens), strict=True):
        one.effect = effect
        if effect.outcome in ("rejected", "quarantined"):
            one.refusal = f"{effect.reason}: {effect.message}"
    return plans


def _draft(one: Plan, desk: Desk) -> Plan:
    """Find out what a record is, as intake or as a keeper would."""
    if one.record.left_out and one.value == one.record.value:
        one.refusal = "what it said of a person was not kept: the source must send it again"
        return one
    if one.topic == FACTS:
        one.fact = readable(one.value)
        if one.fact is None:
            one.refusal = "this was never a fact: whoever wrote it to facts must publish it as an event"
        return one
    try:
        if one.value == one.record.value:
            one.value = structured(one.record.headers, one.value)
        one.fact = desk.fact_of(one.value, one.topic)
    except Rejected as rejected:
        one.refusal = str(rejected)
    return one


async def send(cluster: Cluster, prefix: str, plans: Sequence[Plan], *, at: str, mended: bool) -> None:
    """Send records back, acknowledged by all copies, then note that they were.

    Args:
        at: now, for the note.

    Errors: KafkaTrouble, KafkaError: what is not noted can be sent again.
    """
    idempotent = (await capabilities(cluster)).transactions
    async with cluster.producer(idempotent=idempotent) as producer:
        for one in plans:
            await _send_one(cluster, producer, prefix, one)
            mark = {"at": at, "topic": one.topic, "mended": mended}
            await write_marks(producer, prefix, [one.record], mark)


async def _send_one(cluster: Cluster, producer: Any, prefix: str, one: Plan) -> None:
    record, fact = one.record, one.fact
    topic = (prefix if one.topic == FACTS else await inbound_prefix(cluster, prefix)) + one.topic
    partitions = await partition_count(cluster, topic)
    own = record.headers if one.value == record.value else without_attributes(record.headers)
    headers: list[Header] = [*own, (REDRIVEN, record.name.encode())]
    if one.topic == FACTS and fact is not None:
        home = record.origin[0] if fact.key is None else partition_for(fact.key.encode(), partitions)
        stamp = to_us(fact.recorded_at) // MILLISECOND_US
        await send_values(producer, topic, home, [(record.key, one.value, stamp, ())])
        return
    home = record.origin[0] if 0 <= record.origin[0] < partitions else 0
    await send_values(producer, topic, home, [(record.key, one.value, None, headers)])
