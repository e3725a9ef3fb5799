"""`stammgast rejects`: what was refused, why, how to mend it; and back with it, after a look at what that would do."""

from __future__ import annotations

import heapq
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from engine.commands.tick import Moment
from engine.settings import KafkaSecurity, No, UsageError, kafka_security_options, option, options, sentence

if TYPE_CHECKING:
    from engine.rejects.reading import Place, Refused, Wanted
    from engine.rejects.redriving import Desk, Plan
    from engine.rejects.rehearsal import Effect
    from engine.stream.clients import Cluster
    from engine.verify.kafka import KafkaLogs

Command = TypeVar("Command", bound=Callable[..., Any])
Marks = Mapping["Place", Mapping[str, Any]]
#: Records that one redrive takes: all are rehearsed together, in memory.
REDRIVE_MOST = 10_000
COUNTED_BY = ("reason", "source", "topic", "type")


@click.group("rejects")
def rejects() -> None:
    """List what was refused, show one record, send records back.

    RECORD is a place in rejects as `list` shows it (PARTITION:OFFSET), or the id of an event.
    """


def _filters(command: Command) -> Command:
    """The options that select records."""
    for add in reversed(
        (
            click.option(
                "--reason", "reasons", multiple=True, metavar="REASON", help="Refused for this; may be repeated."
            ),
            click.option("--since", "since_us", type=Moment(), metavar="TIME", help="Received then or later."),
            click.option("--until", "until_us", type=Moment(), metavar="TIME", help="Received before."),
            click.option(
                "--source",
                "sources",
                multiple=True,
                metavar="SOURCE",
                help="Of this source; may end in *, be repeated.",
            ),
            click.option(
                "--topic",
                "topics",
                multiple=True,
                metavar="TOPIC",
                help="Came by this topic (facts: a keeper refused it).",
            ),
        )
    ):
        command = add(command)
    return command


def _wanted(given: dict[str, Any], names: tuple[str, ...] = ()) -> Wanted:
    """Take the options of `_filters` out of a command's arguments. Errors: UsageError for a reason that there is not."""
    from engine.rejects.reading import Wanted
    from schemas.rejects import REASONS

    fields = ("reasons", "since_us", "until_us", "sources", "topics")
    wanted = Wanted(names=names, **{name: given.pop(name) for name in fields})
    unknown = set(wanted.reasons) - {*REASONS}
    if unknown:
        known = ", ".join(REASONS)
        raise UsageError(f"--reason {min(unknown)}: there is no such reason; known are {known}.")
    return wanted


@contextmanager
def _logs(bootstrap: str, security: KafkaSecurity, prefix: str) -> Iterator[tuple[Cluster, KafkaLogs]]:
    """The logs, and what is told when they cannot be read."""
    from aiokafka.errors import KafkaError

    from engine.stream.clients import Cluster, KafkaTrouble
    from engine.verify.kafka import KafkaLogs

    cluster = Cluster(bootstrap, security)
    try:
        with KafkaLogs(cluster, prefix) as logs:
            yield cluster, logs
    except KafkaTrouble as error:
        raise UsageError(sentence(error)) from error
    except KafkaError as error:
        raise No(f"Kafka at {bootstrap} stopped answering: {error or type(error).__name__}.") from error


def _marks(cluster: Cluster, logs: KafkaLogs) -> Marks:
    from engine.rejects.marks import read_marks

    return logs.run(read_marks(cluster, logs.prefix))


# ---------------------------------------------------------------------------------------------------------------- list


