"""Signatures of requests, so that a body cannot be changed or sent again by somebody on the way."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence

from engine.gateway.problems import Problem
from engine.signing import sign

#: How far the moment of signing may lie from our clock. It is the moment of sending: events inside may be hours old.
TOLERANCE_S = 300


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
