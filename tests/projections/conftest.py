"""The brokers of the Kafka tests serve the projector's tests too."""

from __future__ import annotations

from tests.kafka.conftest import any_cluster, embedded, kafka, prefix

__all__ = ["any_cluster", "embedded", "kafka", "prefix"]
