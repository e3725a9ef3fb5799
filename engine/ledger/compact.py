"""Small numbers and words as few bytes: what packed states are written in.

Numbers are characters: the UTF-8 of the character ``n`` is 1 byte below 128, 2 below 2,048, 3 below 65,536 and 4 else, and
a text of many is made and read in one step each. What no character can hold stands in digits behind `ESCAPE`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from operator import add
from typing import Any

import orjson

ESCAPE = "\U0010ffff"
#: The largest number that is one character.
MOST = ord(ESCAPE) - 1
# A word begins with its length, or is a number from here on.
_LONG, _NUMBER = 63, 64
_DIGITS_MOST = 6
# How a name begins that is no short text.
_DECIMAL, _UUID, _HEX, _TEXT = 0x80, 0xA0, 0xA1, 0xB0
_DECIMAL_DIGITS_MOST = 18
_FAR = 0xFF


def to_utf8(text: str) -> bytes:
    """Return the bytes of a text of numbers and words."""
    return text.encode("utf-8", "surrogatepass")


def from_utf8(packed: bytes | bytearray) -> str:
    """Return the text of `to_utf8`."""
    return packed.decode("utf-8", "surrogatepass")


def number(value: int) -> str:
    """Return an integer as text: mostly one character."""
    if 0 <= value <= MOST:
        return chr(value)
    digits = str(value)
    return f"{ESCAPE}{len(digits):c}{digits}"


def numbers(values: Iterable[int]) -> str:
    """Return integers as text."""
    values = [*values]
    try:
        text = "".join(map(chr, values))
    except (ValueError, OverflowError):
        text = ESCAPE
    return "".join(map(number, values)) if ESCAPE in text else text


def read_numbers(text: str) -> list[int]:
    """Return the integers of `numbers`."""
    if ESCAPE not in text:
        return [*map(ord, text)]
    reader, values = Reader(text), []
    while reader.at < len(text):
        values.append(reader.number())
    return values


def is_decimal(text: str) -> bool:
    """Tell whether a text is how an integer from 0 on is written, and nothing else."""
    return text.isdecimal() and text.isascii() and (text[0] != "0" or text == "0")


def word(text: str) -> str:
    """Return a text so that its end can be told; short integers are one character."""
    if len(text) <= _DIGITS_MOST and is_decimal(text):
        return chr(_NUMBER + int(text))
    if len(text) < _LONG:
        return f"{len(text):c}{text}"
    return f"{_LONG:c}{number(len(text))}{text}"


class Reader:
    """Reads a text of numbers and words from its beginning; ``at`` is how far. Errors: IndexError past the end."""

    __slots__ = ("at", "text")

    def __init__(self, text: str, at: int = 0) -> None:
        self.text, self.at = text, at

    def number(self) -> int:
        """Return the next integer."""
        char = self.text[self.at]
        self.at += 1
        if char != ESCAPE:
            return ord(char)
        return int(self._take(ord(self._take(1))))

    def word(self) -> str:
        """Return the next word."""
        first = ord(self.text[self.at])
        self.at += 1
        if first >= _NUMBER:
            return str(first - _NUMBER)
        return self._take(self.number() if first == _LONG else first)

    def _take(self, length: int) -> str:
        taken = self.text[self.at : self.at + length]
        if len(taken) < length:
            raise IndexError("a packed text is cut off")
        self.at += length
        return taken


# A fact's id is asked for when it is looked up, when its order is, and when it is written down.
@lru_cache(maxsize=1 << 10)
def name(text: str) -> bytes:
    """Return an id as bytes whose end can be told; decimals, UUIDs and 32 hex digits take their bytes, others their text."""
    if text.isalnum():
        if len(text) <= _DECIMAL_DIGITS_MOST and is_decimal(text):
            value = int(text)
            length = (value.bit_length() + 7) // 8
            return bytes((_DECIMAL + length,)) + value.to_bytes(length, "big")
        if len(text) == 32 and (raw := _hex(text)) is not None:
            return bytes((_HEX,)) + raw
    elif len(text) == 36 and text[8] == text[13] == text[18] == text[23] == "-":
        raw = _hex(text.replace("-", ""))
        if raw is not None and _uuid(raw) == text:
            return bytes((_UUID,)) + raw
    packed = text.encode()
    if len(packed) < _DECIMAL:
        return bytes((len(packed),)) + packed
    return bytes((_TEXT,)) + len(packed).to_bytes(2, "big") + packed


def read_name(packed: bytes | bytearray, at: int) -> tuple[str, int]:
    """Return the id that stands at a place, and the place behind it."""
    first = packed[at]
    at += 1
    if first < _DECIMAL:
        return packed[at : at + first].decode(), at + first
    if first < _UUID:
        end = at + first - _DECIMAL
        return str(int.from_bytes(packed[at:end], "big")), end
    if first == _TEXT:
        start, end = at + 2, at + 2 + int.from_bytes(packed[at : at + 2], "big")
        return packed[start:end].decode(), end
    raw = packed[at : at + 16]
    return raw.hex() if first == _HEX else _uuid(raw), at + 16


# A list of integers and short texts as JSON needs few different characters: two fit into a byte. What is none of them
# stands behind an `e`, in hex; `f` fills the last byte up.
_HALVES = {",": "a", '"': "b", "-": "c", ".": "d", " ": "f"} | {digit: digit for digit in "0123456789"}
_TO_HALVES = bytes(ord(_HALVES.get(chr(char), "x")) for char in range(256))
_OF_HALVES = {half: char for char, half in _HALVES.items()}
_FROM_HALVES = bytes(ord(_OF_HALVES.get(chr(half), "x")) for half in range(256))
_RUNS = re.compile(rb'([,"\-. 0-9]+)|([^,"\-. 0-9]+)')
_HALF_RUNS = re.compile("([^e]+)|((?:e..)+)")


def pack_list(values: list[int | str]) -> bytes:
    """Return integers and texts as bytes: half as many as JSON has, where they are digits."""
    text = orjson.dumps(values)[1:-1]
    halves = text.translate(_TO_HALVES).decode()
    if "x" in halves:
        halves = "".join(
            [few.translate(_TO_HALVES).decode() if few else f"e{other.hex('e')}" for few, other in _RUNS.findall(text)]
        )
    return bytes.fromhex(halves if len(halves) % 2 == 0 else halves + "f")


def read_list(packed: bytes | bytearray) -> list[Any]:
    """Return what `pack_list` packed. Errors: ValueError for other bytes."""
    halves = packed.hex()
    if "e" in halves:
        text = b"".join(
            [
                few.encode().translate(_FROM_HALVES)
                if few
                else bytes.fromhex("".join(map(add, other[1::3], other[2::3])))
                for few, other in _HALF_RUNS.findall(halves)
            ]
        )
    else:
        text = halves.encode().translate(_FROM_HALVES)
    values: list[Any] = orjson.loads(b"[" + text + b"]")
    return values


# Words come again and again: articles, quantities.
@lru_cache(maxsize=1 << 14)
def plain(text: str) -> int | str:
    """Return an integer for a text that is how it is written, the text itself else: `str` of it is the text again."""
    return int(text) if len(text) <= _DECIMAL_DIGITS_MOST and is_decimal(text) else text


class Texts:
    """A table of texts that many facts of a member share: sources, currencies, rules. Never changed, so members share it.

    Attributes:
        words: by number.
        numbers: by text.
        marks: the number of a text as bytes whose end can be told, by text.
    """

    __slots__ = ("marks", "numbers", "words")

    def __init__(self, words: tuple[str, ...] = ()) -> None:
        self.words = words
        self.numbers = {text: number for number, text in enumerate(words)}
        self.marks = {text: _mark(number) for number, text in enumerate(words)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Texts) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)


# Members of one shop have few different tables between them.
texts_of = lru_cache(maxsize=1 << 12)(Texts)


def _mark(number: int) -> bytes:
    return bytes((number,)) if number < _FAR else bytes((_FAR,)) + number.to_bytes(4, "big")


def read_mark(packed: bytes | bytearray, at: int) -> tuple[int, int]:
    """Return the number of a text whose mark stands at a place, and the place behind it."""
    if packed[at] < _FAR:
        return packed[at], at + 1
    return int.from_bytes(packed[at + 1 : at + 5], "big"), at + 5


def _hex(text: str) -> bytes | None:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return None
    return raw if raw.hex() == text else None


def _uuid(raw: bytes | bytearray) -> str:
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
