"""A running worker looks at its members, a few at a time, and says when what they have is not their balance."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from engine.ledger.member import Lot, Member
from engine.ledger.partition import Partition
from engine.stream.spot_check import SpotCheck, broken
from engine.telemetry import Metrics

DAY = 86_400_000_000
LOT = "ab" * 16


def member(key: str, *, balance: int, left: int = 0, debt: int = 0) -> Member:
    """Someone with one lot."""
    lots = {LOT: Lot(LOT, left, DAY)} if left else {}
    return Member(key, offset=1, balance=balance, debt=debt, lots_apart=lots)


def keeper(*members: Member, state: str = "open", last_tick_us: int = 0) -> Any:
    """An open keeper whose ledger holds these members; two of them as objects."""
    ledger = Partition(0, {}, live_members=2)
    ledger.newest_us = DAY
    for one in members:
        ledger.members.put(one)
        ledger._due.move(one.key, None, one.next_due_us)
    return SimpleNamespace(state=state, ledger=ledger, last_tick_us=last_tick_us)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """A metric of ours."""
    return metrics.registry.get_sample_value(f"stammgast_{name}", labels)


@pytest.mark.parametrize(
    ("one", "found"),
    [
        (member("m", balance=10, left=10), []),
        (member("m", balance=-3, debt=3), []),
        (member("m", balance=10, left=12), [("balance", 2)]),
        (member("m", balance=-4, left=-4), [("lot_below_zero", 4)]),
        (member("m", balance=5, debt=-5), [("debt_below_zero", 5)]),
    ],
)
def test_what_is_broken_is_named_with_its_points(one: Member, found: list[tuple[str, int]]) -> None:
    """Lots less debt are the balance; neither goes below zero."""
    assert list(broken(one)) == found


def test_every_member_is_looked_at_once_a_round_and_the_broken_one_is_counted() -> None:
    """Given 50 members of whom one is broken and packed, when looks go round once, then he is found once and all are counted."""
    # given
    metrics = Metrics(with_process=False)
    people = [member(f"m{number}", balance=7, left=7) for number in range(50)]
    people[3].balance = 8
    check = SpotCheck(metrics, lambda: [keeper_of_all], members_per_look=20)
    keeper_of_all = keeper(*people)
    live = keeper_of_all.ledger.members.live

    # when
    for _ in range(4):
        check.look()

    # then
    assert value(metrics, "audited_members_total") == 50
    assert value(metrics, "ledger_violations_total", check="balance") == 1
    assert value(metrics, "ledger_violations_total", check="lot_below_zero") == 0
    assert value(metrics, "ledger_gap_points_total") == 1
    assert value(metrics, "members") == 50
    assert keeper_of_all.ledger.members.live == live


def test_a_damaged_state_is_a_violation_and_not_an_end() -> None:
    """Bytes in memory that no longer read are counted; the next member is looked at."""
    # given
    metrics = Metrics(with_process=False)
    one = keeper(member("m", balance=7, left=7))
    one.ledger.members.restore("damaged", b"\x01nonsense")
    check = SpotCheck(metrics, lambda: [one])

    # when
    check.look()
    check.look()

    # then
    assert value(metrics, "ledger_violations_total", check="unreadable") == 1
    assert value(metrics, "audited_members_total") == 2


def test_keepers_by_state_the_overdue_and_the_tick_longest_ago() -> None:
    """Who is due at the newest tick of his partition is overdue; the tick is told only where the clock is the wall's."""
    # given
    late, fine = member("late", balance=0), member("fine", balance=0)
    late.next_due_us, fine.next_due_us = 5 * DAY, 6 * DAY + 1
    keepers = [keeper(late, fine, last_tick_us=6 * DAY), keeper(last_tick_us=7 * DAY), keeper(state="opening")]
    wall, other = Metrics(with_process=False), Metrics(with_process=False)

    # when
    SpotCheck(wall, lambda: keepers, wall=True).look()
    SpotCheck(other, lambda: keepers).look()

    # then
    assert (value(wall, "keepers", state="open"), value(wall, "keepers", state="opening")) == (2, 1)
    assert value(wall, "overdue_members") == 1
    assert value(wall, "newest_tick_timestamp_seconds") == 6 * 86_400
    assert value(other, "newest_tick_timestamp_seconds") == 0
