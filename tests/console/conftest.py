"""One file made from the demo's real shop data, and one console that shows it, for all tests here."""

from __future__ import annotations

import contextlib
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.console.demo_file import make_month

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUERY_SECONDS = 10


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture(scope="session")
def month(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """December 2010 of the gift shop, replayed."""
    return make_month(tmp_path_factory.mktemp("month"), "month.duckdb")


@dataclass(frozen=True, slots=True)
class Shown:
    """A console that runs: the file it shows, its process, where it writes its log, and how to reach it."""

    db: Path
    process: subprocess.Popen[str]
    log: Path
    url: str
    token: str
    certificate: Path | None = None

    @contextlib.contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """Somebody who is logged in."""
        trusted = ssl.create_default_context(cafile=self.certificate) if self.certificate else True
        with httpx.Client(base_url=self.url, timeout=100, headers={"accept": "text/html"}, verify=trusted) as client:
            assert client.post("/login", data={"token": self.token}).status_code == 303
            yield client

    def ask(self, query: str, **parameters: object) -> list[tuple[object, ...]]:
        """The same file asked directly, with nothing of ours in between."""
        with duckdb.connect(str(self.db), read_only=True) as connection:
            connection.execute("set timezone = 'UTC'")
            return connection.execute(query, parameters or None).fetchall()


@pytest.fixture(scope="session")
def shown(month: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """The console of a copy of that file, as the command starts it; tests may write the copy."""
    folder = tmp_path_factory.mktemp("console")
    with showing(month, folder) as one:
        yield one


@contextlib.contextmanager
def showing(file: Path, folder: Path, more: Mapping[str, object] | None = None) -> Iterator[Shown]:
    """A console over a copy of a file, in a folder of its own, as the command starts it, with `more` options."""
    db = folder / "shop.duckdb"
    shutil.copy(file, db)
    (folder / "own").mkdir()
    (folder / "own" / "mine.sql").write_text("-- My own question\nselect 42 as mine\n", encoding="utf-8")
    options = {
        "db": db, "console-port": 0, "query-seconds": QUERY_SECONDS, "refresh-seconds": 0.2, "memory-limit": "400MB",
        "questions": folder / "own", "datadir": folder, **(more or {}),
    }  # fmt: skip
    certificate = more.get("tls-certfile") if more else None
    command = [sys.executable, "-c", "from engine.cli import main; main()", "console"]
    command += [text for name, value in options.items() for text in (f"--{name}", str(value))]
    log = folder / "console.log"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    said = process.stdout.readline()
    found = re.search(r"https?://127\.0\.0\.1:\d+", said)
    assert found, f"the console said {said!r} and {log.read_text(encoding='utf-8')}"
    token = Path(str(options.get("token-file", f"{db}.console-token"))).read_text(encoding="utf-8").strip()
    yield Shown(db, process, log, found[0], token, None if certificate is None else Path(str(certificate)))
    process.terminate()
    assert process.wait(30) == 0
    assert not Path(f"{db}.console-token").exists()
    assert list(folder.glob("stammgast-readers-*")) == []


@pytest.fixture
def client(shown: Shown) -> Iterator[httpx.Client]:
    """Somebody who is logged in."""
    with shown.client() as one:
        yield one
