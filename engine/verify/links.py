"""The chain over the points log of one partition: every record's header is a hash of its value and of the link before."""

from __future__ import annotations

from engine.stream.chain import GENESIS, link, link_of
from engine.verify.findings import Findings
from engine.verify.logs import Record, text_of


class Links:
    """Follows the chain of one partition, record by record.

    Attributes:
        linked, unchained: records with a link, and records from before there was a chain.
        head: (offset, link in hex) of the newest record: keep it elsewhere, and a log that was cut or written anew shows.
    """

    def __init__(self, partition: int, topic: str, findings: Findings, anchor: tuple[int, str] | None = None) -> None:
        self.linked = self.unchained = self.broken = 0
        self.head: tuple[int, str] | None = None
        self._partition, self._topic, self._findings = partition, topic, findings
        self._previous = GENESIS
        self._anchor = anchor

    def take(self, record: Record) -> None:
        """Check the next record."""
        found = link_of(record.headers)
        if found is None and not self.linked:
            self.unchained += 1
            return
        expected = link(self._previous, record.value or b"")
        if found != expected:
            self._tell(record, expected, found)
        self.linked += 1
        self._previous = expected if found is None else found
        self.head = (record.offset, self._previous.hex())
        if self._anchor is not None and self._anchor[0] == record.offset:
            anchor, self._anchor = self._anchor[1], None
            if anchor != self.head[1]:
                self._tell_anchor(record.offset, anchor, self.head[1])

    def close(self) -> None:
        """The log ends: an anchor that was not met is behind its end."""
        if self._anchor is not None:
            self._tell_anchor(*self._anchor, None)

    def _tell(self, record: Record, expected: bytes, found: bytes | None) -> None:
        """Only the first break of a partition is told: what follows from it is not news."""
        self.broken += 1
        if self.broken > 1:
            return
        before = "the beginning" if self.head is None else f"offset {self.head[0]}"
        self._findings.add(
            "chain_broken",
            f"the link does not follow from the one at {before} and this record's value",
            topic=self._topic,
            partition=self._partition,
            offset=record.offset,
            expected=f"link {expected.hex()}",
            found=f"{'no link' if found is None else f'link {found.hex()}'} on {text_of(record.value)}",
        )

    def _tell_anchor(self, offset: int, anchor: str, found: str | None) -> None:
        self._findings.add(
            "anchor_differs",
            "the earlier report saw another link here" if found else "the log does not reach the earlier report's link",
            topic=self._topic,
            partition=self._partition,
            offset=offset,
            expected=anchor,
            found=found,
        )
