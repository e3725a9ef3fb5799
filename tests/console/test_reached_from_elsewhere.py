"""A console that is reached from elsewhere: encrypted or not at all, under the name that browsers know, with a given token."""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from engine.broker import free_port
from engine.cli import main
from tests.certificates import make_certificate
from tests.console.conftest import showing

TOKEN = "a-token-out-of-a-secret-0123456789"


def test_with_a_certificate_a_name_and_a_token_of_ones_own(month: Path, tmp_path: Path) -> None:
    """Given --tls-certfile, --url and --token-file, then it speaks HTTPS alone, answers under both names and no other, its cookie
    never crosses a network readable, probes tell that it is ready, and the token's file stays."""
    made, port = make_certificate(tmp_path), free_port()
    (tmp_path / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    options = {
        "tls-certfile": made.file, "tls-keyfile": made.key, "url": "https://console.example", "token-file": tmp_path / "token",
        "metrics-port": port,
    }  # fmt: skip
    with showing(month, tmp_path, options) as shown, shown.client() as client:
        assert shown.url.startswith("https:")
        named = {"host": "console.example", "origin": "https://console.example"}
        answer = client.post("/login", data={"token": TOKEN}, headers=named)
        assert answer.status_code == 303
        assert "secure" in answer.headers["set-cookie"].lower()
        assert client.get("/", headers={"host": "console.example"}).status_code == 200
        assert client.get("/", headers={"host": "evil.example"}).status_code == 421
        elsewhere = {"host": "console.example", "origin": "https://evil.example"}
        assert client.post("/sql", data={"sql": "select 1"}, headers=elsewhere).status_code == 403
        with pytest.raises(httpx.HTTPError):
            httpx.get(shown.url.replace("https:", "http:"))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=60) as ready:
            assert ready.status == 200
    assert (tmp_path / "token").read_text(encoding="utf-8") == f"{TOKEN}\n"


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--host", "0.0.0.0"], 2, "--behind-tls"),  # noqa: S104  it is refused
        (["--host", "console.example"], 2, "--tls-certfile"),
        (["--tls-certfile", "CERT"], 2, "go together"),
        (["--url", "console.example"], 2, "https://console.example"),
        (["--url", "https://user@console.example"], 2, "scheme and host alone"),
        (["--url", "https://console.example/path"], 2, "has no path"),
        (["--token-file", "none"], 2, "No such file"),
        (["--token-file", "SHORT"], 2, "easily guessed"),
        (["--console-port", "TAKEN"], 1, "name another with --console-port"),
    ],
)
def test_what_is_wrong_with_a_start_is_told(options: list[str], code: int, words: str, tmp_path: Path) -> None:
    """A sentence, and nothing is opened or written."""
    (tmp_path / "short").write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        known = {"CERT": make_certificate(tmp_path).file, "SHORT": tmp_path / "short", "TAKEN": taken.getsockname()[1]}
        given = [str(known.get(word, word)) for word in options]
        done = CliRunner().invoke(main, ["console", "--db", str(tmp_path / "t.duckdb"), *given])
    assert (done.exit_code, words in done.output) == (code, True), done.output
    assert not list(tmp_path.glob("*.console-token"))
