"""`stammgast dump`: the whole `facts` log as a file, which `stammgast replay --facts` decides again, byte for byte."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

import click

from engine.settings import KafkaSecurity, No, UsageError, kafka_security_options, option, sentence

#: Told after each fetch: partition, partitions in all, facts written so far.
Progressed = Callable[[int, int, int], None]
#: What can bring a profile to a member: his own, or one that an alias hands over.
_BRINGING = (b'"type":"stammgast.profile.v1"', b'"type":"stammgast.takeover.v1"')
#: A quote inside a text is written with a backslash before it, so this is the decision's own field.
_OFFSET = re.compile(rb'"offset":(\d+)')


@dataclass(slots=True)
class Dumped:
    """What was written. `unreadable` counts records of `facts` that no engine wrote; the file leaves them out."""

    topic: str
    partitions: int = 0
    facts: int = 0
    unreadable: int = 0
    programmes: int | None = None
    seconds: float = 0.0


@click.command()
@option("bootstrap", required=True)
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FACTS.jsonl[.gz]",
    help="Where the facts go, one per line, by partition and offset.",
)
@click.option(
    "--programmes",
    "versions_out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="VERSIONS.jsonl[.gz]",
    help="Also write every published version of the programme here: with both files `stammgast restore` needs no other.",
)
@click.option(
    "--decisions", is_flag=True, help="Every fact carries its decision: what `stammgast whatif` compares with."
)
@option("topic_prefix")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@kafka_security_options
def dump(
    *,
    bootstrap: str,
    out: Path,
    versions_out: Path | None,
    decisions: bool,
    topic_prefix: str,
    as_json: bool,
    security: KafkaSecurity,
) -> None:
    """Write the facts log to a file: what `stammgast replay --facts FILE` decides again, and a backup for `restore`.

    A fact that was quarantined carries how: why it could not be decided is nothing that a replay could compute. Facts of a
    member with a profile carry their decision, for replays without the keys; the profile itself stays sealed.
    Each partition is read to its end as of that moment, committed records only. The same log gives the same bytes, also
    in gzip. The file appears whole or not at all.
    """
    from aiokafka.errors import KafkaError

    from engine.stream.clients import Cluster, KafkaTrouble
    from engine.stream.topics import LogMissing

    cluster = Cluster(bootstrap, security)
    try:
        with _progress() as progressed, _file(out) as file:
            done = asyncio.run(dump_facts(cluster, topic_prefix, file, progressed, every_decision=decisions))
        if versions_out is not None:  # after the facts: a version is published before any fact names it
            with _file(versions_out) as file:
                done.programmes = asyncio.run(dump_programmes(cluster, topic_prefix, file))
    except LogMissing as error:
        raise UsageError(
            f"{error}: is --topic-prefix right? A worker that was never started here wrote no facts."
        ) from error
    except KafkaTrouble as error:
        raise UsageError(sentence(error)) from error
    except KafkaError as error:
        raise No(
            f"Kafka at {bootstrap} stopped answering: {error or type(error).__name__}. Nothing was written."
        ) from error
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror or error}).") from error
    click.echo(json.dumps(asdict(done)) if as_json else _sentence(done, out))


def _sentence(done: Dumped, out: Path) -> str:
    text = f"{done.facts:,} facts of {done.partitions} partitions of {done.topic} in {out} ({done.seconds:.1f} s)."
    if done.unreadable:
        text += f" Left out: {done.unreadable:,} records that are no facts; the log answered them with `quarantined`."
    return text


async def dump_facts(
    cluster: Any, prefix: str, file: IO[bytes], progressed: Progressed | None = None, *, every_decision: bool = False
) -> Dumped:
    """Write every fact of a deployment to `file`, by partition, then offset.

    Args:
        cluster: an `engine.stream.clients.Cluster`.
        prefix: of the topic names.
        file: takes lines of {"partition", "offset", "timestamp_ms", "fact": {...}}, the fact as it stands in the log; with
            "quarantined": {"reason", "text"} where the points log has a quarantine for it, and "decided", the decision, where
            the member had a profile by then.
        every_decision: every fact carries its decision.

    Errors: LogMissing when there is no facts topic, other KafkaTrouble, KafkaError, OSError.
    """
    from engine.stream.clients import read_partition
    from engine.stream.topics import FACTS, POINTS_LOG, partition_count

    began = time.monotonic()
    done = Dumped(prefix + FACTS)
    done.partitions = await partition_count(cluster, done.topic)
    for partition in range(done.partitions):
        quarantined = await _quarantined(cluster, prefix, partition)
        answers = _Answers(read_partition(cluster, prefix + POINTS_LOG, partition), every=every_decision)
        async for records in read_partition(cluster, done.topic, partition):
            lines = [
                line for record in records if (line := _line(record, quarantined, await answers.of(record))) is not None
            ]
            file.writelines(lines)
            done.facts += len(lines)
            done.unreadable += len(records) - len(lines)
            (progressed or _nobody_looks)(partition, done.partitions, done.facts)
    done.seconds = round(time.monotonic() - began, 3)
    return done


async def dump_programmes(cluster: Any, prefix: str, file: IO[bytes]) -> int:
    """Write every published version, one per line in its canonical form, in the order of their beginnings; returns how many.

    Errors: as `engine.stream.programmes.load_published`, OSError.
    """
    from engine.stream.programmes import load_published

    versions = sorted((await load_published(cluster, prefix)).values(), key=lambda one: one.valid_from_us)
    file.writelines(version.canonical_json() + b"\n" for version in versions)
    return len(versions)


async def _quarantined(cluster: Any, prefix: str, partition: int) -> dict[int, dict[str, str | None]]:
    """{offset of the fact: reason and text} of a partition's quarantines."""
    from engine.stream.clients import read_partition
    from engine.stream.topics import POINTS_LOG
    from schemas.decisions import parse_decision

    found = {}
    async for records in read_partition(cluster, prefix + POINTS_LOG, partition):
        for record in records:
            if b'"outcome":"quarantined"' in (record.value or b""):  # rare: nothing else is worth parsing
                decision = parse_decision(record.value)
                if decision.outcome == "quarantined" and decision.notes:
                    found[decision.offset] = {"reason": decision.reason, "text": decision.notes[0].text}
    return found


