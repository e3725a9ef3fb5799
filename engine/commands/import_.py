"""`stammgast import`: a till's export becomes a file of events, with an account of every line and every penny."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from engine.imports.account import Account
from engine.imports.errors import BadLineError, BadLinesError, WrongFileError
from engine.settings import No, UsageError
from schemas.money import minor_digits

_PROGRESS_SECONDS = 0.1
_OR = {True: ", or say in the mapping what they are", False: ""}
Event = dict[str, Any]
# Told (lines read, lines in the file or None while they are counted).
Progress = Callable[[int, int | None], None]


@dataclass(slots=True)
class _Job:
    """What is to be converted: its account, its events once asked for, and the columns that nothing asked for."""

    account: Account
    events: Callable[[Progress], Iterator[tuple[Event, tuple[int, ...]]]]
    unread: Callable[[], list[str]]


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--preset", type=click.Choice(["online-retail", "cdnow", "costs"]), help="What the file is (costs: docs/costs.md)."
)
@click.option(
    "--mapping",
    type=click.Path(path_type=Path),
    metavar="M.yaml",
    help="A file that explains any other export (docs/importing.md).",
)
@click.option("--currency", metavar="EUR", help="With --preset costs: of the amounts, where no column says it.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="EVENTS.jsonl[.gz]",
    help="Where the events go, sorted by (time, id), one CloudEvent per line.",
)
@click.option("--check", is_flag=True, help="Convert everything, write nothing, and show the first events.")
@click.option(
    "--show", type=click.IntRange(0, 1_000), default=3, show_default=True, help="So many events with --check."
)
@click.option("--json", "as_json", is_flag=True, help="Print the account as JSON; money in minor units.")
def import_(
    *,
    file: Path,
    preset: str | None,
    mapping: Path | None,
    currency: str | None,
    out: Path | None,
    check: bool,
    show: int,
    as_json: bool,
) -> None:
    """Turn a till's export FILE (CSV or JSON Lines, plain or gzip), or a list of costs, into events.

    Prints an account: lines in = lines used + lines left out by reason, and the money likewise, to the penny.

    Exit codes: 0 done, 1 lines cannot be understood or the account does not balance (then no file is written), 2 wrong usage.
    """
    if (out is None) != check:
        raise UsageError("say where the events go, --out EVENTS.jsonl, or --check alone to write nothing.")
    shown: list[tuple[Event, tuple[int, ...]]] = []
    try:
        job = _job(file, preset, mapping, currency)
        _convert(job, out, shown, show)
    except WrongFileError as error:
        raise UsageError(str(error)) from error
    except (BadLineError, BadLinesError) as error:
        raise No(f"{error}\nNothing was written: mend the lines{_OR[mapping is not None]}.") from error
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror or error}).") from error
    if as_json:
        told = {"first": [event for event, _ in shown], "unread_columns": job.unread()} if check else {}
        click.echo(json.dumps(job.account.as_json() | told, indent=2))
        return
    for event, lines in shown:
        click.echo(
            f"line {', '.join(dict.fromkeys(map(str, lines)))} became\n{json.dumps(event, indent=2, ensure_ascii=False)}"
        )
    click.echo(account_text(job.account, out))
    if job.unread():
        click.echo(f"columns that the mapping does not read: {', '.join(job.unread())}")


def _job(file: Path, preset: str | None, mapping: Path | None, currency: str | None) -> _Job:
    """Errors: UsageError, WrongFileError."""
    if mapping is not None and preset is not None:
        raise UsageError("--preset and --mapping both say what the file is: take one of them.")
    if currency is not None and preset != "costs":
        raise UsageError("--currency goes with --preset costs: a till's preset or mapping knows its own.")
    if preset == "costs":
        return _costs(file, currency)
    if mapping is not None:
        return _mapped(file, mapping)
    if preset is None:
        raise UsageError("say which till wrote the file: --preset online-retail, cdnow or costs, or --mapping M.yaml.")
    till = importlib.import_module(f"engine.imports.{preset.replace('-', '_')}")
    account = Account(till.CURRENCY)
    return _Job(account, lambda progress: ((event, ()) for event in till.convert(file, account, progress)), list)


def _costs(file: Path, currency: str | None) -> _Job:
    from engine.imports.costs import convert, currency_of

    account, now_us = Account(currency_of(file, currency)), time.time_ns() // 1_000
    return _Job(account, lambda progress: ((event, ()) for event in convert(file, account, now_us, progress)), list)


def _mapped(file: Path, mapping: Path) -> _Job:
    from engine.imports.mapped import Conversion
    from engine.imports.mapping_file import read_mapping

    said, draft = read_mapping(mapping)
    account = Account(said.currency)
    conversion = Conversion(file, said, draft, account, time.time_ns() // 1_000)
    return _Job(account, conversion.events, lambda: conversion.unread)


def _convert(job: _Job, out: Path | None, shown: list[tuple[Event, tuple[int, ...]]], show: int) -> None:
    from engine.imports.events import write_events

    with _progress() as progress:
        made = _balanced(job, progress)
        if out is not None:
            write_events(out, (event for event, _lines in made))
            return
        for one in made:
            if len(shown) < show:
                shown.append(one)


def _balanced(job: _Job, progress: Progress) -> Iterator[tuple[Event, tuple[int, ...]]]:
    """The events of the file; fails at their end, before the file is moved to its place, if the account is not even."""
    yield from job.events(progress)
    if not job.account.balances:
        raise No(f"the account does not balance, nothing was written:\n{account_text(job.account, None)}")


def account_text(account: Account, out: Path | None) -> str:
    """Return the account as a table in text: right for a terminal, a log and a mail."""
    digits = minor_digits(account.currency)
    lines = [f"{'':52}{'lines':>10}{account.currency:>18}"]
    for name, tally in account.rows():
        lines.append(f"{name:52}{tally.lines:>10,}{_money(tally.money_minor, digits):>18}")
    accounted = account.accounted
    verdict = "the account balances" if account.balances else "THE ACCOUNT DOES NOT BALANCE"
    lines.append(f"{'used + left out':52}{accounted.lines:>10,}{_money(accounted.money_minor, digits):>18}   {verdict}")
    lines += [f"note: {count:,} {what}" for what, count in sorted(account.notes.items())]
    if out is not None:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(account.events.items()))
        lines.append(f"{sum(account.events.values()):,} events in {out} ({kinds or 'none'})")
    return "\n".join(lines)


def _money(minor: int, digits: int) -> str:
    return f"{Decimal(minor).scaleb(-digits):,f}"


@contextmanager
def _progress() -> Iterator[Progress]:
    """A progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("counting lines", total=None)
        shown_at = 0.0

        def show(done: int, total: int | None) -> None:
            nonlocal shown_at
            now = time.monotonic()
            # Ten times a second is as much as an eye follows; lines come a hundred thousand a second.
            if now >= shown_at + _PROGRESS_SECONDS or done == total:
                shown_at = now
                bar.update(task, description="converting" if total else "counting lines", completed=done, total=total)

        yield show
