"""`stammgast restore`: a deployment out of what `stammgast dump` wrote, with the same decisions byte for byte."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.settings import KafkaSecurity, No, UsageError, kafka_security_options, option, options, sentence

if TYPE_CHECKING:
    from engine.stream.restoring import Restored
    from rules.book import Programme


@click.command()
@click.argument("facts", type=click.Path(dir_okay=False, path_type=Path), metavar="FACTS.jsonl[.gz]")
@click.option(
    "--programmes",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="VERSIONS.jsonl[.gz]",
    help="The versions of the programme, as `stammgast dump --programmes` wrote them.",
)
@option("bootstrap", required=True)
@options("topic_prefix", "partitions", "replication_factor", "rejects_days", "inbound")
@options("profile_key_file", "profile_keys")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@kafka_security_options
def restore(
    facts: Path,
    programmes: Path,
    bootstrap: str,
    topic_prefix: str,
    partitions: int,
    replication_factor: int,
    rejects_days: int,
    inbound: str,
    profile_key_file: Path | None,
    profile_keys: Path | None,
    as_json: bool,
    security: KafkaSecurity,
) -> None:
    """Write a backup (`stammgast dump --programmes`) into a Kafka that holds nothing of this deployment yet.

    Topics are created, facts stand at the offsets they had, and every decision is made again: the same bytes in points-log.
    Run it before any worker, with --partitions as it was; snapshots and tables come back by themselves afterwards. A
    restore that broke off is begun anew: delete its topics first. Exit codes: 0 restored, 1 Kafka stopped answering, 2
    wrong usage: topics that hold something, a backup that does not fit.
    """
    from aiokafka.errors import KafkaError

    from engine.lines import ReplayError, read_lines
    from engine.stream.clients import Cluster, KafkaTrouble
    from engine.stream.restoring import read_dump
    from engine.stream.restoring import restore as write
    from engine.stream.topics import Layout, parse_inbound
    from engine.vault.vault import vault_of

    try:
        layout = Layout(topic_prefix, partitions, replication_factor, rejects_days, tuple(parse_inbound(inbound)))
        versions = _versions(programmes)
        saved = read_dump(read_lines(facts), facts.name)
        vault = vault_of(profile_key_file, profile_keys)
        with _progress() as progressed:
            done = asyncio.run(write(Cluster(bootstrap, security), layout, saved, versions, vault, progressed))
    except ValueError as error:
        raise UsageError(f"--inbound: {error}.") from error
    except (ReplayError, KafkaTrouble) as error:
        raise UsageError(sentence(error)) from error
    except KafkaError as error:
        raise No(
            f"Kafka at {bootstrap} stopped answering: {error or type(error).__name__}. Delete the topics and begin anew."
        ) from error
    click.echo(json.dumps(asdict(done)) if as_json else _in_words(done))


def _versions(path: Path) -> list[Programme]:
    """Every version in the file. Errors: UsageError for a line that is none."""
    from engine.lines import read_lines
    from rules.book import from_json
    from rules.errors import ProgrammeErrors

    versions = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            versions.append(from_json(line))
        except (ProgrammeErrors, ValueError) as error:
            raise UsageError(
                f"{path}:{number}: no version of a programme: make the file with `stammgast dump --programmes`."
            ) from error
    if not versions:
        raise UsageError(f"{path}: no version in it: make the file with `stammgast dump --programmes`.")
    return versions


def _in_words(done: Restored) -> str:
    text = (
        f"{done.facts:,} facts and {done.decisions:,} decisions on them in {done.partitions} partitions, "
        f"{done.rejects:,} rejects ({done.seconds:.1f} s). The id of these logs is {done.log_id}."
    )
    if done.as_given:
        text += f" Taken as the backup has them, because a profile does not open: {done.as_given:,} decisions."
    if done.added:
        text += f" On their way when the backup was taken, and left to the workers: {done.added:,} facts."
    return text + " Start workers and the projector (with --fresh) now."


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """A counter on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _facts: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("restore, {task.completed:,.0f} facts"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("restore", total=None)
        yield lambda facts: bar.update(task, completed=facts)
