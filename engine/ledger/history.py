"""What a member remembers of his facts: which ones count as seen, and every order, in one run of bytes.

A record per fact, in the order in which they were decided::

    length   1 byte, or 255 and 4 bytes
    flags    1 byte
    time     4, 5 or 8 bytes: since the member's first second, in whole seconds, milliseconds or microseconds
    body     8 bytes of the body hash, while the fact is within the dedupe horizon
    identity source (its number in the member's table of texts) and id
    order    its name, where it is not the fact's identity; its bytes (see `engine.ledger.orders`)

Nothing is unpacked to answer the usual question, whether an identity or an order is new: the bytes are searched for it,
and records are looked at one by one only where something was found.

A fact is not written into the bytes at once: that costs as much as a third of deciding it, and a member to whom much
happens is packed rarely. It is kept aside until somebody wants the bytes; when that is makes no difference to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from engine.ledger.compact import name, read_mark, read_name, texts_of
from engine.ledger.orders import pack_order, paid_kept, paid_packed
from engine.ledger.spending import Spending
from schemas.times import MILLISECOND_US, SECOND_US

#: Bytes of a body hash that are kept. They only tell a second delivery from another event of the same source, id and
#: member: neither moves points, and 64 bits do not meet by chance.
BODY_BYTES = 8
_SEEN, _ORDER, _OWN_NAME = 1, 2, 4
_MILLIS, _MICROS = 8, 16
_LONG = 255
#: Stands for the body of a fact that came over from an alias: there it had another subject, so it cannot be compared.
ANY_BODY = "0" * 2 * BODY_BYTES
_BYTE = [bytes((length,)) for length in range(_LONG)]
# Bytes of the time, and where the identity begins behind the flags, by flags.
_TIME_BYTES = [8 if flags & _MICROS else 5 if flags & _MILLIS else 4 for flags in range(32)]
_IDENTITY_AT = [1 + _TIME_BYTES[flags] + (BODY_BYTES if flags & _SEEN else 0) for flags in range(32)]


class Fresh:
    """A fact that is not written into the bytes yet: hex of its body hash, when, and the order that it is."""

    __slots__ = ("body_hash", "order", "order_name", "time_us")

    def __init__(self, body_hash: str, time_us: int, order: bytes | None, order_name: tuple[str, str] | None) -> None:
        """Take them down; ``order`` as `engine.ledger.orders.keep_order` made it, ``order_name`` its source and id."""
        self.body_hash = body_hash
        self.time_us = time_us
        self.order = order
        self.order_name = order_name


class Bought(NamedTuple):
    """An order as it is kept: its number among the member's orders, its fact, when, its bytes, and its name."""

    number: int
    source: str
    fact_id: str
    at_us: int
    packed: bytes
    order_source: str
    order_id: str


