"""What a member spent in a stretch of time, as running sums: a rule that asks at each purchase reads no order again.

It is worked out from his orders when a rule first asks, and kept up with every order that joins them. It is no part of his
state: it is never packed, and whoever unpacks him works it out anew. So it makes no difference to any decision, and only
members to whom something happens now pay for it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

#: After so many more orders of a currency it looks whether some can be forgotten.
_FEW = 64


class Spending:
    """The totals of a member's orders at or after a moment, by currency, in the order of their time.

    Attributes:
        since_us: it knows nothing of what was before.
    """

    __slots__ = ("_asked_us", "_sums", "_times", "since_us")

    def __init__(self, since_us: int) -> None:
        """Begin without orders."""
        self.since_us = since_us
        self._asked_us: int | None = None
        self._times: dict[str, list[int]] = {}
        # Of each order the sum of itself and all before it, with a nought in front.
        self._sums: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return sum([len(times) for times in self._times.values()])

    def add(self, at_us: int, currency: str, minor: int) -> None:
        """Take in an order: mostly it is the newest."""
        if at_us < self.since_us:
            return
        times = self._times.get(currency)
        if times is None:
            self._times[currency], self._sums[currency] = [at_us], [0, minor]
            return
        sums = self._sums[currency]
        if at_us >= times[-1]:
            times.append(at_us)
            sums.append(sums[-1] + minor)
            if len(times) % _FEW == 0:
                self._forget(times, sums)
            return
        place = bisect_right(times, at_us)
        times.insert(place, at_us)
        sums.insert(place + 1, sums[place])
        for later in range(place + 1, len(sums)):
            sums[later] += minor

    def between(self, since_us: int, until_us: int, currency: str) -> int:
        """Return what was spent in a currency from ``since_us`` until ``until_us``, both included, minor units."""
        self._note(since_us)
        times = self._times.get(currency)
        if times is None:
            return 0
        sums = self._sums[currency]
        return sums[bisect_right(times, until_us)] - sums[bisect_left(times, since_us)]

    def since(self, since_us: int) -> int:
        """Return the totals at or after a moment, whatever their currency, minor units."""
        self._note(since_us)
        spent = 0
        for currency, times in self._times.items():
            sums = self._sums[currency]
            spent += sums[-1] - sums[bisect_left(times, since_us)]
        return spent

    def _note(self, since_us: int) -> None:
        if self._asked_us is None or since_us < self._asked_us:
            self._asked_us = since_us

    def _forget(self, times: list[int], sums: list[int]) -> None:
        """Drop what lies further back than anybody asked since the last time, once it is half of what is kept."""
        asked_us, self._asked_us = self._asked_us, None
        if asked_us is None:
            return
        old = bisect_left(times, asked_us)
        if 2 * old >= len(times):
            del times[:old]
            del sums[:old]
            self.since_us = max(self.since_us, asked_us)
