"""Every topic, declared once: who writes it under which key, how many partitions, how long it is kept.

The two logs that hold the truth, `facts` and `points-log`, are kept for ever and never compacted: a member's state is
the fold of both. Everything is created with explicit settings, because a broker's defaults (seven days, compaction,
one partition) would quietly lose points.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from engine.stream.clients import Cluster, KafkaTrouble, read_partition, send_values
from schemas import facts
from schemas.normalise import MAX_CLOCK_SKEW_US, MAX_EVENT_BYTES, Policy

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
FOR_EVER = -1
MEBIBYTE = 1_048_576

Cleanup = Literal["delete", "compact"]


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `partitions` None: as many as the deployment has. `retention_ms` -1: for ever."""

    name: str
    purpose: str
    key: str
    retention_ms: int
    cleanup: Cleanup = "delete"
    partitions: int | None = None
    max_message_bytes: int = 2 * MEBIBYTE
    #: Only whole segments are compacted, never the one that is being written. None: the broker's default, a gigabyte.
    segment_bytes: int | None = None
    #: A segment is closed after this time at the latest. None: the broker's default, seven days.
    segment_ms: int | None = None
    #: The broker stamps records, so that no source can make them stay for longer. Else the writer's stamp stands.
    stamped_by_broker: bool = False

    def settings(self, rejects_days: int | None = None) -> dict[str, str]:
        """Topic settings as Kafka spells them; `rejects_days` replaces the retention of `rejects`."""
        retention_ms = self.retention_ms
        if self.name == REJECTS and rejects_days is not None:
            retention_ms = rejects_days * DAY_MS
        return {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(retention_ms),
            "retention.bytes": str(FOR_EVER),
            # The stamp is recorded_at, chosen by the writer; LogAppendTime would overwrite it.
            "message.timestamp.type": "LogAppendTime" if self.stamped_by_broker else "CreateTime",
            # A copy that lags must never become the leader: what it lacks was acknowledged and would be gone.
            "unclean.leader.election.enable": "false",
            "max.message.bytes": str(self.max_message_bytes),
        } | {
            name: str(value)
            for name, value in (("segment.bytes", self.segment_bytes), ("segment.ms", self.segment_ms))
            if value is not None
        }


SHOP_EVENTS, POS_EVENTS, APP_EVENTS, STAFF_EVENTS = "shop-events", "pos-events", "app-events", "staff-events"
PROFILE_EVENTS = "profile-events"
FACTS, POINTS_LOG, REJECTS = "facts", "points-log", "rejects"
PROGRAMMES, MEMBER_SNAPSHOTS, INCENTIVES = "programmes", "member-snapshots", "incentives"
DEAD_NOTICES = "dead-notices"
DEPLOYMENT = "deployment"

TOPICS: tuple[Topic, ...] = (
    Topic(SHOP_EVENTS, "what web shops publish", "any", 14 * DAY_MS, max_message_bytes=MEBIBYTE),
    Topic(POS_EVENTS, "what tills publish", "any", 14 * DAY_MS, max_message_bytes=MEBIBYTE),
    Topic(APP_EVENTS, "what the member app publishes", "any", 14 * DAY_MS, max_message_bytes=MEBIBYTE),
    Topic(STAFF_EVENTS, "what staff do: adjustments, links, merges", "any", 14 * DAY_MS, max_message_bytes=MEBIBYTE),
    # In clear until intake has sealed them: kept no longer than a weekend's stop of the workers may last.
    Topic(PROFILE_EVENTS, "who members are: personal, in clear", "any", 3 * DAY_MS, max_message_bytes=MEBIBYTE,
          segment_ms=HOUR_MS, stamped_by_broker=True),
    # A normalised fact holds more than its event (amounts per line), hence twice the size of an inbound record.
    Topic(FACTS, "what happened: valid, in order per member", "subject, or order:<source>:<id>", FOR_EVER),
    Topic(POINTS_LOG, "one decision per fact, in the order of facts", "as its fact", FOR_EVER),
    # The original bytes and headers plus the reason must fit, whatever they were.
    Topic(REJECTS, "records refused, unchanged, with the reason in headers", "as it came", 30 * DAY_MS),
    Topic(PROGRAMMES, "every version of the reward programme", "content hash", FOR_EVER, "compact", partitions=1),
    Topic(MEMBER_SNAPSHOTS, "internal: shortens recovery, may be deleted", "member", FOR_EVER, "compact",
          max_message_bytes=4 * MEBIBYTE, segment_bytes=64 * MEBIBYTE),
    Topic(INCENTIVES, "notices for the systems that talk to members", "member", 14 * DAY_MS),
    Topic(DEAD_NOTICES, "notices that could not be delivered, and why", "notice id", 30 * DAY_MS, partitions=1),
    Topic(DEPLOYMENT, "internal: the id of these logs", "name", FOR_EVER, "compact", partitions=1),
)  # fmt: skip
BY_NAME: Mapping[str, Topic] = {topic.name: topic for topic in TOPICS}
#: The logs whose fold is the truth. They are born together; one without the other means that something was lost.
LOGS = (FACTS, POINTS_LOG)
INBOUND = (SHOP_EVENTS, POS_EVENTS, APP_EVENTS, STAFF_EVENTS, PROFILE_EVENTS)

