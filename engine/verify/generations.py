"""Two generations of the same logs, member by member: the same facts in the same order, the same answers, the same account.

Each generation is folded from its own two logs, nothing is decided. Memory: some 300 bytes per member of the older one, and one
partition's members.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, NamedTuple

from engine.ledger.packing import pack
from engine.ledger.partition import Partition
from engine.settings import UsageError
from engine.stream.clients import Cluster
from engine.stream.generations import Generation, Lane, read_generation
from engine.stream.lanes import LaneReader
from engine.stream.parts import joined
from engine.stream.topics import POINTS_LOG, partition_count
from engine.verify.findings import Findings
from engine.verify.scope import Scope
from rules.book import Programme
from schemas.decisions import parse_decision

_NOTHING = bytes(16)


class Account(NamedTuple):
    """A key of one generation, small enough to keep all of them.

    Attributes:
        told: chain of hashes over the key's facts and how each was answered. state: hash of what follows from them; NOTHING
            for a key that nobody has an account under.
    """

    told: bytes
    state: bytes
    balance: int
    lots: int
    tier: str | None

    def __str__(self) -> str:
        lots = "1 lot" if self.lots == 1 else f"{self.lots} lots"
        return f"balance {self.balance}, {lots}, tier {self.tier or 'none'}"


@dataclass(slots=True)
class Compared:
    """What was compared: members, facts of theirs (undecided ones among them), and their balances' sum."""

    members: int = 0
    facts: int = 0
    undecided: int = 0
    points: int = 0


@dataclass(slots=True)
class _Side:
    """One generation, and up to where it is read, per partition: next offsets of `facts` and of `points-log`; to their ends where
    nothing is said. What was decided later counts as undecided."""

    cluster: Cluster
    prefix: str
    programmes: Mapping[str, Programme]
    ends: Mapping[int, tuple[int, int]]
    scope: Scope
    counted: Compared = field(default_factory=Compared)

    async def accounts(self, partition: int) -> dict[str, Account]:
        """Every key of a partition."""
        ledger, told = Partition(partition, self.programmes), dict[str, bytes]()
        async for item in self._items(partition):
            record, fact = item.record, item.fact
            if record.key is None and fact is None:
                continue
            key = record.key.decode("utf-8", "replace") if record.key is not None else None
            decision = joined([parse_decision(value) for value in item.answers]) if item.answers else None
            if fact is not None and decision is not None:
                ledger.recall(fact, decision)
            if key is None or not self.scope.takes_member(key):
                continue
            self.counted.facts += 1
            self.counted.undecided += decision is None
            answered = "" if decision is None else f"{decision.outcome} {decision.reason}"
            said = b"\0".join((told.get(key, _NOTHING), record.value or b"", answered.encode()))
            told[key] = blake2b(said, digest_size=16).digest()
        keys = [*told, *(key for key in ledger.members if key not in told and self.scope.takes_member(key))]
        return {key: _account(ledger, key, told.get(key, _NOTHING)) for key in keys}

    async def _items(self, partition: int) -> AsyncIterator[Any]:
        """Decided facts, then those that are not."""
        end, last = self.ends.get(partition, (None, None))
        start = Lane()
        for undecided in (False, True):
            reader = LaneReader(self.cluster, self.prefix, partition, start, undecided=undecided)
            try:
                while (item := await reader.peek()) is not None and (end is None or item.record.offset < end):
                    reader.take()
                    if last is not None and not undecided and reader.next_decision > last:
                        break
                    yield item
                    start = replace(start, facts=reader.next_fact, decisions=reader.next_decision)
            finally:
                await reader.close()
            if end is not None and start.facts >= end:
                return


def _account(ledger: Partition, key: str, told: bytes) -> Account:
    member = ledger.members.peek(key)
    if member is None:
        return Account(told, _NOTHING, 0, 0, None)
    # The place of his newest fact is the one thing that must differ.
    offset, member.offset = member.offset, 0
    state = blake2b(pack(member), digest_size=16).digest()
    member.offset = offset
    tier = None if member.standing is None else member.standing.tier
    return Account(told, state, member.balance, len(member.lots), tier)


async def compare(
    cluster: Cluster, old: str, new: str, programmes: Mapping[str, Programme], scope: Scope, findings: Findings
) -> Compared:
    """Compare every member of two generations; what differs goes to `findings`.

    Args:
        old, new: topic prefixes; `new` was copied from `old`, wholly or as far as the copy is.

    Errors: UsageError when it was not; KafkaTrouble, KafkaError.
    """
    told = await read_generation(cluster, new)
    if told is None or told.other != old or told.state == "moved":
        raise UsageError(f"the logs with --topic-prefix {new!r} were not copied from those with the prefix {old!r}.")
    before, after = _sides(cluster, old, new, programmes, scope, told)
    known: dict[str, Account] = {}
    for partition in range(len(told.lanes)):
        known |= await before.accounts(partition)
    topic = new + POINTS_LOG
    for partition in range(await partition_count(cluster, topic)):
        for key, account in (await after.accounts(partition)).items():
            was = known.pop(key, None)
            after.counted.members += 1
            after.counted.points += account.balance
            if was != account:
                _tell(findings, topic, partition, key, was, account)
    for key, was in known.items():
        findings.add(
            "generation_lacks", "nothing of this key was copied", topic=topic, member=key, expected=str(was), found=None
        )
    return after.counted


def _sides(
    cluster: Cluster, old: str, new: str, programmes: Mapping[str, Programme], scope: Scope, told: Generation
) -> tuple[_Side, _Side]:
    """Both generations, each up to the moment of the cut-over, or to where the copy is."""
    copied = {number: (lane.facts, lane.decisions) for number, lane in enumerate(told.lanes)}
    ends = dict(enumerate(told.ends))
    return _Side(cluster, old, programmes, copied, scope), _Side(cluster, new, programmes, ends, scope)


def _tell(findings: Findings, topic: str, partition: int, key: str, was: Account | None, account: Account) -> None:
    if was is None:
        findings.add(
            "generation_extra", "the older generation has nothing of this key", topic=topic, partition=partition, member=key,
            found=str(account),
        )  # fmt: skip
        return
    what = "the account" if was.told == account.told else "the key's facts, their order or their answers"
    if was.told != account.told and was.state != account.state:
        what += ", and the account"
    findings.add(
        "generation_differs", f"{what} differ from the older generation", topic=topic, partition=partition, member=key,
        expected=str(was), found=str(account),
    )  # fmt: skip
