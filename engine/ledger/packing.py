"""A member's state as bytes: what a snapshot holds, and what is kept of a member whom nothing happens to.

The same state gives the same bytes. They begin with the number of the format, the offset of the newest fact in them and
the moment at which the member is due, which are read without unpacking the rest.
"""

from __future__ import annotations

import struct

import orjson

from engine.ledger.member import Member, Referral, Standing
from engine.ledger.timers import due_us

#: Changes with every change of the packed form: what another engine packed is folded anew, never guessed.
STATE_FORMAT = 1
_HEAD = struct.Struct("<Bqq")
_NEVER = -(1 << 63)


class UnknownStateFormat(ValueError):
    """These bytes are no member's state in the format that this engine writes: fold the member anew from the logs."""


def pack(member: Member) -> bytes:
    """Return the member's state as bytes; his key is not in them."""
    due = due_us(member)
    head = _HEAD.pack(STATE_FORMAT, member.offset, _NEVER if due is None else due)
    referral = member.referral
    body = [
        member.joined_us,
        member.joined_said,
        member.newest_us,
        member.balance,
        None if member.standing is None else [*member.standing],
        member.settled_us,
        member.orders_counted,
        member.last_purchase_us,
        None if referral is None else [referral.referrer, referral.at_us, referral.open],
        [*member.lots.items()],
        [(ref, order.decode()) for ref, order in member.orders.items()],
        [(*identity, *known) for identity, known in member.seen.items()],
        [*member.days.items()],
        [*member.years.items()],
        [(key, *used) for key, used in member.caps.items()],
        [*member.visits.items()],
        sorted(member.brought),
    ]
    return head + orjson.dumps(body)


def unpack(key: str, packed: bytes) -> Member:
    """Return the member of that key whose state was packed.

    Raises:
        UnknownStateFormat: these bytes are of another format, or damaged.
    """
    offset, _ = peek(packed)
    try:
        return _unpack(key, offset, packed)
    except (ValueError, TypeError) as error:
        raise UnknownStateFormat(f"the packed state of member {key} is damaged: {error}") from error


def peek(packed: bytes) -> tuple[int, int | None]:
    """Return the offset of the newest fact in a packed state, and when its member is due.

    Raises:
        UnknownStateFormat: these bytes are of another format, or damaged.
    """
    if not packed or packed[0] != STATE_FORMAT:
        found = packed[0] if packed else "nothing"
        raise UnknownStateFormat(f"a member's state of format {STATE_FORMAT} was expected, this is {found}")
    try:
        _, offset, due = _HEAD.unpack_from(packed)
    except struct.error as error:
        raise UnknownStateFormat(f"a packed state of {len(packed)} bytes is cut off") from error
    return offset, None if due == _NEVER else due


def _unpack(key: str, offset: int, packed: bytes) -> Member:
    (
        joined_us, joined_said, newest_us, balance, standing, settled_us, orders_counted, last_purchase_us, referral,
        lots, orders, seen, days, years, caps, visits, brought,
    ) = orjson.loads(memoryview(packed)[_HEAD.size :])  # fmt: skip
    return Member(
        key,
        offset=offset,
        joined_us=joined_us,
        joined_said=joined_said,
        newest_us=newest_us,
        balance=balance,
        standing=None if standing is None else Standing(*standing),
        settled_us=settled_us,
        orders_counted=orders_counted,
        last_purchase_us=last_purchase_us,
        referral=None if referral is None else Referral(*referral),
        lots=dict(lots),
        orders={ref: order.encode() for ref, order in orders},
        seen={(source, fact_id): (body, time_us) for source, fact_id, body, time_us in seen},
        days=dict(days),
        years=dict(years),
        caps={cap: (points, times) for cap, points, times in caps},
        visits=dict(visits),
        brought=set(brought),
    )
