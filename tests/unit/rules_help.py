"""Programmes, members and facts for the tests of rules, each with as little said as possible."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rules.book import Profile, Programme, Rule
from rules.checks import validate
from rules.compiling import compile_programme
from rules.draft import Draft
from rules.errors import Problem
from schemas.envelope import Fact, make_fact
from schemas.times import to_us
from tests.unit.held_words import hold

NOW = "2026-03-02T10:00:00+01:00"  # a Monday morning in Berlin


def tree(**changes: Any) -> dict[str, Any]:
    """Return a programme as a file would say it; ``changes`` replace or add keys."""
    said = {
        "programme": "corner-cafe",
        "version": 1,
        "valid": {"from": "2026-01-01"},
        "time_zone": "Europe/Berlin",
        "currency": "EUR",
    }
    return {**said, **changes}


def compiled(**changes: Any) -> Programme:
    """Compile :func:`tree`."""
    draft = Draft("test", tree(**changes))
    document = validate(draft)
    assert document is not None, [str(problem) for problem in draft.problems]
    return compile_programme(document)


def problems(**changes: Any) -> list[Problem]:
    """Return the mistakes of :func:`tree`."""
    draft = Draft("test", tree(**changes))
    validate(draft)
    hold("problems", map(str, draft.problems))
    return draft.problems


def rule(on: str = "purchase", **said: Any) -> tuple[Rule, Programme]:
    """Return one compiled rule of one point, and its programme, which has two tiers."""
    said = {"id": "it", "on": on, "award": {"points": 1}, **said}
    levels = [{"id": "guest"}, {"id": "regular", "from": "300.00 EUR"}]
    programme = compiled(earn=[said], tiers={"levels": levels})
    return programme.rules_on[on][0], programme


@dataclass
class Guest:
    """A member as conditions see him."""

    tier: str | None = "guest"
    joined_us: int | None = None
    orders_counted: int = 0
    last_purchase_us: int | None = None
    bought: dict[str, int] = field(default_factory=dict)
    spent: list[tuple[int, int]] = field(default_factory=list)

    def bought_since(self, sku: str, since_us: int) -> bool:
        """Tell whether the SKU was bought at or after that moment."""
        return sku in self.bought and self.bought[sku] >= since_us

    counters: dict[str, tuple[int, int]] = field(default_factory=dict)
    segments: frozenset[str] = frozenset()
    profile: Profile | None = None

    def in_segment(self, segment: str) -> bool:
        """Tell whether the member is in a segment."""
        return segment in self.segments

    def counted(self, key: str) -> tuple[int, int]:
        """Return how far a counter is, and how often it was the moment."""
        return self.counters.get(key, (0, 0))

    def spent_since(self, since_us: int) -> int:
        """Return the minor units spent at or after that moment."""
        return sum(minor for time_us, minor in self.spent if time_us >= since_us)


def fact(kind: str, data: dict[str, Any], at: str = NOW) -> Fact:
    """Return a fact in normal form."""
    return make_fact(
        id="1",
        source="urn:test",
        type=f"stammgast.{kind}.v1",
        subject="m-1",
        time_us=to_us(at),
        recorded_at="2026-03-02T09:00:00.000000Z",
        data=data,
    )


def line(
    sku: str = "coffee-1", category: str | None = "coffee", quantity: str = "1", minor: int = 300
) -> dict[str, Any]:
    """Return one line of a receipt."""
    return {
        "sku": sku,
        "category": category,
        "quantity": quantity,
        "unit_price": "3.00",
        "discount_minor": 0,
        "amount_minor": minor,
    }


def purchase(*lines: dict[str, Any], at: str = NOW, **said: Any) -> Fact:
    """Return a purchase; one coffee if no lines are given."""
    lines = lines or (line(),)
    data = {
        "order_source": "urn:test",
        "order_id": "o-1",
        "lines": list(lines),
        "total_minor": sum(each["amount_minor"] for each in lines),
        "currency": "EUR",
        "channel": "pos",
        "store": None,
        **said,
    }
    return fact("purchase", data, at)


def asked(made: tuple[Rule, Programme], about: Fact, guest: Guest | None = None) -> tuple[int, ...]:
    """Ask a rule of :func:`rule` which lines of a fact it takes."""
    found, programme = made
    return found.lines(guest or Guest(), about, programme)
