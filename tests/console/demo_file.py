"""The demo's month of real shop data as a DuckDB file."""

from __future__ import annotations

from pathlib import Path

import engine.demo
from engine import replay
from engine.imports.account import Account
from engine.imports.events import write_events
from engine.imports.online_retail import CURRENCY, convert
from rules.book import load_directory

DATA = Path(engine.demo.__file__).parent / "data" / "online-retail-2010-12.csv.gz"
PROGRAMME = Path(__file__).parents[2] / "rules" / "programmes" / "gift-shop"


def make_month(folder: Path, name: str) -> Path:
    """Replay December 2010 of the gift shop into a file of this name."""
    events = convert(DATA, Account(CURRENCY), lambda _done, _total: None)
    write_events(folder / "events.jsonl", events)
    replay.replay(folder / "events.jsonl", load_directory(PROGRAMME), folder / name)
    return folder / name
