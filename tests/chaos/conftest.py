"""Fixtures of chaos."""

from __future__ import annotations

import os

import pytest

from tests.kafka.harness import NoKafka, kafka_jars


@pytest.fixture(scope="session")
def jars() -> None:
    """Chaos kills its brokers, so it wants some of its own; skips where none can run."""
    try:
        kafka_jars()
    except NoKafka as reason:
        if os.environ.get("STAMMGAST_TEST_REQUIRE_KAFKA") == "1":
            pytest.fail(f"a real Kafka is required here: {reason}")
        pytest.skip(str(reason))
