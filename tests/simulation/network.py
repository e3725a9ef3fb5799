"""What lies between a process and the brokers: time, and everything that can happen to a request and its answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextvars import Context
from random import Random
from typing import Any, TypeVar

from tests.simulation.loop import OWNER, SimLoop
from tests.simulation.options import Options

T = TypeVar("T")
#: What becomes of a request. `error_after`: the broker did it, and the client is told that it failed.
Fate = str  # well, slow, retried, stuck, error_before, error_after
WORLD = Context()


class Network:
    """Requests and answers with delays and faults. While `calm`, everything arrives soon."""

    def __init__(self, loop: SimLoop, rng: Random, options: Options) -> None:
        self.loop, self._rng, self._options = loop, rng, options
        self.calm = False
        self.faults: Counter[str] = Counter()
        #: (from, until, name of the process or None for all): nothing arrives meanwhile.
        self.outages: list[tuple[float, float, str | None]] = []

    def later(self, seconds: float, act: Callable[..., None], *args: Any) -> None:
        """The world does something after a while, whoever asked for it may be dead by then."""
        self.loop.call_later(seconds, act, *args, context=WORLD)

    def delay(self) -> float:
        """One way, seconds."""
        return self._rng.random() * self._options.latency_s

    def marker_delay(self) -> float:
        """Until a partition has the marker of a transaction that ended."""
        if not self.calm and self._rng.random() < self._options.slow_markers:
            self.faults["slow marker"] += 1
            return self._rng.random() * 3.0
        return self.delay()

    def fate(self, what: str) -> Fate:
        """Draw what becomes of one request."""
        odds = self._options.trouble.get(what, 0.0)
        if self.calm or self._rng.random() >= odds:
            return "well"
        fate: Fate = self._rng.choice(self._options.fates)
        self.faults[f"{what} {fate}".replace("_", " ")] += 1
        return fate

    def way(self) -> float:
        """Delay of one way, outages included."""
        arrives = self.loop.time() + self.delay()
        if self.outages:
            owner = OWNER.get()
            name = None if owner is None else owner.name
            for start, end, who in self.outages:
                if start <= arrives < end and who in (None, name):
                    arrives = end + self.delay()
        return arrives - self.loop.time()

    async def ask(self, act: Callable[[], T], extra_s: float = 0.0, answer_s: float = 0.0) -> T:
        """Send a request; the broker acts when it arrives; return or raise what it says when the answer is back.

        Args:
            extra_s, answer_s: delays on top, on the way there and on the way back.
        """
        future: asyncio.Future[T] = self.loop.create_future()
        self.later(self.way() + extra_s, self._arrive, act, future, answer_s)
        return await future

    def _arrive(self, act: Callable[[], T], future: asyncio.Future[T], answer_s: float) -> None:
        answer: Any
        try:
            answer, bad = act(), False
        except Exception as error:  # noqa: BLE001  it goes back to whoever asked
            answer, bad = error, True
        self.later(self.delay() + answer_s, _answer, future, answer, bad)


def _answer(future: asyncio.Future[Any], answer: Any, bad: bool) -> None:
    if future.done():
        return
    if bad:
        future.set_exception(answer)
    else:
        future.set_result(answer)
