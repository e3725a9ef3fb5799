"""The table of docs/semantics.md: each line of the semantics, and the stories and tests that hold it."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tests.stories.reading import FOLDER, SHARED

TESTS = FOLDER.parent
PAGE = FOLDER.parents[1] / "docs" / "semantics.md"
NOBODY = "**not held yet**"
_ROW = re.compile(r"^\| (?P<id>[a-z0-9.-]+) \| (?P<line>.+?) \|(?P<held>[^|]*)\|$", re.MULTILINE)
_HOLDS = re.compile(r"^holds:\s*(?P<ids>\[[^]]*\]|\S+)", re.MULTILINE)


def story_files() -> list[Path]:
    """Every story."""
    return sorted(path for path in FOLDER.glob("*/*.yaml") if path.parent != SHARED)


def held_by_stories() -> dict[str, list[str]]:
    """Stories by the ids that they hold; ``stories`` is the folder they stand in."""
    found: dict[str, list[str]] = {}
    for path in story_files():
        match = _HOLDS.search(path.read_text(encoding="utf-8"))
        for name in re.findall(r"[a-z0-9.-]+", match["ids"]) if match else []:
            found.setdefault(name, []).append(f"{path.parent.name}/{path.stem}")
    return found


def held_by_tests() -> dict[str, list[str]]:
    """Other tests by the ids that they hold."""
    said: dict[str, list[str]] = yaml.safe_load((FOLDER / "also.yaml").read_text(encoding="utf-8"))
    return said


def lines(text: str) -> dict[str, str]:
    """Ids and what stands in the last column."""
    return {match["id"]: match["held"].strip() for match in _ROW.finditer(text) if match["id"] != "id"}


def refreshed(text: str) -> str:
    """The page with its last column written anew."""
    stories, tests = held_by_stories(), held_by_tests()

    def row(match: re.Match[str]) -> str:
        name = match["id"]
        if name == "id":
            return match[0]
        holders = [f"[{story}](../tests/stories/{story}.yaml)" for story in stories.get(name, [])]
        holders += [f"[{test}](../tests/{test.partition('::')[0]})" for test in tests.get(name, [])]
        return f"| {name} | {match['line']} | {', '.join(holders) or NOBODY} |"

    return _ROW.sub(row, text)
