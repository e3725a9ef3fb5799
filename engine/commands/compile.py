"""`stammgast compile`: the core as machine code and a blank DuckDB file, for machines that decide or replay a lot."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import click

from engine.compiled import GROUP, KEPT, ROOMS, ROOT, kept_in, sources
from engine.settings import No

#: Types are checked before they are relied on; `make types` is stricter and says more.
MYPY = "[mypy]\nplugins = pydantic.mypy\n"
_SCRIPT = ROOT / "engine" / "compiling.py"


@click.command("compile")
def compile_() -> None:
    """Compile the pure core with mypyc, kept beside the sources; every process started later runs it.

    It takes half a minute, a C compiler, Python's headers and mypy (`make compile`), and changes no result. Nothing needs it.
    An empty DuckDB file with all tables and views is kept there, too: a replay that begins with a copy of it saves half a second.
    After an edit of the core, or with STAMMGAST_COMPILED=0, the sources are interpreted as before. Exit code 1: it cannot
    be compiled here.
    """
    _keep_blank()
    folder = kept_in()
    if folder.is_dir():
        click.echo("the core is compiled already")
        return
    _require_tools()
    KEPT.mkdir(exist_ok=True)
    # Beside its place, so that it appears there whole; a process that starts meanwhile finds nothing and interprets.
    with tempfile.TemporaryDirectory(prefix="making-", dir=KEPT) as making:
        made = _made(Path(making))
        if kept_in() != folder:
            raise No("the sources changed while they were compiled: say it again.")
        made.rename(folder)
    for old in KEPT.iterdir():
        if old != folder and old.name.endswith(folder.suffix):
            shutil.rmtree(old)
    click.echo(f"compiled {len(sources())} modules")


def _keep_blank() -> None:
    # Only here: DuckDB takes a while to import, and no other command of the core needs it.
    from projections import blank

    try:
        if blank.make(KEPT):
            click.echo("made an empty DuckDB file for replays to begin with")
    except OSError as error:
        raise No(f"{KEPT}: cannot be written ({error.strerror or error}): give yourself the right to.") from error


def _require_tools() -> None:
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        raise No(
            f"no C compiler ({compiler}): install one (Debian: gcc, libc6-dev), or leave it: the core runs interpreted."
        )
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        raise No("no Python.h: install Python's headers (Debian: python3-dev), or leave it: the core runs interpreted.")
    missing = [name for name in ("mypyc", "setuptools") if importlib.util.find_spec(name) is None]
    if missing:
        raise No(
            f"{' and '.join(missing)} not installed: pip install mypy setuptools, or leave it: the core runs interpreted."
        )


def _made(workshop: Path) -> Path:
    """Compile a copy of the sources in an empty folder; return the folder of what came out."""
    for room in ROOMS:
        (workshop / room).mkdir(parents=True)
        for path in (ROOT / room).glob("*.py"):
            shutil.copy(path, workshop / room)
    (workshop / "engine" / "__init__.py").touch()
    (workshop / "mypy.ini").write_text(MYPY)
    # -P: our folder must not stand before the libraries that the script imports.
    command = [sys.executable, "-P", str(_SCRIPT), "out", GROUP, *sources()]
    ran = subprocess.run(command, cwd=workshop, capture_output=True, text=True, check=False)
    if ran.returncode:
        last = "\n".join((ran.stdout + ran.stderr).strip().splitlines()[-15:])
        raise No(f"the core could not be compiled and runs interpreted as before:\n{last}")
    return workshop / "out"
