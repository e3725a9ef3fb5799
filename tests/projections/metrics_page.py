"""docs/metrics.md, made of what stands beside the metrics: ``python -m tests.projections.metrics_page`` writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from projections import sql

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
MARK = "<!-- metrics: made by `python -m tests.projections.metrics_page` -->"


def page() -> str:
    """The page as it should be: what people wrote above the mark, and everything below it made anew."""
    written = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    return f"{written}{MARK}\n" + "".join(f"\n{line}" if line else "\n" for line in lines()) + "\n"


def lines() -> Iterator[str]:
    """A table of contents, then a section for each metric."""
    for name in sql.METRICS:
        yield f"- [{name}](#{name}): {sql.metric(name)['definition']}"
    for name in sql.METRICS:
        yield from section(name)


def asks(name: str) -> str:
    """How the macro of a metric is called, or that it has none."""
    found = re.search(rf"\b{name}_as_of\(([^)]*)\) as table", sql.whole(f"metrics/{name}"))
    return "a view alone" if found is None else f"`{name}_as_of({found[1]})`"


def section(name: str) -> Iterator[str]:
    """What one metric is and says."""
    beside = sql.metric(name)
    yield from ("", f"## {name}", "", f"{beside['grain']} {beside['definition']}", "")
    yield f"- Formula: {beside['formula']}"
    yield f"- Source: {beside['source']}"
    yield f"- Version: {beside['version']}"
    yield f"- SQL: [metrics/{name}.sql](../projections/metrics/{name}.sql), {asks(name)}"
    yield from ("", "| Column | |", "|---|---|")
    for column, meaning in beside["columns"].items():
        yield f"| `{column}` | {' '.join(str(meaning).split())} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
