"""What we lean on in Faust, and what we replace: an upgrade that moves either fails here."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import aiokafka
import pytest
from faust.transport.consumer import Consumer
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from intervaltree import IntervalTree  # type: ignore[import-untyped]
from mode.supervisors import CrashingSupervisor

from engine.stream import batches
from engine.stream.clients import Cluster
from tests.kafka.harness import create_topic, group_offset, write
from tests.kafka.workers import Collector, crashed, running

PLACE = TP("facts", 0)


# --------------------------------------------------------------------------------------------------- the installation


def test_this_installation_is_the_pinned_one() -> None:
    """The versions in use are those the transport was made for, and Faust's compiled parts are there."""
    batches.check_environment()


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer Faust ends the start with the versions and the way back."""
    monkeypatch.setattr(batches, "version", lambda _package: "9.9.9")

    with pytest.raises(batches.EnvironmentUnfitError, match=r"9\.9\.9 is installed.*requirements\.lock"):
        batches.check_environment()


def test_faust_without_its_compiled_parts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_CYTHON, or an installation from source without the extension, would acknowledge unprocessed events."""
    monkeypatch.setenv("NO_CYTHON", "1")
    with pytest.raises(batches.EnvironmentUnfitError, match="NO_CYTHON"):
        batches.check_environment()

    monkeypatch.delenv("NO_CYTHON")

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(batches, "import_module", missing)
    with pytest.raises(batches.EnvironmentUnfitError, match="compiled parts"):
        batches.check_environment()


# --------------------------------------------------------------------------------------------------- what we override


@pytest.mark.parametrize(
    "name",
    [
        "getmany",
        "perform_seek",
        "ack",
        "_new_offset",
        "_filter_tps_with_pending_acks",
        "_add_gap",
        "on_partitions_revoked",
    ],
)
def test_what_we_override_is_there(name: str) -> None:
    """Every method of Faust's consumer that ours replaces still exists under its name."""
    assert callable(getattr(Consumer, name))
    assert name in vars(batches.BatchConsumer)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (driver.Consumer, "_new_consumer_thread"),
        (driver.Consumer, "_to_message"),
        (driver.AIOKafkaConsumerThread, "_create_worker_consumer"),
        (driver.AIOKafkaConsumerThread, "_fetch_records"),
        (driver.AIOKafkaConsumerThread, "call_thread"),
        (driver.AIOKafkaConsumerThread, "_ensure_consumer"),
        (Consumer, "_get_active_partitions"),
    ],
)
def test_what_we_call_is_there(owner: Any, name: str) -> None:
    """Internals of Faust that the transport calls."""
    assert hasattr(owner, name)


async def test_what_we_read_of_aiokafka_is_there(embedded: str) -> None:
    """A consumer built by aiokafka takes isolation and patience from the attributes we set, and shows what we read."""
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=embedded)
    consumer._isolation_level = "read_committed"
    consumer._fetch_max_wait_ms = 17
    await consumer.start()
    try:
        assert consumer._fetcher._isolation_level == 1
        assert consumer._fetcher._fetch_max_wait_ms == 17
        assert consumer._max_poll_records is None
        place = aiokafka.TopicPartition("anything", 0)
        consumer.assign([place])
        consumer.seek(place, 7)
        await asyncio.sleep(0)  # aiokafka cannot stop a consumer whose tasks never ran
        assert dict(batches._positions(consumer, [place])) == {place: 7}
        with consumer._fetcher._subscriptions.fetch_context():
            pass
    finally:
        await consumer.stop()


def test_crashing_is_what_the_supervisor_does() -> None:
    """The settings we hand to Faust name the one supervisor under which nothing is acknowledged after an error."""
    settings = batches.app_settings(Cluster("localhost:9092"), 4)

    assert settings["agent_supervisor"] is CrashingSupervisor
    assert settings["stream_wait_empty"] is False
    assert settings["stream_buffer_maxsize"] == 8
    assert settings["broker_request_timeout"] >= settings["broker_session_timeout"]


# ------------------------------------------------------------------------------------------------------ why we do it


def faust_consumer(committed: int | None, acked: list[int], gap: IntervalTree | None = None) -> Any:
    """As much of Faust's consumer as its commit arithmetic needs."""
    return SimpleNamespace(
        _committed_offset={PLACE: committed},
        _acked={PLACE: acked},
        _acked_index=defaultdict(set),
        _gap={PLACE: gap or IntervalTree()},
    )


def test_faust_still_stops_committing_at_a_hole() -> None:
    """Two missing offsets that Faust was not told of stop its commits; ours never look at single offsets."""
    assert Consumer._new_offset(faust_consumer(10, [12, 13]), PLACE) is None


def test_faust_still_commits_what_is_in_flight() -> None:
    """Faust's check is off by one (its issue 606): 2585 is in flight here, and it commits beyond."""
    assert Consumer._new_offset(faust_consumer(2585, [2586, 2587, 2588]), PLACE) == 2589


def test_progress_commits_the_end_of_what_is_acknowledged() -> None:
    """Given batches with holes between them, when they are acknowledged out of order, then commits follow the order."""
    progress = batches.Progress(next=5)
    records = [SimpleNamespace(timestamp=1_000)]
    first, second = (SimpleNamespace(acked=False, offset=offset, value=records) for offset in (9, 2_000))
    progress.deliver(first, 10, 100)
    progress.deliver(second, 2_001, 50)
    progress.skip(3_000)

    second.acked = True
    assert (progress.settle(), progress.done) == (150, None)
    first.acked = True
    assert (progress.settle(), progress.done, progress.after) == (0, 3_000, 2_001)
    progress.skip(3_005)
    assert progress.done == 3_005


async def test_an_agent_that_raises_ends_the_worker_and_loses_nothing(any_cluster: Cluster, prefix: str) -> None:
    """`noack`, an explicit ack and the crashing supervisor: the batch that failed comes again at the next start."""
    topic, group = await create_topic(any_cluster, f"{prefix}t"), f"{prefix}g"
    await write(any_cluster, topic, 0, [b"%d" % number for number in range(10)])
    collector = Collector()

    def failing(event: Any) -> None:
        if event.message.value[-1].value == b"7":
            raise ValueError("the third batch is bad")
        collector(event)

    async with running(any_cluster, group, [topic], failing, broker_max_poll_records=4) as app:
        assert "the third batch" in str(await crashed(app)) or collector.count() == 4
    assert await group_offset(any_cluster, group, topic) in {None, 4}

    again = Collector()
    async with running(any_cluster, group, [topic], again):
        await again.until(lambda: b"9" in again.values.get(0, []))
    assert again.values[0][-6:] == [b"%d" % number for number in range(4, 10)]