#: Until the brokers know a new topic. Too small: a start on a busy cluster fails for nothing. Too large: a cluster that
#: has lost its controller is reported that late.
VISIBLE_TIMEOUT_S = 15.0
VISIBLE_POLL_S = 0.05

_TOPIC_EXISTS = 36  # Kafka protocol error code TOPIC_ALREADY_EXISTS
_LOG_ID_KEY = b"log-id"


class TopicTrouble(KafkaTrouble):
    """The topics on the broker are not the ones this deployment needs."""


class PartitionCountDiffers(TopicTrouble):
    """A topic has another number of partitions than asked for; members would move between partitions."""


class LogMissing(TopicTrouble):
    """A log that must exist does not; it is never taken for an empty one."""


class LogUnsafe(TopicTrouble):
    """A log would lose records: it is compacted or has a limited retention."""


# ---------------------------------------------------------------------------------------------------- what may come in


@dataclass(frozen=True, slots=True)
class Inbound:
    """One inbound topic and what it may carry; `sources` empty: any source but the engine's own (`urn:stammgast:*`)."""

    topic: str
    types: frozenset[str]
    sources: frozenset[str] = frozenset()

    def policy(self, max_clock_skew_us: int = MAX_CLOCK_SKEW_US, max_bytes: int = MAX_EVENT_BYTES) -> Policy:
        """The policy that `schemas.normalise` applies to this topic's records (unprefixed name in messages)."""
        return Policy(self.topic, self.types, max_clock_skew_us, max_bytes)

    def admits(self, source: str) -> bool:
        """May this source publish here? A listed source may end in `*`."""
        return not self.sources or any(_fits(source, pattern) for pattern in self.sources)


def _fits(source: str, pattern: str) -> bool:
    return source.startswith(pattern[:-1]) if pattern.endswith("*") else source == pattern


def open_types() -> frozenset[str]:
    """The types that are neither staff's nor the engine's, and describe no person."""
    return frozenset(facts.INBOUND_TYPES) - staff_types() - facts.PERSONAL_TYPES


def staff_types() -> frozenset[str]:
    """The types that only staff may send, and what the house tells of itself."""
    return facts.STAFF_TYPES | facts.HOUSE_TYPES


def default_inbound() -> dict[str, Inbound]:
    """Shop, POS and app events carry every open type, staff-events the staff types, profile-events profiles."""
    open_topics = (SHOP_EVENTS, POS_EVENTS, APP_EVENTS)
    carried = dict.fromkeys(open_topics, open_types())
    carried |= {STAFF_EVENTS: staff_types(), PROFILE_EVENTS: facts.PERSONAL_TYPES}
    return {topic: Inbound(topic, types) for topic, types in carried.items()}


def parse_inbound(text: str) -> dict[str, Inbound]:
    """Read the setting `inbound`: `TOPIC=TYPE|TYPE[@SOURCE|SOURCE]`, several apart by blanks.

    `*` is every open type, `staff` the staff types; other types are full names or short ones (`visit`: every version).

    Errors: ValueError that says what is wrong with which part.
    """
    inbound = {}
    for part in text.split():
        one = _parse_one(part)
        if one.topic in inbound:
            raise ValueError(f"inbound topic {one.topic} is named twice")
        if one.topic in BY_NAME and one.topic not in INBOUND:
            raise ValueError(f"{one.topic} is the engine's own topic and takes nothing from outside")
        inbound[one.topic] = one
    if not inbound:
        raise ValueError("no inbound topic is named: write for example shop-events=*")
    return inbound


def _parse_one(part: str) -> Inbound:
    topic, equals, rest = part.partition("=")
    types, _, sources = rest.partition("@")
    if not (topic and equals and types):
        raise ValueError(f"{part!r} does not read TOPIC=TYPE|TYPE[@SOURCE|SOURCE]")
    named = frozenset().union(*(_types(word, part) for word in types.split("|")))
    return Inbound(topic, named, frozenset(source for source in sources.split("|") if source))


