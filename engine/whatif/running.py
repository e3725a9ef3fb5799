"""A comparison as a whole: who deals with whom, then the processes, then one moment to which all of them settle."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any

from engine.ledger.engine_facts import midnight_before
from engine.lines import Progress, ReplayError, read_lines
from engine.processes import end_with
from engine.tuning import without_collector
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
_DIED = "a deciding process died: was memory short? Try again with fewer --jobs"


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
    told = progress or (lambda _done, _total: None)
    # What is made here holds no cycles and stays to the end; looking it through takes a tenth of the time.
    with without_collector(), _started(job, vault) as pipes:
        circles = _circles(job, plan, until_us)
        while True:
            shared = replace(job, shards=1 if circles.everybody else job.shards)
            crew = _Crew(Shard(shared, circles, 0, vault), pipes[: shared.shards - 1], told)
            outcome = _decided(plan, circles, until_us, crew)
            if outcome is not None:
                return outcome
            circles.join_all()


def _circles(job: Job, plan: Plan, until_us: int | None) -> Circles:
    """Look through all facts for who deals with whom. Errors: ReplayError."""
    circles = Circles([*plan.present.values(), *plan.taking_over])
    for line in read_lines(job.path):
        circles.look(line, dump=job.dump)
    circles.leave_out_later(until_us)
    return circles


def _decided(plan: Plan, circles: Circles, until_us: int | None, crew: _Crew) -> Outcome | None:
    """Decide everything; None where time went on further than ``circles`` holds."""
    counts = crew.read()
    counted = _added(counts)
    settled_us = _moment(plan, counted, until_us)
    if circles.good_until_us is not None and circles.good_until_us < max(settled_us, counted["newest_us"]):
        return None
    return _together(Outcome(plan, counted, settled_us, len(counts)), crew.settled(settled_us))


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


class _Crew:
    """This process decides the first part itself; each other one is decided at the other end of a pipe."""

    def __init__(self, own: Shard, pipes: Sequence[Connection], progress: Progress) -> None:
        self._own, self._pipes, self._progress = own, pipes, progress

    def read(self) -> list[dict[str, Any]]:
        """Decide all facts; return what each process counted."""
        for pipe in self._pipes:
            _send(pipe, (self._own.job, self._own.circles))
        return [self._own.read(self._progress), *(_received(pipe) for pipe in self._pipes)]

    def settled(self, time_us: int) -> Iterator[Part]:
        """Let time pass on both sides in all processes; yield what each came to."""
        for pipe in self._pipes:
            _send(pipe, time_us)
        self._own.settle(time_us)
        yield _part(self._own)
        for pipe in self._pipes:
            yield _received(pipe)


def _send(pipe: Connection, told: object) -> None:
    """Tell a process something. Errors: WhatIfError when it died."""
    try:
        pipe.send(told)
    except (BrokenPipeError, ConnectionError):
        raise WhatIfError(_DIED) from None


def _received(pipe: Connection) -> Any:
    """What a process says. Errors: those that it had, WhatIfError when it died."""
    try:
        said = pipe.recv()
    except (EOFError, ConnectionError):
        raise WhatIfError(_DIED) from None
    if isinstance(said, ReplayError | WhatIfError):
        raise said
    return said


@contextmanager
def _started(job: Job, vault: Vault | None) -> Iterator[list[Connection]]:
    """The other processes that may decide. They are started at once: what they import takes as long as looking for circles."""
    # spawn, not fork: the terminal's progress bar has a thread, which a fork would leave half alive.
    context = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    processes = []
    try:
        for index in range(1, job.shards):
            here, there = context.Pipe()
            process = context.Process(
                target=_work, args=(index, vault, there, os.getpid()), name=f"whatif-{index}", daemon=True
            )
            process.start()
            there.close()
            pipes.append(here)
            processes.append(process)
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.terminate()
            process.join()


def _work(index: int, vault: Vault | None, pipe: Connection, parent: int) -> None:
    end_with(parent)
    try:
        with without_collector():
            told: Any = pipe.recv()
            while True:
                job, circles = told
                shard = Shard(job, circles, index, vault)
                pipe.send(shard.read())
                told = pipe.recv()
                if isinstance(told, int):
                    break  # the moment to settle to; else what was read did not do, and it begins anew with other circles
            shard.settle(told)
            pipe.send(_part(shard))
    except (ReplayError, WhatIfError) as error:
        pipe.send(type(error)(str(error)))
    except EOFError:
        return