@rejects.command("list")
@option("bootstrap", required=True)
@option("topic_prefix")
@_filters
@click.option("--by", type=click.Choice(COUNTED_BY), help="Count instead of listing.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="The newest so many.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@kafka_security_options
def list_(
    *,
    bootstrap: str,
    topic_prefix: str,
    by: str | None,
    limit: int,
    as_json: bool,
    security: KafkaSecurity,
    **given: Any,
) -> None:
    """List refused records, the newest last, or count them --by reason, source, topic or type.

    `redriven` says when a record was sent back. Subjects are left out: a refused one can be somebody's e-mail address.
    """
    from engine.rejects.reading import select

    wanted = _wanted(given)
    with _logs(bootstrap, security, topic_prefix) as (cluster, logs):
        found = select(logs, wanted)
        if by is not None:
            _tell_counts(Counter(str(one.brief()[by]) for one in found), by, as_json)
            return
        newest = heapq.nlargest(limit + 1, found, key=lambda one: (one.received_us, one.place))
        marks = _marks(cluster, logs)
    rows = [one.brief() | {"redriven": marks.get(one.place, {}).get("at")} for one in reversed(newest[:limit])]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    _table(("place", "received_at", "reason", "field", "topic", "source", "id", "redriven"), rows)
    if len(newest) > limit:
        click.echo(f"... only the newest {limit} are shown; --limit shows more, --by counts all.", err=True)


def _tell_counts(counts: Counter[str], by: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(dict(counts.most_common()), indent=2))
    else:
        _table((by, "records"), [{by: name, "records": count} for name, count in counts.most_common()])


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    import rich.box
    from rich.console import Console
    from rich.table import Table

    if not rows:
        click.echo("Nothing refused fits.")
        return
    table = Table(box=rich.box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(str(row[name]) if row[name] not in (None, "") else "-" for name in columns))
    console = Console(width=None if sys.stdout.isatty() else 10_000)
    console.print(table, highlight=False, markup=False)


# ---------------------------------------------------------------------------------------------------------------- show


@rejects.command("show")
@click.argument("record")
@option("bootstrap", required=True)
@option("topic_prefix")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@kafka_security_options
def show(*, record: str, bootstrap: str, topic_prefix: str, as_json: bool, security: KafkaSecurity) -> None:
    """Show RECORD: why it was refused, how to mend it, and its bytes as they came, which can hold anything.

    An id that was refused several times is shown each time.
    """
    from engine.rejects.reading import MENDING, Wanted, select

    with _logs(bootstrap, security, topic_prefix) as (cluster, logs):
        found = list(select(logs, Wanted(names=(record,))))
        marks = _marks(cluster, logs)
    if not found:
        raise No(f"rejects holds no record {record}: `stammgast rejects list` shows what there is.")
    if as_json:
        more = (
            {"redriven": marks.get(one.place), "mend": MENDING.get(one.reason), "value": _text(one)} for one in found
        )
        rows = [one.brief() | told for one, told in zip(found, more, strict=True)]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    click.echo("\n\n".join(_told(one, marks, MENDING) for one in found))


def _told(one: Refused, marks: Marks, mending: Mapping[str, str]) -> str:
    brief, mark = one.brief(), marks.get(one.place)
    rows = {
        "reason": one.reason + (f" ({one.field})" if one.field else ""),
        "message": one.message,
        "came by": f"{one.topic}[{one.origin[0]}] offset {one.origin[1]}, {brief['received_at']}",
        "refused by": "the keeper: it was a fact already" if one.by_keeper else "intake",
        "mend": mending.get(one.reason, "-"),
        "redriven": "no" if mark is None else f"{mark['at']} to {mark['topic']}" + (", mended" * bool(mark["mended"])),
    }
    head = [f"rejects {one.name}", *(f"   {name:<10} {text}" for name, text in rows.items())]
    return "\n".join([*head, "", _text(one)])


def _text(one: Refused) -> str:
    """The bytes as they came; JSON is laid out."""
    try:
        return json.dumps(json.loads(one.value or b""), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return (one.value or b"").decode("utf-8", "backslashreplace")


# ------------------------------------------------------------------------------------------------------------- redrive


@rejects.command("redrive")
@click.argument("records", nargs=-1, metavar="[RECORD]...")
@option("bootstrap", required=True)
@option("topic_prefix")
@_filters
@click.option("--all", "everything", is_flag=True, help="Every refused record.")
@click.option(
    "--mended",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="EVENTS.jsonl",
    help="Send these corrected events instead: one per line, one for each selected record, in the order of the list.",
)
@click.option(
    "--to",
    default="shop-events",
    show_default=True,
    metavar="TOPIC",
    help="With --mended: the inbound topic for what a keeper refused. What intake refused goes back where it came from.",
)
@click.option("--again", is_flag=True, help="Also send what was sent back or decided before: it moves nothing twice.")
@click.option("--yes", is_flag=True, help="Send without asking; without it, and without a terminal, nothing is sent.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@option("inbound")
@option("max_clock_skew")
@option("max_event_bytes")
@options("profile_key_file", "profile_keys")
@kafka_security_options
def redrive(
    *,
    records: tuple[str, ...],
    bootstrap: str,
    topic_prefix: str,
    everything: bool,
    mended: Path | None,
    to: str,
    again: bool,
    yes: bool,
    as_json: bool,
    inbound: str,
    max_clock_skew: float,
    max_event_bytes: int,
    profile_key_file: Path | None,
    profile_keys: Path | None,
    security: KafkaSecurity,
    **given: Any,
) -> None:
    """Send refused records back, after showing what that would do to points and tiers.

    What intake refused goes back to its inbound topic with its own key and headers; what a keeper refused was a fact
    already and goes back to facts. Each is rehearsed on its member's state as the logs tell it. What would be refused
    again is not sent; what is decided already would be a duplicate and is sent with --again only. What depends on a
    profile is rehearsed where the keys are given. Running workers decide what is sent.

    Exit codes: 0 shown or sent, 1 nothing to send, 2 wrong usage.
    """
    from engine.vault.vault import Rehearsal, vault_of

    wanted = _wanted(given, records)
    if wanted.anything and not everything:
        raise UsageError("say which records: places or ids, --reason, --source, --topic, --since, --until, or --all.")
    vault = Rehearsal(vault_of(profile_key_file, profile_keys))
    desk = replace(_desk(inbound, max_clock_skew, max_event_bytes), vault=vault)
    with _logs(bootstrap, security, topic_prefix) as (cluster, logs):
        plans = _plans(logs, wanted, desk, mended, to)
        marks = _marks(cluster, logs)
        ready = [one for one in plans if _goes(one, marks, again)]
        if not as_json:
            click.echo("\n".join(_in_words(one, marks, again) for one in plans))
        send = bool(ready) and (yes or _confirmed(len(ready), as_json))
        if send:
            _send(cluster, logs, ready, desk, mended is not None)
    if as_json:
        click.echo(json.dumps([_as_json(one, marks, send and one in ready) for one in plans], indent=2))
    elif not ready:
        raise No("Nothing to send back.")
    elif send:
        click.echo(f"{len(ready):,} of {len(plans):,} records sent back; running workers decide them.")
    else:
        click.echo(f"Nothing was sent: --yes sends {len(ready):,} of {len(plans):,} records.")
    if not ready:
        raise SystemExit(1)


def _desk(inbound: str, max_clock_skew: float, max_bytes: int) -> Desk:
    from engine.rejects.redriving import Desk
    from engine.stream.topics import parse_inbound

    try:
        topics = parse_inbound(inbound)
    except ValueError as error:
        raise UsageError(f"--inbound: {error}.") from error
    return Desk(topics, time.time_ns() // 1_000, round(max_clock_skew * 1_000_000), max_bytes)


def _plans(logs: KafkaLogs, wanted: Wanted, desk: Desk, mended: Path | None, to: str) -> list[Plan]:
    from engine.rejects.reading import select
    from engine.rejects.redriving import plan

    found: list[Refused] = []
    for one in select(logs, wanted):
        found.append(one)
        if len(found) > REDRIVE_MOST:
            raise UsageError(f"more than {REDRIVE_MOST:,} records fit: take a part of them, with --since and --until.")
    if not found:
        raise No("rejects holds no such record: `stammgast rejects list` shows what there is.")
    found.sort(key=lambda one: (one.received_us, one.place))
    events = None if mended is None else _events(mended, found, to)
    return plan(logs, logs.programmes(), found, desk, events)


def _events(path: Path, found: Sequence[Refused], to: str) -> list[tuple[bytes, str]]:
    """The corrected events and their topics, one for each record."""
    try:
        lines = [line for line in path.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise UsageError(f"--mended {path}: cannot be read ({error.strerror or error}).") from error
    if len(lines) != len(found):
        raise UsageError(
            f"--mended {path} has {len(lines):,} events and {len(found):,} records are selected: one event per line, one "
            "for each record."
        )
    return [(line, to if one.by_keeper else one.topic) for line, one in zip(lines, found, strict=True)]


def _goes(one: Plan, marks: Marks, again: bool) -> bool:
    if one.outcome == "refused":
        return False
    return again or (one.outcome != "duplicate" and one.record.place not in marks)


def _confirmed(count: int, as_json: bool) -> bool:
    if as_json or not sys.stdin.isatty():
        return False
    return click.confirm(f"Send {count:,} records back?")


def _send(cluster: Cluster, logs: KafkaLogs, ready: Sequence[Plan], desk: Desk, mended: bool) -> None:
    from engine.rejects.redriving import send
    from schemas.times import to_text

    logs.run(send(cluster, logs.prefix, ready, at=to_text(desk.now_us), mended=mended))


def _in_words(one: Plan, marks: Marks, again: bool) -> str:
    record = one.record
    name = f"{record.name} {record.reason} {record.told('source')} {record.told('id')}".rstrip()
    if one.effect is None or one.outcome == "refused":
        return f"{name}\n   would be refused again: {one.refusal}"
    mark = marks.get(record.place)
    told = [name]
    if mark is not None:
        told.append(f"   sent back at {mark['at']}" + ("" if again else "; --again sends it once more"))
    if one.outcome == "duplicate":
        told.append("   is decided already: it would be a duplicate and move nothing")
    else:
        told.append(f"   to {one.topic}: {_effect(one.effect)}")
        told += [f"   and {_effect(other)}" for other in one.effect.follows]
    return "\n".join(told)


def _effect(effect: Effect) -> str:
    who = effect.member or "nobody's account"
    before, after = effect.before, effect.after
    moved = f"{after.points - before.points:+,}" if after.points != before.points else "no change"
    text = f"{who} {before.points:,} -> {after.points:,} points ({moved})"
    if effect.entries:
        text += ", " + ", ".join(f"{rule} {points:+,}" for rule, points in effect.entries)
    if before.tier != after.tier:
        text += f", tier {before.tier or 'none'} -> {after.tier or 'none'}"
    elif after.tier is not None:
        text += f", tier {after.tier}"
    return text if effect.reason is None else f"{text} ({effect.reason})"


def _as_json(one: Plan, marks: Marks, sent: bool) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        **one.record.brief(),
        "to": one.topic,
        "outcome": one.outcome,
        "refusal": one.refusal or None,
        "effect": None if one.effect is None else asdict(one.effect),
        "redriven": marks.get(one.record.place, {}).get("at"),
        "sent": sent,
    }
