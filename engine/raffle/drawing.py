"""The draw of a raffle: which tickets win, worked out from a secret that was promised before and the list of tickets.

The order of tickets is that of their names, so it does not depend on partitions or on when anything was read. Each place is a
number below the count of the tickets that are left, from HMAC-SHA256 (RFC 2104, FIPS 180-4) under the secret; numbers beyond the
largest multiple of the count are thrown away (rejection sampling), so every ticket has the same chance to the last bit.
docs/play.md says the same in words, docs/examples/verify_raffle.py in plain Python that imports nothing of ours.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

#: First line of what is hashed for a place: another way to draw gets another number.
DRAWN = "stammgast raffle 1"
_SPACE = 1 << 256
_HEX = re.compile(r"[0-9a-f]{32,}")


class Ticket(NamedTuple):
    """A ticket by its name, and the number that stands for its holder in the published list."""

    id: str
    holder: int


class Draw(NamedTuple):
    """Everything that somebody needs to draw again; ``public`` is empty where nothing was said.

    Attributes:
        at: which tickets: as the log knew them at this moment, canonical text.
        tickets, digest: how many, and SHA-256 of their list as it is published.
        winning: the tickets that win, first place first.
    """

    raffle: str
    commitment: str
    secret: str
    public: str
    at: str
    winners: int
    wins_per_member: int
    tickets: int
    digest: str
    winning: tuple[str, ...]

    def as_data(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"draw": DRAWN, **self._asdict(), "winning": list(self.winning)}


class WrongDraw(ValueError):
    """A draw, a secret or a list of tickets that cannot be right, with what is wrong."""


def commitment_of(secret: str) -> str:
    """Return what is published before the first ticket: SHA-256 of the secret's text, in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def check_secret(secret: str, commitment: str | None) -> None:
    """Refuse a secret that is not the promised one.

    Raises:
        WrongDraw: it is another one, or so short that it could be guessed.
    """
    if not _HEX.fullmatch(secret):
        raise WrongDraw("the secret is at least 32 hex digits, as `stammgast raffle secret` makes it")
    if commitment is None:
        raise WrongDraw("the programme published no commitment: nobody could check this draw")
    if not hmac.compare_digest(commitment_of(secret), commitment):
        raise WrongDraw(f"SHA-256 of this secret is {commitment_of(secret)}, the programme published {commitment}")


def numbered(tickets: Iterable[tuple[str, str]]) -> list[Ticket]:
    """Return tickets in their order, each holder by the number of his first: (ticket, member) pairs come in any order."""
    numbers: dict[str, int] = {}
    return [Ticket(name, numbers.setdefault(member, len(numbers) + 1)) for name, member in sorted(tickets)]


def listed(tickets: Sequence[Ticket]) -> str:
    """Return the list of tickets as it is published: CSV, a line each, in their order."""
    return "ticket,holder\n" + "".join(f"{ticket.id},{ticket.holder}\n" for ticket in tickets)


def read_list(text: str) -> list[Ticket]:
    """Return the tickets of a published list.

    Raises:
        WrongDraw: it is none, or its tickets are not in their order, each once.
    """
    lines = text.splitlines()
    if not lines or lines[0] != "ticket,holder":
        raise WrongDraw("line 1 is not ticket,holder: this is no list of tickets")
    tickets = []
    for number, line in enumerate(lines[1:], 2):
        name, comma, holder = line.partition(",")
        if not (name and comma and holder.isdecimal()):
            raise WrongDraw(f"line {number} is no ticket and number: {line}")
        tickets.append(Ticket(name, int(holder)))
    names = [ticket.id for ticket in tickets]
    if names != sorted(set(names)):
        raise WrongDraw("the tickets do not stand in their order, each once")
    return tickets


def draw(raffle: str, secret: str, public: str, at: str, tickets: Sequence[Ticket], rules: tuple[int, int]) -> Draw:
    """Draw.

    Args:
        raffle: its id.
        secret: the promised one; see `check_secret`.
        public: the public number that the programme names, empty without one.
        at: as of which moment the tickets are.
        tickets: in their order.
        rules: how many win, and how many of one member at most.
    """
    digest = hashlib.sha256(listed(tickets).encode()).hexdigest()
    winners, per_member = rules
    left, won = list(tickets), dict[int, int]()
    winning: list[str] = []
    while left and len(winning) < winners:
        said = f"{DRAWN}\n{raffle}\n{digest}\n{public}\n{len(winning) + 1}"
        winner = left.pop(_below(secret, said, len(left)))
        winning.append(winner.id)
        won[winner.holder] = won.get(winner.holder, 0) + 1
        if won[winner.holder] >= per_member:
            left = [ticket for ticket in left if ticket.holder != winner.holder]
    return Draw(
        raffle, commitment_of(secret), secret, public, at, winners, per_member, len(tickets), digest, tuple(winning)
    )


def _below(secret: str, said: str, count: int) -> int:
    """Return a number from 0 to below ``count``, each with the same chance."""
    attempt = 0
    while True:
        drawn = hmac.new(secret.encode(), f"{said}\n{attempt}".encode(), hashlib.sha256).digest()
        number = int.from_bytes(drawn, "big")
        if number < _SPACE - _SPACE % count:
            return number % count
        attempt += 1


def again(data: Any, tickets: Sequence[Ticket]) -> tuple[Draw, list[str]]:
    """Draw again what a published draw says, and return it with what is otherwise there.

    Raises:
        WrongDraw: it is no draw of this kind, or its secret is not the promised one.
    """
    if not isinstance(data, dict) or data.get("draw") != DRAWN:
        raise WrongDraw(f"this is no draw of the kind {DRAWN}")
    try:
        said = Draw(**{name: data[name] for name in Draw._fields})
        check_secret(said.secret, said.commitment)
        rules = (int(said.winners), int(said.wins_per_member))
    except (KeyError, TypeError, ValueError) as error:
        raise WrongDraw(f"the draw is not complete: {error}") from error
    found = draw(said.raffle, said.secret, said.public, said.at, tickets, rules)
    pairs = zip(Draw._fields, said._replace(winning=tuple(said.winning)), found, strict=True)
    return found, [f"{name}: the draw says {old}, it is {new}" for name, old, new in pairs if old != new]
