"""What the gateway counts; labels are routes, statuses and outcomes, never a key or a member."""

from __future__ import annotations

import prometheus_client
from prometheus_client import CollectorRegistry

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class GatewayMetrics:
    """Its metrics, on the registry that /metrics shows."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = prometheus_client.Counter(
            "stammgast_gateway_requests_total", "Requests answered.", ["route", "status"], registry=registry
        )
        self.seconds = prometheus_client.Histogram(
            "stammgast_gateway_request_seconds",
            "Time from a request's headers to its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.events = prometheus_client.Counter(
            "stammgast_gateway_events_total",
            "Events that came in, by what was answered: accepted, failed (no ack), or the reason of the refusal.",
            ["answer"],
            registry=registry,
        )
        self.redemptions = prometheus_client.Counter(
            "stammgast_gateway_redemptions_total", "Redemptions asked for, by outcome.", ["outcome"], registry=registry
        )
        self.behind = prometheus_client.Gauge(
            "stammgast_gateway_behind_records", "Decisions known and not yet in the read model.", registry=registry
        )
        self.age = prometheus_client.Gauge(
            "stammgast_gateway_age_seconds",
            "Seconds since the read model was level with the log, of the partition that is oldest.",
            registry=registry,
        )
