"""Everything that a seed decides before its history begins; printed in full, so that a failure can be read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

#: Requests that can go wrong, and how often at most.
TROUBLE = {"produce": 0.04, "end": 0.05, "start": 0.05, "fetch": 0.02, "read": 0.03, "commit": 0.1, "heartbeat": 0.05}
FATES = ("slow", "slow", "retried", "retried", "stuck", "error_before", "error_after")


@dataclass(slots=True)
class Options:
    """One history.

    Attributes:
        facts: so many are published, derived ones come on top.
        seconds: how long the safety phase lasts: publishing, with faults. Then faults are off and all must converge.
        reorder: how likely another ready callback than the oldest goes first.
        latency_s: the longest normal way between a client and a broker.
        deadly: facts at which the deciding process dies.
        lives: how many processes a worker may lose.
        kinds: how processes end or stop, one is drawn per life.
        checkpoint: decisions between two checkpoints.
        model: ask the naive model in the end; it is slow, and knows the coffee bar only.
        business: members deal with each other (tests.simulation.business) instead of the coffee bar.
        knobs: constants of the product, set to other values.
    """

    seed: int
    facts: int
    partitions: int
    workers: int
    transactional: bool
    intake: bool
    seconds: float
    reorder: float
    latency_s: float
    slow_markers: float
    trouble: dict[str, float]
    fates: tuple[str, ...]
    lives: int
    kinds: tuple[str, ...]
    outages: int
    meddling: tuple[str, ...]
    strange: float
    deadly: int
    seek_first: bool
    batch_records: int
    model: bool
    checkpoint: int
    business: bool = False
    knobs: dict[str, Any] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """For printing."""
        return asdict(self)


KINDS = ("kill", "kill", "kill", "freeze", "freeze", "stop", "leave")
MEDDLING = (
    "offsets_deleted",
    "offsets_ahead",
    "snapshots_deleted",
    "snapshots_foreign",
    "compaction",
    "holes",
    "rebalance",
)


def draw(seed: int, facts: int = 100) -> Options:
    """Return the options of a seed."""
    rng = Random(f"options {seed}")
    transactional = rng.random() < 0.93
    some = rng.random() < 0.8
    # Without fencing a write that is under way longer than a worker needs to start again doubles what the next one decides;
    # the embedded broker stands on the worker's own machine, and answers or does not.
    latency_s = rng.choice((0.001, 0.005, 0.02, 0.1) if transactional else (0.001, 0.005))
    return Options(
        seed=seed,
        facts=max(3, int(facts * rng.uniform(0.5, 1.5))),
        partitions=rng.choice((1, 2, 2, 3, 4)),
        workers=rng.choice((1, 2, 2, 3)) if transactional else 1,
        transactional=transactional,
        intake=rng.random() < 0.25,
        seconds=rng.choice((5.0, 15.0, 30.0, 60.0)),
        reorder=rng.choice((0.0, 0.0, 0.1, 0.5)),
        latency_s=latency_s,
        slow_markers=rng.choice((0.0, 0.02, 0.2)),
        trouble={what: most * rng.random() * rng.choice((0, 1, 1)) for what, most in TROUBLE.items()} if some else {},
        fates=tuple(rng.sample(FATES, rng.randint(2, len(FATES)))) if transactional else ("error_before",),
        lives=rng.choice((0, 1, 2, 4, 8)),
        kinds=tuple(rng.sample(KINDS, rng.randint(1, 4))),
        outages=rng.choice((0, 0, 0, 1, 2)) if transactional else 0,
        meddling=tuple(rng.choice(MEDDLING) for _ in range(rng.choice((0, 1, 3)))),
        strange=rng.choice((0.0, 0.01, 0.05)),
        deadly=rng.choice((0,) * 12 + (1, 2)) if transactional else 0,
        seek_first=rng.random() < 0.5,
        # A turn has to fit into a transaction's ten seconds, at one batch after the other.
        batch_records=rng.choice((1, 3, 20, 200) if latency_s < 0.1 else (20, 200)),
        checkpoint=rng.choice((1, 5, 20, 20, 60, 100_000)),
        model=seed % 10 == 0,
        business=seed % 2 == 1,
        knobs=_knobs(rng),
    )


def _knobs(rng: Random) -> dict[str, Any]:
    return {
        "engine.stream.keeper.TURN_RECORDS": rng.choice((1, 5, 20, 4000)),
        "engine.stream.turn.BREATH_RECORDS": rng.choice((1, 3, 10, 250)),
        "engine.stream.turn.BATCH_BYTES": rng.choice((1200, 3000, 900_000)),
        "engine.stream.snapshots.TURN_LEAST": rng.choice((1, 2, 100)),
        "engine.stream.snapshots.TURN_MOST": rng.choice((1, 3, 2_000)),
        "engine.stream.snapshots.TURN_BYTES": rng.choice((500, 1 << 20)),
        "engine.stream.snapshots.BATCH_BYTES": rng.choice((100, 900_000)),
        "engine.stream.snapshots.IDLE_DECISIONS": rng.choice((1, 10, 1_000)),
        "engine.stream.keeper.LEAVE_MOST": rng.choice((0, 5, 20_000)),
        "engine.ledger.partition.TICK_PART_MEMBERS": rng.choice((1, 2, 500)),
        "engine.stream.batches.FETCH_RECORDS": rng.choice((2, 10, 5_000)),
        "engine.stream.batches.BUDGET_BYTES": rng.choice((3_000, 30_000, 1 << 27)),
    }
