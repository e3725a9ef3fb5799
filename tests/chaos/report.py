"""What a run shows: a table for people, JSON for machines."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.audit import ZEROS


@dataclass
class Report:
    """Everything about one run.

    Attributes:
        options: all that is needed to run it again, the seed first.
        faults: how often each kind was done.
        recoveries: kind -> seconds until decided, seconds until shown in the tables.
        audit: the auditor's own report.
        verify: exit code of `stammgast verify --db` over the same logs and tables.
        wrong: sentences about anything else that must not be.
    """

    options: dict[str, Any]
    version: str = ""
    seconds: float = 0.0
    settled_s: float = 0.0
    published: int = 0
    resent: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    not_done: dict[str, int] = field(default_factory=dict)
    recoveries: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    endings: dict[str, int] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    verify: int | None = None
    wrong: list[str] = field(default_factory=list)
    logs: str | None = None

    @property
    def good(self) -> bool:
        """Is everything as it must be?"""
        return not self.wrong and bool(self.audit) and not any(self.audit["zeros"].values())

    def as_json(self) -> dict[str, Any]:
        """All of it as plain data."""
        times = {kind: _spread(pairs) for kind, pairs in sorted(self.recoveries.items())}
        every = [pair for pairs in self.recoveries.values() for pair in pairs]
        return {
            "good": self.good,
            "options": self.options,
            "kafka": self.version,
            "seconds": round(self.seconds, 1),
            "settled_seconds": round(self.settled_s, 1),
            "published": self.published,
            "resent": self.resent,
            "faults": dict(sorted(self.faults.items())),
            "faults_not_done": self.not_done,
            "recovery_seconds": times | {"all": _spread(every)},
            "endings": dict(sorted(self.endings.items())),
            "audit": self.audit,
            "verify_exit_code": self.verify,
            "wrong": self.wrong,
            "logs": self.logs,
        }

    def lines(self) -> Iterable[str]:
        """The table."""
        told = self.as_json()
        yield "chaos " + " ".join(f"{name}={value}" for name, value in self.options.items())
        minutes = self.seconds / 60
        yield f"Apache Kafka {self.version}, {minutes:.1f} minutes of faults, at rest {self.settled_s:.0f} s after the last"
        yield ""
        yield f"{'fault':24}{'times':>7}   recovered within s (decided)     (shown in DuckDB)"
        yield f"{'':24}{'':>7}{'p50':>10}{'p99':>8}{'max':>8}{'p50':>12}{'p99':>8}{'max':>8}"
        for kind in sorted(self.faults.keys() | self.recoveries.keys()):
            yield _row(kind, self.faults.get(kind, 0) or len(self.recoveries[kind]), told["recovery_seconds"].get(kind))
        yield _row("all", sum(self.faults.values()), told["recovery_seconds"]["all"])
        yield ""
        yield from self._audited()
        for name, counts in (("process endings", self.endings), ("faults not done", self.not_done)):
            if counts:
                yield f"{name}: " + ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
        for sentence in self.wrong:
            yield f"WRONG: {sentence}"
        if self.logs:
            yield f"logs of every process: {self.logs}"
        yield f"{'everything is as it must be' if self.good else 'SOMETHING IS WRONG'} (seed {self.options['seed']})"

    def _audited(self) -> Iterable[str]:
        audit = self.audit
        if not audit:
            return
        outcomes = ", ".join(f"{count:,} {name}" for name, count in sorted(audit["outcomes"].items()))
        yield (
            f"published and acknowledged {self.published:,} (sent again {self.resent:,}); facts {audit['facts']:,} of "
            f"{audit['members']:,} members: {outcomes}"
        )
        yield (
            f"derived facts {audit['derived']:,}, rejects {audit['rejects']:,}, chain links {audit['chained']:,}, tables "
            f"compared {audit['tables']}"
        )
        if notices := audit["notices"]:
            counted = ", ".join(f"{count:,} {name}" for name, count in sorted(notices.items()))
            yield f"notices in decisions: {counted}; in incentives {audit['told']:,}"
        for kind in ZEROS:
            yield f"{kind:52}{audit['zeros'][kind]:>8}"
        yield f"{'exit code of `stammgast verify --db`':52}{self.verify if self.verify is not None else '-':>8}"
        for kind, first in audit["shown"].items():
            yield from (f"WRONG: {kind}: {what}" for what in first)


def _spread(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    return {
        "count": len(pairs),
        "decided": _percentiles([decided for decided, _ in pairs]),
        "shown": _percentiles([shown for _, shown in pairs]),
    }


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    """Nearest rank: p99 of few values is their largest."""
    ordered = sorted(values)
    if not ordered:
        return {}
    rank = {share: ordered[max(0, math.ceil(share * len(ordered)) - 1)] for share in (0.5, 0.99, 1.0)}
    return {"p50": round(rank[0.5], 2), "p99": round(rank[0.99], 2), "max": round(rank[1.0], 2)}


def _row(kind: str, times: int, spread: dict[str, Any] | None) -> str:
    row = f"{kind.replace('_', ' '):24}{times:>7}"
    if spread and spread["count"]:
        for name, width in (("decided", 10), ("shown", 12)):
            one = spread[name]
            row += f"{one['p50']:>{width}.1f}{one['p99']:>8.1f}{one['max']:>8.1f}"
    return row
