"""Signatures of messages over HTTP, as Standard Webhooks says: those that come in, and those that go out.

Source: Standard Webhooks, https://www.standardwebhooks.com: HMAC-SHA256 over `id.timestamp.body`, version tag `v1`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix, not a secret
_BYTES_LEAST, _BYTES_MOST = 24, 64


class SecretUnreadable(Exception):
    """A signing secret is not written as the standard says."""


def new_secret() -> str:
    """A new signing secret, as both sides write it down."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def parse_secret(text: str) -> bytes:
    """The bytes of a signing secret. Errors: SecretUnreadable."""
    try:
        raw = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SecretUnreadable("a signing secret reads whsec_ and base64") from error
    if not _BYTES_LEAST <= len(raw) <= _BYTES_MOST:
        raise SecretUnreadable(f"a signing secret has {_BYTES_LEAST} to {_BYTES_MOST} bytes, this one {len(raw)}")
    return raw


def sign(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of the header `webhook-signature` for one secret."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
