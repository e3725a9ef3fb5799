"""Which points a member has and in which order they go."""

from __future__ import annotations

from engine.ledger.lots import Lot, available, burn, open_lots
from engine.ledger.member import Member
from engine.ledger.packing import pack, unpack
from tests.unit.ledger import Stage, programme
from tests.unit.test_ledger_examples import SPEND


def member_with(*lots: Lot) -> Member:
    """A member who has these lots and nothing else."""
    return Member("anna", balance=sum(lot.left for lot in lots), lots_apart={lot.id: lot for lot in lots})


def test_soonest_expiry_first_then_the_oldest_and_the_everlasting_last() -> None:
    """Given lots with and without dates, when points are taken, then the one that goes soonest gives first."""
    ids = [f"{number:032x}" for number in range(5)]
    anna = member_with(
        Lot(ids[0], 10, earned_us=1),
        Lot(ids[1], 10, earned_us=5, expires_us=90),
        Lot(ids[2], 10, earned_us=4, expires_us=90),
        Lot(ids[3], 10, earned_us=3, active_us=50, expires_us=60),
        Lot(ids[4], 10, earned_us=1),
    )
    assert [lot.id for lot in open_lots(anna)] == [ids[3], ids[2], ids[1], ids[0], ids[4]]
    assert (available(anna, 49), available(anna, 50)) == (40, 50)
    assert burn(anna, 25, 49) == [(ids[2], 10), (ids[1], 10), (ids[0], 5)]
    assert burn(anna, 99, 49) == [(ids[2], 10), (ids[1], 10), (ids[0], 10), (ids[4], 10)]
    assert unpack("anna", pack(anna)).lots_apart == anna.lots_apart


def test_lots_that_follow_from_orders_are_found_too() -> None:
    """Given two orders whose points nobody touched, when points are taken, then the older order gives first."""
    stage = Stage(programme(SPEND))
    stage.buy("2026-03-02T10:00:00Z", ("mug", "7.00"), order="a1")
    stage.buy("2026-03-01T10:00:00Z", ("mug", "5.00"), order="a2")
    anna = stage.partition.members["anna"]

    assert anna.lots_apart == {}
    assert [lot.left for lot in open_lots(anna)] == [5, 7]
    assert [lot.order for lot in open_lots(anna, named=True)] == ["urn:till:7|a2", "urn:till:7|a1"]
    assert [points for _, points in burn(anna, 6, 1 << 60)] == [5, 1]
    stage.refund("2026-03-03T10:00:00Z", "a2", amount="2.00")
    assert [lot.left for lot in open_lots(stage.partition.members["anna"])] == [3, 7]
