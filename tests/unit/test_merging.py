"""The order in which partitions are merged into a new generation: what waits for what, and the same order in any two goes."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace
from types import SimpleNamespace

import orjson
import pytest

from engine.stream.merging import Item, Knowledge, Merge, Standing, TicksUneven
from schemas import facts
from schemas.envelope import CLOCK_SOURCE, PROGRAMME_SOURCE, make_fact

DAY_US = 86_400_000_000


def item(kind: str, name: str, stamp: int, time_us: int = 0, leads_to: tuple[str, ...] = ()) -> Item:
    """A record with its decision: `kind` is fact, award, tick or programme."""
    types = {"fact": facts.VISIT, "award": facts.REFERRAL_AWARD, "tick": facts.TICK, "programme": facts.PROGRAMME}
    sources = {"tick": CLOCK_SOURCE, "programme": PROGRAMME_SOURCE}
    fact = make_fact(
        id=name, source=sources.get(kind, "urn:test"), type=types[kind],
        subject="anna" if kind in ("fact", "award") else None, time_us=time_us, recorded_at="2026-01-01T00:00:00.000000Z",
        data={"hash": name} if kind == "programme" else {},
    )  # fmt: skip
    derived = [{"source": "urn:test", "id": one, "type": facts.REFERRAL_AWARD, "subject": "bob"} for one in leads_to]
    return Item(SimpleNamespace(timestamp=stamp, offset=stamp), fact, [orjson.dumps({"derived": derived})])


@dataclass
class Given:
    """A partition out of a list, of which so many are there by now."""

    items: list[Item]
    there: int
    at: int = 0

    async def peek(self) -> Item | None:
        """The next one, if it is there."""
        return self.items[self.at] if self.at < min(self.there, len(self.items)) else None

    def take(self) -> None:
        """Go on."""
        self.at += 1


def merged(lanes: list[list[Item]], knowledge: Knowledge | None = None) -> list[str]:
    """Kind and names of every step, when everything is there."""
    known = knowledge if knowledge is not None else Knowledge()
    return steps([Given(lane, len(lane)) for lane in lanes], [Standing() for _ in lanes], known, ended=True)


def steps(lanes: list[Given], standings: list[Standing], knowledge: Knowledge, *, ended: bool) -> list[str]:
    """What the merge gives now."""

    async def run() -> list[str]:
        merge, told = Merge(lanes, standings, knowledge, ended=ended), []
        while (step := await merge.next()) is not None:
            told.append(f"{step.kind} {'+'.join(one.fact.id for one in step.items if one.fact is not None)}")
        return told

    return asyncio.run(run())


def test_facts_go_by_their_stamps_and_never_past_each_other_in_a_partition() -> None:
    """A stamp that goes back does not change the order of its partition."""
    lanes = [[item("fact", "a1", 5), item("fact", "a2", 1)], [item("fact", "b1", 3), item("fact", "b2", 6)]]
    assert merged(lanes) == ["fact b1", "fact a1", "fact a2", "fact b2"]


def test_a_version_becomes_known_everywhere_at_one_place() -> None:
    """Given partitions that learn a version at other times, then what came before it in any of them comes before it in all; its
    second announcement is left out."""
    lanes = [
        [item("programme", "v1", 1), item("fact", "a1", 2), item("programme", "v1", 3)],
        [item("fact", "b1", 8), item("programme", "v1", 9), item("fact", "b2", 10)],
    ]
    assert merged(lanes) == ["fact b1", "programme v1+v1", "fact a1", "again v1", "fact b2"]


def test_a_moment_comes_everywhere_at_one_place_even_when_one_had_more_of_them() -> None:
    """A tick that only one partition had comes where the others have nothing before their next one."""
    lanes = [
        [
            item("tick", "0:1", 1, DAY_US),
            item("fact", "a1", 2),
            item("tick", "0:2", 3, 2 * DAY_US),
            item("fact", "a2", 4),
        ],
        [item("fact", "b1", 5), item("tick", "1:2", 6, 2 * DAY_US)],
    ]
    known = Knowledge()
    assert merged(lanes, known) == ["fact b1", "tick 0:1", "fact a1", "tick 0:2+1:2", "fact a2"]
    assert known.crossed == 0


def test_time_that_went_further_in_one_partition_is_refused() -> None:
    """Given a partition with members that ended before the other's tick, then nobody there may be settled so far."""
    lanes = [[item("tick", "0:1", 2, DAY_US)], [item("fact", "b1", 1)]]
    with pytest.raises(TicksUneven) as uneven:
        merged(lanes)
    assert uneven.value.time_us == DAY_US


