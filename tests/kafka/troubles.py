"""Troubles that a process of ours gets while a file of their name lies in a folder: what alerts must notice."""

from __future__ import annotations

import asyncio
import importlib.metadata
import time
from pathlib import Path
from typing import Any

from engine.ledger.partition import Partition
from engine.stream.clock import Clock
from engine.stream.intake import Intake
from engine.stream.keeper import Keeper
from engine.stream.spot_check import SpotCheck
from projections.ledger_check import LedgerCheck

#: Decisions are not written; events are not taken in; a member's balance is changed in memory; ticks settle nobody; nobody looks
#: at the tables.
HELD, UNTAKEN, DAMAGED, IDLE_TICKS, UNSEEN = "held", "untaken", "damaged", "idle-ticks", "unseen"
POLL_S = 0.1
LOOK_S = 1.0


def plant(folder: Path, version: str | None = None) -> None:
    """Let this process have them. Its clock never ticks by itself, and its build is ``version`` where that is said."""
    _hold(Keeper, "_append", folder / HELD)
    _hold(Intake, "take", folder / UNTAKEN)
    _damage_members(folder / DAMAGED)
    _settle_nobody(folder / IDLE_TICKS)
    _look_for_ever(folder / UNSEEN)
    Clock.run = _never  # type: ignore[assignment, method-assign]
    if version is not None:
        importlib.metadata.version = lambda _name: version  # type: ignore[assignment]


async def _never(_self: Any) -> None:
    await asyncio.Event().wait()


def _hold(owner: Any, name: str, trouble: Path) -> None:
    genuine = getattr(owner, name)

    async def held(self: Any, *arguments: Any) -> Any:
        while await asyncio.to_thread(trouble.exists):  # noqa: ASYNC110 - the trouble is a file
            await asyncio.sleep(POLL_S)
        return await genuine(self, *arguments)

    setattr(owner, name, held)


def _damage_members(trouble: Path) -> None:
    genuine = SpotCheck.look

    def look(self: Any) -> None:
        if trouble.exists():
            for keeper in self._keepers():
                _damage(keeper.ledger.members)
        genuine(self)

    SpotCheck.look = look  # type: ignore[method-assign]


def _damage(members: Any) -> None:
    for key in list(members.keys()):
        member = members.peek(key)
        if member is not None and member.lots:
            member.balance += 1


def _settle_nobody(trouble: Path) -> None:
    genuine = Partition._settle_all

    def settle_all(self: Any, keys: Any, time_us: int) -> Any:
        return genuine(self, () if trouble.exists() else keys, time_us)

    Partition._settle_all = settle_all  # type: ignore[method-assign]


def _look_for_ever(trouble: Path) -> None:
    genuine = LedgerCheck._look

    def look(self: Any) -> None:
        self._again_s = LOOK_S
        while trouble.exists() and not self._stop.is_set():
            time.sleep(POLL_S)
        genuine(self)

    LedgerCheck._look = look  # type: ignore[method-assign]
