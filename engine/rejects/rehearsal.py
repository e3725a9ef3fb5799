"""What refused records would do now: decided on states folded from the logs, and forgotten again.

Only members whom the records concern are folded; a record that leads to facts for others brings those in as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.ledger.member import ProfileUnavailable
from engine.ledger.partition import Partition
from engine.ledger.profiles import Opens, closed
from engine.stream.clients import KafkaTrouble, partition_for
from engine.stream.parts import joined
from engine.stream.topics import FACTS, POINTS_LOG
from engine.verify.findings import Findings
from engine.verify.judge import of_members
from engine.verify.logs import Logs
from engine.verify.pairing import Pairing, raw_of
from rules.book import Programme
from schemas import facts as fact_types
from schemas.decisions import parse_decision
from schemas.envelope import Fact, readable

#: How often members are added who hear of a record through others. A referral needs one; more would be a circle.
ROUNDS = 4


class LogsBroken(KafkaTrouble):
    """The logs do not fit together: what a record would do cannot be said."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a member has."""

    points: int = 0
    tier: str | None = None


@dataclass(slots=True)
class Effect:
    """What one fact would do to one member.

    Attributes:
        outcome: of its decision, with the reason; ``quarantined`` where deciding it fails.
        entries: (rule, points) of every entry.
        member: None for an anonymous sale or a tick.
        follows: what it leads to for other members.
    """

    outcome: str
    reason: str | None
    message: str
    member: str | None
    before: Standing = field(default_factory=Standing)
    after: Standing = field(default_factory=Standing)
    entries: list[tuple[str, int]] = field(default_factory=list)
    follows: list[Effect] = field(default_factory=list)


def rehearse(
    logs: Logs, programmes: Mapping[str, Programme], facts: Sequence[tuple[Fact, int | None]], opens: Opens = closed
) -> list[Effect]:
    """Return what each fact would do if all came now, in this order.

    Args:
        facts: each with its partition where it has no key (a tick).
        opens: opens the profiles that rules ask for; by default nobody can.

    Errors: LogsBroken when the logs do not fit together.
    """
    keys = {fact.key for fact, _ in facts if fact.key is not None}
    whole = {home for fact, home in facts if fact.key is None and home is not None}
    for _ in range(ROUNDS):
        stage = _Stage(logs, programmes, keys, whole, opens)
        effects = [stage.effect(fact, home) for fact, home in facts]
        if stage.called <= keys:
            return effects
        keys |= stage.called
    raise LogsBroken(
        f"these records lead to facts for others, those to more, and after {ROUNDS} rounds there is no end"
    )


class _Stage:
    """Folded states of some members, and what is played on them."""

    def __init__(
        self, logs: Logs, programmes: Mapping[str, Programme], keys: set[str], whole: set[int], opens: Opens
    ) -> None:
        homes = {partition_for(key.encode(), logs.partitions) for key in keys} | whole
        self._count = logs.partitions
        self._ledgers = {
            home: fold(logs, programmes, home, None if home in whole else keys, opens) for home in sorted(homes)
        }
        #: Members who hear of something.
        self.called: set[str] = set()

    def effect(self, fact: Fact, home: int | None) -> Effect:
        """Play a fact, and what it leads to."""
        place = home if fact.key is None else partition_for(fact.key.encode(), self._count)
        ledger = None if place is None else self._ledgers.get(place)
        if fact.key is not None:
            self.called.add(fact.key)
        if ledger is None:
            return Effect("decided", None, "", fact.subject)
        before = _standing(ledger, fact.key)
        try:
            answer = ledger.answer(fact, ledger.next_offset)
        except ProfileUnavailable:
            text = (
                "what it gives depends on a profile that is not open here: give --profile-key-file and --profile-keys"
            )
            return Effect("decided", None, text, fact.subject, before, before)
        except Exception as error:  # noqa: BLE001  whatever a pure function raises quarantines a fact
            return Effect(
                "quarantined", "quarantined", f"{type(error).__name__}: {error}", fact.subject, before, before
            )
        head = answer.decisions[0]
        return Effect(
            outcome=head.outcome,
            reason=head.reason,
            message="" if answer.reject is None else answer.reject.message,
            member=fact.subject,
            before=before,
            after=_standing(ledger, fact.key),
            entries=[(entry.rule_id, entry.points) for one in answer.decisions for entry in one.entries],
            follows=[self.effect(derived, None) for derived in answer.derived],
        )


def _standing(ledger: Partition, key: str | None) -> Standing:
    member = None if key is None else ledger.members.get(key)
    return Standing() if member is None else Standing(member.balance, member.tier)


def fold(
    logs: Logs, programmes: Mapping[str, Programme], partition: int, keys: set[str] | None, opens: Opens = closed
) -> Partition:
    """Return a partition's state as its logs tell it, of these members alone; None is all of them.

    Errors: LogsBroken when a decision is missing, doubled or out of order.
    """
    ledger, findings = Partition(partition, programmes, opens=opens), Findings()
    names = (logs.prefix + FACTS, logs.prefix + POINTS_LOG)
    pairing = Pairing(partition, names, findings, lambda _: None)
    lines = ((record, raw_of(record.value)) for record in logs.decisions(partition))

    def takes(key: str) -> bool:
        return keys is None or key in keys

    for pair in pairing.pairs(logs.facts(partition), lines):
        if pair.state == "undecided":
            break
        if pair.group is not None and (pair.fact.key is None or takes(pair.fact.key.decode("utf-8", "replace"))):
            _recall(ledger, pair.fact, [parse_decision(value) for value in pair.group.values], takes)
    if findings.first:
        one = findings.first[0]
        raise LogsBroken(
            f"{one.topic}[{partition}] offset {one.offset}: {one.says}. `stammgast verify` shows all that is wrong"
        )
    return ledger


def _recall(ledger: Partition, record: Any, parts: list[Any], takes: Any) -> None:
    fact = readable(record.value)
    if fact is not None:
        decision = joined(parts)
        ledger.recall(fact, of_members(decision, takes) if fact.type == fact_types.TICK else decision)
