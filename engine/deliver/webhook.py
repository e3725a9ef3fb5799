"""Notices to a webhook: the event as it stands on `incentives`, signed as Standard Webhooks says, its id as webhook-id.

Source: Standard Webhooks, https://www.standardwebhooks.com. Several secrets sign side by side while one is changed.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from engine.deliver.files import Watched, first_line
from engine.deliver.network import NO_ANSWER, Caller, answer_of, why_not
from engine.deliver.sending import Answer, Channel, ConfigBroken
from engine.signing import SecretUnreadable, parse_secret, sign
from schemas.notices import NoticeEvent


class WebhookSettings(Channel):
    """Settings of a channel whose notices are posted."""

    sender: Literal["webhook"]
    url: str
    secret_files: Annotated[list[Path], Field(min_length=1, max_length=3)] = Field(
        description="signing secrets (whsec_...), one per file; two while a secret is changed"
    )
    bearer_token_file: Path | None = Field(
        None, description="sent as Authorization: Bearer, where a provider asks for it"
    )
    ca_file: Path | None = Field(None, description="certificates to trust instead of the system's")
    allow_private: bool = Field(False, description="call addresses of private networks and of this machine, too")
    allow_http: bool = Field(False, description="without TLS")


class WebhookSender:
    """One POST per attempt. The receiver tells a repeated notice by its webhook-id."""

    Settings: ClassVar[type[Channel]] = WebhookSettings

    def __init__(self, settings: WebhookSettings, folder: Path) -> None:
        """Errors: ConfigBroken."""
        self._url, self._timeout_s = settings.url, settings.timeout_seconds
        self._caller = Caller(
            settings.url,
            allow_private=settings.allow_private,
            allow_http=settings.allow_http,
            ca_file=None if settings.ca_file is None else folder / settings.ca_file,
            connections=settings.concurrency,
        )
        self._secrets = [Watched(folder / path, _secret) for path in settings.secret_files]
        token = settings.bearer_token_file
        self._token = None if token is None else Watched(folder / token, first_line)

    async def send(self, notice: NoticeEvent, body: bytes) -> Answer:
        """Post it once."""
        stamp = int(time.time())
        signatures = " ".join(sign(secret.get(), notice["id"], stamp, body) for secret in self._secrets)
        headers = [
            ("content-type", "application/cloudevents+json; charset=utf-8"),
            ("user-agent", "stammgast-deliver"),
            ("webhook-id", notice["id"]),
            ("webhook-timestamp", str(stamp)),
            ("webhook-signature", signatures),
        ]
        if self._token is not None:
            headers.append(("authorization", f"Bearer {self._token.get()}"))
        try:
            async with asyncio.timeout(self._timeout_s):
                return answer_of(await self._caller.call("POST", self._url, headers, body))
        except NO_ANSWER as error:
            return why_not(error)

    async def close(self) -> None:
        """Close its connections."""
        await self._caller.close()


def _secret(path: Path) -> bytes:
    try:
        return parse_secret(first_line(path))
    except SecretUnreadable as error:
        raise ConfigBroken(f"{path}: {error}; `openssl rand -base64 32` makes the part behind whsec_") from error
