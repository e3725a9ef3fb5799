"""`stammgast whatif`: the recorded facts decided under another programme, beside what was decided."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from engine.commands.programmes import load_programmes
from engine.commands.replay import bar, moment
from engine.lines import ReplayError
from engine.settings import KafkaSecurity, No, UsageError, kafka_security_options, option, options, sentence
from engine.vault.vault import Vault, vault_of
from rules.book import Programme

if TYPE_CHECKING:
    from engine.whatif.shard import Job

Place = TypeVar("Place")
#: Where facts may be, by parameter.
PLACES = ("dump_path", "events_path", "db", "bootstrap")
#: Columns of a table that no terminal shows.
PRINTED_WIDTH = 120


@click.command()
@click.argument("new_programme", type=click.Path(path_type=Path))
@click.option(
    "--since",
    metavar="DAY",
    help="When the new programme takes over: a day (its first moment in the programme's time zone) or a moment with an "
    "offset; default: when it says that it begins.",
)
@click.option(
    "--facts",
    "dump_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FACTS.jsonl[.gz]",
    help="What happened: a dump of the facts log (`stammgast dump`).",
)
@click.option(
    "--events",
    "events_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="EVENTS.jsonl[.gz]",
    help="What happened: a file of events, as `replay` takes it.",
)
@option(
    "db",
    help="Or the tables that are there: the file of a projector, also while it runs, or of a replay. They hold no profiles.",
)
@option("bootstrap", help="Or a deployment's own logs on Kafka, with the decisions that were made.")
@option("topic_prefix")
@option("programme", help="The present programme: all versions that were published; with --bootstrap those of the log.")
@click.option(
    "--until", metavar="TIME", help="Settle everybody to this moment; default: the last midnight of the data."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.duckdb",
    help="Also keep every table here, one row per member, month and rule.",
)
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    help="Also write a page: one file, nothing is loaded from elsewhere.",
)
@click.option("--jobs", type=click.IntRange(1, 64), help="Most processes that decide; default: one per core.")
@options("profile_key_file", "profile_keys")
@click.option("--json", "as_json", is_flag=True, help="Print every table as JSON.")
@kafka_security_options
def whatif(
    *,
    new_programme: Path,
    since: str | None,
    dump_path: Path | None,
    events_path: Path | None,
    db: Path | None,
    bootstrap: str | None,
    topic_prefix: str,
    programme: Path | None,
    until: str | None,
    out: Path | None,
    page: Path | None,
    jobs: int | None,
    profile_key_file: Path | None,
    profile_keys: Path | None,
    as_json: bool,
    security: KafkaSecurity,
) -> None:
    """Decide what happened once more under NEW_PROGRAMME (a file, or a folder of versions), beside what was decided.

    Up to --since both sides are the same; from then on the new programme decides in a shadow: who is reached, what it costs,
    what is owed, by month, rule, tier, segment and member. No log and no live table is touched: whatever it shows, nothing has
    happened. Facts before --since stay under what was published then, also when they come late. Exit codes: 0 done, 1 mistakes
    in a programme, 2 wrong usage.

    \b
    From live logs to an answer, the file kept for further questions:
      stammgast dump --bootstrap HOST:PORT --decisions --out facts.jsonl.gz
      stammgast whatif NEW_PROGRAMME --facts facts.jsonl.gz --programme DIR
    In one command, the file gone in the end:
      stammgast whatif NEW_PROGRAMME --bootstrap HOST:PORT
    From the tables that a projector keeps, without a broker:
      stammgast whatif NEW_PROGRAMME --db FILE --programme DIR
    """
    from engine.tuning import without_collector
    from engine.whatif.plan import WhatIfError
    from engine.whatif.shard import Job, now_us

    new = _new(new_programme)
    given = dump_path or events_path
    db, bootstrap = _named("db", db), _named("bootstrap", bootstrap)
    _require_one([dump_path, events_path, db, bootstrap], programme)
    _refuse_existing(out, page)
    vault = None if events_path is not None else vault_of(profile_key_file, profile_keys)
    with ExitStack() as until_done:
        present = load_programmes(programme) if programme is not None else []
        if bootstrap is not None:
            given, published = until_done.enter_context(_from_kafka(bootstrap, topic_prefix, security))
            present = present or published
        elif db is not None:
            given = until_done.enter_context(_from_tables(db, [*present, *new]))
        job = Job(
            given or Path(),
            events_path is None,
            tuple(version.canonical_json() for version in present),
            tuple(version.canonical_json() for version in new),
            None if since is None else _since_us(since, present or new),
            now_us(),
            jobs or os.cpu_count() or 1,
        )
        try:
            with without_collector():
                found = _found(job, moment(until), vault, out)
        except (ReplayError, WhatIfError) as error:
            raise UsageError(sentence(error)) from error
    if page is not None:
        _write_page(page, found)
    _tell(found, out, page, as_json)


def _found(job: Job, until_us: int | None, vault: Vault | None, out: Path | None) -> dict[str, list[dict[str, Any]]]:
    """Compare, make the tables, and return what is shown of them; all else that was made goes before the collector sees it."""
    from engine.whatif.running import compare
    from engine.whatif.tables import answers, tables

    with bar("whatif") as progress:
        outcome = compare(job, until_us, vault, progress)
    with tables(outcome, out) as connection:
        return answers(connection)


def _new(path: Path) -> list[Programme]:
    """The versions of the new programme, a file or a folder."""
    from rules.book import load_directory
    from rules.errors import ProgrammeErrors

    if path.is_dir():
        return load_programmes(path)
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder; give a programme version, or a folder of them.")
    try:
        return load_directory(path)
    except ProgrammeErrors as errors:
        raise No(f"mistakes in {path}:\n{errors}") from errors


def _named(parameter: str, value: Place | None) -> Place | None:
    """A place, unless it comes from the environment and another one was named: a shell that asks tables has STAMMGAST_DB set."""
    source = click.get_current_context().get_parameter_source
    if source(parameter) is ParameterSource.COMMANDLINE:
        return value
    return None if any(source(other) is ParameterSource.COMMANDLINE for other in PLACES) else value


def _require_one(places: Sequence[Path | str | None], programme: Path | None) -> None:
    if sum(place is not None for place in places) != 1:
        raise UsageError(
            "say once where the facts are: --facts FILE (`stammgast dump`), --events FILE, --db FILE, or --bootstrap "
            "HOST:PORT"
        )
    if programme is None and places[-1] is None:
        raise UsageError("--facts, --events and --db need --programme DIR: the versions that were published")


@contextmanager
def _from_kafka(bootstrap: str, prefix: str, security: KafkaSecurity) -> Iterator[tuple[Path, list[Programme]]]:
    """The logs of a deployment as a file that is gone in the end, with its decisions, and the versions it published."""
    from aiokafka.errors import KafkaError

    from engine.commands.dump import dump_facts
    from engine.stream.clients import Cluster, KafkaTrouble
    from engine.stream.programmes import UnreadableVersion, load_published

    cluster = Cluster(bootstrap, security)
    with TemporaryDirectory(prefix="stammgast-whatif-") as folder:
        path = Path(folder) / "facts.jsonl"
        try:
            with path.open("wb") as file:
                asyncio.run(dump_facts(cluster, prefix, file, every_decision=True))
            # After the facts: a version is published before any fact names it.
            published = asyncio.run(load_published(cluster, prefix))
        except (KafkaTrouble, UnreadableVersion) as error:
            raise UsageError(sentence(error)) from error
        except KafkaError as error:
            raise No(f"Kafka at {bootstrap} stopped answering: {error or type(error).__name__}.") from error
        except OSError as error:
            raise No(
                f"{folder}: the logs cannot be kept there meanwhile ({error.strerror or error}); set TMPDIR."
            ) from error
        yield path, list(published.values())


@contextmanager
def _from_tables(db: Path, versions: list[Programme]) -> Iterator[Path]:
    """The facts of the tables as a file that is gone in the end."""
    from engine.whatif.from_tables import dump_lines
    from engine.whatif.plan import WhatIfError

    with TemporaryDirectory(prefix="stammgast-whatif-") as folder:
        path = Path(folder) / "facts.jsonl"
        try:
            with path.open("wb") as file:
                file.writelines(dump_lines(db, versions))
        except WhatIfError as error:
            raise UsageError(sentence(error)) from error
        except OSError as error:
            raise No(
                f"{folder}: the facts cannot be kept there meanwhile ({error.strerror or error}); set TMPDIR."
            ) from error
        yield path


def _refuse_existing(*paths: Path | None) -> None:
    for path in paths:
        if path is not None and path.exists():
            raise UsageError(f"{path} exists already: name another file.")


def _since_us(text: str, versions: list[Programme]) -> int:
    from rules.local_time import midnight_us

    zone = max(versions, key=lambda version: version.valid_from_us).time_zone
    try:
        return midnight_us(date.fromisoformat(text).toordinal() - date(1970, 1, 1).toordinal(), zone)
    except ValueError:
        pass
    try:
        found = moment(text, "--since")
    except UsageError:
        raise UsageError(
            f"--since {text}: write a day like 2026-03-01, or a moment with an offset like 2026-03-01T06:00:00+01:00."
        ) from None
    return found or 0


def _write_page(page: Path, found: dict[str, list[dict[str, Any]]]) -> None:
    from engine.whatif.page import rendered

    try:
        page.write_text(rendered(found), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{page}: cannot be written ({error.strerror or error}); name another file.") from error


def _tell(found: dict[str, list[dict[str, Any]]], out: Path | None, page: Path | None, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found, indent=2, default=_plain))
        return
    from rich.console import Console

    from engine.whatif.words import sentences, shown

    # Nobody reads a file at the width of a terminal that is not there.
    console = Console(width=None if sys.stdout.isatty() else PRINTED_WIDTH)
    for line in sentences(found):
        console.print(line, highlight=False, markup=False)
    for table in shown(found):
        console.print()
        console.print(table)
    if out is not None:
        console.print(
            f"\nEvery table (whatif_members, whatif_movements, ...) is in {out}, for any DuckDB.", markup=False
        )
    if page is not None:
        console.print(f"The page: {page}", markup=False)


def _plain(value: object) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError(type(value).__name__)
