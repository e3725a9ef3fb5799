"""Microseconds per fact in the pure core and its codec: no Kafka, no DuckDB, one process.

Measured as a keeper runs it: turn by turn, the garbage collector on, nothing kept of a turn but the members' state.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from engine.bench import data
from engine.bench.figures import Run
from engine.bench.jobs import Job, Tell
from engine.stream.clients import Cluster
from rules.book import Programme
from schemas.decisions import encode_decision
from schemas.envelope import encode_fact, parse_fact
from schemas.normalise import normalise
from schemas.times import to_text

#: Facts per turn, as a fetch of two-line purchases brings them.
TURN = 1_000


def run(_cluster: Cluster, job: Job, _tell: Tell) -> Run:
    """One run on the job's kind of purchase."""
    return measure(data.SHAPES[job.shape], job.expected)


def measure(shape: data.Shape, count: int) -> Run:
    """One run: microseconds per fact, the whole first, then step by step.

    `whole` is parse + decide + evolve + encode in one loop, `whole_cpu` the same in processor time. The steps are timed a turn
    at a time, each with a ledger of its own, so their sum is a little more than the whole. `normalise` and `encode_fact` are
    intake's.
    """
    versions = data.programmes()
    raws = list(data.events(shape, count))
    values = data.fact_values(shape, count)
    wall, cpu = _whole(values, versions)
    figures = {"whole": wall / count * 1e6, "whole_cpu": cpu / count * 1e6}
    figures |= {name: seconds / count * 1e6 for name, seconds in _steps(values, versions).items()}
    figures |= {name: seconds / count * 1e6 for name, seconds in _intake(raws).items()}
    return Run(count, wall, figures)


def _whole(values: Sequence[bytes], versions: Sequence[Programme]) -> tuple[float, float]:
    ledger = data.fresh_ledger(versions)
    gc.collect()
    began, began_cpu = time.perf_counter(), time.process_time()
    for offset, value in enumerate(values, ledger.next_offset):
        for decision in ledger.answer(parse_fact(value), offset).decisions:
            encode_decision(decision)
    return time.perf_counter() - began, time.process_time() - began_cpu


def _steps(values: Sequence[bytes], versions: Sequence[Programme]) -> dict[str, float]:
    """Seconds per step. Deciding takes its decision in at once, so `evolve` is timed on a second ledger that recalls the
    same decisions, and `decide` is what remains."""
    spent = dict.fromkeys(("parse", "decide", "evolve", "encode"), 0.0)
    deciding, recalling = data.fresh_ledger(versions), data.fresh_ledger(versions)
    gc.collect()
    for start in range(0, len(values), TURN):
        turn = values[start : start + TURN]
        laps = [time.perf_counter()]
        known = [parse_fact(value) for value in turn]
        laps.append(time.perf_counter())
        decisions = [_decided(deciding, fact) for fact in known]
        laps.append(time.perf_counter())
        for fact, decision in zip(known, decisions, strict=True):
            recalling.recall(fact, decision)
        laps.append(time.perf_counter())
        for decision in decisions:
            encode_decision(decision)
        laps.append(time.perf_counter())
        parse, answer, evolve, encode = (later - earlier for earlier, later in pairwise(laps))
        for name, seconds in zip(spent, (parse, answer - evolve, evolve, encode), strict=True):
            spent[name] += seconds
    return spent


def _decided(ledger: Any, fact: Any) -> Any:
    return ledger.answer(fact, ledger.next_offset).decisions[0]


def _intake(raws: Sequence[bytes]) -> dict[str, float]:
    recorded_at = to_text(data.RECORDED_US)
    spent = {"normalise": 0.0, "encode_fact": 0.0}
    gc.collect()
    for start in range(0, len(raws), TURN):
        began = time.perf_counter()
        known = [normalise(raw, recorded_at, data.RECORDED_US) for raw in raws[start : start + TURN]]
        normalised = time.perf_counter()
        for fact in known:
            encode_fact(fact)
        spent["normalise"] += normalised - began
        spent["encode_fact"] += time.perf_counter() - normalised
    return spent
