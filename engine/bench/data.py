"""What the measurements are made on: seeded, invented purchases under the gift shop's own programme."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

import rules
from engine.ledger.engine_facts import programme_fact
from engine.ledger.partition import Partition
from rules.book import Programme, load_directory
from schemas.envelope import Fact, encode_fact
from schemas.facts import PURCHASE
from schemas.normalise import normalise
from schemas.times import DAY_US, SECOND_US, to_text, to_us

SEED = 20101215
SOURCE = "urn:stammgast-bench"
FACTS_PER_MEMBER = 20
#: Purchases are spread over so many days: members climb through tiers, and years end.
SPAN_DAYS = 180
ARTICLES = 3_000
#: The wall clock of every measurement; in normal form it is one text, and no fact lies in its future.
RECORDED_US = 1_609_459_200 * SECOND_US


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of purchase: how many lines an order has."""

    name: str
    lines: int


TWO_LINES = Shape("two-line purchases", 2)
GIFT_SHOP = Shape("gift shop, 20 lines an order", 20)
SHAPES = {shape.name: shape for shape in (TWO_LINES, GIFT_SHOP)}


#: The gift shop's data end on 9 December 2011.
DATA_END_US = to_us("2012-01-01T00:00:00Z")
#: Programmes by name: the gift shop as shipped, and one that uses every feature at once.
PROGRAMMES = {
    "gift-shop": Path(rules.__file__).parent / "programmes" / "gift-shop",
    "every-feature": Path(__file__).parent / "programmes" / "every-feature",
}


def programmes(name: str = "gift-shop") -> list[Programme]:
    """The versions of a programme under which the real data were bought, so that figures stay comparable."""
    return [version for version in load_directory(PROGRAMMES[name]) if version.valid_from_us < DATA_END_US]


def members_of(count: int) -> int:
    """How many members `count` purchases belong to."""
    return max(1, count // FACTS_PER_MEMBER)


def events(shape: Shape, count: int, seed: int = SEED) -> Iterator[bytes]:
    """Yield `count` purchases as inbound events, oldest first, all under the newest version of the programme.

    Args:
        shape: lines per order.
        count: events; members take turns at random and have FACTS_PER_MEMBER each on average.
        seed: the same one gives the same bytes.
    """
    chance = random.Random(seed)
    members = members_of(count)
    begin_us = max(programme.valid_from_us for programme in programmes()) + DAY_US
    step_us = SPAN_DAYS * DAY_US // max(1, count)
    for number in range(count):
        # Opening hours, so that rules with hours sometimes apply.
        day_us, rest_us = divmod(number * step_us, DAY_US)
        time_us = begin_us + day_us * DAY_US + (7 * 3_600 * SECOND_US) + rest_us // 2
        yield orjson.dumps(_purchase(chance, shape, number, f"member-{chance.randrange(members):06d}", time_us))


def _purchase(chance: random.Random, shape: Shape, number: int, member: str, time_us: int) -> dict[str, object]:
    lines, total_pence = [], 0
    for _ in range(shape.lines):
        quantity, pence = chance.randint(1, 6), chance.randint(40, 2_000)
        total_pence += quantity * pence
        lines.append(
            {
                "sku": f"{20_000 + chance.randrange(ARTICLES)}",
                "category": "goods",
                "quantity": str(quantity),
                "unit_price": f"{pence // 100}.{pence % 100:02d}",
            }
        )
    return {
        "specversion": "1.0",
        "id": f"{500_000 + number}",
        "source": SOURCE,
        "type": PURCHASE,
        "subject": member,
        "time": to_text(time_us),
        "data": {
            "order_id": f"{500_000 + number}",
            "lines": lines,
            "total": f"{total_pence // 100}.{total_pence % 100:02d}",
            "currency": "GBP",
            "channel": "web",
        },
    }


def facts(shape: Shape, count: int, seed: int = SEED) -> Iterator[Fact]:
    """The same purchases in normal form, as intake writes them."""
    recorded_at = to_text(RECORDED_US)
    return (normalise(raw, recorded_at, RECORDED_US) for raw in events(shape, count, seed))


def fact_values(shape: Shape, count: int, seed: int = SEED) -> list[bytes]:
    """Values of `facts` records."""
    return [encode_fact(fact) for fact in facts(shape, count, seed)]


def fresh_ledger(versions: Sequence[Programme], number: int = 0) -> Partition:
    """A partition of the ledger without members, in which every version is known."""
    ledger = Partition(number, {version.hash: version for version in versions})
    for version in sorted(versions, key=lambda known: known.valid_from_us):
        ledger.answer(programme_fact(version, to_text(RECORDED_US)), ledger.next_offset)
    return ledger
