"""What tests of `stammgast deliver` share: a notice, a receiver of webhooks that does what it is told, a mail server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from engine.signing import parse_secret, sign
from schemas.notices import NoticeEvent, encode_event, parse_event

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#: Longest wait for something that a test waits for.
PATIENCE_S = 120.0


def notice(number: int = 1, member: str = "anna", channel: str = "push", **data: Any) -> NoticeEvent:
    """A notice as it stands on `incentives`."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"{number:032x}",
        "source": "urn:stammgast:notice",
        "type": "stammgast.notice.v1",
        "subject": member,
        "time": "2026-03-04T23:00:00.000000Z",
        "datacontenttype": "application/json",
        "data": {
            "rule": "birthday-soon",
            "rule_version": 3,
            "programme": "4e1f",
            "moment": "birthday",
            "channel": channel,
            "language": "de",
            "template": "birthday",
            "values": {"days": 5, "points": 50},
            "reason": {"text": "the birthday is in 5 days", "fields": {"days": 5}},
            "not_before": None,
            "expires_at": None,
            "effects": [],
            **data,
        },
    }
    return parse_event(encode_event(event))  # type: ignore[arg-type]


@dataclass
class Received:
    """One request that a receiver got."""

    id: str
    headers: dict[str, str]
    body: bytes
    path: str

    def signed_by(self, secret: str) -> bool:
        """Is one of its signatures of this secret?"""
        right = sign(parse_secret(secret), self.id, int(self.headers["webhook-timestamp"]), self.body)
        return right in self.headers["webhook-signature"].split(" ")


#: (status, headers) for the request that came; None: no answer, ever.
Behave = Callable[[Received], tuple[int, dict[str, str]] | None]


@dataclass
class Receiver:
    """A webhook on this machine. `behave` says how it answers, and may be changed at any time."""

    behave: Behave = field(default=lambda _: (204, {}))
    got: list[Received] = field(default_factory=list)
    port: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    news: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/notices"

    def ids(self) -> list[str]:
        """Of every request, in order."""
        with self.news:
            return [one.id for one in self.got]

    async def until(self, holds: Callable[[list[Received]], bool]) -> None:
        """Wait until what it got is enough."""

        def wait() -> bool:
            with self.news:
                return self.news.wait_for(lambda: holds(self.got), PATIENCE_S)

        assert await asyncio.to_thread(wait), f"after {PATIENCE_S:.0f} s it has got only {self.ids()}"


@contextmanager
def receiving(behave: Behave | None = None) -> Iterator[Receiver]:
    """Run a receiver."""
    receiver = Receiver() if behave is None else Receiver(behave)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            one = Received(headers.get("webhook-id", ""), headers, body, self.path)
            with receiver.news:
                receiver.got.append(one)
                answer = receiver.behave(one)
                receiver.news.notify_all()
            if answer is None:
                receiver.over.wait(PATIENCE_S)
                self.close_connection = True
                return
            self.send_response(answer[0])
            for name, value in answer[1].items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing is said."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
