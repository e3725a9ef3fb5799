"""Codes of vouchers: made from a pattern, the same for ever, with a character that gives a wrong one away.

The alphabet has no characters that people mistake for each other (no I, L, O, 0, 1). It has 31, a prime, so a weighted sum modulo
31 finds every single wrong character and every two that changed places, as the check digit of ISO 2108 (ISBN-10) does modulo 11.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
#: What stands in a pattern for a character of the alphabet; the last one is the check.
PLACE = "#"
#: Fewer could be guessed or meet by chance; the weights of more would come again.
FEWEST, MOST = 10, 24
_VALUES = {character: value for value, character in enumerate(ALPHABET)}
_DIGEST_BYTES = 32


def code_of(pattern: str, key: str, name: str) -> str:
    """Return the code of a redemption.

    Args:
        pattern: with `FEWEST` to `MOST` places, such as ``CAFE-####-####-##``.
        key: who does not know it cannot work codes out; empty for none.
        name: of the redemption.

    Source: RFC 7693 (BLAKE2b, keyed).
    """
    secret = blake2b(key.encode()).digest() if key else b""
    rest = int.from_bytes(blake2b(name.encode(), digest_size=_DIGEST_BYTES, key=secret).digest(), "big")
    values = []
    for _ in range(pattern.count(PLACE) - 1):
        rest, value = divmod(rest, len(ALPHABET))
        values.append(value)
    characters = iter([*values, -_weighted([*values, 0]) % len(ALPHABET)])
    return "".join([ALPHABET[next(characters)] if part == PLACE else part for part in pattern])


def is_genuine(pattern: str, code: str) -> bool:
    """Tell whether a code, as `plain_code` gives it, fits a pattern and its check character; a till can ask that offline."""
    bare = [part for part in pattern if part == PLACE or part.isalnum()]
    if len(code) != len(bare):
        return False
    values = []
    for part, character in zip(bare, code, strict=True):
        if part not in (PLACE, character):
            return False
        if part == PLACE:
            values.append(_VALUES.get(character, -1))
    return -1 not in values and _weighted(values) % len(ALPHABET) == 0


def _weighted(values: Sequence[int]) -> int:
    return sum([value * weight for value, weight in zip(values, range(len(values), 0, -1), strict=True)])


def plain_code(code: str) -> str:
    """Return a code as it is compared: however it was typed, in capitals and without hyphens and spaces."""
    return "".join([character for character in code.upper() if character not in "- "])
