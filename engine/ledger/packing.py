"""A member's state as bytes: what a snapshot holds, and what is kept of a member whom nothing happens to.

The same state gives the same bytes. They are::

    format   1 byte, `STATE_FORMAT`
    sum      4 bytes: CRC-32 of all that follows
    flags    2 bytes: which of the moments follow
    offset   8 bytes: of the newest fact in the state
    moments  8 bytes each; the first is when the member is due next
    sizes    of the sections, 1 byte each, or 4 where one is larger
    sections numbers (balance, progress by day and year), words (tier, the projected one, texts), lots, rest (JSON; of most
             members empty)
    records  see `engine.ledger.history`
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import orjson

from engine.ledger.compact import Reader, from_utf8, number, numbers, read_numbers, to_utf8, word
from engine.ledger.history import History
from engine.ledger.member import (
    Bonus,
    Lot,
    Member,
    Missed,
    Override,
    Referral,
    Sealed,
    Spent,
    Standing,
    Waiting,
    Welcomed,
)
from engine.ledger.orders import Returned
from engine.ledger.played import Played
from schemas.times import SECOND_US

#: Changes with every change of the packed form: what another engine packed is folded anew, never guessed.
STATE_FORMAT = 4
_SUM, _HEAD = struct.Struct(">BI"), struct.Struct(">Hq")
_MOMENTS = [struct.Struct(f">{count}q") for count in range(9)]
_SIZES, _LARGE_SIZES = struct.Struct(">4B"), struct.Struct(">4I")
_SMALL_MOST = 255
_ID_BYTES = 16
# Of a lot, above the bits for its moments: it waits for a fact, time took from it.
_WAITS, _GONE = 8, 16
# Which moments are there, in this order.
_DUE, _UNTIL, _SINCE, _JOINED, _NEWEST, _BOUGHT, _SETTLED, _BASE = _NAMES = tuple(1 << bit for bit in range(8))
# What needs no moment of its own: the tier's end is what is due next, the last purchase is the newest fact, times count from
# the second of joining.
_UNTIL_DUE, _BOUGHT_NEWEST, _BASE_JOINED = 1 << 8, 1 << 9, 1 << 10
_JOINED_SAID, _HAS_TIER, _LARGE = 1 << 11, 1 << 12, 1 << 13


class UnknownStateFormat(ValueError):
    """These bytes are no member's state in the format that this engine writes: fold the member anew from the logs."""


def pack(member: Member) -> bytes:
    """Return the member's state as bytes; his key is not in them."""
    records = member.history.packed
    flags, moments = _moments(member)
    days = sorted(member.days)
    steps = [day - before for before, day in pairwise([0, *days])]
    years = sorted(member.years)
    values = [member.balance, member.orders_counted, len(days), *steps, *[member.days[day] for day in days]]
    values += [*years, *[member.years[year] for year in years]]
    tier = "" if member.standing is None else word(member.standing.tier) + word(member.standing.projected or "")
    sections = (
        to_utf8(numbers(values)),
        _words(tier, member.history.texts.words),
        _pack_lots(member.lots_apart),
        _rest(member),
    )
    sizes = [*map(len, sections)]
    form = _SIZES
    if max(sizes) > _SMALL_MOST:
        flags, form = flags | _LARGE, _LARGE_SIZES
    body = b"".join(
        (
            _HEAD.pack(flags, member.offset),
            _MOMENTS[len(moments)].pack(*moments),
            form.pack(*sizes),
            *sections,
            records,
        )
    )
    return _SUM.pack(STATE_FORMAT, zlib.crc32(body)) + body


def peek(packed: bytes) -> tuple[int, int | None]:
    """Return the offset of the newest fact in a packed state, and when its member is due.

    Raises:
        UnknownStateFormat: these bytes are of another format, or damaged.
    """
    if not packed or packed[0] != STATE_FORMAT:
        found = packed[0] if packed else "nothing"
        raise UnknownStateFormat(f"a member's state of format {STATE_FORMAT} was expected, this is {found}")
    body = memoryview(packed)[_SUM.size :]
    if len(packed) < _SUM.size + _HEAD.size or zlib.crc32(body) != _SUM.unpack_from(packed)[1]:
        raise UnknownStateFormat(f"a packed state of {len(packed)} bytes is damaged")
    flags, offset = _HEAD.unpack_from(body)
    return offset, _MOMENTS[1].unpack_from(body, _HEAD.size)[0] if flags & _DUE else None


