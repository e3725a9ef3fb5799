"""What a member's memory is made of, byte by byte: numbers, words, ids and lists at their edges, and his records against a plain
list of everything that he was told to remember."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import Any

import orjson
import pytest

from engine.ledger.compact import (
    MOST,
    Reader,
    Texts,
    from_utf8,
    name,
    number,
    numbers,
    pack_list,
    plain,
    read_list,
    read_mark,
    read_name,
    read_numbers,
    to_utf8,
    word,
)
from engine.ledger.history import Fresh, History
from engine.ledger.orders import Order, paid_kept, paid_packed, read_order
from engine.ledger.spending import Spending
from schemas.ids import Ids

DAY_US = 86_400_000_000
START_US = 20_000 * DAY_US
HEX = "0123456789abcdef0123456789abcdef"
UUID = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "\0"), (1, "\x01"), (127, "\x7f"), (MOST, chr(MOST)), (MOST + 1, f"\U0010ffff\x07{MOST + 1}"),
        (-1, "\U0010ffff\x02-1"),
        (10**12, "\U0010ffff\x0d1000000000000"), (-(10**9), "\U0010ffff\x0b-1000000000"),
    ],
)  # fmt: skip
def test_a_number_is_a_character_where_one_can_hold_it(value: int, text: str) -> None:
    """And digits behind an escape where not, alone and among others."""
    assert number(value) == text
    assert Reader(text).number() == value
    assert numbers([7, value, 8]) == f"\x07{text}\x08"
    assert read_numbers(f"\x07{text}\x08") == [7, value, 8]
    assert from_utf8(to_utf8(text)) == text


@pytest.mark.parametrize(
    ("text", "packed"),
    [
        ("", "\0"), ("a", "\x01a"), ("0", chr(64)), ("7", chr(71)), ("07", "\x0207"), ("999999", chr(1_000_063)),
        ("1000000", "\x071000000"), ("-1", "\x02-1"), ("\N{DEVANAGARI DIGIT FIVE}", "\x01\N{DEVANAGARI DIGIT FIVE}"),
        ("a" * 62, chr(62) + "a" * 62), ("a" * 63, chr(63) + chr(63) + "a" * 63), ("a" * 300, chr(63) + chr(300) + "a" * 300),
    ],
)  # fmt: skip
def test_a_word_says_where_it_ends(text: str, packed: str) -> None:
    """By its length in front; a small integer is one character."""
    assert word(text) == packed
    reader = Reader(f"{packed}\x05")
    assert (reader.word(), reader.number(), reader.at) == (text, 5, len(packed) + 1)
    assert Reader(f"\x05{packed}", 1).word() == text


@pytest.mark.parametrize("cut", ["\x02a", chr(63) + chr(64) + "a" * 63, "\U0010ffff\x03-1", ""])
def test_what_is_cut_off_is_an_error(cut: str) -> None:
    """Never another word or number."""
    with pytest.raises(IndexError):
        Reader(cut).word() if not cut.startswith("\U0010ffff") else Reader(cut).number()


@pytest.mark.parametrize(
    ("text", "packed"),
    [
        ("", "00"), ("a", "0161"), ("0", "80"), ("1", "8101"), ("255", "81ff"), ("256", "820100"), ("00", "023030"),
        ("9" * 18, "880de0b6b3a763ffff"), ("9" * 19, "13" + "39" * 19), (HEX, f"a1{HEX}"),
        (HEX.upper(), "20" + HEX.upper().encode().hex()),
        (UUID, f"a0{HEX}"), (UUID.upper(), "24" + UUID.upper().encode().hex()), (UUID.replace("89ab-", "-89ab"), None),
        ("g" * 32, "20" + "67" * 32), ("a" * 127, "7f" + "61" * 127), ("a" * 128, "b00080" + "61" * 128),
        ("ä" * 200, None),
        ("x" * 300, "b0012c" + "78" * 300), ("0123456789ab-cdef-0123-456789abcdef0", None), (f"{UUID[:-1]}g", None),
    ],
)  # fmt: skip
def test_an_id_takes_its_bytes_where_it_is_digits_or_hex(text: str, packed: str | None) -> None:
    """Each is read again as it was, and what stands behind it is found."""
    found = name(text)
    assert packed is None or found.hex() == packed
    assert read_name(b"\x09" + found + b"\x09", 1) == (text, len(found) + 1)
    assert read_name(bytearray(found), 0) == (text, len(found))


@pytest.mark.parametrize(
    ("values", "packed"),
    [
        ([], ""), ([0], "0f"), ([10], "10"), ([-1, 25], "c1a25f"), (["a"], "be61b"), (["1.5", 2], "b1d5ba2f"),
        (["x-y"], "be78ce79b"),
        (["tea pot"], "be74e65e61fe70e6fe74b"), (["é"], "bec3ea9b"), ([1, "ab", 2], "1abe61e62ba2"),
    ],
)  # fmt: skip
def test_a_list_takes_half_a_byte_for_each_digit(values: list[int | str], packed: str) -> None:
    """Letters stand in hex behind a mark."""
    full = packed if len(packed) % 2 == 0 else f"{packed}f"
    assert pack_list(values).hex() == full
    assert read_list(pack_list(values)) == values
    assert read_list(bytearray(pack_list(values))) == values


def test_an_integer_is_plain_where_its_text_is_how_it_is_written() -> None:
    """Whatever comes of it, `str` of it is the text again."""
    assert [plain(text) for text in ("7", "07", "7.0", "-7", "9" * 18, "9" * 19)] == [
        7, "07", "7.0", "-7", 10**18 - 1, "9" * 19,
    ]  # fmt: skip


def test_the_texts_of_a_table_have_marks_whose_end_can_be_told() -> None:
    """One byte for the first 255, five for the others; two tables of the same words are the same."""
    table = Texts(tuple(f"urn:{at}" for at in range(300)))
    marks = [table.marks[f"urn:{at}"].hex() for at in (0, 1, 254, 255, 256, 299)]
    assert marks == ["00", "01", "fe", "ff000000ff", "ff00000100", "ff0000012b"]
    for at, text in enumerate(table.words):
        assert read_mark(b"\x07" + table.marks[text] + b"\x07", 1) == (at, 1 + len(table.marks[text]))
        assert table.numbers[text] == at
    again = Texts(table.words)
    assert (again == table, hash(again) == hash(table), table == Texts(), table == table.words) == (
        True,
        True,
        False,
        False,
    )


@dataclass
class Told:
    """Something that was remembered; ``seen`` while it counts as seen."""

    source: str
    fact_id: str
    body: str
    at_us: int
    order: Order | None
    name: tuple[str, str]
    seen: bool = True


class PlainHistory:
    """A list of everything, in the plainest words."""

    def __init__(self) -> None:
        self.told: list[Told] = []

    def remember(self, told: Told, horizon_us: int) -> None:
        """At the end; an earlier one of its identity counts no longer; from the oldest on, what is too old counts no longer."""
        for one in self.told:
            if (one.source, one.fact_id) == (told.source, told.fact_id):
                one.seen = False
        self.told.append(told)
        for one in self.told:
            if one.seen and one.at_us >= horizon_us:
                break
            one.seen = False
        self.told = [one for one in self.told if one.seen or one.order is not None]


class Rememberer:
    """Tells a history and a plain list the same."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.history, self.plain = History(), PlainHistory()
        self.now_us, self.horizon_us, self.number = START_US, 0, 0
        for at in range(250 * (seed % 2)):
            self.history.text(f"text {at}")

    def tell(self) -> None:
        """Something new, or something whose first telling may count no longer."""
        dice = self.dice
        self.number += 1
        self.now_us += dice.choice([0, 1_000_000, 3_600_000_000, DAY_US])
        late_us = dice.choice([0, 0, 0, 1, 1_000, 999_999, 5_000_000, 40 * DAY_US, -(1 << 50)])
        source = f"urn:till:{dice.randrange(290) if dice.random() < 0.5 else dice.randrange(3)}"
        fact_id = dice.choice(
            [str(self.number), f"e{self.number}", f"{self.number:032x}", "long" * 40 + str(self.number), UUID]
        )
        order = self.order() if dice.random() < 0.5 else None
        own = dice.random() < 0.5
        order_name = (source, f"o{self.number}") if own else (source, fact_id)
        if order is not None and any(one.order is not None and one.name == order_name for one in self.plain.told):
            order = None
        told = Told(source, fact_id, f"{dice.randrange(1 << 64):016x}", self.now_us - late_us, order, order_name)
        if order is not None:
            order.at_us = told.at_us
        self.horizon_us = max(self.horizon_us, self.now_us - 30 * DAY_US)
        kept = None if order is None else kept_of(order)
        fresh = Fresh(told.body + "ffff", told.at_us, kept, None if order is None else order_name)
        self.history.remember(source, fact_id, fresh, self.horizon_us)
        self.plain.remember(told, self.horizon_us)

    def order(self) -> Order:
        """Of any shape: a total of its own, no progress or some on a day far away, grants on some lines, caps and counters."""
        dice = self.dice
        lines = [
            (dice.choice(["7", "mug", "tea pot", "0815"]), dice.choice(["1", "2.5"]), dice.randrange(-50, 9_999))
            for _ in range(dice.choice([0, 1, 2, 3, 60]))
        ]
        total = sum(line[2] for line in lines) + dice.choice([0, 0, 0, 499])
        day = dice.choice(["2026-03-04", f"{1970 + dice.randrange(100)}-12-31"])
        progress = dice.choice([None, (day, total), (day, 12)])
        some = list(range(1, len(lines) + 1, 2))
        grants = [
            (f"{at:032x}", dice.choice(["spend", "app"]), dice.randrange(1, 3), [(line, line + at) for line in on])
            for at, on in enumerate([list(range(1, len(lines) + 1)), some][: dice.randrange(3)])
        ]
        counts = [("cap|2026-03", 40)] if dice.random() < 0.3 else []
        counters = [("nth|spend", 1, 1, [1, 2]), ("streak|s", 2, 0, [])] if dice.random() < 0.3 else []
        return Order(0, dice.choice(["EUR", "USD"]), total, lines, progress, grants, counts, counters)

    def check(self) -> None:
        """Everything that can be asked is answered alike."""
        ids = Ids("", "", "")
        found = [
            (
                *said[:4],
                None if said[4] is None else read_order(said[4].packed, said[4].at_us, self.history.texts.words, ids),
            )
            for said in self.history.everything()
        ]
        wanted = [
            (one.source, one.fact_id, one.at_us, one.body if one.seen else "", one.order) for one in self.plain.told
        ]
        assert found == wanted
        orders = [one for one in self.plain.told if one.order is not None]
        bought = [*self.history.orders_since(None)]
        assert [
            (one.number, one.source, one.fact_id, one.at_us, (one.order_source, one.order_id)) for one in bought
        ] == [(place, one.source, one.fact_id, one.at_us, one.name) for place, one in enumerate(orders)]
        since_us = self.dice.choice(orders).at_us if orders else 0
        assert [one.number for one in self.history.orders_since(since_us)] == [
            place for place, one in enumerate(orders) if one.at_us >= since_us
        ]
        for one in self.plain.told:
            alike = [other for other in self.plain.told if (other.source, other.fact_id) == (one.source, one.fact_id)]
            seen = next(((other.body, other.at_us) for other in alike if other.seen), None)
            assert self.history.seen(one.source, one.fact_id) == seen
            assert self.history.had_order_of(one.source, one.fact_id) == any(other.order is not None for other in alike)
        for place, one in enumerate(orders):
            found_order = self.history.order(*one.name)
            assert found_order is not None
            assert (found_order, found_order.number) == (bought[place], place)
            assert self.history.has_order(*one.name)
            assert one.order is not None
            assert paid_packed(found_order.packed, self.history.texts.words) == (
                one.order.currency,
                one.order.total_minor,
            )
            assert paid_kept(kept_of(one.order)) == (one.order.currency, one.order.total_minor)
        for source, fact_id in (("urn:till:1", "never"), ("urn:never", "1")):
            assert self.history.seen(source, fact_id) is None
            assert not self.history.has_order(source, fact_id)
            assert not self.history.had_order_of(source, fact_id)
            assert self.history.order(source, fact_id) is None


