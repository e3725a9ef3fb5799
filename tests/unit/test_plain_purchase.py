"""A plain purchase takes a short cut: whatever is changed in one, the models say the same."""

from __future__ import annotations

import json
import random
from typing import Any

import orjson
import pytest

from schemas import facts
from schemas.envelope import Fact, encode_fact
from schemas.normalise import OPEN_POLICY, Policy, _validated, normalise
from schemas.plain_purchase import plain_purchase
from schemas.rejects import Rejected
from schemas.times import to_us
from tests.unit.test_schemas_normalise import LINE, NOW, PURCHASE, event

SEED = 20261123
#: What stands in texts, numbers and moments of events, plain and not.
TEXTS = [
    "mug",
    "a b",
    "é",
    "中",
    "a|b",
    "a\x7fb",
    "a\x1fb",
    "a\xa0b",
    "a\u2028",
    "",
    " ",
    "x" * 128,
    "x" * 129,
    "x" * 257,
]
NUMBERS = [
    *("0", "0.0", "0.000", "00", "01", "007.5", "1", "1.5", "1.50", "1.500", "1.5000", "2.25", "0.000001", "0.0000001"),
    *("12.345678", "12.3456789", "999999999", "1000000000", "999999999999999", "1000000000000000", "9" * 30, "0.1" * 9),
    *("-1", "+1", "1.", ".5", "1e3", "1E-2", " 1", "1 ", "1_000", "NaN", "Infinity", "١", "1,5", "0x1", ""),
]
MOMENTS = [
    *("2026-03-01T10:00:00Z", "2026-03-01t10:00:00z", "2026-03-01T10:00:00.5Z", "2026-03-01T10:00:00.123456Z"),
    *("2026-03-01T10:00:00.123456789Z", "2026-03-01T10:00:00.000000Z", "2026-03-01T10:00:00+05:30"),
    *("2026-03-01T10:00:00.000000+01:00", "2026-03-01T24:00:00Z", "2026-02-29T10:00:00Z", "2026-03-01T10:00:60Z"),
    *(
        "2026-03-01 10:00:00Z",
        "2026-03-01T10:00:00",
        "2026-03-01",
        "20260301T100000.0000000000Z",
        "٢026-03-01T10:00:00Z",
    ),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-06-01T12:05:00Z", "2026-06-01T12:05:01Z", ""),
]
ODD: list[Any] = [None, True, False, 0, 1, 3, -1, 2**63, 2**64, 10**15, 1.5, 2.0, [], {}, [1], {"a": 1}]
KEYS = ["m1", "order:x", "stock:x", "0043 1 23 45 67 8", "+43 660 1234567", "a@b.c", "a@b", "07", "+", "m|1"]
SOURCES = ["urn:till:7", "urn:stammgast:timer", "urn:stammgast", "a|b", "é"]
CODES = ["EUR", "JPY", "KWD", "CLF", "ZZZ", "eur", ""]


def said(raw: bytes, short: bool) -> tuple[str, Any]:
    """The fact, or reason, field and message of the refusal: by the short cut where it is taken, or by the models alone."""
    try:
        fact = normalise(raw, NOW, to_us(NOW)) if short else _validated(raw, NOW, to_us(NOW), OPEN_POLICY)
    except Rejected as refused:
        return "refused", (refused.reason, refused.field, refused.message)
    return "fact", (fact, encode_fact(fact))


