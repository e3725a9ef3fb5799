"""Messages of DuckDB's remote protocol (quack, version 1), as far as a gate between reader and server must read them.

A body is two objects, header and message; an object is fields (a two-byte id, little endian, then the value) until 0xFFFF. Texts
have a length before them, numbers are LEB128. Source: the format was read off a server of DuckDB 1.5.5 and is held by
tests/readers/test_wire.py against the installed one; a message that does not fit is refused, never guessed at.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import NamedTuple

END = b"\xff\xff"
#: A chunk of an answer begins so: it is there, its wrapper's field 300, its own field 100 (rows).
CHUNK = b"\x01\x2c\x01\x64\x00"
NO_QUERY = b"\xff" * 9 + b"\x01"
_VARINT_BYTES = 10


class Kind(IntEnum):
    """What a message is."""

    CONNECT = 1
    CONNECTED = 2
    PREPARE = 3
    PREPARED = 4
    FETCH = 7
    FETCHED = 8
    APPEND = 9
    SUCCESS = 10
    DISCONNECT = 11
    ERROR = 100


class Malformed(Exception):
    """These bytes are no message that we know."""


class Message(NamedTuple):
    """One message.

    Attributes:
        kind: a `Kind`, or a number that we do not know.
        connection: the session it belongs to; empty in a first message.
        query: the client's number of its query, as it stands on the wire.
        body: the second object, its end included.
    """

    kind: int
    connection: str
    query: bytes
    body: bytes

    def as_bytes(self) -> bytes:
        """As it goes over the wire."""
        header = b"\x01\x00" + bytes([self.kind])
        if self.connection:
            header += b"\x02\x00" + _text(self.connection)
        return header + b"\x03\x00" + self.query + END + self.body

    def moved(self, connection: str) -> Message:
        """The same message of another session."""
        return self._replace(connection=connection)


def parse(data: bytes) -> Message:
    """Read a message. Errors: Malformed."""
    number, at = _number(data, _required(data, 0, 1))
    place, at = _field(data, at, 2)
    connection = ""
    if place is not None:
        connection, at = _read_text(data, place)
    start = _required(data, at, 3)
    _, end = _number(data, start)
    if data[end : end + 2] != END or data[end + 2 :][-2:] != END or number > 127:
        raise Malformed("the header does not end where it should")
    return Message(number, connection, data[start:end], data[end + 2 :])


def first_text(message: Message) -> str:
    """The first field of the body, a text: the token of CONNECT, the statement of PREPARE, the words of ERROR."""
    place, _ = _field(message.body, 0, 1)
    return "" if place is None else _read_text(message.body, place)[0]


def with_first_text(message: Message, text: str) -> Message:
    """The same message with another text there."""
    place, rest = _field(message.body, 0, 1)
    if place is not None:
        _, rest = _read_text(message.body, place)
    return message._replace(body=b"\x01\x00" + _text(text) + message.body[rest:])


def error(text: str) -> bytes:
    """An answer that says why there is none."""
    return Message(Kind.ERROR, "", NO_QUERY, b"\x01\x00" + _text(text) + END).as_bytes()


def success() -> bytes:
    """The answer to a farewell."""
    return Message(Kind.SUCCESS, "", NO_QUERY, END).as_bytes()


def nothing_more() -> bytes:
    """The answer to a fetch where all was fetched: no chunks, and no number of a batch."""
    return Message(Kind.FETCHED, "", NO_QUERY, b"\x02\x00" + NO_QUERY + END).as_bytes()


def connect(token: str, version: str) -> bytes:
    """A first message."""
    body = b"\x01\x00" + _text(token) + b"\x02\x00" + _text(version) + b"\x04\x00\x01\x05\x00\x01" + END
    return Message(Kind.CONNECT, "", b"\x01", body).as_bytes()


def types_of(prepared: Message) -> bytes | None:
    """The columns' types, as the head of an answer spells them and each of its chunks again; None without a chunk."""
    found = re.search(re.escape(CHUNK) + b"[\x80-\xff]{0,9}[\x00-\x7f]\x65\x00", prepared.body, re.DOTALL)
    if found is None or not prepared.body.startswith(b"\x01\x00"):
        return None
    head, chunk = prepared.body[2:], prepared.body[found.end() :]
    length = next((n for n, (a, b) in enumerate(zip(head, chunk, strict=False)) if a != b), 0)
    return (
        head[:length]
        if head[length : length + 2] == b"\x02\x00" and chunk[length : length + 2] == b"\x66\x00"
        else None
    )


def rows_in(body: bytes, types: bytes) -> int:
    """How many rows the chunks of an answer hold together; each repeats the types of the columns behind its number of rows."""
    pattern = re.escape(CHUNK) + b"([\x80-\xff]{0,9}[\x00-\x7f])\x65\x00" + re.escape(types) + b"\x66\x00"
    return sum(_number(found[1], 0)[0] for found in re.finditer(pattern, body, re.DOTALL))


def more_follows(prepared: Message, types: bytes) -> bool:
    """Must the rest of an answer be fetched? Field 3 says so; it stands between the names and the first chunk."""
    head = prepared.body[: prepared.body.find(CHUNK)]
    return head.startswith(b"\x01\x00" + types) and b"\x03\x00\x01\x04\x00" in head[len(types) :]


def _text(text: str) -> bytes:
    data = text.encode()
    number, length = len(data), bytearray()
    while number > 127:
        length.append(number & 127 | 128)
        number >>= 7
    return bytes(length) + bytes([number]) + data


def _field(data: bytes, at: int, number: int) -> tuple[int | None, int]:
    """(where its value begins, the same) of a field that stands at a place; (None, the place) where it is left out."""
    if data[at : at + 2] == number.to_bytes(2, "little"):
        return at + 2, at + 2
    return None, at


def _required(data: bytes, at: int, number: int) -> int:
    place, _ = _field(data, at, number)
    if place is None:
        raise Malformed(f"field {number} is missing")
    return place


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(_VARINT_BYTES):
        if at + place >= len(data):
            break
        byte = data[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise Malformed("a number does not end")


def _read_text(data: bytes, at: int) -> tuple[str, int]:
    length, start = _number(data, at)
    if start + length > len(data):
        raise Malformed("a text is cut off")
    try:
        return data[start : start + length].decode(), start + length
    except UnicodeDecodeError as wrong:
        raise Malformed("a text is no text") from wrong
