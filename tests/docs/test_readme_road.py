"""The purchase that README.md follows through the files is the real one, byte for byte."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import orjson

from engine.imports.account import Account
from engine.imports.events import write_events
from engine.imports.online_retail import CURRENCY, convert
from engine.replay import Replay
from rules.book import load_directory

ROOT = Path(__file__).parents[2]
MONTH = ROOT / "engine" / "demo" / "data" / "online-retail-2010-12.csv.gz"


def shown(kind: str) -> object:
    """Return the JSON that README.md shows under a name."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(rf"```json {kind}\n(.*?)```", text, re.DOTALL)
    assert block is not None, f"README.md shows no {kind}"
    return orjson.loads(block[1])


def test_the_purchase_in_the_readme_is_what_the_engine_makes_of_it(tmp_path: Path) -> None:
    """Event, fact and decision of invoice 536366, ids and hashes included."""
    events = tmp_path / "month.jsonl"
    write_events(events, convert(MONTH, Account(CURRENCY), lambda _done, _total: None))
    lines = events.read_bytes().splitlines()
    event = next(line for line in lines if b'"id":"536366"' in line)
    run = Replay(load_directory(ROOT / "rules" / "programmes" / "gift-shop"), recorded_us=1_780_000_000_000_000)
    batch = next(run.events(iter(lines), "month.jsonl"))
    fact, decision = next(
        (fact, decision)
        for fact, decision in zip(batch.facts.values, batch.decisions.values, strict=True)
        if b'"id":"536366"' in fact
    )

    assert shown("event") == orjson.loads(event)
    assert shown("fact") == orjson.loads(fact)
    assert shown("decision") == orjson.loads(decision)


def test_the_till_lines_in_the_readme_stand_in_the_bundled_month() -> None:
    """They are copied from the file, not invented."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    quoted = [line for line in text.splitlines() if line.startswith("536366,")]
    month = gzip.decompress(MONTH.read_bytes()).decode().splitlines()

    assert len(quoted) == 2
    assert set(quoted) <= set(month)
