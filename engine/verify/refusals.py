"""Nothing is dropped silently: what the log refused stands in `rejects`, and nothing else does.

A keeper writes the refused records of its partition to the same partition of `rejects`, in the order of its decisions, so
both are read forward side by side. `rejects` forgets after a while: what is missing before the first record found is taken
as forgotten if the topic no longer begins at its beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.stream.outbox import OUR_HEADERS
from engine.verify.findings import Findings
from engine.verify.logs import text_of
from schemas.envelope import readable


class Refusals:
    """Follows `rejects` of one partition beside the decisions.

    Attributes:
        matched, expired: refused facts whose record is there, and whose record was deleted by retention.
    """

    def __init__(
        self,
        partition: int,
        records: Iterator[Any],
        facts_topic: str,
        topic: str,
        findings: Findings,
        *,
        forgets: bool,
    ) -> None:
        """Args: facts_topic, topic: of facts and rejects on the broker; forgets: old records of rejects were deleted."""
        self.matched = self.expired = 0
        self._partition, self._facts_topic, self._topic, self._findings = partition, facts_topic, topic, findings
        self._forgets = forgets
        self._records = (record for record in records if self._origin(record) is not None)
        self._next = next(self._records, None)

    def refused(self, fact: Any, reason: str) -> None:
        """The log refused the fact of this record: its bytes must be in rejects, with this reason."""
        self._pass_until(fact.offset)
        found = self._next
        if found is None or self._origin(found) != fact.offset:
            self._missing(fact, reason)
            return
        self._next = next(self._records, None)
        self.matched += 1
        self._forgets = False
        told = _said(found, "reason")
        if told != reason or found.value != fact.value:
            self._tell(
                "reject_differs",
                found,
                f"the decision refused the fact at offset {fact.offset} of {self._facts_topic} for {reason}",
                expected=f"{reason}: {text_of(fact.value)}",
            )
        while self._next is not None and self._origin(self._next) == fact.offset:
            self._tell("reject_doubled", self._next, f"the fact at offset {fact.offset} stands here once more")
            self._next = next(self._records, None)

    def close(self, decided_until: int) -> None:
        """The decisions end, the last one on the fact before `decided_until`; what is behind belongs to later ones."""
        self._pass_until(decided_until)

    def _pass_until(self, offset: int) -> None:
        while self._next is not None and (origin := self._origin(self._next) or 0) < offset:
            text = f"the fact at offset {origin} of {self._facts_topic} was not refused"
            self._tell("reject_without_decision", self._next, text)
            self._next = next(self._records, None)

    def _missing(self, fact: Any, reason: str) -> None:
        if self._forgets:
            self.expired += 1
            return
        told = readable(fact.value)
        self._findings.add(
            "reject_missing",
            f"refused for {reason}, but {self._topic}[{self._partition}] does not hold it",
            topic=self._facts_topic,
            partition=self._partition,
            offset=fact.offset,
            fact=None if told is None else f"{told.source} {told.id}",
            expected=text_of(fact.value),
        )

    def _tell(self, kind: str, record: Any, says: str, expected: str | None = None) -> None:
        self._findings.add(
            kind,
            says,
            topic=self._topic,
            partition=self._partition,
            offset=record.offset,
            expected=expected,
            found=f"{_said(record, 'reason')}: {text_of(record.value)}",
        )

    def _origin(self, record: Any) -> int | None:
        """The offset in facts that a record of rejects comes from; None for what intake refused."""
        if _said(record, "topic") != self._facts_topic or _said(record, "partition") != str(self._partition):
            return None
        offset = _said(record, "offset")
        return int(offset) if offset.isdigit() else None


def _said(record: Any, name: str) -> str:
    for header, value in record.headers:
        if header == OUR_HEADERS + name:
            text: str = value.decode("utf-8", "replace")
            return text
    return ""
