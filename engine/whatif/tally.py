"""What both sides did, added up: points by member, month, rule and kind, changes of tier, notices.

Only what happened at or after the moment of taking over counts: before it both sides are the same.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

from rules.local_time import day_date, local_day
from schemas.decisions import Decision
from schemas.times import to_text, to_us

#: The two sides: as it was decided, and as the new programme would have.
NOW, NEW = 0, 1

Counts = dict[tuple[str, ...], list[int]]


class Tally:
    """Sums of one process; each value is a list of pairs, the present side first."""

    def __init__(self, since_us: int, zone: ZoneInfo) -> None:
        """Start with nothing; months are those of ``zone``."""
        self._since = to_text(since_us)
        self._zone = zone
        self._months: dict[int, str] = {}
        self._last = "", ""
        #: (member, month, rule, kind) -> [points, times, points, times]
        self.movements: Counts = {}
        #: (member, month, tier before or empty, tier) -> [times, times]
        self.tier_changes: Counts = {}
        #: (member, month, rule, moment, channel or empty, state, reason or empty) -> [times, times]
        self.notices: Counts = {}

    def add(self, side: int, decision: Decision) -> None:
        """Add what a decision of a side did."""
        if decision.entries:
            self._add_entries(side, decision)
        for change in decision.tiers:
            if change.occurred_at >= self._since and change.previous != change.tier:
                key = (change.member_id, self._month(change.occurred_at), change.previous or "", change.tier)
                self.tier_changes.setdefault(key, [0, 0])[side] += 1
        for notice in decision.notices:
            if notice.occurred_at >= self._since:
                month = self._month(notice.occurred_at)
                about = (notice.rule_id, notice.moment, notice.channel or "", notice.state, notice.reason or "")
                self.notices.setdefault((notice.member_id, month, *about), [0, 0])[side] += 1

    def _month(self, moment: str) -> str:
        """The first day of a moment's month. What a decision did mostly happened at one moment, so the last one is remembered."""
        if moment != self._last[0]:
            day = local_day(to_us(moment), self._zone)
            month = self._months.get(day)
            if month is None:
                month = self._months[day] = f"{day_date(day):%Y-%m-01}"
            self._last = moment, month
        return self._last[1]

    def _add_entries(self, side: int, decision: Decision) -> None:
        since, movements = self._since, self.movements
        for entry in decision.entries:
            if entry.occurred_at < since:
                continue
            key = (entry.member_id, self._month(entry.occurred_at), entry.rule_id, entry.kind)
            found = movements.get(key)
            if found is None:
                found = movements[key] = [0, 0, 0, 0]
            found[2 * side] += entry.points
            found[2 * side + 1] += 1
