"""What a worker tells about itself while it works: counts for the metrics, lag, and proof of progress for /readyz."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from faust.types import TP

from engine import telemetry
from engine.stream.batches import Standing
from engine.stream.intake import Taken
from engine.telemetry import Hearing, Metrics, Progress, Tally


class Watch:
    """Tells telemetry what keepers and intake did."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def decided(self, tally: Tally, seconds: float) -> None:
        """A keeper's turn was committed."""
        self._metrics.count_decisions(tally)
        self._metrics.batch_seconds.labels("rewards").observe(seconds)

    def recovered(self, seconds: float, source: str, decisions: int) -> None:
        """A partition was opened."""
        self._metrics.recovery_seconds.labels(source).observe(seconds)
        self._metrics.recovered_decisions.labels(source).inc(decisions)

    def snapshots(self, members: int, checkpoints: int) -> None:
        """Snapshots and checkpoints were committed."""
        self._metrics.snapshots.inc(members)
        self._metrics.checkpoints.inc(checkpoints)

    def attempt(self, kind: str) -> None:
        """Facts are tried carefully, or given up."""
        self._metrics.attempts.labels(kind).inc()

    def waiting(self, partition: int, records: int, oldest_ms: int | None) -> None:
        """Facts wait in a keeper's queue."""
        self._metrics.set_oldest_undecided(partition, oldest_ms)

    def gone(self, partition: int) -> None:
        """A partition is no longer ours."""
        self._metrics.set_oldest_undecided(partition, None)

    def sent(self, taken: Taken, seconds: float) -> None:
        """Intake's consignment is held by the brokers."""
        self._metrics.count_facts(taken.facts)
        for reason, number in taken.rejects.items():
            self._metrics.rejects.labels(reason).inc(number)
        self._metrics.batch_seconds.labels("intake").observe(seconds)


class Gauge:
    """Reads how far the worker's partitions are: for the metrics, and as proof for /readyz.

    Attributes:
        progress: of every partition for itself; one that stands still is not hidden by others that move.
        hearing: a caught-up partition of which the broker says nothing any more is not known to be caught up.
    """

    def __init__(
        self, metrics: Metrics, limit_seconds: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        limit_seconds = telemetry.READY_SECONDS if limit_seconds is None else limit_seconds
        self.progress = Progress(limit_seconds, clock)
        self.hearing = Hearing(limit_seconds)
        self._metrics = metrics
        self._done: dict[TP, int] = {}

    def read(self, standings: Mapping[TP, Standing], facts_topic: str) -> None:
        """Take the newest standings in; a partition that is missing for a while (it opens again) keeps its last ones."""
        if not standings:
            self.progress.waiting(0)
        for place, now in standings.items():
            name, behind = _name(place), max(0, now.end - now.done)
            if self._done.get(place, now.done) < now.done:
                self.progress.worked(name)
            self._done[place] = now.done
            self.progress.waiting(behind, name)
            self._metrics.set_lag(place.topic, place.partition, behind, now.oldest_ms)
            if place.topic == facts_topic:
                self._metrics.set_oldest_undecided(place.partition, now.oldest_ms)
        answers = ((now.heard_ms, _name(place)) for place, now in standings.items() if now.heard_ms is not None)
        self.hearing.heard(answers)

    def keep(self, assigned: Iterable[TP]) -> None:
        """After a rebalance: forget the partitions that others have now."""
        for place in set(self._done) - set(assigned):
            del self._done[place]
            self._metrics.forget_partition(place.topic, place.partition)
            self.progress.forget(_name(place))


def _name(place: TP) -> str:
    return f"{place.topic}/{place.partition}"
