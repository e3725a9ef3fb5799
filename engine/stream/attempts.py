"""What a worker was at when it died: a marker in Kafka, so that one fact cannot kill every worker that ever starts.

An exception out of `decide` quarantines its fact at once. A fact that ends the process (out of memory, a crash in C, a hang
that somebody kills) leaves no exception; what it leaves is a marker without progress. Before the first turn after a start
the keeper commits which facts it is about to decide. A start that finds the marker and no decision since goes carefully: a
few facts at a time, each few named by a marker before they are tried; after a death there one fact at a time; and a fact
that was tried three times alone is quarantined. The quarantine names its fact, so it parses it; where that ends the worker
as well, the record is quarantined under the name of its place, and nobody who starts reads it again.

Decisions after a marker make it void, so nothing has to be taken back while work goes on. What ends without being a fact's
fault takes its marker back: a stop in order, and a death that Kafka is to blame for. A worker that is frozen or killed in
the very moment of a try cannot be told from one that the fact killed; it takes three such moments in a row at the same fact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

ATTEMPT_FORMAT = 1
#: A fact that was alone in so many tries, each of which ended its worker, is not tried again.
TRIES = 3
#: Reason of a decision on a fact that nobody dares to try again.
KILLER = "ended_its_worker"
KILLER_TEXT = f"the worker ended while it decided this fact, {TRIES} times, with no other fact beside it"
#: So many facts are tried together before one fact is tried alone. Too few: going carefully through the turn that a worker
#: died in takes long, a transaction for each few. Too many: the same for those in which it died again.
SOME_FACTS = 64

Kind = Literal["turn", "some", "one"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """The facts that are being tried.

    Attributes:
        kind: a whole turn after a start, some facts of one that was fatal, or one alone.
        first, last: offsets of the first and the last of them.
        tries: of one alone, this one included.
        until: offset up to which facts are tried carefully.
    """

    kind: Kind
    first: int
    last: int
    tries: int
    until: int

    def encode(self) -> bytes:
        """The record's value."""
        said = {"format": ATTEMPT_FORMAT, "kind": self.kind, "first": self.first, "last": self.last}
        return orjson.dumps(said | {"tries": self.tries, "until": self.until})

    @classmethod
    def parse(cls, value: bytes | None) -> Attempt | None:
        """None for no marker, for one of another format, and for what is none: then facts are decided as always."""
        try:
            said = orjson.loads(value or b"")
            numbers = [said[name] for name in ("first", "last", "tries", "until")]
            if said["format"] != ATTEMPT_FORMAT or said["kind"] not in ("turn", "some", "one"):
                return None
        except (ValueError, KeyError, TypeError):
            return None
        return cls(said["kind"], *numbers) if all(isinstance(number, int) for number in numbers) else None


@dataclass(frozen=True, slots=True)
class Step:
    """Facts to decide together.

    Attributes:
        records: of `facts`.
        attempt: the marker to commit before; None when none is needed.
        hopeless: the one fact is to be quarantined, not decided.
        unread: not even its name is to be read: that ended a worker too.
    """

    records: Sequence[Any]
    attempt: Attempt | None = None
    hopeless: bool = False
    unread: bool = False

    @property
    def careful(self) -> bool:
        """May these have killed a worker?"""
        return self.hopeless or (self.attempt is not None and self.attempt.kind != "turn")


class Attempts:
    """How one keeper goes about its facts. Belongs to one start."""

    def __init__(self, found: Attempt | None, next_offset: int, *, marks: bool = True) -> None:
        """Start.

        Args:
            found: the marker that stands there.
            next_offset: of the first fact without a decision.
            marks: False where no marker can be written.
        """
        no_progress = found is not None and next_offset <= found.first
        self._found = found if no_progress else None
        self._first_turn = marks
        #: The marker of this start that no decision has made void yet.
        self.outstanding: Attempt | None = None

    @property
    def careful(self) -> bool:
        """Did a worker die here without progress, and are the facts it was at not yet decided?"""
        return self._found is not None

    def steps(self, records: Sequence[Any]) -> Iterator[Step]:
        """How to take the facts that wait, in order; ask for the next step when the one before it is committed."""
        position = 0
        while position < len(records) and self._found is not None:
            found, rest = self._found, records[position:]
            if rest[0].offset > found.until:
                self._found, self._first_turn = None, False
                break
            size = SOME_FACTS if found.kind == "turn" else 1
            together = [record for record in rest[:size] if record.offset <= found.until]
            position += len(together)
            yield self._careful_step(found, together)
        if position < len(records):
            yield self._bold_step(records[position:])

    def _careful_step(self, found: Attempt, records: Sequence[Any]) -> Step:
        first, last = records[0].offset, records[-1].offset
        if first != last:
            return Step(records, Attempt("some", first, last, 0, last))
        tried = found.tries if found.kind == "one" and found.first == first else 0
        if tried > TRIES:
            return Step(records, hopeless=True, unread=True)
        # The quarantine names its fact, so it reads it: that is a try as well.
        return Step(records, Attempt("one", first, last, tried + 1, found.until), hopeless=tried == TRIES)

    def _bold_step(self, records: Sequence[Any]) -> Step:
        """A turn as always; the first one after a start says what it is at."""
        if not self._first_turn:
            return Step(records)
        self._first_turn = False
        first, last = records[0].offset, records[-1].offset
        return Step(records, Attempt("turn", first, last, 0, last))

    def marked(self, attempt: Attempt) -> None:
        """It is committed that these facts are being tried."""
        self.outstanding = attempt

    def progressed(self) -> None:
        """Facts were decided and committed."""
        self.outstanding = None

    def taken_back(self) -> bytes | None:
        """What to write instead of the outstanding marker when the facts are not to blame; None takes it away."""
        attempt = self.outstanding
        if attempt is None or attempt.kind != "one":
            return None
        return replace(attempt, tries=attempt.tries - 1).encode()