def kept_of(order: Order) -> bytes:
    """An order as `keep_order` leaves it."""
    used: list[Any] = []
    if order.counts or order.counters:
        used = [len(order.counts), *(part for count in order.counts for part in count)]
        for key, by, moments, lines in order.counters:
            used += [key, by, moments, len(lines), *lines]
    grants = [(rule, version, shares, entry) for entry, rule, version, shares in order.grants]
    progress = [] if order.progress is None else [order.progress]
    return orjson.dumps([order.currency, order.total_minor, order.lines, progress, grants, used])


@pytest.mark.parametrize(
    ("seed", "length", "digest"),
    [
        (1, 22_607, "c330cb814999ea5a"),
        (2, 21_243, "8d291a41d3c9da0f"),
        (3, 21_769, "e97df2e9fbdbda85"),
        (4, 28_508, "78d4d8536ac56707"),
    ],
)
def test_a_member_remembers_what_he_was_told(seed: int, length: int, digest: str) -> None:
    """Of many sources, in any order of time, with orders of any shape; what lies far back is forgotten; the bytes stay."""
    one = Rememberer(seed)
    for _ in range(6):
        for _ in range(25):
            one.tell()
        for told in one.plain.told[-3:]:  # before anything is written into the bytes
            alike = [other.order for other in one.plain.told if other.name == told.name]
            assert one.history.has_order(*told.name) == any(order is not None for order in alike)
            if [other for other in one.plain.told if other.fact_id == told.fact_id] == [told]:
                assert one.history.seen(told.source, told.fact_id) == (told.body, told.at_us)
                assert one.history.had_order_of(told.source, told.fact_id) == (told.order is not None)
        one.check()
    packed = one.history.packed
    again = History(one.history.base_us, one.history.texts.words, bytes(packed))

    assert [*again.everything()] == [*one.history.everything()]
    assert again == one.history
    assert again != History()
    assert again != packed
    assert (len(packed), blake2b(bytes(packed), digest_size=8).hexdigest()) == (length, digest)


def test_running_sums_are_those_of_the_list() -> None:
    """Of orders in any order of time, in two currencies; what lies further back than anybody asks is dropped."""
    dice = Random(7)
    spending, plain_list = Spending(1_000), []
    now = 1_000
    dropped = False
    for step in range(600):
        now += dice.randrange(3)
        at = now if dice.random() < 0.8 else dice.randrange(900, now + 1)
        currency, minor = dice.choice(["EUR", "EUR", "EUR", "USD"]), dice.randrange(1, 500)
        spending.add(at, currency, minor)
        if at >= 1_000:
            plain_list.append((at, currency, minor))
        since = max(spending.since_us, now - dice.randrange(1, 40))
        until = since + dice.randrange(50)
        assert spending.since(since) == sum(m for a, _, m in plain_list if a >= since), step
        for asked in ("EUR", "USD", "CHF"):
            expected = sum(m for a, c, m in plain_list if c == asked and since <= a <= until)
            assert spending.between(since, until, asked) == expected, step
        dropped = dropped or spending.since_us > 1_000
        if not dropped:
            assert len(spending) == len(plain_list)
    assert dropped
    assert (len(spending), len(plain_list)) == (333, 569)
