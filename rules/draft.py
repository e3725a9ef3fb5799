"""A programme file as it was written: plain values, the line of every key, and the mistakes of the YAML itself.

Only mappings, lists and scalars of YAML are read. Whole numbers, decimals, true, false and nothing are told apart by
their text alone; every other scalar stays text: `on`, `no`, `14:00` and `2026-03-01` are never anything else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import yaml

from rules.errors import Problem
from rules.values import shown

Path = tuple[str | int, ...]

_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})", re.ASCII)
_DECIMAL = re.compile(r"-?\d{1,12}\.\d{1,9}", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")  # escapes can say them; nothing that is written as UTF-8 can hold them
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_CORE_TAGS = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"}
_MAX_DEPTH = 40
MAX_CHARACTERS = 1_000_000


@dataclass(slots=True)
class Draft:
    """One file: ``tree`` of plain values, ``lines`` by path, ``problems`` so far."""

    file: str
    tree: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """Return the line of ``path``, or of the nearest thing around it that has one."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def report(self, path: Path, message: str, proposal: str = "") -> None:
        """Note a mistake at ``path``."""
        self.problems.append(Problem(self.file, self.line(path), self.said(path), message, proposal))

    def said(self, path: Path) -> str:
        """Return a path as one says it: ``earn[happy-hour].cap``; what has no id counts from 1: ``earn[2].cap``."""
        text = ""
        for depth, part in enumerate(path):
            if isinstance(part, int):
                item_id = self.at(*path[: depth + 1], "id")
                text += f"[{item_id if isinstance(item_id, str) and item_id else part + 1}]"
            else:
                text += f".{part}" if text else part
        return text

    def at(self, *path: str | int) -> Any:
        """Return what stands at ``path``, None where nothing does or where the shape is another one."""
        found = self.tree
        for part in path:
            if isinstance(part, str) and isinstance(found, dict):
                found = found.get(part)
            elif isinstance(part, int) and isinstance(found, list) and part < len(found):
                found = found[part]
            else:
                return None
        return found


def read_yaml(text: str, file: str) -> Draft:
    """Read YAML; what is no YAML, or too clever for this language, is a problem of the draft."""
    draft = Draft(file)
    if len(text) > MAX_CHARACTERS:
        draft.report((), f"the file has more than {MAX_CHARACTERS:,} characters; that is no programme")
        return draft
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        draft.problems.append(Problem(file, mark.line + 1 if mark else 0, "", f"not YAML: {what}", _yaml_hint(error)))
        return draft
    except (yaml.YAMLError, RecursionError) as error:
        line = text[: getattr(error, "position", 0)].count("\n") + 1
        draft.problems.append(Problem(file, line, "", f"not YAML: {str(error).splitlines()[0]}"))
        return draft
    if node is None:
        draft.report((), "the file is empty", "begin with programme, version, valid, time_zone and currency")
        return draft
    reader = _Reader(draft)
    draft.tree = reader.value(node, ())
    for path, line, message, proposal in reader.found:  # only now can paths be said with the ids in them
        draft.problems.append(Problem(file, line, draft.said(path), message, proposal))
    return draft


def _yaml_hint(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    if "\\t" in problem:
        return "indent with spaces, not tabs"
    if "mapping values are not allowed" in problem:
        return "put text with a colon in quotes, and check the indentation"
    if "single document" in (error.context or ""):
        return "one file is one version: take the --- out"
    return "check brackets, quotes and indentation at this line"


class _Reader:
    """Turns YAML nodes into plain values and notes their lines."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.seen: set[int] = set()
        self.found: list[tuple[Path, int, str, str]] = []

    def report(self, path: Path, message: str, proposal: str = "", line: int | None = None) -> None:
        self.found.append((path, line or self.draft.line(path), message, proposal))

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.draft.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in self.seen:
            self.report(path, "anchors and aliases are not part of the language", "write it out")
            return None
        self.seen.add(id(node))
        if len(path) > _MAX_DEPTH:
            self.report(path, f"nested more than {_MAX_DEPTH} deep")
            return None
        if node.tag not in _CORE_TAGS:
            self.report(path, f"the tag {node.tag} is not part of the language", "take it out")
            return None
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if _SURROGATE.search(node.value):
            self.report(path, "half a character: an escape of a surrogate", "write the character itself")
            return None
        unquoted = isinstance(node, yaml.ScalarNode) and node.style is None
        return scalar(node.value) if unquoted else node.value

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or _SURROGATE.search(key_node.value):
                self.report(path, "a key must be a single word", line=key_node.start_mark.line + 1)
                continue
            key = key_node.value
            here, line = (*path, key), key_node.start_mark.line + 1
            if key in found:
                first = self.draft.lines[here]
                self.report(here, f"{key} stands here twice, first in line {first}", "keep one of them", line)
                continue
            self.draft.lines[here] = line
            found[key] = self.value(value_node, here)
        return found


def scalar(text: str) -> Any:
    """Return what an unquoted scalar means: a whole number, an exact decimal, true, false, nothing, else its text."""
    if _WHOLE.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return Decimal(text)
    return _WORDS.get(text, text)


def read_json(text: bytes, source: str) -> Draft:
    """Read canonical JSON as it stands in the `programmes` topic."""
    draft = Draft(source)
    try:
        draft.tree = json.loads(text, parse_float=Decimal, object_pairs_hook=_no_duplicates)
        json.dumps(draft.tree, default=str, ensure_ascii=False).encode()  # refuses half characters
    except (ValueError, RecursionError) as error:
        draft.report((), f"not JSON: {error}")
    return draft


def _no_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a key stands twice in {shown(found)}")
    return found
