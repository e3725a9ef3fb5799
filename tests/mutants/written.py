"""The mutants: mutmut thinks of them, here they get a name, their text, and the lines of the file that they change."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher, unified_diff
from functools import cache
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple


class Place(NamedTuple):
    """A function of a file, and how many mutants of it there are."""

    path: Path
    owner: str | None
    function: str
    mutants: int

    @property
    def module(self) -> str:
        """Its module, with dots."""
        return ".".join(self.path.with_suffix("").parts)

    def name(self, number: int) -> str:
        """Return the name of a mutant, as mutmut gives it: ``engine.ledger.lots.x_burn_from__mutmut_2``."""
        mangled = f"xǁ{self.owner}ǁ{self.function}" if self.owner else f"x_{self.function}"
        return f"{self.module}.{mangled}__mutmut_{number}"


class Mutant(NamedTuple):
    """One change of one function.

    Attributes:
        before: the function's text, from its first column.
        after: the same with the change.
        lines: of the file; a test that runs none of them cannot mind.
    """

    name: str
    place: Place
    before: str
    after: str
    lines: frozenset[int]

    @property
    def digest(self) -> str:
        """Name it by what it says: a number alone means another change once the function is edited."""
        return blake2b(f"{self.name}\0{self.before}\0{self.after}".encode(), digest_size=12).hexdigest()

    @property
    def diff(self) -> str:
        """The change, unified."""
        path = str(self.place.path)
        return "\n".join(unified_diff(self.before.split("\n"), self.after.split("\n"), path, path, lineterm=""))


class _Written(NamedTuple):
    module: Any
    mutations: dict[tuple[str | None, str], tuple[Any, list[Any]]]
    tree: ast.Module


@cache
def _written(path: Path) -> _Written:
    mutation = import_module("mutmut.mutation.file_mutation")
    cst = import_module("libcst")
    code = path.read_text(encoding="utf-8")
    module, mutations, *_ = mutation.create_mutations(str(path), code)
    by_function = mutation.group_by_top_level_node(mutations)
    found: dict[tuple[str | None, str], tuple[Any, list[Any]]] = {}
    for node in module.body:
        if isinstance(node, cst.FunctionDef):
            inner = [(None, node)]
        elif isinstance(node, cst.ClassDef) and isinstance(node.body, cst.IndentedBlock):
            inner = [(node.name.value, one) for one in node.body.body if isinstance(one, cst.FunctionDef)]
        else:
            inner = []
        for owner, function in inner:
            if by_function.get(function):
                found[owner, function.name.value] = (function, list(by_function[function]))
    return _Written(module, found, ast.parse(code))


def places(folders: Sequence[str]) -> Iterator[Place]:
    """Yield every function of which there are mutants, file by file."""
    for path in sorted(file for folder in folders for file in Path(folder).rglob("*.py")):
        for (owner, function), (_, mutations) in _written(path).mutations.items():
            yield Place(path, owner, function, len(mutations))


def mutant(place: Place, number: int) -> Mutant:
    """Write one mutant of a function, counted from 1."""
    mutation = import_module("mutmut.mutation.file_mutation")
    written = _written(place.path)
    function, mutations = written.mutations[place.owner, place.function]
    chosen = mutations[number - 1]
    before = _text(written.module, function)
    after = _text(written.module, mutation.deep_replace(function, chosen.original_node, chosen.mutated_node))
    lines = lines_changed(_node(written.tree, place), before, after)
    return Mutant(place.name(number), place, before, after, lines)


def _text(module: Any, function: Any) -> str:
    return str(module.code_for_node(function.with_changes(leading_lines=[])))


def _node(tree: ast.Module, place: Place) -> ast.FunctionDef:
    body: list[ast.stmt] = tree.body
    if place.owner is not None:
        body = next(one for one in body if isinstance(one, ast.ClassDef) and one.name == place.owner).body
    return next(one for one in body if isinstance(one, ast.FunctionDef) and one.name == place.function)


def lines_changed(function: ast.FunctionDef, before: str, after: str) -> frozenset[int]:
    """Return the lines of all statements that a change touches; of the whole function where it touches its head."""
    first = min([function.lineno, *(one.lineno for one in function.decorator_list)])
    touched: set[int] = set()
    for what, begin, end, _, _ in SequenceMatcher(None, before.split("\n"), after.split("\n"), False).get_opcodes():
        if what != "equal":
            touched |= set(range(first + begin, first + max(end, begin + 1)))
    lines: set[int] = set()
    for line in touched:
        lines |= set(_statement(function, line))
    return frozenset(lines)


def _statement(function: ast.FunctionDef, line: int) -> range:
    """Return the lines of the innermost statement around a line: of a compound one its head."""
    assert function.end_lineno is not None
    if line < function.body[0].lineno:
        return range(function.body[0].lineno, function.end_lineno + 1)
    best = range(function.body[0].lineno, function.end_lineno + 1)
    for node in ast.walk(function):
        if isinstance(node, ast.stmt) and node is not function and node.end_lineno is not None:
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if isinstance(body, list) and body else node.end_lineno
            for one in (range(node.lineno, node.end_lineno + 1), range(node.lineno, max(last, node.lineno) + 1)):
                if line in one and len(one) < len(best):
                    best = one
    return best