class History:
    """The facts and orders of one member. It owns its bytes; the table of texts is shared with other members."""

    __slots__ = (
        "_first",
        "_first_us",
        "_fresh",
        "_fresh_orders",
        "_horizon_us",
        "_records",
        "_spending",
        "base_us",
        "texts",
    )

    def __init__(self, base_us: int = 0, texts: tuple[str, ...] = (), records: bytes = b"") -> None:
        """Begin without records, or with those of `packed`."""
        self.base_us, self.texts = base_us, texts_of(texts)
        self._fresh: dict[tuple[str, str], Fresh] = {}
        self._fresh_orders: set[tuple[str, str]] = set()
        self._horizon_us = 0
        self._spending: Spending | None = None
        self._records = bytearray(records)
        self._find_first(0)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        self._write_all()
        other._write_all()
        return (self.base_us, self.texts, self._records) == (other.base_us, other.texts, other._records)

    __hash__ = None  # type: ignore[assignment]  # it changes

    @property
    def packed(self) -> bytearray:
        """The records, not to be changed; ``base_us`` and ``texts`` belong to them once they were asked for."""
        self._write_all()
        return self._records

    def text(self, value: str) -> int:
        """Return the number of a text in the member's table; a new one joins it."""
        found = self.texts.numbers.get(value)
        if found is None:
            found = len(self.texts.words)
            self.texts = texts_of((*self.texts.words, value))
        return found

    def seen(self, source: str, fact_id: str) -> tuple[str, int] | None:
        """Return the kept part of the body hash, hex, and the time of a fact that was seen, None for a new one."""
        fresh = self._fresh.get((source, fact_id))
        if fresh is not None:
            return fresh.body_hash[: 2 * BODY_BYTES], fresh.time_us
        place = self._record_of(self._place(source, fact_id), _SEEN) if self._records else None
        if place is None:
            return None
        at, _ = self._start(place)
        start = at + 1 + _TIME_BYTES[self._records[at]]
        return self._records[start : start + BODY_BYTES].hex(), self._time_us(at)

    def had_order_of(self, source: str, fact_id: str) -> bool:
        """Tell whether an order is kept that came with a fact of this source and id, however long ago."""
        fresh = self._fresh.get((source, fact_id))
        if fresh is not None:
            return fresh.order is not None
        return bool(self._records) and self._record_of(self._place(source, fact_id), _ORDER) is not None

    def has_order(self, source: str, order_id: str) -> bool:
        """Tell whether an order is kept."""
        if (source, order_id) in self._fresh_orders:
            return True
        return bool(self._records) and self._order_at(source, order_id) is not None

    def order(self, source: str, order_id: str) -> Bought | None:
        """Return an order by its name."""
        self._write_all()
        found = self._order_at(source, order_id)
        return None if found is None else self._bought(*found)

    def orders_since(self, since_us: int | None) -> Iterator[Bought]:
        """Yield the orders of facts at or after ``since_us``, all of them for None."""
        self._write_all()
        count = 0
        for _, at, end in self._walk():
            if self._records[at] & _ORDER:
                if since_us is None or self._time_us(at) >= since_us:
                    yield self._bought(count, at, end)
                count += 1

    def spending(self, since_us: int) -> Spending:
        """Return what was spent at or after ``since_us``: the orders are read where that was not asked for before."""
        known = self._spending
        if known is None or since_us < known.since_us:
            known = self._spending = Spending(since_us)
            for bought in self.orders_since(since_us):
                known.add(bought.at_us, *paid_packed(bought.packed, self.texts.words))
        return known

    def everything(self) -> Iterator[tuple[str, str, int, str, Bought | None]]:
        """Yield source, id and moment of every fact that is kept, the kept part of its body hash while it counts as seen, and
        the order that it is."""
        self._write_all()
        count = 0
        for _, at, end in self._walk():
            flags = self._records[at]
            source, where = read_mark(self._records, at + _IDENTITY_AT[flags])
            fact_id, _ = read_name(self._records, where)
            start = at + 1 + _TIME_BYTES[flags]
            body = self._records[start : start + BODY_BYTES].hex() if flags & _SEEN else ""
            bought = None
            if flags & _ORDER:
                bought = self._bought(count, at, end)
                count += 1
            yield self.texts.words[source], fact_id, self._time_us(at), body, bought

    def remember(self, source: str, fact_id: str, fact: Fresh, horizon_us: int) -> None:
        """Take a fact down as seen, and drop what was seen before ``horizon_us``, oldest first; orders stay.

        Facts come nearly in the order of time, so looking at the first one is enough to bound memory; whether a fact still
        counts as seen is decided by its time, never by its presence.
        """
        if (source, fact_id) in self._fresh:  # it counted long ago, and its order is kept
            self._write_all()
        self._fresh[source, fact_id] = fact
        if fact.order_name is not None:
            self._fresh_orders.add(fact.order_name)
        if self._spending is not None and fact.order is not None:
            self._spending.add(fact.time_us, *paid_kept(fact.order))
        self._horizon_us = horizon_us

    def _write_all(self) -> None:
        if not self._fresh:
            return
        for (source, fact_id), fact in self._fresh.items():
            self._write(source, fact_id, fact)
        while self._first_us < self._horizon_us and self._first < len(self._records):
            self._forget(self._first)
        self._fresh, self._fresh_orders = {}, set()

    def _write(self, source: str, fact_id: str, fact: Fresh) -> None:
        time_us, order, order_name = fact.time_us, fact.order, fact.order_name
        if not self._records:
            self.base_us = time_us - time_us % SECOND_US
        mark = self.texts.marks.get(source)
        if mark is None:
            self.text(source)
            mark = self.texts.marks[source]
        identity = mark + name(fact_id)
        again = self._record_of(identity, _SEEN)
        if again is not None:
            self._forget(again)
        flags, time = self._time_bytes(time_us)
        rest = b""
        if order is not None:
            flags |= _ORDER
            rest = pack_order(order, time_us, self)
            if order_name is not None and order_name != (source, fact_id):
                flags |= _OWN_NAME
                self.text(order_name[0])
                rest = self.texts.marks[order_name[0]] + name(order_name[1]) + rest
        if self._first == len(self._records):
            self._first_us = time_us
        body = bytes.fromhex(fact.body_hash[: 2 * BODY_BYTES])
        self._records += _headed(b"".join((_BYTE[flags | _SEEN], time, body, identity, rest)))

    def _time_bytes(self, time_us: int) -> tuple[int, bytes]:
        since_us = time_us - self.base_us
        seconds, rest_us = divmod(since_us, SECOND_US)
        if rest_us == 0 and 0 <= seconds < 1 << 32:
            return 0, seconds.to_bytes(4, "big")
        if rest_us % MILLISECOND_US == 0 and 0 <= seconds < 1 << 30:
            return _MILLIS, (since_us // MILLISECOND_US).to_bytes(5, "big")
        return _MICROS, since_us.to_bytes(8, "big", signed=True)

    def _time_us(self, at: int) -> int:
        flags = self._records[at]
        raw = self._records[at + 1 : at + 1 + _TIME_BYTES[flags]]
        if flags & _MICROS:
            return self.base_us + int.from_bytes(raw, "big", signed=True)
        return self.base_us + int.from_bytes(raw, "big") * (MILLISECOND_US if flags & _MILLIS else SECOND_US)

    def _place(self, source: str, fact_id: str) -> bytes | None:
        """What stands in the records for an identity or the name of an order; None if no record can hold it."""
        mark = self.texts.marks.get(source)
        return None if mark is None else mark + name(fact_id)

    def _start(self, place: int) -> tuple[int, int]:
        """Where the flags of the record at ``place`` stand, and where it ends."""
        length = self._records[place]
        if length < _LONG:
            return place + 1, place + 1 + length
        return place + 5, place + 5 + int.from_bytes(self._records[place + 1 : place + 5], "big")

    def _walk(self) -> Iterator[tuple[int, int, int]]:
        """Where each record begins, where its flags stand, and where it ends."""
        place, length = 0, len(self._records)
        while place < length:
            at, end = self._start(place)
            yield place, at, end
            place = end

    def _record_of(self, identity: bytes | None, flag: int) -> int | None:
        """Where the first record with this flag begins that is of a fact of this identity."""
        if identity is None or self._records.find(identity) < 0:
            return None
        for place, at, _ in self._walk():
            flags = self._records[at]
            if flags & flag and self._records.startswith(identity, at + _IDENTITY_AT[flags]):
                return place
        return None

    def _order_at(self, source: str, order_id: str) -> tuple[int, int, int] | None:
        """Number, flags and end of an order's record."""
        order = self._place(source, order_id)
        if order is None or self._records.find(order) < 0:
            return None
        count = 0
        for _, at, end in self._walk():
            flags = self._records[at]
            if flags & _ORDER:
                where = at + _IDENTITY_AT[flags]
                if flags & _OWN_NAME:
                    where = self._behind_name(where)
                if self._records.startswith(order, where):
                    return count, at, end
                count += 1
        return None

    def _behind_name(self, where: int) -> int:
        return read_name(self._records, read_mark(self._records, where)[1])[1]

    def _bought(self, count: int, at: int, end: int) -> Bought:
        flags = self._records[at]
        mark, where = read_mark(self._records, at + _IDENTITY_AT[flags])
        fact_id, where = read_name(self._records, where)
        source = order_source = self.texts.words[mark]
        order_id = fact_id
        if flags & _OWN_NAME:
            mark, where = read_mark(self._records, where)
            order_id, where = read_name(self._records, where)
            order_source = self.texts.words[mark]
        packed = bytes(self._records[where:end])
        return Bought(count, source, fact_id, self._time_us(at), packed, order_source, order_id)

    def _forget(self, place: int) -> None:
        """The record at ``place`` counts as seen no longer; without an order it goes."""
        at, end = self._start(place)
        flags = self._records[at]
        left = b""
        if flags & _ORDER:
            time_end = at + 1 + _TIME_BYTES[flags]
            kept = (
                bytes((flags & ~_SEEN,)) + self._records[at + 1 : time_end] + self._records[time_end + BODY_BYTES : end]
            )
            left = _headed(kept)
        self._records[place:end] = left
        self._find_first(min(self._first, place))

    def _find_first(self, place: int) -> None:
        """Look for the first record from ``place`` on that counts as seen."""
        while place < len(self._records):
            at, end = self._start(place)
            if self._records[at] & _SEEN:
                self._first, self._first_us = place, self._time_us(at)
                return
            place = end
        self._first, self._first_us = place, 0


def _headed(record: bytes) -> bytes:
    length = len(record)
    return _BYTE[length] + record if length < _LONG else bytes((_LONG,)) + length.to_bytes(4, "big") + record
