"""The pure core compiled ahead of time: the same sources, a good deal faster, where `stammgast compile` was run.

Nothing needs it. What was compiled is kept under the hash of every source it was made of, so an edited source is never
shadowed by what was compiled before: the core is interpreted until it is compiled again. STAMMGAST_COMPILED=0 does without.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
#: What was compiled, in a folder per state of the sources.
KEPT = ROOT / ".compiled"
#: The rooms whose sources a compiled core depends on: a type that changes anywhere in them changes what was compiled.
ROOMS = ("schemas", "rules", "engine/ledger")
#: What is compiled of them, beside all of engine/ledger. The rest of the rooms runs once per start, or is pydantic's.
SINGLE = (
    *("schemas/decisions.py", "schemas/envelope.py", "schemas/ids.py", "schemas/money.py", "schemas/rejects.py"),
    *("schemas/plain_purchase.py", "schemas/times.py"),
    *("rules/book.py", "rules/conditions.py", "rules/local_time.py", "rules/plan.py"),
)
#: mypyc puts the code of all modules into one library; the modules themselves are only doors to it.
GROUP = "stammgast_core"
LIBRARY = f"{GROUP}__mypyc"
#: Names the Python and the platform: ``.cpython-311-x86_64-linux-gnu.so``.
SUFFIX = EXTENSION_SUFFIXES[0]


def sources(root: Path = ROOT) -> list[str]:
    """The modules that are compiled, as paths below ``root``, in order."""
    ledger = [path.relative_to(root).as_posix() for path in (root / "engine" / "ledger").glob("*.py")]
    return sorted([*SINGLE, *(path for path in ledger if not path.endswith("__init__.py"))])


def kept_in(root: Path = ROOT) -> Path:
    """The folder that holds what was compiled of the sources as they are now, for this Python; it need not exist."""
    digest = blake2b(digest_size=16)
    for room in ROOMS:
        for path in sorted((root / room).glob("*.py")):
            text = path.read_bytes()
            digest.update(f"{path.relative_to(root).as_posix()}:{len(text)}:".encode() + text)
    return root / KEPT.name / f"{digest.hexdigest()}{SUFFIX.removesuffix('.so')}"


class _Compiled(MetaPathFinder):
    """Finds the compiled modules before Python looks for their sources."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self._files.get(fullname)
        return None if file is None else spec_from_file_location(fullname, file)


def prefer_compiled() -> bool:
    """Import the core compiled from here on, if that was made of these very sources; tell whether it is so.

    All of it or nothing: where a module of the core was imported before, interpreted, it stays as it is.
    """
    if os.environ.get("STAMMGAST_COMPILED") == "0":
        return False
    folder = kept_in()
    if not folder.is_dir():
        return False
    files = {source.removesuffix(".py").replace("/", "."): source.removesuffix(".py") for source in sources()}
    if not sys.modules.keys().isdisjoint(files):
        return False
    found = {name: folder / f"{path}{SUFFIX}" for name, path in files.items()}
    sys.meta_path.insert(0, _Compiled(found | {LIBRARY: folder / f"{LIBRARY}{SUFFIX}"}))
    return True


def core() -> str:
    """``compiled`` or ``interpreted``: how this process runs the core."""
    return "compiled" if any(isinstance(finder, _Compiled) for finder in sys.meta_path) else "interpreted"
