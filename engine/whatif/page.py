"""A comparison as a page: one HTML file that loads nothing, drawn like the console."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import engine.console
from engine.console import plots
from engine.whatif.tables import Rows
from engine.whatif.words import cautions, grids, money

HERE = Path(__file__).parent
CONSOLE = Path(engine.console.__file__).parent


def rendered(found: Mapping[str, Rows]) -> str:
    """Return the page of what `engine.whatif.tables.answers` gave."""
    run, total = found["run"][0], found["summary"][0]
    # Templates of ours first, then the console's, whose macros draw the plots.
    environment = Environment(
        loader=FileSystemLoader([HERE / "templates", CONSOLE / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_filters(run))
    labels = [f"{row['month']:%Y-%m}" for row in found["months"]]
    earned = {side: [float(row[f"earned_{side}"]) for row in found["months"]] for side in ("now", "new")}
    return environment.get_template("page.html").render(
        run=run,
        total=total,
        style=(CONSOLE / "static" / "console.css").read_text(encoding="utf-8"),
        months=plots.bar(labels, earned),
        tiers=_tiers(found),
        tables=list(grids(found)),
        cautions=list(cautions(run)),
    )


def _tiers(found: Mapping[str, Rows]) -> plots.Flows:
    moves = [(row["tier_now"], row["tier_new"], row["members"]) for row in found["tier_flows"]]
    order = [row["tier"] for row in sorted(found["tiers"], key=lambda row: row["outstanding_new"])]
    return plots.flows(moves, order)


def _filters(run: Mapping[str, Any]) -> dict[str, Any]:
    zone = ZoneInfo(run["time_zone"])

    def local(value: datetime) -> datetime:
        return value.astimezone(zone)

    return {
        "number": lambda value: f"{value:,}",
        "signed": lambda value: f"{value:+,}",
        "money": lambda value: money(value, run),
        "change": lambda value: money(value, run, signed=True),
        "day": lambda value: f"{local(value):%Y-%m-%d}",
        "moment": lambda value: f"{local(value):%Y-%m-%d %H:%M}",
    }