def changed(chance: random.Random) -> bytes:
    """A purchase in which some things are other than plain, by chance."""
    lines = [dict(LINE) for _ in range(chance.randint(1, 3))]
    data: dict[str, Any] = {**PURCHASE, "lines": lines}
    whole: dict[str, Any] = {**orjson.loads(event()), "data": data}
    places: list[tuple[dict[str, Any], str, list[Any]]] = [
        *((line, name, [*NUMBERS, *ODD]) for line in lines for name in ("quantity", "unit_price", "discount")),
        *((line, name, [*TEXTS, *ODD]) for line in lines for name in ("sku", "category", "more")),
        *((data, name, [*TEXTS, *ODD]) for name in ("order_id", "order_source", "store", "channel", "more")),
        (data, "total", [*NUMBERS, *ODD]),
        (data, "currency", [*CODES, *ODD]),
        (data, "payment", [None, {}, {"points": "1.00"}, {"voucher": "2", "vouchers": ["A"]}]),
        (data, "lines", [[], None, [None], [[]]]),
        *((whole, name, [*TEXTS, *ODD]) for name in ("id", "extension", "specversion", "datacontenttype")),
        (whole, "datacontenttype", ["application/json"]),
        (whole, "subject", [*KEYS, *TEXTS, *ODD]),
        (whole, "source", [*SOURCES, *TEXTS, *ODD]),
        (whole, "type", [facts.REFUND, facts.VISIT, "", None]),
        (whole, "time", [*MOMENTS, *ODD]),
    ]
    for holder, name, values in chance.sample(places, chance.randint(1, 2)):
        if chance.random() < 0.1:
            holder.pop(name, None)
        else:
            holder[name] = chance.choice(values)
    raw = json.dumps(whole, ensure_ascii=chance.random() < 0.5)  # it knows integers of any size
    return raw.encode() if chance.random() < 0.9 else exact(raw)


def exact(raw: str) -> bytes:
    """The event with some of its numbers as numbers of JSON."""
    for number in ("4.50", "9.00", "2"):
        raw = raw.replace(f': "{number}"', f": {number}")
    return raw.encode()


def test_the_short_cut_says_what_the_models_say() -> None:
    """Events with up to two odd things in them: the same fact and the same bytes, or the same refusal."""
    chance = random.Random(SEED)
    ways = {"fact": 0, "refused": 0, "short": 0}
    for number in range(3_000):
        raw = changed(chance)

        expected = said(raw, short=False)

        assert said(raw, short=True) == expected, f"seed {SEED}, event {number}: {raw!r}"
        ways[expected[0]] += 1
        ways["short"] += plain_purchase(raw, NOW, to_us(NOW)) is not None
    assert min(ways.values()) > 200, ways


@pytest.mark.parametrize(
    ("plain", "twice"),
    [
        (b'"id":"e1"', b'"id":"e1","id":"e2"'),
        (b'"order_id":"o1"', b'"order_id":"o1","order_id":"o2"'),
        (b'"quantity":"2"', b'"quantity":"2","quantity":"3"'),
        (b'"subject":"m1"', b'"subject":"m1","subject":null'),
    ],
)
def test_a_key_that_stands_twice_is_read_in_one_way(plain: bytes, twice: bytes) -> None:
    """The last one counts, as the models have it."""
    raw = event().replace(plain, twice)

    assert raw != event()
    assert said(raw, short=True) == said(raw, short=False)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"stammgast.purchase.v1"', b"\xff" + event(), event() + b"}"])
def test_what_is_no_event_is_refused_as_before(raw: bytes) -> None:
    """It is left to the models."""
    assert said(raw, short=True) == said(raw, short=False)


def test_an_order_of_too_many_lines_is_refused_as_before() -> None:
    """The short cut counts them too."""
    raw = event({**PURCHASE, "lines": [LINE] * (facts.MAX_LINES + 1)})

    assert plain_purchase(raw, NOW, to_us(NOW)) is None
    assert said(raw, short=True) == said(raw, short=False)


def test_a_topic_that_carries_no_purchases_refuses_plain_ones() -> None:
    """The short cut asks what the topic may carry."""
    with pytest.raises(Rejected) as caught:
        normalise(event(), NOW, to_us(NOW), Policy("visits", frozenset({facts.VISIT})))

    assert caught.value.reason == "not_allowed"


def test_most_purchases_take_it() -> None:
    """An ordinary one, with and without what may be left out."""
    for raw in (
        event(),
        event(subject=None),
        event({**PURCHASE, "store": "vienna"}),
        event(time="2026-03-01T09:00:00Z"),
    ):
        fact = plain_purchase(raw, NOW, to_us(NOW))
        assert isinstance(fact, Fact)
