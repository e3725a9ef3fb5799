"""`stammgast import`: a till's export becomes a file of events, with an account of every line and every penny."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from engine.imports.account import Account
from engine.imports.errors import BadLineError, WrongFileError
from engine.imports.online_retail import CURRENCY, Event, Progress, convert
from engine.settings import No, UsageError

_PROGRESS_SECONDS = 0.1


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--preset", type=click.Choice(["online-retail", "cdnow"]), help="Which till wrote the file.")
@click.option("--mapping", type=click.Path(path_type=Path), help="A file that explains any other export.")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="EVENTS.jsonl[.gz]",
    help="Where the events go, sorted by (time, id), one CloudEvent per line.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the account as JSON; money in pennies.")
def import_(file: Path, preset: str | None, mapping: Path | None, out: Path, as_json: bool) -> None:
    """Turn a till's export FILE (CSV, plain or gzip) into events.

    Prints an account: lines in = lines used + lines left out by reason, and the money likewise, to the penny. Exit
    code 1 when a line cannot be understood or the account does not balance; then no file is written.
    """
    _check_supported(preset, mapping)
    account = Account(CURRENCY)
    try:
        _convert(file, out, account)
    except WrongFileError as error:
        raise UsageError(str(error)) from error
    except BadLineError as error:
        raise No(f"{error} Nothing was written; mend the line or take it out.") from error
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror or error}).") from error
    click.echo(json.dumps(account.as_json(), indent=2) if as_json else account_text(account, out))


def _check_supported(preset: str | None, mapping: Path | None) -> None:
    if mapping is not None:
        raise UsageError("not yet supported: --mapping. This version reads --preset online-retail.")
    if preset is None:
        raise UsageError("say which till wrote the file: --preset online-retail.")
    if preset != "online-retail":
        raise UsageError(f"not yet supported: --preset {preset}. This version reads --preset online-retail.")


def _convert(file: Path, out: Path, account: Account) -> None:
    from engine.imports.events import write_events

    with _progress() as progress:
        write_events(out, _balanced(file, account, progress))


def _balanced(file: Path, account: Account, progress: Progress) -> Iterator[Event]:
    """The events of the file; fails at their end, before the file is moved to its place, if the account is not even."""
    yield from convert(file, account, progress)
    if not account.balances:
        raise No(f"the account does not balance, nothing was written:\n{account_text(account, None)}")


def account_text(account: Account, out: Path | None) -> str:
    """Return the account as a table in text: right for a terminal, a log and a mail."""
    lines = [f"{'':52}{'lines':>10}{account.currency:>18}"]
    for name, tally in account.rows():
        lines.append(f"{name:52}{tally.lines:>10,}{_money(tally.money_minor):>18}")
    accounted = account.accounted
    verdict = "the account balances" if account.balances else "THE ACCOUNT DOES NOT BALANCE"
    lines.append(f"{'used + left out':52}{accounted.lines:>10,}{_money(accounted.money_minor):>18}   {verdict}")
    lines += [f"note: {count:,} {what}" for what, count in sorted(account.notes.items())]
    if out is not None:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(account.events.items()))
        lines.append(f"{sum(account.events.values()):,} events in {out} ({kinds or 'none'})")
    return "\n".join(lines)


def _money(minor: int) -> str:
    return f"{'-' if minor < 0 else ''}{abs(minor) // 100:,}.{abs(minor) % 100:02d}"


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
