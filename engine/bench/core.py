"""Microseconds per fact in the pure core and its codec: no Kafka, no DuckDB, one process.

Measured as a keeper runs it: the garbage collector on, nothing kept of a fact but the members' state.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence

import orjson

from engine.bench import data
from engine.bench.figures import Run
from engine.bench.jobs import Job, Tell
from engine.stream.clients import Cluster
from rules.book import Programme
from schemas.decisions import encode_decision
from schemas.envelope import encode_fact, parse_fact
from schemas.normalise import normalise
from schemas.times import to_text


def run(_cluster: Cluster, job: Job, _tell: Tell) -> Run:
    """One run on the job's kind of purchase, under its programme."""
    return measure(data.SHAPES[job.shape], job.expected, data.programmes(job.programme))


def measure(shape: data.Shape, count: int, versions: Sequence[Programme]) -> Run:
    """One run: microseconds per fact, the whole first, then step by step.

    `whole` is parse + decide + evolve + encode in one loop, `whole_cpu` the same in processor time. The steps are timed
    one by one in a second pass. `normalise` and `encode_fact` are
    intake's.
    """
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
    """Seconds per step, fact by fact: kept in lists, facts would cost three times as much (allocations, cache misses).

    Deciding takes its decision in at once, so `evolve` is timed on a second ledger that recalls the same decision, and
    `decide` is what remains. `json` is the part of `parse` that orjson takes: a yardstick for the state of the machine.
    """
    spent = dict.fromkeys(("json", "parse", "decide", "evolve", "encode"), 0.0)
    deciding, recalling = data.fresh_ledger(versions), data.fresh_ledger(versions)
    clock = time.perf_counter
    gc.collect()
    for offset, value in enumerate(values, deciding.next_offset):
        began = clock()
        orjson.loads(value)
        loaded = clock()
        fact = parse_fact(value)
        parsed = clock()
        decision = deciding.answer(fact, offset).decisions[0]
        answered = clock()
        encode_decision(decision)
        encoded = clock()
        recalling.recall(fact, decision)
        recalled = clock() - encoded
        spent["json"] += loaded - began
        spent["parse"] += parsed - loaded
        spent["decide"] += answered - parsed - recalled
        spent["evolve"] += recalled
        spent["encode"] += encoded - answered
    return spent


def _intake(raws: Sequence[bytes]) -> dict[str, float]:
    recorded_at = to_text(data.RECORDED_US)
    spent = {"normalise": 0.0, "encode_fact": 0.0}
    gc.collect()
    for raw in raws:
        began = time.perf_counter()
        fact = normalise(raw, recorded_at, data.RECORDED_US)
        normalised = time.perf_counter()
        encode_fact(fact)
        spent["normalise"] += normalised - began
        spent["encode_fact"] += time.perf_counter() - normalised
    return spent
