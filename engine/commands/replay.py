"""`stammgast replay`: the whole road offline, from a file of events to the tables."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from engine import replay as offline
from engine.commands.programmes import load_programmes
from engine.lines import Progress, ReplayError
from engine.processes import command_name
from engine.replay import Summary, parse_moment
from engine.settings import UsageError, option, options, sentence
from engine.vault.vault import vault_of


@click.command("replay")
@click.argument("events", type=click.Path(path_type=Path, dir_okay=False))
@option("programme", required=True)
@option("db", required=True, help="The DuckDB file to make.")
@click.option(
    "--until", metavar="TIME", help="Settle everybody to this moment; default: the last midnight of the data."
)
@click.option("--facts", "dump", is_flag=True, help="EVENTS is a dump of the facts log (`stammgast dump`).")
@click.option("--fresh", is_flag=True, help="Set an existing file aside instead of refusing it.")
@options("profile_key_file", "profile_keys")
@option("churn_horizon_days")
@option("churn_threshold")
@option("score_every_days")
@option("memory_limit")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def replay(
    events: Path,
    programme: Path,
    db: Path,
    until: str | None,
    dump: bool,
    fresh: bool,
    profile_key_file: Path | None,
    profile_keys: Path | None,
    churn_horizon_days: int,
    churn_threshold: float,
    score_every_days: int,
    memory_limit: str,
    as_json: bool,
) -> None:
    """Decide EVENTS (.jsonl, .jsonl.gz or .parquet) without Kafka and load the answers into a new DuckDB file.

    The rows are those that publishing the same events live gives, but for log positions and recorded_at. A line that is
    no event goes to the table `rejects` with its line number, and the others are decided. The file appears whole or not
    at all. Parquet has the columns source, id, type, subject, time and data (JSON as text), in the order of the events.
    Profiles need no keys here but with --facts, where an answer that depends on one is taken as the log has it
    unless the keys are given. Exit codes: 0 done, 1 mistakes in the programme or trouble with the DuckDB file, 2 wrong usage.
    """
    until_us = moment(until)
    if db.exists() and not fresh:
        raise UsageError(f"{db} exists already: name another file with --db, or say --fresh to set it aside.")
    programmes = load_programmes(programme)
    options = {
        "fresh": fresh,
        "churn_horizon_days": churn_horizon_days,
        "churn_threshold": churn_threshold,
        "score_every_days": score_every_days,
        "memory_limit": memory_limit,
    }
    try:
        with bar("replay") as progress:
            summary = offline.replay(
                events,
                programmes,
                db,
                until_us=until_us,
                dump=dump,
                vault=vault_of(profile_key_file, profile_keys),
                warehouse_options=options,
                progress=progress,
            )
    except ReplayError as error:
        raise UsageError(sentence(error)) from error
    click.echo(json.dumps(dataclasses.asdict(summary), indent=2) if as_json else _in_words(summary, db))


def moment(text: str | None, name: str = "--until") -> int | None:
    """The moment that an option names, microseconds; None without one. Errors: UsageError."""
    if text is None:
        return None
    try:
        return parse_moment(text)
    except ValueError as error:
        raise UsageError(f"{name} {text}: write a moment with an offset, like 2026-03-01T00:00:00+01:00.") from error


def _in_words(summary: Summary, db: Path) -> str:
    rate = summary.facts / summary.seconds if summary.seconds else 0.0
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(summary.outcomes.items()))
    settled = f", settled to {summary.settled_to}" if summary.settled_to else ""
    given = f", {summary.as_given:,} answers that depend on profiles taken as they stand" if summary.as_given else ""
    return (
        f"{summary.events:,} events -> {summary.facts:,} facts -> {summary.decisions:,} decisions ({outcomes}), "
        f"{summary.rejects:,} rejects{settled}{given}\n"
        f"{db} in {summary.seconds:.1f} s ({rate:,.0f} facts/s). "
        f'Ask it: {command_name()} query --db {db} "from {"rejects" if summary.rejects else "balances"} limit 10"'
    )


@contextmanager
def bar(name: str) -> Iterator[Progress]:
    """A progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = TextColumn(name), BarColumn(), TaskProgressColumn(), DownloadColumn(), TimeElapsedColumn()
    with Bar(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(name)
        yield lambda done, total: shown.update(task, completed=done, total=total)
