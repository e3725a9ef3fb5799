"""Decides every fact of one partition again, with the programmes as published, and compares the bytes.

Where the log differs the recomputation goes on as the facts say, so that one difference is told once and not with all that
follows from it. A quarantine is taken as given: why a fact could not be decided is nothing that can be computed. So is an answer
that depends on a profile nobody here can open: the person was forgotten, or this run has no keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from typing import Any

from engine.ledger.member import ProfileUnavailable
from engine.ledger.partition import FoldFailed, Partition, UnknownProgramme
from engine.ledger.profiles import Opens, closed
from engine.stream.attempts import KILLER
from engine.stream.clients import BATCH_BYTES
from engine.stream.parts import joined, records_of
from engine.stream.turn import unreadable_decision
from engine.verify.findings import Findings
from engine.verify.pairing import Group, raw_of
from engine.verify.scope import Mode, Scope
from rules.book import Programme
from schemas import facts
from schemas.decisions import Decision, encode_decision, parse_decision
from schemas.envelope import UNREADABLE_SOURCE, Fact, readable

#: Fields of a decision that are named in a message; both decisions stand there in full anyhow.
DIFFERENCES_TOLD = 5


@dataclass(slots=True)
class Verdict:
    """What came of a fact.

    Attributes:
        fact: None for a record of `facts` that is none.
        mode: how closely it was looked at.
        derived: (source, id, body hash or None) of facts that its decision leads to.
        differs: the log's decision is not the recomputed one.
    """

    fact: Fact | None
    mode: Mode
    derived: Sequence[tuple[str, str, str | None]] = ()
    differs: bool = False


def given_up_unread(group: Group | None) -> bool:
    """Tell whether the log says that reading this record ended workers: then nobody reads it."""
    return group is not None and group.identity[0] == UNREADABLE_SOURCE and group.raws[0].get("reason") == KILLER


class Judge:
    """The recomputation of one partition.

    Attributes:
        ledger: its state, of the members that the scope takes.
        compared: decisions whose bytes were compared.
        as_given: decisions that depend on a profile which does not open here: they are taken as the log has them.
        stopped: it cannot go on; nothing more is compared.
    """

    def __init__(
        self,
        partition: int,
        programmes: Mapping[str, Programme],
        scope: Scope,
        findings: Findings,
        names: tuple[str, str],
        opens: Opens = closed,
    ) -> None:
        """Args: names: facts and points-log, as they are called on the broker. opens: opens profiles."""
        self.ledger = Partition(partition, programmes, opens=opens)
        self.compared = self.as_given = 0
        self.stopped = False
        self.tainted: set[str] = set()
        self._partition, self._scope, self._findings = partition, scope, findings
        self._facts_topic, self._log_topic = names

    def take(self, record: Any, group: Group | None) -> Verdict:
        """Judge the next fact; `group` is what the log answers, None where it answers nothing."""
        fact = None if given_up_unread(group) else readable(record.value)
        if fact is None:
            return self._unreadable(record, group)
        mode = "skim" if self.stopped else self._scope.mode(record, fact.key)
        verdict = Verdict(fact, mode, [] if group is None else _announced(group))
        try:
            if mode == "prove":
                self._prove(fact, record, group, verdict)
            elif mode == "follow" and group is not None:
                self._follow(fact, group)
        except UnknownProgramme as missing:
            self._stop("programme_missing", f"version {missing.hash} is not published", record, fact, group)
        except FoldFailed as error:
            self._stop("fold_failed", str(error), record, fact, group)
        if verdict.differs:
            self.tainted.add(fact.key or "")
        return verdict

    def _unreadable(self, record: Any, group: Group | None) -> Verdict:
        """What is no fact has one answer, which names its place; other reasons to quarantine it are taken as given."""
        verdict = Verdict(None, "prove")
        if group is None:
            return verdict
        self.compared += 1
        expected = encode_decision(unreadable_decision(self._partition, record.offset))
        given = group.outcome == "quarantined" and group.raws[0].get("reason") != "unreadable"
        if not given and group.values != [expected]:
            verdict.differs = True
            self._differs(record, None, [expected], group)
        return verdict

    def _prove(self, fact: Fact, record: Any, group: Group | None, verdict: Verdict) -> None:
        if group is not None and group.outcome == "quarantined":
            self._accept_quarantine(fact, record, group, verdict)
            return
        try:
            answer = self.ledger.answer(fact, record.offset)
        except (UnknownProgramme, FoldFailed):
            raise
        except ProfileUnavailable:
            if group is not None:
                self.as_given += 1
                self._follow(fact, group)
            return
        except Exception as error:  # noqa: BLE001  whatever a pure function raised, this fact cannot be decided
            self._cannot_decide(fact, record, group, error)
            verdict.differs = True
            return
        verdict.derived = [(one.source, one.id, one.body_hash) for one in answer.derived]
        if group is not None:
            self.compared += 1
            expected = records_of(answer.decisions, BATCH_BYTES)
            if group.values != expected and not self._same(fact, answer.decisions, expected, group):
                verdict.differs = True
                self._differs(record, fact, expected, group)

    def _same(self, fact: Fact, decisions: Sequence[Decision], expected: list[bytes], group: Group) -> bool:
        """Other bytes are the same decision where parts are still being written, were cut elsewhere by another version, or
        tell of members that are not in the sample."""
        if group.open and expected[: len(group.values)] == group.values:
            return True
        sampled = fact.type == facts.TICK and not self._scope.every_member
        if not sampled and len(group.values) == len(expected):
            return False
        found = _joined(group)
        if found is None or not _numbered(group):
            return False
        if sampled:
            found = of_members(found, self._scope.takes_member)
        return encode_decision(joined(decisions)) == encode_decision(found)

    def _accept_quarantine(self, fact: Fact, record: Any, group: Group, verdict: Verdict) -> None:
        self.compared += 1
        decision = _joined(group)
        about = None if decision is None else (decision.source, decision.fact_id, decision.type, decision.occurred_at)
        silent = decision is not None and not (
            decision.entries or decision.tiers or decision.states or decision.derived
        )
        if decision is None or about != (fact.source, fact.id, fact.type, fact.time) or not silent:
            verdict.differs = True
            self._differs(record, fact, [b"a quarantine of this fact that moves nothing"], group)
            return
        self.ledger.recall(fact, decision)

    def _follow(self, fact: Fact, group: Group) -> None:
        decision = _joined(group)
        if decision is None:
            raise FoldFailed("the decision cannot be read")
        if fact.type == facts.TICK:
            decision = of_members(decision, self._scope.takes_member)
        try:
            self.ledger.recall(fact, decision)
        except UnknownProgramme:
            raise
        except Exception as error:
            raise FoldFailed(f"the decision on {fact.source} {fact.id}: {error}") from error

    def _cannot_decide(self, fact: Fact, record: Any, group: Group | None, error: Exception) -> None:
        self._findings.add(
            "fold_failed",
            f"{type(error).__name__}: {error}",
            **self._about(record, fact, group),
            expected="a quarantine",
        )
        if group is not None:
            self._follow(fact, group)

    def _differs(self, record: Any, fact: Fact | None, expected: Sequence[bytes], group: Group) -> None:
        where = (
            ", ".join(islice(differences([raw_of(value) for value in expected], group.raws), DIFFERENCES_TOLD))
            or "its bytes"
        )
        self._findings.add(
            "decision_differs",
            f"the answer to the fact at {self._facts_topic}[{self._partition}] offset {record.offset} differs in {where}",
            **self._about(record, fact, group),
            expected="\n".join(value.decode("utf-8", "backslashreplace") for value in expected),
        )

    def _stop(self, kind: str, says: str, record: Any, fact: Fact, group: Group | None) -> None:
        self.stopped = True
        text = f"{says}; nothing behind it in this partition was compared"
        self._findings.add(kind, text, **self._about(record, fact, group))

    def _about(self, record: Any, fact: Fact | None, group: Group | None) -> dict[str, Any]:
        """Place, fact and member for a finding: the decision's place where there is one."""
        about: dict[str, Any] = {"topic": self._facts_topic, "partition": self._partition, "offset": record.offset}
        if fact is not None:
            about |= {"fact": f"{fact.source} {fact.id}", "member": fact.subject}
        if group is not None:
            about |= {"topic": self._log_topic, "offset": group.records[0].offset, "found": group.text}
        return about


