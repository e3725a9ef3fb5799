"""Who deals with whom, so that members can be decided in several processes: a circle of business stays in one.

What a fact of one member does to another goes by few kinds of facts; whoever is joined by one of them is in one circle, and
circles do nothing to each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

import orjson

from rules.book import Programme
from schemas.envelope import COST_KEY, STOCK_KEY
from schemas.times import DAY_US, to_us

#: Stand for all sales without a member, and for all stocks of rewards: which of them a fact reaches takes more than a look.
ANONYMOUS, STOCKS = "\x00anonymous", "\x00stocks"
_BUSINESS = re.compile(rb'"stammgast\.(referral|transfer|claim|link|merge|redemption)\.v1"')
#: Texts of moments in a line; of the newest day there is, a moment with an offset may be one more in UTC.
_DAY = re.compile(rb'"time"\s*:\s*"(\d{4}-\d\d-\d\d)')
#: Bears the moment from which its version holds, which may be far away.
_PROGRAMME = b'"type":"stammgast.programme.v1"'
_MARGIN_US = 2 * DAY_US
_OTHER = {"referral": "referrer", "transfer": "to", "link": "member", "merge": "into"}


class Circles:
    """Members joined by business. Source: disjoint sets with path halving (Tarjan and van Leeuwen, 1984)."""

    def __init__(self, versions: Iterable[Programme]) -> None:
        """Start with nobody; ``versions`` of both sides say whether rewards come out of stocks, which join who takes them."""
        self._parents: dict[str, str] = {}
        self._versions = list(versions)
        self._weigh(self._versions)
        #: Whether it matters which versions were in force at all, and the newest day that stands in any line.
        self._asks_day, self._newest_day = self._stocks or self.everybody, b""
        #: Until here nothing joins anybody that was left out; None: nothing was.
        self.good_until_us: int | None = None

    def leave_out_later(self, until_us: int | None) -> None:
        """Every line was looked at, and time will go on to ``until_us``, or to the newest fact: versions that begin later join
        nobody. How far that holds is `good_until_us`; whoever gets further begins anew after `join_all`."""
        if not self._asks_day or not self._newest_day:
            return
        try:
            newest_us = to_us(f"{self._newest_day.decode()}T00:00:00Z") + _MARGIN_US
        except ValueError:
            return
        last_us = newest_us if until_us is None else max(newest_us, until_us)
        self._weigh([version for version in self._versions if version.valid_from_us <= last_us])
        self.good_until_us = last_us

    def join_all(self) -> None:
        """Take every version as one that may join members."""
        self._weigh(self._versions)
        self.good_until_us = None

    def _weigh(self, known: Sequence[Programme]) -> None:
        self._stocks = any(
            reward.stock is not None or (reward.voucher is not None and reward.voucher.codes)
            for version in known
            for reward in version.rewards.values()
        )
        #: A rule, challenge or moment may give a reward out of a stock, or any order may be given back with the receipt alone:
        #: then any fact may reach others, and everybody is in one circle.
        self.everybody = any(version.refund_by_receipt for version in known) or (
            self._stocks and any(version.gives or version.plays or version.moments is not None for version in known)
        )

    def look(self, line: bytes, *, dump: bool) -> None:
        """Take in a line of a file; most say nothing of others. A line that is no event is left to whoever decides it."""
        if self._asks_day and _PROGRAMME not in line and (days := _DAY.findall(line)):
            self._newest_day = max(self._newest_day, *days)
        if _BUSINESS.search(line) is None:
            return
        try:
            record: Any = orjson.loads(line)
            event = record["fact"] if dump else record
            self._join_event(event)
        except (ValueError, KeyError, TypeError):
            return

    def _join_event(self, event: Mapping[str, Any]) -> None:
        kind, subject = event["type"].split(".")[1], event.get("subject")
        if not isinstance(subject, str):
            return
        if kind in _OTHER:
            other = event["data"][_OTHER[kind]]
            if isinstance(other, str):
                self._join(subject, other)
        elif kind == "claim":
            self._join(subject, ANONYMOUS)
        elif kind == "redemption" and self._stocks:
            self._join(subject, STOCKS)

    def joined(self, key: str | None) -> bool:
        """Does whoever stands under this key (None: a sale without a member) deal with others?"""
        return self.everybody or named(key) in self._parents

    def shard(self, key: str | None, shards: int) -> int:
        """Return which of so many processes decides a key's facts, the same in all of them."""
        if shards == 1 or self.everybody:
            return 0
        name = named(key)
        return crc32((self._root(name) if name in self._parents else name).encode()) % shards

    def _join(self, one: str, other: str) -> None:
        roots = sorted((self._root(one), self._root(other)))
        self._parents[roots[1]] = roots[0]

    def _root(self, key: str) -> str:
        parents = self._parents
        parent = parents.setdefault(key, key)
        while parent != key:
            parents[key] = parents[parent]
            key = parents[key]
            parent = parents[key]
        return key


def named(key: str | None) -> str:
    """Return a key's name among the circles: every sale without a member has one, and every stock; costs stand with the sales."""
    if key is None or key.startswith(("order:", COST_KEY)):
        return ANONYMOUS
    return STOCKS if key.startswith(STOCK_KEY) else key
