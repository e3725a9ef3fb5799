"""Members who brought each other in a circle: nobody's decision can see that, so it is looked for in the whole."""

from __future__ import annotations

from collections.abc import Iterator

from schemas import facts
from schemas.envelope import Fact


class Circles:
    """Who brought whom; one entry per member who was brought."""

    def __init__(self) -> None:
        self._brought_by: dict[str, str] = {}

    def take(self, fact: Fact, outcome: object, reason: object) -> None:
        """Note a referral that was accepted."""
        if fact.type == facts.REFERRAL and outcome == "decided" and reason is None and fact.subject is not None:
            self._brought_by.setdefault(fact.subject, fact.data["referrer"])

    def found(self) -> Iterator[list[str]]:
        """Yield each circle once, from its smallest key on, each member before the one who brought him."""
        done: set[str] = set()
        for start in self._brought_by:
            path: dict[str, int] = {}
            member: str | None = start
            while member is not None and member not in done and member not in path:
                path[member] = len(path)
                member = self._brought_by.get(member)
            if member is not None and member in path:
                circle = list(path)[path[member] :]
                first = circle.index(min(circle))
                yield circle[first:] + circle[:first]
            done.update(path)