def _types(word: str, part: str) -> frozenset[str]:
    if word == "*":
        return open_types()
    if word == "staff":
        return staff_types()
    known = open_types() | staff_types() | facts.PERSONAL_TYPES
    named = facts.versions_of(word) & known
    if not named:
        raise ValueError(f"{part!r}: there is no type {word!r}; known are {', '.join(sorted(known))}, * and staff")
    return named


# ------------------------------------------------------------------------------------------------------------ creation


@dataclass(frozen=True, slots=True)
class Layout:
    """The topics of one deployment: prefix, partition count, copies, and the inbound topics it listens to.

    `inbound_prefix` differs from `prefix` where the logs were moved to a new generation of topics (`generations.py`).
    """

    prefix: str = ""
    partitions: int = 12
    replication_factor: int = 1
    rejects_days: int = 30
    inbound: tuple[str, ...] = INBOUND
    inbound_prefix: str | None = None

    def name(self, topic: str) -> str:
        """The name on the broker."""
        moved = self.inbound_prefix is not None and topic in self.inbound
        return f"{self.inbound_prefix if moved else self.prefix}{topic}"

    def topics(self) -> tuple[Topic, ...]:
        """Every topic of the deployment; an inbound topic with a name of its own is made like `shop-events`."""
        ours = tuple(topic for topic in TOPICS if topic.name not in INBOUND)
        return tuple(_inbound_topic(name) for name in self.inbound) + ours

    def count(self, topic: Topic) -> int:
        """How many partitions a topic of this deployment gets."""
        return self.partitions if topic.partitions is None else topic.partitions


def _inbound_topic(name: str) -> Topic:
    return BY_NAME.get(name) or Topic(name, "inbound events", "any", 14 * DAY_MS, max_message_bytes=MEBIBYTE)


async def ensure(cluster: Cluster, layout: Layout) -> str:
    """Create the topics that are missing, refuse those that do not fit, and return the id of the logs.

    Idempotent, and safe when several workers start at once. The id is 32 hex digits, new whenever the logs are born.

    Errors: LogMissing, PartitionCountDiffers, LogUnsafe, KafkaTrouble (no broker, no permission).
    """
    async with cluster.admin() as admin:
        existing = await _partition_counts(admin)
        check(existing, layout)
        missing = [topic for topic in layout.topics() if layout.name(topic.name) not in existing]
        born = await _create(admin, missing, layout)
        await until_visible(admin, {layout.name(topic.name) for topic in layout.topics()})
        await _check_logs(admin, layout)
    if layout.name(DEPLOYMENT) in born:
        await _write_log_id(cluster, layout)
    return await log_id(cluster, layout.prefix) or await _write_log_id(cluster, layout)


async def require(cluster: Cluster, layout: Layout) -> str:
    """For readers, who create nothing: the logs must be there and fit. Returns the id of the logs.

    Errors: LogMissing, PartitionCountDiffers (only if a count is wrong), KafkaTrouble.
    """
    async with cluster.admin() as admin:
        existing = await _partition_counts(admin)
    absent = [layout.name(log) for log in LOGS if layout.name(log) not in existing]
    if absent:
        raise LogMissing(
            f"{cluster.bootstrap} has no topic {' and no '.join(absent)}: start `stammgast worker` first, which "
            "creates them, or check --topic-prefix"
        )
    return await log_id(cluster, layout.prefix) or await _write_log_id(cluster, layout)


async def partition_count(cluster: Cluster, topic: str) -> int:
    """How many partitions a topic has.

    Errors: LogMissing when there is no such topic; asking never creates it.
    """
    async with cluster.admin() as admin:
        existing = await _partition_counts(admin)
    if topic not in existing:
        raise LogMissing(f"{cluster.bootstrap} has no topic {topic}")
    return existing[topic]


def check(existing: Mapping[str, int], layout: Layout) -> None:
    """Compare what the broker has (name -> partitions) with what the deployment needs.

    Errors: LogMissing, PartitionCountDiffers.
    """
    found = [log for log in LOGS if layout.name(log) in existing]
    if found and len(found) < len(LOGS):
        lost = next(layout.name(log) for log in LOGS if log not in found)
        raise LogMissing(
            f"topic {lost} is missing although {layout.name(found[0])} exists. A missing log is not an empty one: "
            "restore it from a backup, or choose another --topic-prefix to begin anew"
        )
    for topic in layout.topics():
        name = layout.name(topic.name)
        # An inbound topic belongs to whoever publishes: any partition count is fine there.
        if name in existing and topic.name not in layout.inbound and existing[name] != layout.count(topic):
            raise PartitionCountDiffers(
                f"topic {name} has {existing[name]} partitions and {layout.count(topic)} are asked for: partitions are "
                f"chosen once, when topics are created; start with --partitions {existing[name]}"
                if topic.partitions is None
                else f"topic {name} has {existing[name]} partitions and must have {topic.partitions}"
            )


