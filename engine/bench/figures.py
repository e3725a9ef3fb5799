"""Figures of a measurement: runs, their medians, and the goals they are held against."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args


@dataclass(slots=True)
class Run:
    """One run of one measurement.

    Attributes:
        records: facts, events or decisions that went through.
        seconds: from the first record handled to the last answer safe.
        figures: what else was measured, by name; units are the measurement's.
        profile: share of the time per step, where it was sampled; sums to 1.
    """

    records: int = 0
    seconds: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)
    profile: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Records per second."""
        return self.records / self.seconds if self.seconds else 0.0

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self) | {"rate": round(self.rate, 1)}


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should reach. `at_least` False: it should stay below."""

    name: str
    value: float
    goal: float
    unit: str = ""
    at_least: bool = True

    @property
    def met(self) -> bool:
        """Is it reached?"""
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self) | {"met": self.met}


@dataclass(slots=True)
class Report:
    """All that one `stammgast bench` measured: runs by the name of their measurement, and the conditions."""

    conditions: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, list[Run]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, run: Run) -> None:
        """Take a run."""
        self.runs.setdefault(name, []).append(run)

    def rate(self, name: str) -> float:
        """Median of a measurement's rates."""
        return statistics.median(run.rate for run in self.runs[name])

    def figure(self, name: str, figure: str) -> float:
        """Median of one figure of a measurement."""
        return statistics.median(run.figures[figure] for run in self.runs[name])

    def ratio(self, name: str, other: str) -> float:
        """Median of the ratios of two measurements' rates, round by round.

        Both were taken one right after the other, so what else the machine did in a round falls on both.
        """
        pairs = zip(self.runs[name], self.runs[other], strict=True)
        return statistics.median(one.rate / two.rate for one, two in pairs)

    def goals(self) -> list[Goal]:
        """The goals of what was measured."""
        return [goal for maker in _GOALS for goal in maker(self)]

    def as_json(self) -> dict[str, Any]:
        """For scripts: conditions, medians, every run, goals."""
        return {
            "conditions": self.conditions,
            "goals": [goal.as_json() for goal in self.goals()],
            "medians": {name: self._medians(name) for name in self.runs},
            "runs": {name: [run.as_json() for run in runs] for name, runs in self.runs.items()},
            "skipped": self.skipped,
        }

    def _medians(self, name: str) -> dict[str, float]:
        names: Sequence[str] = tuple(self.runs[name][0].figures)
        return {"rate": self.rate(name)} | {figure: self.figure(name, figure) for figure in names}


CORE_BUDGET_US = 25.0
REPLAY_GOAL = 25_000.0
PROJECTOR_GOAL = 100_000.0
MEMBER_BUDGET_BYTES = 1_024.0

Name = Literal[
    "core",
    "rewards",
    "intake",
    "replay",
    "projector",
    "latency",
    "memory",
    "moments",
    "cost",
    "recovery",
    "gateway",
    "peers",
    "scale",
]
NAMES: tuple[Name, ...] = get_args(Name)
#: Measured only when they are asked for: they want more than this installation.
ONLY_NAMED: frozenset[Name] = frozenset({"peers", "scale"})


def _core_goals(report: Report) -> list[Goal]:
    if "core" not in report.runs:
        return []
    whole = report.figure("core", "whole")
    return [Goal("core: parse + decide + evolve + encode", whole, CORE_BUDGET_US, "us per fact", at_least=False)]


def _rewards_goals(report: Report) -> list[Goal]:
    if "rewards product" not in report.runs:
        return []
    return [
        Goal("rewards: product over idiomatic Faust", report.ratio("rewards product", "rewards idiomatic"), 5.0, "x"),
        Goal("rewards: product over a bare aiokafka loop", report.ratio("rewards product", "rewards bare"), 0.8, "x"),
    ]


def _intake_goals(report: Report) -> list[Goal]:
    if "intake product" not in report.runs:
        return []
    return [Goal("intake: product over a bare aiokafka loop", report.ratio("intake product", "intake bare"), 0.8, "x")]


def _table_goals(report: Report) -> list[Goal]:
    goals = []
    if "replay" in report.runs:
        goals.append(Goal("offline replay, DuckDB included", report.rate("replay"), REPLAY_GOAL, "facts/s"))
    if "projector" in report.runs:
        goals.append(Goal("projector", report.rate("projector"), PROJECTOR_GOAL, "decisions/s"))
    return goals


def _memory_goals(report: Report) -> list[Goal]:
    if "memory" not in report.runs:
        return []
    return [Goal("memory", report.figure("memory", "bytes"), MEMBER_BUDGET_BYTES, "bytes per member", at_least=False)]


def _gateway_goals(report: Report) -> list[Goal]:
    if "gateway product" not in report.runs:
        return []
    ratio = report.ratio("gateway product", "gateway bare")
    p99 = report.figure("gateway members", "p99_ms")
    return [
        Goal("gateway: POST /events over a bare Starlette handler", ratio, 0.5, "x"),
        Goal("gateway: GET /members, p99", p99, 20.0, "ms", at_least=False),
    ]


def _peer_goals(report: Report) -> list[Goal]:
    if "bytewax" not in report.runs:
        return []
    contenders = ("quix exactly-once", "quix exactly-once, state kept", "bytewax")
    names = ("Quix Streams, exactly-once", "Quix Streams, exactly-once and state kept", "Bytewax")
    return [
        Goal(f"rewards: worker over {name}", report.ratio("peers worker", contender), 1.0, "x")
        for name, contender in zip(names, contenders, strict=True)
    ]


_GOALS = (_core_goals, _rewards_goals, _intake_goals, _table_goals, _memory_goals, _gateway_goals, _peer_goals)
