"""What verify can find: a closed list of kinds, what each means, and how to go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning"]
#: Findings of one kind that are kept in full; the others are counted. Too many: a log that is broken throughout fills memory.
SHOWN_PER_KIND = 5


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of finding: what is wrong in general, and what a person does about it."""

    means: str
    go_on: str
    severity: Severity = "error"


_RESTORE = "restore the topic from a backup or its replica, then verify again; do not start workers on it before"
_REPORT = (
    "keep both logs as they are and report it: either this engine decides otherwise than the one that wrote the log, or "
    "the log was changed"
)
_REBUILD = "the file is a cache: build it anew with `stammgast projector --db FILE --fresh`, then verify again"
_COPY = "do not cut over: keep the older topics, report it, and copy into another --to-prefix"
KINDS: dict[str, Kind] = {
    "decision_missing": Kind("a fact has no decision, though later ones have theirs", _RESTORE),
    "decision_doubled": Kind("a fact has a second decision", _REPORT),
    "decision_out_of_order": Kind("a decision stands after those of later facts", _REPORT),
    "decision_without_fact": Kind("a decision answers a fact that the facts log does not hold", _RESTORE),
    "decision_differs": Kind("a decision is not what its fact and the published programmes give", _REPORT),
    "decision_misplaced": Kind("a decision has another key or time stamp than its fact", _REPORT),
    "fact_misplaced": Kind(
        "a fact stands under another key than its own, or in another partition than its key's",
        "the order of that member's facts is no longer certain: find out who writes to facts past intake",
    ),
    "fold_failed": Kind("the recomputation fails where the log has a decision", _REPORT),
    "programme_missing": Kind(
        "a programme fact names a version that the programmes topic does not hold",
        "publish that version again with `stammgast rules publish`, then verify again; nothing behind it was compared",
    ),
    "books_do_not_balance": Kind("lots, debt, balance and entries of a member do not add up", _REPORT),
    "reject_missing": Kind(
        "a fact was refused or quarantined, but its record is not in rejects", "find it in facts at the place named"
    ),
    "reject_differs": Kind("a record in rejects is not the one that the decision refused", _REPORT),
    "reject_without_decision": Kind("rejects holds a fact that the log did not refuse", _REPORT),
    "reject_doubled": Kind(
        "a refused fact stands in rejects more than once",
        "nothing was decided twice; without transactions a crash can leave this",
        "warning",
    ),
    "chain_broken": Kind(
        "the chain of hashes over the points log breaks here: a record was changed, inserted or removed",
        "everything before this place is as it was written; compare this place with a backup or a replica",
    ),
    "anchor_differs": Kind(
        "the chain does not lead through the link of the earlier report",
        "the log was written anew behind that report: compare it with a backup or a replica",
    ),
    "derived_missing": Kind("a decision announces a fact for another member, and facts does not hold it", _REPORT),
    "derived_differs": Kind("a fact that follows from a decision is not the one that the decision gives", _REPORT),
    "derived_unannounced": Kind("a fact of the engine's own stands in facts, and no decision announces it", _REPORT),
    "derived_doubled": Kind("a fact that follows from a decision was decided more than once", _REPORT),
    "derived_repeated": Kind(
        "a fact that follows from a decision stands in facts again and was answered as a duplicate",
        "no points moved twice; without transactions a crash can leave this",
        "warning",
    ),
    "derived_too_early": Kind("a fact that follows from a decision stands before the fact it follows from", _REPORT),
    "id_reused": Kind(
        "one source used one id for events of different members: each was decided",
        "tell the owner of the source to give every event its own id; correct the points by hand where both were meant once",
        "warning",
    ),
    "referral_loop": Kind(
        "members brought each other in a circle",
        "look whether these accounts belong to one person",
        "warning",
    ),
    "generation_differs": Kind("a member's facts, answers or account are not those of the older generation", _COPY),
    "generation_lacks": Kind("a member of the older generation is missing here", _COPY),
    "generation_extra": Kind("a member is here whom the older generation does not have", _COPY),
    "db_ahead": Kind("the file holds positions behind the end of the logs", _REBUILD),
    "db_row_missing": Kind("a row that the logs give is not in the file", _REBUILD),
    "db_row_extra": Kind("the file has a row that the logs do not give", _REBUILD),
    "db_row_differs": Kind("a row of the file differs from what the logs give", _REBUILD),
    "db_member_differs": Kind("a member's balance, lots or tier in the file differ from what the logs give", _REBUILD),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference, with its place.

    Attributes:
        kind: a key of `KINDS`.
        says: what exactly, in one sentence.
        topic, partition, offset: where it stands; the topic as it is called on the broker, or the table of the file.
        fact: ``source id`` of the fact it is about.
        expected, found: what should stand there and what does, in full; None where nothing does.
    """

    kind: str
    says: str
    topic: str = ""
    partition: int | None = None
    offset: int | None = None
    fact: str | None = None
    member: str | None = None
    expected: str | None = None
    found: str | None = None

    @property
    def severity(self) -> Severity:
        """Does it disprove a promise, or is it something to look at?"""
        return KINDS[self.kind].severity

    def as_json(self) -> dict[str, Any]:
        """For scripts; with what it means and how to go on."""
        kind = KINDS[self.kind]
        return {"severity": kind.severity, **asdict(self), "means": kind.means, "go_on": kind.go_on}


@dataclass(slots=True)
class Findings:
    """All findings of one run: every one counted, the first of each kind kept in full."""

    shown_per_kind: int = SHOWN_PER_KIND
    counts: Counter[str] = field(default_factory=Counter)
    first: list[Finding] = field(default_factory=list)

    def add(self, kind: str, says: str, **more: Any) -> None:
        """Take a finding; see `Finding` for what more can be said."""
        self.counts[kind] += 1
        if self.counts[kind] <= self.shown_per_kind:
            self.first.append(Finding(kind, says, **more))

    def wants(self, kind: str) -> bool:
        """Would one more of this kind be kept in full?"""
        return self.counts[kind] < self.shown_per_kind

    def extend(self, others: Iterable[Finding]) -> None:
        """Take findings that were made elsewhere."""
        for one in others:
            self.counts[one.kind] += 1
            if self.counts[one.kind] <= self.shown_per_kind:
                self.first.append(one)

    def of(self, severity: Severity) -> Iterator[Finding]:
        """Those kept in full, of one severity."""
        return (one for one in self.first if one.severity == severity)

    def count(self, severity: Severity) -> int:
        """How many there are of one severity."""
        return sum(number for kind, number in self.counts.items() if KINDS[kind].severity == severity)
