"""Mails of `stammgast deliver`, to a real mail server on this machine (aiosmtpd)."""

from __future__ import annotations

import email
import email.policy
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from engine.broker import free_port
from engine.deliver.sending import SENT, Answer, ConfigBroken
from engine.deliver.smtp import SmtpSender, SmtpSettings
from schemas.notices import NoticeEvent
from tests.kafka.harness import make_client_certificate
from tests.unit.deliver_world import notice

TEXT = "Subject: Noch {{ days }} Tage für Sie\n\nWir schenken Ihnen {{ points }} Punkte.\n"
HTML = "<p>{{ points }} Punkte</p>"
PASSWORD = "correct horse"


@dataclass
class MailServer:
    """Takes mails, or refuses them with `refuse`."""

    port: int = 0
    refuse: str = ""
    refuse_data: str = ""
    mails: list[tuple[str, EmailMessage]] = field(default_factory=list)

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        """An address is named."""
        if self.refuse:
            return self.refuse
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        """A mail is there."""
        if self.refuse_data:
            return self.refuse_data
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append((envelope.rcpt_tos[0], mail))
        return "250 OK"


def _let_in(_server: Any, _session: Any, _envelope: Any, _mechanism: str, said: Any) -> AuthResult:
    good = isinstance(said, LoginPassword) and said == LoginPassword(b"shop", PASSWORD.encode())
    return AuthResult(success=good, handled=False)


@contextmanager
def mail_server(context: ssl.SSLContext | None = None) -> Iterator[MailServer]:
    """Run one; with a context it asks for STARTTLS and a login."""
    server = MailServer()
    more: dict[str, Any] = {}
    if context is not None:
        more = {"tls_context": context, "require_starttls": True, "authenticator": _let_in, "auth_required": True}
    server.port = free_port()
    controller = Controller(server, hostname="127.0.0.1", port=server.port, ready_timeout=60.0, **more)
    controller.start()
    try:
        yield server
    finally:
        controller.stop()


def sender(folder: Path, port: int, **said: Any) -> SmtpSender:
    """A sender with templates and an address book."""
    (folder / "templates" / "birthday").mkdir(parents=True, exist_ok=True)
    (folder / "templates" / "birthday" / "de.txt").write_text(TEXT)
    (folder / "templates" / "birthday" / "de.html").write_text(HTML)
    (folder / "book.csv").write_text(
        "member,address\nanna,anna@example.org\nbert,no address\ncarl,c@x.org\nx y,q@x.org\n"
    )
    (folder / "password").write_text(PASSWORD + "\n")
    settings = {
        "sender": "smtp", "host": "127.0.0.1", "port": port, "tls": "none", "from": "Café <hello@shop.example>",
        "templates": "templates", "default_language": "de", "addresses": {"csv": "book.csv"}, "timeout_seconds": 60,
    }  # fmt: skip
    return SmtpSender(SmtpSettings.model_validate(settings | said), folder)


async def tried(one: SmtpSender, what: NoticeEvent | None = None) -> Answer:
    """One attempt."""
    try:
        return await one.send(notice(channel="mail") if what is None else what, b"")
    finally:
        await one.close()


async def test_a_mail_says_what_its_template_says(tmp_path: Path) -> None:
    """Text and HTML, umlauts, a link to unsubscribe with one click, the same Message-ID every time."""
    unsubscribe = "https://shop.example/off/{notice}?m={member}"
    with mail_server() as server:
        assert await tried(sender(tmp_path, server.port, unsubscribe=unsubscribe, reply_to="a@shop.example")) == SENT
        assert await tried(sender(tmp_path, server.port, unsubscribe=unsubscribe), notice(member="x y")) == SENT
    (to, mail), (_, other) = server.mails
    assert to == mail["To"] == "anna@example.org"
    assert mail["Subject"] == "Noch 5 Tage für Sie"
    assert mail["From"] == "Café <hello@shop.example>"
    assert mail["Reply-To"] == "a@shop.example"
    assert mail["Message-ID"] == f"<{notice()['id']}@shop.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["List-Unsubscribe"] == f"<https://shop.example/off/{notice()['id']}?m=anna>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert other["List-Unsubscribe"].endswith("?m=x%20y>")
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert html is not None
    assert text.get_content().strip() == "Wir schenken Ihnen 50 Punkte."
    assert html.get_content().strip() == "<p>50 Punkte</p>"