class _Answers:
    """The decisions on facts of members who had a profile by then, or on all of them, read beside the facts."""

    def __init__(self, batches: Any, *, every: bool = False) -> None:
        self._every = every
        self._records = (record async for records in batches for record in records)
        self._next: Any = None
        self._members: set[bytes | None] = set()

    async def of(self, fact: Any) -> Any:
        """The decision on a fact as JSON, its parts joined; None where no profile can matter to it, or it has none."""
        if any(kind in (fact.value or b"") for kind in _BRINGING):
            self._members.add(fact.key)
        if not self._every and fact.key not in self._members:
            return None
        from engine.stream.parts import joined
        from schemas.decisions import encode_decision, parse_decision

        parts = []
        while (record := await self._peek()) is not None and (at := _offset_of(record)) <= fact.offset:
            if at == fact.offset:
                parts.append(parse_decision(record.value))
            self._next = None
        return encode_decision(joined(parts)) if parts else None

    async def _peek(self) -> Any:
        if self._next is None:
            self._next = await anext(self._records, None)
        return self._next


def _offset_of(record: Any) -> int:
    found = _OFFSET.search(record.value or b"")
    return int(found[1]) if found else -1


def _line(record: Any, quarantined: Mapping[int, Any], decided: bytes | None) -> bytes | None:
    """The line of one record; None for one that holds no fact."""
    import orjson

    from schemas.envelope import parse_fact

    try:
        parse_fact(record.value or b"")
    except (ValueError, KeyError, TypeError):
        return None
    # A fragment: the fact's own bytes, not what reading and writing them again would make of them.
    place: dict[str, Any] = {"partition": record.partition, "offset": record.offset, "timestamp_ms": record.timestamp}
    if record.offset in quarantined:
        place["quarantined"] = quarantined[record.offset]
    elif decided is not None:
        place["decided"] = orjson.Fragment(decided)
    return orjson.dumps(place | {"fact": orjson.Fragment(record.value)}, option=orjson.OPT_APPEND_NEWLINE)


@contextmanager
def _file(path: Path) -> Iterator[IO[bytes]]:
    """A file that is written beside its place and moved there in the end; gzip without time and name in its header."""
    beside = path.with_name(f".{path.name}.part")
    try:
        with ExitStack() as closing:
            file = closing.enter_context(beside.open("wb"))
            if path.suffix == ".gz":
                packed = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6)
                yield cast(IO[bytes], closing.enter_context(packed))
            else:
                yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def _progress() -> Iterator[Progressed]:
    """A bar over the partitions, on a terminal only."""
    if not sys.stderr.isatty():
        yield _nobody_looks
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("dump, partition"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]:,} facts"),
    )
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("dump", total=None, facts=0)
        yield lambda partition, total, facts: bar.update(task, completed=partition, total=total, facts=facts)


def _nobody_looks(_partition: int, _partitions: int, _facts: int) -> None:
    """Progress where there is no terminal."""
