"""What a run checked and found, for people and for scripts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.verify.findings import Findings

_COUNTS = (
    *("partitions", "facts", "decisions", "compared", "undecided", "quarantined", "entries", "points", "members"),
    *("as_given", "derived", "refused", "refused_expired", "linked", "unchained", "tables", "against"),
)


@dataclass(slots=True)
class Report:
    """Counts of what was checked, and the findings.

    Attributes:
        as_given: decisions taken as they stand, because they depend on a profile that does not open here.
        compared: decisions whose bytes were computed again. undecided: facts behind the last decision.
        refused: refused facts whose record stands in rejects; refused_expired: those that rejects has forgotten.
        linked, unchained: records of the points log with and without a link.
        against: what was compared with an older generation; None without one.
        heads: per partition the offset and link of the newest record; `--anchor` takes them.
        tables: rows of the DuckDB file that were compared, by table; None without a file.
    """

    partitions: int
    findings: Findings = field(default_factory=Findings)
    facts: int = 0
    decisions: int = 0
    compared: int = 0
    as_given: int = 0
    undecided: int = 0
    quarantined: int = 0
    entries: int = 0
    points: int = 0
    members: int = 0
    derived: int = 0
    refused: int = 0
    refused_expired: int = 0
    linked: int = 0
    unchained: int = 0
    heads: dict[int, tuple[int, str]] = field(default_factory=dict)
    tables: dict[str, int] | None = None
    against: dict[str, int] | None = None
    seconds: float = 0.0

    def proven(self, *, strict: bool = False) -> bool:
        """Is every promise that was checked kept? `strict` takes warnings for errors."""
        return not (self.findings.counts if strict else self.findings.count("error"))

    def as_json(self, *, strict: bool = False) -> dict[str, Any]:
        """For scripts, and for a later run's `--anchor`."""
        return {
            "proven": self.proven(strict=strict),
            **{name: getattr(self, name) for name in _COUNTS},
            "seconds": round(self.seconds, 3),
            "errors": self.findings.count("error"),
            "warnings": self.findings.count("warning"),
            "counts": dict(self.findings.counts),
            "findings": [one.as_json() for one in self.findings.first],
            "heads": {str(number): {"offset": at, "link": link} for number, (at, link) in sorted(self.heads.items())},
        }