def unpack(key: str, packed: bytes) -> Member:
    """Return the member of that key whose state was packed.

    Raises:
        UnknownStateFormat: these bytes are of another format, or damaged.
    """
    if not packed or packed[0] != STATE_FORMAT:
        peek(packed)
    try:
        return _unpack(key, packed)
    except (ValueError, TypeError, LookupError, struct.error) as error:
        raise UnknownStateFormat(f"the packed state of member {key} is damaged: {error}") from error


def _moments(member: Member) -> tuple[int, list[int]]:
    """Which moments are there, and those that are, in their order."""
    standing, base_us = member.standing, member.history.base_us
    flags = _JOINED_SAID if member.joined_said else 0
    until_us, since_us = None, None
    if standing is not None:
        flags |= _HAS_TIER
        until_us, since_us = standing.until_us, standing.since_us
    due = member.next_due_us
    if until_us is not None and until_us == due:
        flags |= _UNTIL_DUE
        until_us = None
    bought_us: int | None = member.last_purchase_us
    if bought_us is not None and bought_us == member.newest_us:
        flags |= _BOUGHT_NEWEST
        bought_us = None
    if member.joined_us is not None and base_us == member.joined_us - member.joined_us % SECOND_US:
        flags |= _BASE_JOINED
    named = (due, until_us, since_us, member.joined_us, member.newest_us, bought_us, member.settled_us)
    moments = []
    for bit, moment in enumerate((*named, None if flags & _BASE_JOINED else base_us)):
        if moment is not None:
            flags |= 1 << bit
            moments.append(moment)
    return flags, moments


