"""Identifiers and hashes: BLAKE2b-128 over length-prefixed UTF-8 parts, as lower-case hex."""

from __future__ import annotations

from hashlib import blake2b


def hash_id(*parts: str) -> str:
    """Return 32 hex digits that name ``parts``; the prefix of each part's length keeps ("a", "bc") apart from ("ab", "c").

    Source: RFC 7693 (BLAKE2), digest of 16 bytes.
    """
    joined = "".join([f"{len(part)}:{part}" for part in parts])
    if not joined.isascii():  # then characters are not bytes
        joined = "".join([f"{len(part.encode())}:{part}" for part in parts])
    return blake2b(joined.encode(), digest_size=16).hexdigest()


def hash_bytes(value: bytes) -> str:
    """Return 32 hex digits that name ``value``."""
    return blake2b(value, digest_size=16).hexdigest()
