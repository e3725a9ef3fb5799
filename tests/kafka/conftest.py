"""Fixtures of brokers: `kafka` is a real one, `embedded` lives in memory, `any_cluster` is each in turn."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from engine.broker import EmbeddedBroker
from engine.stream.clients import Cluster
from tests.kafka.harness import KafkaCluster, NoKafka, shared_kafka


@pytest.fixture(scope="session")
def kafka() -> str:
    """HOST:PORT of a real Apache Kafka; skips without one, fails if STAMMGAST_TEST_REQUIRE_KAFKA=1."""
    try:
        return shared_kafka()
    except NoKafka as reason:
        if os.environ.get("STAMMGAST_TEST_REQUIRE_KAFKA") == "1":
            pytest.fail(f"a real Kafka is required here: {reason}")
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def own_kafka(kafka: str) -> Iterator[KafkaCluster]:
    """A real Kafka of a module's own, that may be frozen or killed."""
    try:
        with KafkaCluster() as cluster:
            yield cluster
    except NoKafka as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def embedded() -> Iterator[str]:
    """HOST:PORT of the embedded broker."""
    with EmbeddedBroker() as broker:
        yield broker.bootstrap


@pytest.fixture
def cluster(kafka: str) -> Cluster:
    """The real Kafka, as our clients see it."""
    return Cluster(kafka)


@pytest.fixture
def embedded_cluster(embedded: str) -> Cluster:
    """The embedded broker, as our clients see it."""
    return Cluster(embedded)


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def any_cluster(request: pytest.FixtureRequest) -> Cluster:
    """Each broker in turn, for what both must do."""
    bootstrap: str = request.getfixturevalue(request.param)
    return Cluster(bootstrap)


@pytest.fixture
def prefix() -> str:
    """A prefix for topics and groups that nobody used before."""
    return f"t{uuid.uuid4().hex[:10]}-"