async def _partition_counts(admin: Any) -> dict[str, int]:
    """All topics of the broker; asking for all, unlike asking for one, never creates any."""
    return {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}


async def _create(admin: Any, missing: Iterable[Topic], layout: Layout) -> set[str]:
    """Create topics; returns the names that this call created (another worker may have been quicker)."""
    new = [_new_topic(topic, layout) for topic in missing]
    if not new:
        return set()
    answer = await admin.create_topics(new)
    born = set()
    for name, code, message in answer.topic_errors:
        if code == 0:
            born.add(name)
        elif code != _TOPIC_EXISTS:
            raise TopicTrouble(f"topic {name} cannot be created: {message or f'Kafka error {code}'}")
    return born


async def until_visible(admin: Any, names: set[str]) -> None:
    """A new topic is created by the controller and known to the brokers a little later: wait for it.

    Errors: TopicTrouble after VISIBLE_TIMEOUT_S.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(VISIBLE_TIMEOUT_S):
            while not names <= (await _partition_counts(admin)).keys():  # noqa: ASYNC110 - the broker tells nobody
                await asyncio.sleep(VISIBLE_POLL_S)
            return
    raise TopicTrouble(f"Kafka created topics and does not show them within {VISIBLE_TIMEOUT_S:.0f} s: is it well?")


def _new_topic(topic: Topic, layout: Layout) -> NewTopic:
    settings = topic.settings(layout.rejects_days)
    if layout.replication_factor >= 3:
        # With three copies a write counts when two have it: one broker may die without a loss.
        settings["min.insync.replicas"] = "2"
    return NewTopic(layout.name(topic.name), layout.count(topic), layout.replication_factor, topic_configs=settings)


async def _check_logs(admin: Any, layout: Layout) -> None:
    """Refuse logs that forget: somebody may have created them by hand, or changed them since."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, layout.name(log)) for log in LOGS]
    for response in await admin.describe_configs(resources):
        for code, _, _, name, entries, *_ in response.resources:
            if code == 0:
                refuse_unsafe(name, {entry[0]: entry[1] for entry in entries})


def refuse_unsafe(name: str, settings: Mapping[str, str]) -> None:
    """Errors: LogUnsafe when a log with these settings would lose records."""
    wanted = {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "unclean.leader.election.enable": "false",
    }
    for setting, value in wanted.items():
        if settings.get(setting, value) != value:
            raise LogUnsafe(
                f"topic {name} has {setting}={settings[setting]} and would lose records: set it to {value} with "
                f"kafka-configs --alter --topic {name} --add-config {setting}={value}"
            )


# ------------------------------------------------------------------------------------------------- identity of the logs


async def log_id(cluster: Cluster, prefix: str = "") -> str | None:
    """The id of a deployment's logs: 32 hex digits written when they were created; None when there is none yet.

    It stands in `deployment`, which is compacted by key and never expires. A DuckDB file built from logs with another
    id must not be continued: the broker forgot, or it is another one.
    """
    found = None
    async for records in read_partition(cluster, prefix + DEPLOYMENT, 0):
        for record in records:
            if record.key == _LOG_ID_KEY and record.value is not None:
                found = record.value.decode()
    return found


async def _write_log_id(cluster: Cluster, layout: Layout) -> str:
    identity = uuid.uuid4().hex
    async with cluster.producer() as producer:
        await send_values(producer, layout.name(DEPLOYMENT), 0, [(_LOG_ID_KEY, identity.encode(), None, ())])
    return identity


# ---------------------------------------------------------------------------------------------------------------- docs


def markdown_table() -> str:
    """The topics as a Markdown table for the documentation."""
    rows = ["| Topic | Holds | Key | Partitions | Kept | Clean-up |", "|---|---|---|---|---|---|"]
    for topic in TOPICS:
        kept = "for ever" if topic.retention_ms == FOR_EVER else f"{topic.retention_ms // DAY_MS} days"
        partitions = "`--partitions`" if topic.partitions is None else str(topic.partitions)
        rows.append(f"| `{topic.name}` | {topic.purpose} | {topic.key} | {partitions} | {kept} | {topic.cleanup} |")
    return "\n".join(rows)
