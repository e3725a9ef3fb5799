"""Notices as mails: a template filled, an address looked up, one SMTP transaction per mail in a thread of its own.

Sources: RFC 5321 (SMTP), RFC 3207 (STARTTLS), RFC 2369 and 8058 (List-Unsubscribe, with one click), RFC 3834 (Auto-Submitted).
"""

from __future__ import annotations

import asyncio
import email.policy
import smtplib
import ssl
from concurrent.futures import ThreadPoolExecutor
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from urllib.parse import quote

from pydantic import Field

from engine.deliver.addresses import BookAway, BookSettings, book_of
from engine.deliver.files import Watched, first_line
from engine.deliver.sending import SENT, Answer, Channel, ConfigBroken
from engine.deliver.templates import Letter, NoTemplate, TemplateFails, Templates
from schemas.notices import NoticeEvent

# Headers are not folded: a link in one would be encoded word by word, which no mail program reads. RFC 5322 takes 998.
_POLICY = email.policy.default.clone(max_line_length=900)


class SmtpSettings(Channel):
    """Settings of a channel whose notices are mails."""

    sender: Literal["smtp"]
    host: str
    port: Annotated[int, Field(ge=1, le=65_535)] = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: Path | None = Field(None, description="certificates to trust instead of the system's")
    username: str | None = None
    password_file: Path | None = None
    from_: str = Field(alias="from", description="Our shop <hello@shop.example>")
    reply_to: str | None = None
    templates: Path
    default_language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] = "en"
    addresses: BookSettings
    unsubscribe: str | None = Field(
        None, description="a https: or mailto: link with {notice} or {member} in it, for the header List-Unsubscribe"
    )


class SmtpSender:
    """One connection per mail. A mail server does not know notice ids: what was sent and not yet noted may come twice."""

    Settings: ClassVar[type[Channel]] = SmtpSettings

    def __init__(self, settings: SmtpSettings, folder: Path) -> None:
        """Errors: ConfigBroken."""
        self._settings = settings
        self._from = _mailbox(settings.from_, "from")
        self._reply_to = None if settings.reply_to is None else _mailbox(settings.reply_to, "reply_to")
        if (settings.username is None) != (settings.password_file is None):
            raise ConfigBroken("username and password_file go together")
        if settings.username is not None and settings.tls == "none":
            raise ConfigBroken("tls: none sends the password readable: say starttls or tls")
        password = settings.password_file
        self._password = None if password is None else Watched(folder / password, first_line)
        if settings.unsubscribe is not None and not settings.unsubscribe.startswith(("https://", "mailto:")):
            raise ConfigBroken("unsubscribe: a link that begins with https:// or mailto:")
        self._templates = Templates(folder / settings.templates, settings.default_language)
        self._book = book_of(settings.addresses, folder, settings.concurrency, settings.timeout_seconds)
        try:
            ca_file = None if settings.ca_file is None else folder / settings.ca_file
            self._context = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise ConfigBroken(f"ca_file {settings.ca_file}: {error}") from error
        self._threads = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="smtp")

    async def send(self, notice: NoticeEvent, body: bytes) -> Answer:
        """Send one mail."""
        try:
            letter = self._templates.letter(notice)
        except NoTemplate:
            return Answer("never", "no_template")
        except TemplateFails:
            return Answer("never", "template_failed")
        try:
            address = await self._book.address(notice["subject"])
        except BookAway as error:
            return Answer("later", error.reason)
        if not address:
            return Answer("never", "no_address")
        try:
            mail = self._mail(notice, letter, address)
        except (ValueError, IndexError):  # what the e-mail package raises for what is no address
            return Answer("bounced", "bad_address")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._deliver, mail, address)

    def _mail(self, notice: NoticeEvent, letter: Letter, address: str) -> EmailMessage:
        mail = EmailMessage(_POLICY)
        mail["Subject"], mail["From"], mail["To"] = letter.subject, self._from, Address(addr_spec=address)
        if self._reply_to is not None:
            mail["Reply-To"] = self._reply_to
        mail["Date"] = formatdate()
        # The same for every attempt: a mail that came twice can be seen to be one.
        mail["Message-ID"] = f"<{notice['id']}@{self._from.domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        if self._settings.unsubscribe is not None:
            link = self._settings.unsubscribe.replace("{notice}", notice["id"])
            link = link.replace("{member}", quote(notice["subject"], safe=""))
            mail["List-Unsubscribe"] = f"<{link}>"
            if link.startswith("https://"):
                mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        mail.set_content(letter.text)
        if letter.html is not None:
            mail.add_alternative(letter.html, subtype="html")
        return mail

    def _deliver(self, mail: EmailMessage, address: str) -> Answer:
        """In a thread: every step on the wire takes `timeout_seconds` at most."""
        try:
            with self._connection() as server:
                server.send_message(mail, from_addr=self._from.addr_spec, to_addrs=[address])
        except smtplib.SMTPRecipientsRefused as error:
            code = next(iter(error.recipients.values()))[0]
            return Answer("bounced" if code >= 500 else "later", f"smtp_{code}")
        except smtplib.SMTPAuthenticationError:
            return Answer("later", "login_refused")
        except smtplib.SMTPResponseException as error:
            return Answer("never" if 500 <= error.smtp_code < 600 else "later", f"smtp_{error.smtp_code}")
        except smtplib.SMTPNotSupportedError:
            return Answer("later", "smtp_not_supported")
        except ssl.SSLError:
            return Answer("later", "tls_failed")
        except TimeoutError:
            return Answer("later", "timeout")
        except (smtplib.SMTPException, OSError):
            return Answer("later", "connection_broken")
        return SENT

    def _connection(self) -> smtplib.SMTP:
        settings = self._settings
        if settings.tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                settings.host, settings.port, timeout=settings.timeout_seconds, context=self._context
            )
        else:
            server = smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout_seconds)
        try:
            if settings.tls == "starttls":
                server.starttls(context=self._context)
            if settings.username is not None and self._password is not None:
                server.login(settings.username, self._password.get())
        except BaseException:
            server.close()
            raise
        return server

    async def close(self) -> None:
        """End its threads; a mail that is under way is waited for."""
        await asyncio.to_thread(self._threads.shutdown)
        await self._book.close()


def _mailbox(text: str, field: str) -> Address:
    name, spec = parseaddr(text)
    try:
        return Address(name, addr_spec=spec)
    except (ValueError, IndexError) as error:
        raise ConfigBroken(f"{field}: write it like Our shop <hello@shop.example>") from error
