"""What `stammgast deliver` counts; labels are channels, kinds of answers and reasons, never a member or an address."""

from __future__ import annotations

import prometheus_client
from prometheus_client import CollectorRegistry

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class DeliverMetrics:
    """Its metrics, on the registry that /metrics shows."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.attempts = prometheus_client.Counter(
            "stammgast_deliver_attempts_total",
            "Attempts to deliver, by answer: sent, bounced, later, never.",
            ["channel", "answer"],
            registry=registry,
        )
        self.seconds = prometheus_client.Histogram(
            "stammgast_deliver_attempt_seconds",
            "Time of one attempt.",
            ["channel"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.outcomes = prometheus_client.Counter(
            "stammgast_deliver_outcomes_total",
            "Notices that are finished: sent, bounced, failed, expired, ignored.",
            ["channel", "outcome"],
            registry=registry,
        )
        self.dead = prometheus_client.Counter(
            "stammgast_deliver_dead_total", "Dead letters written.", ["channel", "reason"], registry=registry
        )
        self.held = prometheus_client.Gauge(
            "stammgast_deliver_held", "Notices read that are not finished.", ["channel"], registry=registry
        )
        self.overdue = prometheus_client.Gauge(
            "stammgast_deliver_overdue_seconds",
            "For how long the notice that waits longest could have been said, retries included.",
            ["channel"],
            registry=registry,
        )
        self.behind = prometheus_client.Gauge(
            "stammgast_deliver_behind_records", "Records of incentives not read yet.", registry=registry
        )

    def begin(self, channels: list[str]) -> None:
        """Series that begin at 0: the first event of one that did not exist looks like nothing to `increase`."""
        for channel in channels:
            for answer in ("sent", "bounced", "later", "never"):
                self.attempts.labels(channel, answer)
            for outcome in ("sent", "bounced", "failed", "expired"):
                self.outcomes.labels(channel, outcome)
            self.held.labels(channel)
            self.overdue.labels(channel)
