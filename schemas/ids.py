"""Identifiers and hashes: BLAKE2b-128 over length-prefixed UTF-8 parts, as lower-case hex."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b


def hash_id(*parts: str) -> str:
    """Return 32 hex digits that name ``parts``; the prefix of each part's length keeps ("a", "bc") apart from ("ab", "c").

    Source: RFC 7693 (BLAKE2), digest of 16 bytes.
    """
    return blake2b(_prefixed(*parts), digest_size=16).hexdigest()


class Ids:
    """Names that begin with the same parts: ``Ids(*parts).id(*legs)`` is ``hash_id(*parts, *legs)``, hashed once."""

    __slots__ = ("_begun",)

    def __init__(self, *parts: str) -> None:
        self._begun = blake2b(_prefixed(*parts), digest_size=16)

    def id(self, *legs: str) -> str:
        """Return the name of the common parts and ``legs``; legs are few and come again (rules), so they are remembered."""
        digest = self._begun.copy()
        digest.update(_remembered(*legs))
        return digest.hexdigest()


def _prefixed(*parts: str) -> bytes:
    joined = "".join([f"{len(part)}:{part}" for part in parts])
    if not joined.isascii():  # then characters are not bytes
        joined = "".join([f"{len(part.encode())}:{part}" for part in parts])
    return joined.encode()


_remembered = lru_cache(maxsize=1 << 12)(_prefixed)


def hash_bytes(value: bytes) -> str:
    """Return 32 hex digits that name ``value``."""
    return blake2b(value, digest_size=16).hexdigest()
