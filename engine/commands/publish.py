"""`stammgast publish`: a file of events goes to Kafka in its order, acknowledged by all copies."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import click

from engine.settings import KafkaSecurity, No, UsageError, kafka_security_options, option, sentence

#: Lines that are read, sent and acknowledged together. Too few: the broker waits for the file. Too many: memory, and a
#: progress bar that jumps.
CHUNK_LINES = 5_000
CHUNK_BYTES = 8_000_000
#: The longest line that an inbound topic takes (1 MiB with everything Kafka adds).
LINE_BYTES_MAX = 1_000_000

Progressed = Callable[[int, int], None]


@dataclass(slots=True)
class Published:
    """What was published: events by partition and by kind of key, bytes of their lines, seconds."""

    topic: str
    idempotent: bool
    events: int = 0
    bytes: int = 0
    seconds: float = 0.0
    partitions: Counter[int] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "topic": self.topic,
            "events": self.events,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "events_per_second": round(self.events / self.seconds) if self.seconds else 0,
            "partitions": {str(number): count for number, count in sorted(self.partitions.items())},
            "keys": dict(self.keys),
            "idempotent": self.idempotent,
        }


class UnreadableError(Exception):
    """A line or a file that holds no events; the message begins with FILE:LINE."""


@click.command()
@click.argument("events", type=click.Path(dir_okay=False, path_type=Path), metavar="EVENTS.jsonl[.gz]")
@option("bootstrap", required=True)
@click.option("--topic", default="shop-events", show_default=True, help="Inbound topic, without --topic-prefix.")
@option("topic_prefix")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@kafka_security_options
def publish(
    events: Path, bootstrap: str, topic: str, topic_prefix: str, as_json: bool, security: KafkaSecurity
) -> None:
    """Send a file of EVENTS, one JSON object per line, to an inbound topic.

    In the file's order per member (an anonymous sale: per order), every event acknowledged by all copies. Sending a file
    twice is harmless: events are recognised by source and id, and count once.
    """
    from aiokafka.errors import KafkaError

    from engine.stream.clients import Cluster, KafkaTrouble

    _check_topic(topic)
    done: Published | None = None
    try:
        with _progress(events) as progressed:
            done = asyncio.run(publish_file(Cluster(bootstrap, security), events, topic_prefix + topic, progressed))
    except UnreadableError as error:
        raise No(str(error)) from error
    except OSError as error:
        raise UsageError(f"{events}: cannot be read ({error.strerror or error}).") from error
    except KafkaTrouble as error:
        raise UsageError(sentence(error)) from error
    except KafkaError as error:
        raise No(
            f"Kafka at {bootstrap} stopped taking events: {error or type(error).__name__}. Publish the file again when "
            "it is well; what arrived already counts once."
        ) from error
    click.echo(json.dumps(done.as_json()) if as_json else _sentence(done, bootstrap))


def _check_topic(topic: str) -> None:
    from engine.stream.topics import BY_NAME, INBOUND

    if topic in BY_NAME and topic not in INBOUND:
        raise UsageError(f"--topic {topic}: only the engine writes there; publish to one of {', '.join(INBOUND)}.")


def _sentence(done: Published, bootstrap: str) -> str:
    if not done.events:
        return f"No event in the file: nothing was published to {done.topic}."
    rate = f" ({done.events / done.seconds:,.0f}/s)" if done.seconds else ""
    return (
        f"{done.events:,} events published to {done.topic} at {bootstrap} in {done.seconds:.1f} s{rate}, acknowledged."
    )


@contextmanager
def _progress(events: Path) -> Iterator[Progressed]:
    """A bar over the file's bytes, on a terminal only."""
    if not sys.stderr.isatty():
        yield _nobody_looks
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    size = events.stat().st_size if events.is_file() else None
    columns = (TextColumn("publish"), BarColumn(), TextColumn("{task.fields[count]:,} events"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("publish", total=size, count=0)
        yield lambda position, count: bar.update(task, completed=position, count=count)


def _nobody_looks(_position: int, _count: int) -> None:
    """Progress where there is no terminal."""


# ------------------------------------------------------------------------------------------------------------- the work


async def publish_file(cluster: Any, path: Path, topic: str, progressed: Progressed | None = None) -> Published:
    """Publish a file of events; also for the demo.

    Args:
        cluster: an `engine.stream.clients.Cluster`.
        path: .jsonl or .jsonl.gz.
        topic: its name on the broker.
        progressed: told now and then the bytes of the file that are read and the events that are acknowledged.

    Errors: UnreadableError, OSError, KafkaTrouble, KafkaError.
    """
    from engine.stream.clients import KafkaTrouble, capabilities
    from engine.stream.topics import LogMissing, partition_count

    with path.open("rb") as raw:
        started = time.monotonic()
        idempotent = (await capabilities(cluster)).transactions
        try:
            partitions = await partition_count(cluster, topic)
        except LogMissing as error:
            raise KafkaTrouble(
                f"{error}: `stammgast topics create` makes it, or check --topic and --topic-prefix"
            ) from error
        done = Published(topic, idempotent)
        async with cluster.producer(idempotent=idempotent) as producer:
            await _send_all(producer, path, raw, partitions, done, progressed or _nobody_looks)
        done.seconds = time.monotonic() - started
    return done


async def _send_all(
    producer: Any, path: Path, raw: BinaryIO, partitions: int, done: Published, progressed: Progressed
) -> None:
    """Chunk by chunk: while the broker writes one, the next is read. One is under way at a time, which keeps the order."""
    under_way: asyncio.Task[None] | None = None
    try:
        for chunk in _chunks(path, lines_of(path, raw), partitions):
            if under_way is not None:
                await under_way
                progressed(raw.tell(), done.events)
            under_way = asyncio.create_task(_send(producer, chunk, done))
            await asyncio.sleep(0)  # let it hand its batches over before this loop reads on
    finally:
        # Also when a line cannot be read: everything before it is published, as the message says.
        if under_way is not None:
            await under_way
            progressed(raw.tell(), done.events)


@dataclass(slots=True)
class _Chunk:
    """Records by partition, in file order."""

    records: dict[int, list[tuple[bytes | None, bytes, None, tuple[()]]]] = field(default_factory=dict)
    keys: Counter[str] = field(default_factory=Counter)
    lines: int = 0
    bytes: int = 0


async def _send(producer: Any, chunk: _Chunk, done: Published) -> None:
    from engine.stream.clients import acknowledged, send_values

    sending = [send_values(producer, done.topic, number, records) for number, records in chunk.records.items()]
    await acknowledged([asyncio.ensure_future(one) for one in sending])
    done.events += chunk.lines
    done.bytes += chunk.bytes
    done.keys.update(chunk.keys)
    done.partitions.update({number: len(records) for number, records in chunk.records.items()})


def lines_of(path: Path, raw: BinaryIO) -> Iterator[bytes]:
    """The lines of a plain or gzipped file. Errors: UnreadableError for a broken archive."""
    zipped = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    try:
        yield from gzip.GzipFile(fileobj=raw) if zipped else raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableError(
            f"{path}: the archive is damaged or cut off ({error}); nothing behind it was sent."
        ) from error


def _chunks(path: Path, lines: Iterator[bytes], partitions: int) -> Iterator[_Chunk]:
    """Group lines; a bad one ends the file, after what stands before it. Errors: UnreadableError."""
    from engine.stream.clients import partition_for

    chunk, number, trouble = _Chunk(), 0, None
    try:
        for number, line in enumerate(lines, 1):
            value = line.strip()
            if not value:
                continue
            key, kind = _key(value, path, number)
            # Without a key intake will refuse it, or nobody's order depends on it: spread them.
            partition = number % partitions if key is None else partition_for(key, partitions)
            chunk.records.setdefault(partition, []).append((key, value, None, ()))
            chunk.keys[kind] += 1
            chunk.lines += 1
            chunk.bytes += len(value)
            if chunk.lines >= CHUNK_LINES or chunk.bytes >= CHUNK_BYTES:
                yield chunk
                chunk = _Chunk()
    except UnreadableError as error:
        trouble = error
    if chunk.lines:
        yield chunk
    if trouble is not None:
        raise trouble


def _key(value: bytes, path: Path, number: int) -> tuple[bytes | None, str]:
    """The Kafka key of an event (its member, else its order) and what it is. Errors: UnreadableError."""
    import orjson

    from schemas.envelope import order_key

    where = f"{path}:{number}"
    if len(value) > LINE_BYTES_MAX:
        raise UnreadableError(f"{where}: {len(value):,} bytes, and at most {LINE_BYTES_MAX:,} are taken. {_BEFORE}")
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise UnreadableError(f"{where}: no JSON ({error}). {_BEFORE}") from error
    if not isinstance(event, dict):
        raise UnreadableError(f"{where}: no event, an event is a JSON object. {_BEFORE}")
    subject = event.get("subject")
    if isinstance(subject, str) and subject:
        return subject.encode(), "subject"
    data = event.get("data")
    if isinstance(data, dict) and isinstance(order := data.get("order_id"), str) and order:
        return order_key(str(data.get("order_source") or event.get("source")), order).encode(), "order"
    return None, "none"


_BEFORE = "Every line before it is published; mend it and publish the file again, what arrived already counts once."
