"""Sealing a profile with a key of its member, and opening it again.

AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits per sealing; member, source, id and key are associated data, so a
sealed profile put elsewhere in the log does not open. Two keys are made of the member's one (HKDF's expand step, RFC 5869): one
seals, the other makes the body hash, an HMAC. Without the key neither the profile nor a guess of it can be checked. What is
sealed is filled up to a multiple of `PAD_BYTES`, so its length tells little.
"""

from __future__ import annotations

import hmac
import os
from base64 import b64decode, b64encode
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas import facts
from schemas.envelope import Fact

KEY_BYTES, NONCE_BYTES = 32, 12
PAD_BYTES = 256
_BODY_HASH_HEX = 32


class DoesNotOpen(ValueError):
    """Sealed with another key, of another member or event, or damaged."""


def seal(fact: Fact, key_id: str, key: bytes) -> Fact:
    """Return a profile fact with its data sealed and its body hash keyed.

    Args:
        fact: in normal form, its data in clear.
        key_id: names ``key``, 32 bytes, the member's own.
    """
    member, nonce = fact.subject or "", os.urandom(NONCE_BYTES)
    text = orjson.dumps(fact.data)
    text = text.ljust(-(-len(text) // PAD_BYTES) * PAD_BYTES)
    about = _parts(member, fact.source, fact.id, key_id)
    sealed = nonce + AESGCM(_derived(key, b"seal")).encrypt(nonce, text, about)
    data: facts.ProfileForm = {"member": member, "key": key_id, "sealed": b64encode(sealed).decode()}
    said = orjson.dumps([fact.type, member, fact.time, fact.data])
    body_hash = hmac.digest(_derived(key, b"body hash"), said, "sha256").hex()[:_BODY_HASH_HEX]
    return Fact(
        fact.id, fact.source, fact.type, fact.subject, fact.time, fact.recorded_at, body_hash, data, fact.time_us
    )


def unseal(sealed: str, key: bytes, *, member: str, source: str, fact_id: str, key_id: str) -> dict[str, Any]:
    """Return the data of a profile that `seal` sealed.

    Raises:
        DoesNotOpen: it was not sealed with this key for this event.
    """
    try:
        raw = b64decode(sealed, validate=True)
        about = _parts(member, source, fact_id, key_id)
        text = AESGCM(_derived(key, b"seal")).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], about)
    except (InvalidTag, ValueError) as error:
        raise DoesNotOpen(f"the profile of event {fact_id} does not open with key {key_id}") from error
    data: dict[str, Any] = orjson.loads(text)
    return data


def wrap(master: bytes, key: bytes, *, member: str, key_id: str) -> bytes:
    """Return a member's key, sealed with the master key."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(_derived(master, b"wrap")).encrypt(nonce, key, _parts(member, key_id))


def unwrap(master: bytes, wrapped: bytes, *, member: str, key_id: str) -> bytes:
    """Return what `wrap` wrapped. Raises DoesNotOpen: with another master key, or for another member."""
    try:
        cipher = AESGCM(_derived(master, b"wrap"))
        return cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _parts(member, key_id))
    except (InvalidTag, ValueError) as error:
        raise DoesNotOpen(f"key {key_id} was not wrapped with this master key, or is damaged") from error


def _derived(key: bytes, purpose: bytes) -> bytes:
    return hmac.digest(key, b"stammgast profile " + purpose + b"\x01", "sha256")


def _parts(*texts: str) -> bytes:
    """Texts so that no other texts give the same bytes."""
    raw = [text.encode() for text in texts]
    return b"".join(len(one).to_bytes(4, "big") + one for one in raw)