def _unpack(key: str, packed: bytes) -> Member:
    at = _SUM.size
    flags, offset = _HEAD.unpack_from(packed, at)
    present = [flag for flag in _NAMES if flags & flag]
    form, at = _MOMENTS[len(present)], at + _HEAD.size
    moments: dict[int, int] = dict(zip(present, form.unpack_from(packed, at), strict=True))
    at += form.size
    sizes = _LARGE_SIZES if flags & _LARGE else _SIZES
    ends = [*accumulate(sizes.unpack_from(packed, at), initial=at + sizes.size)]
    if ends[-1] > len(packed):
        raise ValueError("it is cut off")
    values, words, lots, rest = [packed[start:end] for start, end in pairwise(ends)]
    tier, projected, texts = _read_words(words, bool(flags & _HAS_TIER))
    balance, counted, count, *progress = read_numbers(from_utf8(values))
    years = progress[2 * count :]
    joined_us, newest_us = moments.get(_JOINED), moments.get(_NEWEST)
    if flags & _BASE_JOINED and joined_us is not None:
        moments[_BASE] = joined_us - joined_us % SECOND_US
    member = Member(
        key,
        offset=offset,
        joined_us=joined_us,
        joined_said=bool(flags & _JOINED_SAID),
        newest_us=newest_us,
        balance=balance,
        standing=None
        if tier is None
        else Standing(tier, moments[_SINCE], moments.get(_DUE if flags & _UNTIL_DUE else _UNTIL), projected or None),
        settled_us=moments.get(_SETTLED),
        orders_counted=counted,
        last_purchase_us=newest_us if flags & _BOUGHT_NEWEST else moments.get(_BOUGHT),
        history=History(moments[_BASE], texts, packed[ends[-1] :]),
        lots_apart=_read_lots(lots),
        days=dict(zip(accumulate(progress[:count]), progress[count : 2 * count], strict=True)),
        years=dict(zip(years[: len(years) // 2], years[len(years) // 2 :], strict=True)),
        next_due_us=moments.get(_DUE),
    )
    if counted:
        member.first_purchase_us = joined_us
    if rest:
        _read_rest(member, rest)
    if member.lots_apart:
        member.find_dues()
    return member


# Members of one shop have few different tiers and tables between them.
@lru_cache(maxsize=1 << 12)
def _words(tier: str, texts: tuple[str, ...]) -> bytes:
    return to_utf8(tier + "".join(map(word, texts)))


@lru_cache(maxsize=1 << 12)
def _read_words(packed: bytes, has_tier: bool) -> tuple[str | None, str, tuple[str, ...]]:
    text, words = from_utf8(packed), []
    reader = Reader(text)
    while reader.at < len(text):
        words.append(reader.word())
    return (words[0], words[1], tuple(words[2:])) if has_tier else (None, "", tuple(words))


def _pack_lots(lots: dict[str, Lot]) -> bytes:
    """How many; their ids, 16 bytes each; the distinct moments, 8 bytes each; then numbers and words, lot by lot."""
    if not lots:
        return b""
    found = {lot.earned_us for lot in lots.values()}
    for lot in lots.values():
        found.update(moment for moment in (lot.active_us, lot.expires_us, lot.cancel_us) if moment is not None)
    moments = sorted(found)
    place = {moment: number for number, moment in enumerate(moments)}
    text = []
    for lot in lots.values():
        said = (lot.active_us, lot.expires_us, lot.cancel_us)
        flags = sum(1 << bit for bit, moment in enumerate(said) if moment is not None)
        flags += _WAITS if lot.waits_for is not None else 0
        flags += _GONE if lot.gone else 0
        places = [place[moment] for moment in said if moment is not None]
        text.append(numbers((flags, lot.left, place[lot.earned_us], *places)))
        text.append("" if lot.waits_for is None else word(lot.waits_for))
        text.append(number(lot.gone) if lot.gone else "")
    head = (len(lots).to_bytes(4, "big"), len(moments).to_bytes(4, "big"))
    ids = b"".join(map(bytes.fromhex, lots))
    return b"".join((*head, ids, struct.pack(f">{len(moments)}q", *moments), to_utf8("".join(text))))


def _read_lots(packed: bytes) -> dict[str, Lot]:
    if not packed:
        return {}
    count, moment_count = struct.unpack_from(">2I", packed)
    end = 8 + _ID_BYTES * count
    ids = [packed[start : start + _ID_BYTES].hex() for start in range(8, end, _ID_BYTES)]
    moments = struct.unpack_from(f">{moment_count}q", packed, end)
    reader = Reader(from_utf8(packed[end + 8 * moment_count :]))
    lots = {}
    for lot_id in ids:
        flags, left, earned_us = reader.number(), reader.number(), moments[reader.number()]
        active, expires, cancel = [moments[reader.number()] if flags & 1 << bit else None for bit in range(3)]
        waits_for = reader.word() if flags & _WAITS else None
        gone = reader.number() if flags & _GONE else 0
        lots[lot_id] = Lot(lot_id, left, earned_us, active, expires, waits_for, cancel, gone)
    return lots


def _rest(member: Member) -> bytes:
    """What most members have nothing of: by name, and only what there is."""
    rest: dict[str, Any] = {}
    _counted(member, rest)
    if member.alias_of is not None or member.aliases or member.left_us is not None:
        rest["who"] = [member.alias_of, sorted(member.aliases), member.left_us]
    if member.kept:
        rest["kept"] = member.kept
    if member.returned:
        rest["returned"] = [[number, *_returned(back)] for number, back in member.returned.items()]
    if member.sealed is not None:
        rest["profile"] = [*member.sealed]
    if member.debt:
        rest["debt"] = member.debt
    if member.override is not None:
        rest["override"] = list(member.override)
    if member.slides_us is not None:
        rest["slides"] = member.slides_us
    if member.welcomed:
        rest["welcomed"] = [[level, *given] for level, given in member.welcomed.items()]
    if member.played:
        rest["played"] = [[name, *found] for name, found in member.played.items()]
    if member.spent:
        rest["spent"] = [[name, *spent] for name, spent in member.spent.items()]
    # A copy of its own size: orjson's buffer begins at 1 KB, and what is cut off it stays with the heap.
    return bytes(memoryview(orjson.dumps(rest))) if rest else b""


def _counted(member: Member, rest: dict[str, Any]) -> None:
    """What was counted for him, and what referrals are to him."""
    if member.referral is not None:
        rest["referral"] = [member.referral.referrer, member.referral.at_us, member.referral.open]
    if member.caps:
        rest["caps"] = [[key, *used] for key, used in member.caps.items()]
    if member.counters:
        rest["counters"] = [[key, *counted] for key, counted in member.counters.items()]
    if member.visits:
        rest["visits"] = member.visits
    if member.bonuses:
        rest["bonuses"] = [[key, *bonus] for key, bonus in member.bonuses.items()]
    if member.segments:
        rest["segments"] = member.segments
    if member.waiting:
        rest["waiting"] = [list(waiting) for waiting in member.waiting]
    if member.arrived:
        rest["arrived"] = member.arrived
    if member.missed:
        rest["missed"] = [list(missed) for missed in member.missed]
    if member.brought:
        rest["brought"] = sorted(member.brought)
    _of_moments(member, rest)


def _of_moments(member: Member, rest: dict[str, Any]) -> None:
    """What moments need to know of him beside all that."""
    if member.first_purchase_us is not None and member.first_purchase_us != member.joined_us:
        rest["first"] = member.first_purchase_us
    if member.came:
        rest["came"] = member.came
    if member.awaited:
        rest["awaited"] = member.awaited
    if member.told:
        rest["told"] = member.told


def _returned(back: Returned) -> list[Any]:
    points = [[*place, taken] for place, taken in back.points.items()]
    return [[*back.milli.items()], [*back.minor.items()], points, back.progress]


def _read_rest(member: Member, packed: bytes) -> None:
    rest: dict[str, Any] = orjson.loads(packed)
    if "referral" in rest:
        member.referral = Referral(*rest["referral"])
    if "profile" in rest:
        member.sealed = Sealed(*rest["profile"])
    member.debt, member.slides_us = rest.get("debt", 0), rest.get("slides")
    member.alias_of, aliases, member.left_us = rest.get("who", (None, (), None))
    member.aliases = set(aliases)
    for name, *fields in rest.get("spent", ()):
        member.spent[name] = Spent.of(fields)
        member.find_lapse()
    member.played = {name: Played(*found) for name, *found in rest.get("played", ())}
    member.kept = [(kind, source, fact_id, time, data) for kind, source, fact_id, time, data in rest.get("kept", ())]
    member.caps = {key: (points, times) for key, points, times in rest.get("caps", ())}
    member.counters = {key: (number, moments) for key, number, moments in rest.get("counters", ())}
    member.first_purchase_us = rest.get("first", member.first_purchase_us)
    member.came = rest.get("came", {})
    member.awaited = {name: (since_us, until_us) for name, (since_us, until_us) in rest.get("awaited", {}).items()}
    member.told = [(channel, at_us) for channel, at_us in rest.get("told", ())]
    if "override" in rest:
        member.override = Override(*rest["override"])
    member.welcomed = {level: Welcomed(*given) for level, *given in rest.get("welcomed", ())}
    member.segments = {segment: (at_us, entered) for segment, (at_us, entered) in rest.get("segments", {}).items()}
    member.waiting = tuple([Waiting(*waiting) for waiting in rest.get("waiting", ())])
    member.arrived = rest.get("arrived", {})
    member.missed = tuple(
        [
            Missed(name, points, version, entry_id, rule_id, order, tuple(names))
            for name, points, version, entry_id, rule_id, order, names in rest.get("missed", ())
        ]
    )
    member.bonuses = {key: Bonus(*bonus) for key, *bonus in rest.get("bonuses", ())}
    member.visits, member.brought = rest.get("visits", {}), set(rest.get("brought", ()))
    member.returned = {
        number: Returned(dict(milli), dict(minor), {(entry, line): taken for entry, line, taken in points}, progress)
        for number, milli, minor, points, progress in rest.get("returned", ())
    }
