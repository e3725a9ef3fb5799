"""How much is taken from one key: a bucket of tokens that fills at a steady rate. Source: the token bucket of RFC 2697."""

from __future__ import annotations

import math
from collections.abc import Callable

from engine.gateway.problems import Problem

#: A till that was offline sends what it has at once: so many seconds' worth are taken in one go.
BURST_S = 10.0


class Limiter:
    """One bucket per key. `seconds` is a clock that only moves forward."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str, rate: float, tokens: int) -> None:
        """Take tokens out of a bucket, or none.

        A request that asks for more than a full bucket holds is let through when it is full, and empties it below zero:
        a whole batch is late rather than never.

        Args:
            name: of the bucket.
            rate: tokens a second that flow into it.

        Errors: Problem too_many, with the seconds after which it would work.
        """
        now = self._seconds()
        full = max(1.0, rate * BURST_S)
        level, at = self._buckets.get(name, (full, now))
        level = min(full, level + (now - at) * rate)
        needed = min(float(tokens), full)
        if level < needed:
            self._buckets[name] = level, now
            wait = math.ceil((needed - level) / rate)
            raise Problem("too_many", f"key {name} may send {rate:g} events a second", retry_after=max(1, wait))
        self._buckets[name] = level - tokens, now
