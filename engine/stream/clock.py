"""Who moves time on for members without new facts: a `tick` fact in every partition, which settles what is due.

`wall` ticks when the programme's local midnight has passed, and in between when somebody waited long enough for what did not come
(`not_followed_by` of a programme), at most once a minute. `log` is for history: it never passes the newest fact of a
partition, and waits until nothing more is coming in, because a member's next fact may still be on its way. `off` leaves it
to `stammgast tick`. A tick that is written twice settles nobody twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal

import structlog

from engine.ledger.engine_facts import midnight_before, tick_fact
from engine.stream.clients import Outgoing, send_values
from engine.stream.keeper import Keeper
from engine.stream.tools import loop_time
from rules.book import Programme
from schemas.envelope import encode_fact
from schemas.times import DAY_US, MILLISECOND_US, to_text

ClockMode = Literal["wall", "log", "off"]

#: How often the clock looks. Too small: wasted wake-ups. Too large: midnight is noticed that much later.
LOOK_SECONDS = 5.0
#: `log`: a partition counts as quiet when its keeper and the intake did nothing for so long.
QUIET_SECONDS = 3.0
MINUTE_US = 60 * 1_000_000

log = structlog.get_logger(__name__)


async def append_ticks(producer: Any, facts_topic: str, partitions: Iterable[int], time_us: int, now_ms: int) -> int:
    """Append a tick at `time_us` to each of the partitions of `facts`; returns how many.

    Errors: KafkaError.
    """
    number, recorded_at = 0, to_text(now_ms * MILLISECOND_US)
    for partition in partitions:
        record: Outgoing = (None, encode_fact(tick_fact(partition, time_us, recorded_at)), now_ms, ())
        number += await send_values(producer, facts_topic, partition, [record])
    return number


class Clock:
    """Decides when which partition of this worker gets a tick. Belongs to one event loop.

    Args:
        keepers: the open and opening keepers of this worker, now.
        programme_at: the version in force at a moment, None when there is none: then the day is UTC's.
        quiet: nothing is coming in at the moment.
        now_us: the wall clock.
        seconds: the clock by which keepers say since when they are idle.
    """

    def __init__(
        self,
        mode: ClockMode,
        facts_topic: str,
        producer: Any,
        keepers: Callable[[], Iterable[Keeper]],
        programme_at: Callable[[int], Programme | None],
        quiet: Callable[[float], bool],
        now_us: Callable[[], int] | None = None,
        seconds: Callable[[], float] = loop_time,
    ) -> None:
        self._mode = mode
        self._facts_topic = facts_topic
        self._producer = producer
        self._keepers = keepers
        self._programme_at = programme_at
        self._quiet = quiet
        self._seconds = seconds
        self._now_us = now_us or (lambda: time.time_ns() // 1_000)
        self._ticked: dict[int, int] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled. Errors: KafkaError."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._mode != "off":
                await self.look()

    async def look(self) -> int:
        """Append the ticks that are due now; returns how many."""
        appended = 0
        for keeper in list(self._keepers()):
            due_us = self._due(keeper) if keeper.state == "open" else None
            if due_us is not None:
                self._ticked[keeper.partition] = due_us
                appended += await append_ticks(
                    self._producer, self._facts_topic, [keeper.partition], due_us, self._now_us() // MILLISECOND_US
                )
                log.info("tick appended", partition=keeper.partition, moment=to_text(due_us))
        return appended

    def _due(self, keeper: Keeper) -> int | None:
        """The moment of the tick that this partition should get now, None for none."""
        newest_us = keeper.ledger.newest_us
        if newest_us is None:
            return None  # no member yet: nobody to settle
        settled_us = max(keeper.last_tick_us, self._ticked.get(keeper.partition, 0))
        if self._mode == "wall":
            now_us = self._now_us()
            midnight_us = self._midnight(now_us)
            return midnight_us if midnight_us > settled_us else self._waited(keeper, now_us, settled_us)
        due_us, midnight_us = keeper.ledger.next_due_us, self._midnight(newest_us)
        if due_us is None or due_us > midnight_us or midnight_us <= settled_us:
            return None
        quiet = self._seconds() - keeper.idle_since >= QUIET_SECONDS and self._quiet(QUIET_SECONDS)
        return midnight_us if quiet else None

    def _waited(self, keeper: Keeper, now_us: int, settled_us: int) -> int | None:
        """The whole minute at which somebody's wait is over, None while nobody's is."""
        programme = self._programme_at(now_us)
        if programme is None or programme.moments is None or not programme.moments.awaited:
            return None
        due_us, minute_us = keeper.ledger.next_due_us, now_us - now_us % MINUTE_US
        return minute_us if due_us is not None and settled_us < due_us <= minute_us else None

    def _midnight(self, time_us: int) -> int:
        programme = self._programme_at(time_us)
        return time_us - time_us % DAY_US if programme is None else midnight_before(time_us, programme)