async def test_over_starttls_with_a_login(tmp_path: Path) -> None:
    """The certificate is checked; a wrong password is tried later, for it is ours to mend."""
    make_client_certificate(tmp_path / "c.pem", tmp_path / "k.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
    login = {"tls": "starttls", "username": "shop", "password_file": "password"}
    with mail_server(context) as server:
        untrusted = await tried(sender(tmp_path, server.port, **login))
        trusting = sender(tmp_path, server.port, **login, ca_file="c.pem")
        trusting._context.check_hostname = False  # the certificate of the tests names no host
        trusted = await tried(trusting)
        wrong = sender(tmp_path, server.port, **login, ca_file="c.pem")
        wrong._context.check_hostname = False
        (tmp_path / "password").write_text("guessed")
        wrong = sender_with(wrong, tmp_path)
        refused = await tried(wrong)
    assert untrusted == Answer("later", "tls_failed")
    assert trusted == SENT
    assert refused == Answer("later", "login_refused")
    assert len(server.mails) == 1


def sender_with(one: SmtpSender, folder: Path) -> SmtpSender:
    """The same sender with the password that stands in the file now."""
    from engine.deliver.files import Watched, first_line

    one._password = Watched(folder / "password", first_line)
    return one


@pytest.mark.parametrize(
    ("refuse", "answer"),
    [
        ("550 no such mailbox", Answer("bounced", "smtp_550")),
        ("451 try later", Answer("later", "smtp_451")),
    ],
)
async def test_an_address_that_is_refused(tmp_path: Path, refuse: str, answer: Answer) -> None:
    """For good it bounced, for now it is tried again."""
    with mail_server() as server:
        server.refuse = refuse
        assert await tried(sender(tmp_path, server.port)) == answer


async def test_a_mail_that_is_refused_and_a_server_that_is_away(tmp_path: Path) -> None:
    """What the server says of the mail itself is no bounce."""
    with mail_server() as server:
        server.refuse_data = "554 looks like spam"
        assert await tried(sender(tmp_path, server.port)) == Answer("never", "smtp_554")
        server.refuse_data = "452 full"
        assert await tried(sender(tmp_path, server.port)) == Answer("later", "smtp_452")
        port = server.port
    assert await tried(sender(tmp_path, port)) == Answer("later", "connection_broken")


async def test_nobody_to_write_to_and_nothing_to_say(tmp_path: Path) -> None:
    """A member without an address, one whose address is none, a template that is not there."""
    with mail_server() as server:
        assert await tried(sender(tmp_path, server.port), notice(member="nobody")) == Answer("never", "no_address")
        assert await tried(sender(tmp_path, server.port), notice(member="bert")) == Answer("bounced", "bad_address")
        assert await tried(sender(tmp_path, server.port), notice(template="welcome")) == Answer("never", "no_template")
        assert await tried(sender(tmp_path, server.port), notice(values={})) == Answer("never", "template_failed")
    assert server.mails == []


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"username": "shop", "password_file": "password"}, "readable"),
        ({"tls": "tls", "username": "shop"}, "go together"),
        ({"unsubscribe": "http://shop.example/"}, "https://"),
        ({"templates": "nowhere"}, "no folder"),
    ],
)
def test_settings_that_cannot_work(tmp_path: Path, said: dict[str, Any], words: str) -> None:
    """Told when it starts."""
    with pytest.raises(ConfigBroken, match=words):
        sender(tmp_path, 25, **said)
