"""`stammgast backtest-churn`: how good the churn flag would have been on the shop's own past."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Any

import click

from engine.settings import option

CUTS = 4


@click.command("backtest-churn")
@option("db", required=True)
@option("churn_horizon_days")
@click.option(
    "--cuts",
    type=click.IntRange(1, 50),
    default=CUTS,
    show_default=True,
    help="How many days to test on, 30 days apart, the newest whose horizon is over first.",
)
@click.option(
    "--cut", "days", type=click.DateTime(["%Y-%m-%d"]), multiple=True, help="Test on this day; may be said again."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def backtest_churn(*, db: Path, churn_horizon_days: int, cuts: int, days: tuple[datetime, ...], as_json: bool) -> None:
    """Hold the churn flag to what members did.

    On each cut day the flag says who will buy nothing within the horizon, knowing only what happened until then; the days
    after it tell. AUC: how often who stayed away had the higher chance (0.5 is a coin). Brier: mean squared error of the
    chances, as they are and corrected by a curve fitted on other members. Precision: of those flagged, who stayed away;
    recall: of those who stayed away, who was flagged. Lead: days by which the flag comes before silence alone would show it.
    Works while a projector holds the file. Exit codes: 0 done, 1 there is nothing to test on, 2 wrong usage.
    """
    from projections.backtest import backtest

    result = backtest(db, churn_horizon_days, cuts, [day.date() for day in days])
    if as_json:
        click.echo(json.dumps(_plain(dataclasses.asdict(result)), indent=2))
        return
    _show(result)


def _plain(value: Any) -> Any:
    """For JSON: days as texts, what is not defined as null, bins as objects."""
    match value:
        case dict():
            return {name: _plain(one) for name, one in value.items()}
        case tuple() if hasattr(value, "_asdict"):
            return _plain(value._asdict())
        case list() | tuple():
            return [_plain(one) for one in value]
        case float() if math.isnan(value):
            return None
        case date():
            return value.isoformat()
        case _:
            return value


def _show(result: Any) -> None:
    import rich.box
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 10_000)
    table = Table(box=rich.box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    heads = (
        "cut",
        "members",
        "stayed away",
        "mean chance",
        "AUC",
        "Brier",
        "corrected",
        "flagged",
        "precision",
        "recall",
        "lead days",
    )
    for head in heads:
        table.add_column(head, justify="left" if head == "cut" else "right")
    for cut in result.cuts:
        numbers = (cut.stayed_away, cut.mean_chance, cut.auc, cut.brier, cut.brier_calibrated)
        rest = (_share(cut.precision), _share(cut.recall), _days(cut.lead_days))
        table.add_row(str(cut.day), f"{cut.members:,}", *map(_share, numbers), f"{cut.flagged:,}", *rest)
    console.print(f"Who buys nothing within {result.horizon_days} days of the cut?", highlight=False)
    console.print(table, highlight=False)
    told = Table(box=rich.box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for head in ("chance said", "members", "mean chance", "stayed away"):
        told.add_column(head, justify="right")
    for one in result.reliability:
        told.add_row(
            f"{one.low:.1f} to {one.high:.1f}", f"{one.members:,}", _share(one.mean_chance), _share(one.happened)
        )
    console.print("How reliable the chances were, over all cuts:", highlight=False)
    console.print(told, highlight=False)


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _days(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0f}"
