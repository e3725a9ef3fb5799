"""`stammgast demo`: two shops through Kafka, and what their tables say."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import click

from engine.settings import option

WIDTH = 130


@click.command()
@click.option("--exit", "exit_at_end", is_flag=True, help="End when everything was shown, instead of serving on.")
@option("db", default=Path("stammgast-demo.duckdb"), show_default=True)
def demo(exit_at_end: bool, db: Path) -> None:
    """Run two shops on an embedded Kafka and show what they know.

    First one month of a real gift shop into FILE, then a generated week of a coffee bar into a file beside it, whose name
    has -coffee-bar before its suffix. Files of an earlier demo are set aside.
    """
    from rich.console import Console

    from engine.demo.flow import run

    terminal = sys.stdout.isatty()
    console = Console(highlight=False, width=None if terminal else WIDTH)
    # SIGINT too: a shell that starts a command in the background lets it ignore Ctrl-C.
    previous = {number: signal.signal(number, _as_interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        run(db, keep_serving=not exit_at_end, console=console, bars=terminal)
    except KeyboardInterrupt:
        console.print("stopped")
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _as_interrupt(_number: int, _frame: Any) -> None:
    """End in order, like Ctrl-C: the roles are children of this process."""
    raise KeyboardInterrupt