def of_members(decision: Decision, takes: Callable[[str], bool]) -> Decision:
    """A tick's decision, of some members."""
    return replace(
        decision,
        entries=[one for one in decision.entries if takes(one.member_id)],
        tiers=[one for one in decision.tiers if takes(one.member_id)],
        states=[one for one in decision.states if takes(one.member_id)],
    )


def differences(expected: Any, found: Any, path: str = "") -> Iterator[str]:
    """Yield where two JSON values differ, as dotted paths with both values; the one part of a decision is not named."""
    if isinstance(expected, dict) and isinstance(found, dict):
        pairs = [(name, expected.get(name, _ABSENT), found.get(name, _ABSENT)) for name in {**expected, **found}]
    elif isinstance(expected, list) and isinstance(found, list):
        if not path and len(expected) == len(found) == 1:
            yield from differences(expected[0], found[0])
            return
        pairs = [(str(index), *both) for index, both in enumerate(zip_longest(expected, found, fillvalue=_ABSENT))]
    else:
        if expected != found or type(expected) is not type(found):
            yield f"{path} (expected {expected!r}, found {found!r})"
        return
    for name, one, other in pairs:
        yield from differences(one, other, f"{path}.{name}" if path else name)


class _Absent:
    """Stands for what is not there."""

    def __repr__(self) -> str:
        return "nothing"


_ABSENT = _Absent()


def _announced(group: Group) -> list[tuple[str, str, str | None]]:
    try:
        return [(one["source"], one["id"], None) for raw in group.raws for one in raw.get("derived", ())]
    except (KeyError, TypeError):
        return []


def _joined(group: Group) -> Decision | None:
    """The decision of a group; None where it cannot be read."""
    try:
        return joined([parse_decision(value) for value in group.values])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def _numbered(group: Group) -> bool:
    """Do the parts count up from 0, the final one marked?"""
    parts = [(raw.get("part"), raw.get("last")) for raw in group.raws]
    return parts == [(number, number == len(parts) - 1) for number in range(len(parts))]
