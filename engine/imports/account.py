"""The account of a conversion: lines in = lines used + lines left out by reason, money likewise, to the minor unit.

The two sides are counted apart: what came in as lines are read for the first time, what was used from the events that
were written. So the account fails when the conversion loses or doubles anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Tally:
    """Lines of the export and the money they stand for (minor units, negative where it was paid back)."""

    lines: int = 0
    money_minor: int = 0

    def add(self, lines: int, money_minor: int) -> None:
        """Count ``lines`` more lines that stand for ``money_minor``."""
        self.lines += lines
        self.money_minor += money_minor


@dataclass(slots=True)
class Account:
    """Where every line went.

    Attributes:
        currency: of all money in the account.
        read: every line of the file.
        used: by kind of event that carries the line.
        left_out: by reason.
        events: written events by kind.
        notes: oddities that lost nothing, counted by what they are.
    """

    currency: str
    read: Tally = field(default_factory=Tally)
    used: dict[str, Tally] = field(default_factory=dict)
    left_out: dict[str, Tally] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)

    def use(self, kind: str, lines: int, money_minor: int) -> None:
        """An event of ``kind`` was written and carries so much of the file."""
        self.used.setdefault(kind, Tally()).add(lines, money_minor)
        self.events[kind] = self.events.get(kind, 0) + 1

    def leave_out(self, reason: str, money_minor: int) -> None:
        """A line is in no event, for ``reason``."""
        self.left_out.setdefault(reason, Tally()).add(1, money_minor)

    def note(self, what: str) -> None:
        """Count an oddity that lost nothing."""
        self.notes[what] = self.notes.get(what, 0) + 1

    @property
    def accounted(self) -> Tally:
        """The sum of what was used and what was left out."""
        total = Tally()
        for tally in (*self.used.values(), *self.left_out.values()):
            total.add(tally.lines, tally.money_minor)
        return total

    @property
    def balances(self) -> bool:
        """Whether every line and every minor unit that came in is accounted for."""
        return self.accounted == self.read

    def rows(self) -> Iterator[tuple[str, Tally]]:
        """The account as a reader wants it: what came in, then where it went, each with its tally."""
        yield "read", self.read
        for kind, tally in sorted(self.used.items()):
            yield f"used: {kind}", tally
        for reason, tally in sorted(self.left_out.items()):
            yield f"left out: {reason}", tally

    def as_json(self) -> dict[str, Any]:
        """The account as plain data; money in minor units."""
        return {
            "currency": self.currency,
            "read": _plain(self.read),
            "used": {kind: _plain(tally) for kind, tally in sorted(self.used.items())},
            "left_out": {reason: _plain(tally) for reason, tally in sorted(self.left_out.items())},
            "events": dict(sorted(self.events.items())),
            "notes": dict(sorted(self.notes.items())),
            "balances": self.balances,
        }


def _plain(tally: Tally) -> dict[str, int]:
    return {"lines": tally.lines, "money_minor": tally.money_minor}
