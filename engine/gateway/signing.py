"""Signatures of requests, so that a body cannot be changed or sent again by somebody on the way.

Source: Standard Webhooks, https://www.standardwebhooks.com: HMAC-SHA256 over `id.timestamp.body`, version tag `v1`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence

from engine.gateway.problems import Problem

SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix, not a secret
#: How far the moment of signing may lie from our clock. It is the moment of sending: events inside may be hours old.
TOLERANCE_S = 300
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


def check(known: Sequence[bytes], headers: Mapping[str, str], body: bytes, now_s: int) -> None:
    """Make sure that one of the known secrets signed this request lately. Errors: Problem bad_signature."""
    message_id, stamp = headers.get("webhook-id"), headers.get("webhook-timestamp")
    given = headers.get("webhook-signature")
    if not message_id or not stamp or not given:
        raise Problem("bad_signature", "this key signs: webhook-id, webhook-timestamp and webhook-signature are needed")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise Problem("bad_signature", "webhook-timestamp is no number of seconds since 1970", "webhook-timestamp")
    if abs(int(stamp) - now_s) > TOLERANCE_S:
        raise Problem(
            "bad_signature", f"signed more than {TOLERANCE_S} s away from this gateway's clock", "webhook-timestamp"
        )
    expected = [sign(secret, message_id, int(stamp), body).encode() for secret in known]
    found = False
    for one in given.split(" "):
        for right in expected:
            found |= hmac.compare_digest(one.encode(), right)
    if not found:
        raise Problem("bad_signature", "none of the signatures is of a secret of this key", "webhook-signature")
