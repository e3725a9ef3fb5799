"""What a worker tells about its partitions: lag and age per partition, progress of each, and when Kafka was last heard."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from faust.types import TP

from engine.stream.batches import Progress, Standing
from engine.stream.batches import _standing as standing_of
from engine.stream.watch import Gauge
from engine.telemetry import Metrics

FACTS, INBOUND = TP("facts", 0), TP("shop-events", 1)


class HandClock:
    """A clock that a test turns by hand."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        """The time now."""
        return self.seconds


def value(metrics: Metrics, name: str, place: TP | None = None) -> float | None:
    """A metric of ours as it is now."""
    labels = {} if place is None else {"topic": place.topic, "partition": str(place.partition)}
    return metrics.registry.get_sample_value(f"stammgast_{name}", labels)


def batch(last: int, *timestamps: int) -> Any:
    """A message that holds a batch, as the consumer delivers it."""
    return SimpleNamespace(acked=False, offset=last, value=[SimpleNamespace(timestamp=ms) for ms in timestamps])


def test_lag_is_told_per_partition_and_forgotten_with_it() -> None:
    """Records and age per partition; the oldest undecided fact is that of `facts`; what others own is told no more."""
    metrics = Metrics(with_process=False, clock=HandClock())
    gauge = Gauge(metrics)

    gauge.read({FACTS: Standing(5, 9, 997_000, None), INBOUND: Standing(7, 7, None, 1_000_000)}, "facts")

    assert (value(metrics, "lag_records", FACTS), value(metrics, "lag_seconds", FACTS)) == (4.0, 3.0)
    assert (value(metrics, "lag_records", INBOUND), value(metrics, "lag_seconds", INBOUND)) == (0.0, 0.0)
    assert value(metrics, "oldest_undecided_fact_age_seconds") == 3.0
    gauge.keep([INBOUND])
    assert value(metrics, "lag_records", FACTS) is None
    assert value(metrics, "oldest_undecided_fact_age_seconds") == 0.0
    assert gauge.progress.probe()[0]


def test_a_partition_that_stands_still_is_found_among_others() -> None:
    """Given two partitions with work of which one moves, when the limit has passed, then the other one is named."""
    clock = HandClock()
    gauge = Gauge(Metrics(with_process=False), 15.0, clock)

    gauge.read({FACTS: Standing(5, 9, 1, None), INBOUND: Standing(0, 9, 1, None)}, "facts")
    clock.seconds += 16
    gauge.read({FACTS: Standing(6, 9, 1, None), INBOUND: Standing(0, 9, 1, None)}, "facts")

    ready, why = gauge.progress.probe()
    assert not ready
    assert "12 waiting, last progress at shop-events/1 16.0 s ago" in why


def test_the_partition_heard_least_counts() -> None:
    """Only those count of which something is asked; none asked is no reason for doubt."""
    gauge = Gauge(Metrics(with_process=False))
    assert gauge.hearing.probe()[0]

    gauge.read({FACTS: Standing(5, 9, 1, None), INBOUND: Standing(7, 7, None, 1_000)}, "facts")

    ready, why = gauge.hearing.probe()
    assert not ready
    assert "shop-events/1" in why


def test_the_oldest_record_is_the_first_that_is_not_acknowledged() -> None:
    """Given batches under way, when they are acknowledged in order, then the age is that of the next one, then none."""
    progress = Progress(next=0, known_ms=50)
    first, second = batch(3, 100, 110), batch(7, 200, 190)
    progress.deliver(first, 4, 10)
    progress.deliver(second, 8, 10)

    assert standing_of(progress, 8, 999, asked=True) == Standing(0, 8, 100, None)
    first.acked = True
    assert standing_of(progress, 8, 999, asked=True) == Standing(4, 8, 200, None)
    second.acked = True
    assert standing_of(progress, 8, 999, asked=True) == Standing(8, 8, None, 999)
    assert standing_of(progress, 8, 999, asked=False) == Standing(8, 8, None, None)


def test_what_was_never_fetched_is_not_older_than_the_end_of_the_log_that_was_seen() -> None:
    """Given a log that was caught up at 900, when records come that nobody fetches, then they are not older than that."""
    progress = Progress(next=8, known_ms=50)

    assert standing_of(progress, 9, 40, asked=True).oldest_ms == 50
    standing_of(progress, 8, 900, asked=True)
    assert standing_of(progress, 12, 950, asked=True) == Standing(8, 12, 900, None)


def test_a_hole_behind_the_last_record_is_no_lag() -> None:
    """Given marks of transactions behind the last batch, when it is acknowledged, then nothing is left to do."""
    progress = Progress(next=0)
    message = batch(3, 100)
    progress.deliver(message, 4, 10)
    progress.skip(6)
    message.acked = True

    assert standing_of(progress, 6, 999, asked=True).oldest_ms is None


def test_what_the_owner_of_the_start_has_done_may_be_committed_at_once() -> None:
    """Given group offsets that are wrong, when a partition is opened where its log says, then the group may learn of it."""
    # given
    governed, ungoverned = Progress(next=0), Progress(next=0)

    # when
    governed.opened(7, governed=True)
    ungoverned.opened(7, governed=False)

    # then
    assert governed.done == 7
    assert ungoverned.done is None