def test_what_follows_comes_behind_what_it_follows_from() -> None:
    """Also when its partition is the earlier one, and its stamp the same."""
    lanes = [
        [item("award", "w", 7), item("fact", "a1", 8)],
        [item("fact", "b0", 6), item("fact", "b1", 7, leads_to=("w",))],
    ]
    assert merged(lanes) == ["fact b0", "fact b1", "fact w", "fact a1"]


def test_a_circle_is_left_by_the_tick_and_counted() -> None:
    """Given an award before its partition's tick whose cause stands behind the other's, then the tick goes first."""
    lanes = [
        [item("tick", "0:1", 1, DAY_US), item("fact", "a1", 2, DAY_US, leads_to=("w",))],
        [item("award", "w", 2, DAY_US), item("tick", "1:1", 3, DAY_US)],
    ]
    known = Knowledge()
    assert merged(lanes, known) == ["tick 0:1", "fact a1", "fact w", "tick 1:1"]
    assert known.crossed == 1


def test_versions_in_another_order_go_by_their_beginnings() -> None:
    """The one that begins first becomes known first; what the other partition says of it later is left out."""
    lanes = [
        [item("programme", "v1", 1, 1), item("programme", "v2", 2, 2)],
        [item("programme", "v2", 1, 2), item("fact", "b", 2), item("programme", "v1", 3, 1)],
    ]
    known = Knowledge()
    assert merged(lanes, known) == ["programme v1", "programme v2+v2", "fact b", "again v1"]
    assert known.crossed == 1


def random_lanes(seed: int) -> list[list[Item]]:
    """Some partitions that lived together: days with ticks, facts with what follows, a version or two."""
    rng, names = random.Random(seed), iter(range(10_000))
    lanes: list[list[Item]] = [[] for _ in range(4)]
    stamp = 0
    for day in range(1, 5):
        for _ in range(rng.randint(3, 30)):
            stamp += rng.randint(0, 2)
            lane, other, name = rng.randrange(4), rng.randrange(4), f"f{next(names)}"
            award = rng.random() < 0.3
            lanes[lane].append(item("fact", name, stamp, leads_to=(f"{name}-w",) if award else ()))
            if award:
                lanes[other].append(item("award", f"{name}-w", stamp))
        for number, lane_items in enumerate(lanes):
            lane_items.append(item("tick", f"{number}:{day}", stamp, day * DAY_US))
            if day == 2:
                lane_items.append(item("programme", "v1", stamp))
    return lanes


@pytest.mark.parametrize("seed", range(40))
def test_a_copy_that_goes_on_again_and_again_has_the_order_of_one_that_did_not(seed: int) -> None:
    """Given logs that grow between goes, when each goes on with what the last one noted, then the order is that of one go over
    all; every partition's own order is kept, nothing is left out or doubled, and nothing precedes what it follows from."""
    lanes = random_lanes(seed)
    whole = merged(lanes)
    rng, known, standings = random.Random(seed), Knowledge(), [Standing() for _ in lanes]
    grown = [Given(lane, 0) for lane in lanes]
    told: list[str] = []
    for ended in (False, False, False, True):
        for one in grown:
            one.there = len(one.items) if ended else rng.randint(one.there, len(one.items))
        noted = Knowledge(set(known.versions), set(known.announced), known.crossed)
        again = [replace(standing) for standing in standings]
        told += steps(grown, again, noted, ended=ended)
        known, standings = noted, again
    assert told == whole, f"seed {seed}"
    names = [name for step in whole for name in step.split(" ")[1].split("+")]
    assert len(names) == sum(map(len, lanes))
    for lane in lanes:
        own = [one.fact.id for one in lane if one.fact is not None]
        places = [names.index(name) for name in own]
        assert places == sorted(places), f"seed {seed}"
    followers = [name for name in names if name.endswith("-w")]
    assert all(names.index(name[:-2]) < names.index(name) for name in followers), f"seed {seed}"
