"""A comparison as a whole: who deals with whom, then the processes, then one moment to which all of them settle."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from engine.ledger.engine_facts import midnight_before
from engine.lines import Progress, ReplayError, read_lines
from engine.processes import end_with
from engine.tuning import expect_a_large_calm_heap, without_collector
from engine.vault.vault import Vault
from engine.whatif.circles import Circles
from engine.whatif.plan import Plan, WhatIfError
from engine.whatif.shard import Job, MemberEnd, Shard
from engine.whatif.tally import Counts
from schemas.times import to_text


@dataclass(slots=True)
class Outcome:
    """What both sides came to; see `Tally` for the counts.

    Attributes:
        counted: facts and what became of them.
        settled_us: the moment to which time was let pass on both sides.
        shards: processes that decided.
    """

    plan: Plan
    counted: dict[str, Any]
    settled_us: int
    shards: int
    members: list[MemberEnd] = field(default_factory=list)
    movements: Counts = field(default_factory=dict)
    tier_changes: Counts = field(default_factory=dict)
    notices: Counts = field(default_factory=dict)


Part = tuple[list[MemberEnd], Counts, Counts, Counts]


def compare(job: Job, until_us: int | None, vault: Vault | None = None, progress: Progress | None = None) -> Outcome:
    """Decide every fact on both sides.

    Args:
        job: the facts and the versions; ``shards`` is the most processes.
        until_us: let time pass to this moment on both sides; default: the programme's midnight at or before the newest fact, or
            the newest tick of a log.
        vault: opens the profiles of a dump.
        progress: told bytes read and bytes in all.

    Raises:
        ReplayError, WhatIfError: the comparison cannot be made; nothing was written anywhere.
    """
    plan = job.plan()
    circles = Circles([*plan.present.values(), *plan.taking_over])
    for line in read_lines(job.path):
        circles.look(line, dump=job.dump)
    shards = 1 if circles.everybody else job.shards
    job = Job(job.path, job.dump, job.present, job.new, job.since_us, job.recorded_us, shards)
    told = progress or (lambda _done, _total: None)
    with _started(job, circles, vault, told) as crew:
        counts = crew.read()
        counted = _added(counts)
        settled_us = _moment(plan, counted, until_us)
        return _together(Outcome(plan, counted, settled_us, shards), crew.settled(settled_us))


def _moment(plan: Plan, counted: dict[str, Any], until_us: int | None) -> int:
    newest_us, tick_us = counted["newest_us"], counted["newest_tick_us"]
    if newest_us is None or max(newest_us, tick_us or newest_us) < plan.since_us:
        newest = "none" if newest_us is None else f"the newest of {to_text(newest_us)}"
        raise WhatIfError(
            f"no fact happened at or after {to_text(plan.since_us)}, when the new programme takes over ({newest}): say an "
            "earlier --since"
        )
    if until_us is not None:
        return until_us
    version = plan.at(newest_us)[0] or plan.taking_over[0]
    return max(midnight_before(newest_us, version), tick_us or 0)


def _added(counts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for name in counts[0]:
        values = [one[name] for one in counts if one[name] is not None]
        if name.startswith("newest"):
            total[name] = max(values, default=None)
        else:
            total[name] = sum(values)
    return total


def _together(outcome: Outcome, parts: Iterator[Part]) -> Outcome:
    for members, movements, tier_changes, notices in parts:
        outcome.members += members
        for whole, part in (
            (outcome.movements, movements),
            (outcome.tier_changes, tier_changes),
            (outcome.notices, notices),
        ):
            for key, values in part.items():
                found = whole.get(key)
                whole[key] = values if found is None else [sum(pair) for pair in zip(found, values, strict=True)]
    outcome.members.sort(key=lambda member: member.member_id)
    return outcome


def _part(shard: Shard) -> Part:
    tally = shard.tally
    return list(shard.members()), tally.movements, tally.tier_changes, tally.notices


class _Alone:
    """Everything in this process."""

    def __init__(self, job: Job, circles: Circles, vault: Vault | None, progress: Progress) -> None:
        self._shard, self._progress = Shard(job, circles, 0, vault), progress

    def read(self) -> list[dict[str, Any]]:
        with without_collector():
            return [self._shard.read(self._progress)]

    def settled(self, time_us: int) -> Iterator[Part]:
        self._shard.settle(time_us)
        yield _part(self._shard)


class _Crew:
    """A process per shard, each at the other end of a pipe."""

    def __init__(self, pipes: Sequence[Connection], progress: Progress) -> None:
        self._pipes, self._progress = pipes, progress

    def read(self) -> list[dict[str, Any]]:
        counts: dict[int, dict[str, Any]] = {}
        while len(counts) < len(self._pipes):
            for ready in wait([pipe for number, pipe in enumerate(self._pipes) if number not in counts]):
                number = next(number for number, pipe in enumerate(self._pipes) if pipe is ready)
                kind, said = _received(self._pipes[number])
                if kind == "progress":
                    self._progress(*said)
                else:
                    counts[number] = said
        return [counts[number] for number in sorted(counts)]

    def settled(self, time_us: int) -> Iterator[Part]:
        for pipe in self._pipes:
            pipe.send(time_us)
        for pipe in self._pipes:
            yield _received(pipe)[1]


def _received(pipe: Connection) -> tuple[str, Any]:
    """What a process says. Errors: those that it had, WhatIfError when it died."""
    try:
        kind, said = pipe.recv()
    except EOFError:
        raise WhatIfError("a deciding process died: was memory short? Try again with fewer --jobs") from None
    if kind == "error":
        raise said
    return kind, said


@contextmanager
def _started(job: Job, circles: Circles, vault: Vault | None, progress: Progress) -> Iterator[_Alone | _Crew]:
    if job.shards == 1:
        yield _Alone(job, circles, vault, progress)
        return
    # spawn, not fork: the terminal's progress bar has a thread, which a fork would leave half alive.
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    try:
        for index in range(job.shards):
            here, there = context.Pipe()
            process = context.Process(
                target=_work, args=(job, circles, index, vault, there, os.getpid()), name=f"whatif-{index}", daemon=True
            )
            process.start()
            there.close()
            pipes.append(here)
            processes.append(process)
        yield _Crew(pipes, progress)
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.terminate()
            process.join()


def _work(job: Job, circles: Circles, index: int, vault: Vault | None, pipe: Connection, parent: int) -> None:
    end_with(parent)
    expect_a_large_calm_heap()
    try:
        with without_collector():
            shard = Shard(job, circles, index, vault)
            said = (lambda done, total: pipe.send(("progress", (done, total)))) if index == 0 else _nobody_looks
            pipe.send(("read", shard.read(said)))
            shard.settle(pipe.recv())
            pipe.send(("part", _part(shard)))
    except (ReplayError, WhatIfError) as error:
        pipe.send(("error", type(error)(str(error))))
    except EOFError:
        return


def _nobody_looks(_done: int, _total: int) -> None:
    """Progress that another process tells."""
