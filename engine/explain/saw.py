"""What a condition looked at: the value of the fact, or of the member as he stood before it, as a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rules.book import Programme
from rules.conditions import MemberView
from rules.counting import lines_counted, nth_counter
from rules.local_time import day_date, local_day, to_local_us
from rules.values import Money
from schemas.envelope import Fact
from schemas.times import DAY_US, SECOND_US

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Look = Callable[[MemberView, Fact, Programme, Any], str]


def saw(name: str, wanted: Any, member: MemberView, fact: Fact, programme: Programme) -> str:
    """Return what the condition ``name`` looked at; empty where it has no single value."""
    look = _LOOKS.get(name)
    return "" if look is None else look(member, fact, programme, wanted)


def local_text(time_us: int, programme: Programme) -> str:
    """Return a moment as the clock of the shop shows it."""
    second = to_local_us(time_us, programme.time_zone) % DAY_US // SECOND_US
    day = day_date(local_day(time_us, programme.time_zone))
    return f"{day.isoformat()} {second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


def _field(name: str) -> Look:
    return lambda _member, fact, _programme, _wanted: _shown(fact.data.get(name))


def _of_lines(name: str) -> Look:
    return lambda _member, fact, _programme, _wanted: ", ".join(_shown(line[name]) for line in fact.data["lines"])


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _money(minor: int, programme: Programme) -> str:
    return str(Money(minor, programme.currency))


def _clock(_member: MemberView, fact: Fact, programme: Programme, _wanted: Any) -> str:
    return local_text(fact.time_us, programme)


def _weekday(_member: MemberView, fact: Fact, programme: Programme, _wanted: Any) -> str:
    return _WEEKDAYS[day_date(local_day(fact.time_us, programme.time_zone)).weekday()]


def _total(_member: MemberView, fact: Fact, programme: Programme, _wanted: Any) -> str:
    return _money(fact.data["total_minor"], programme)


def _orders(member: MemberView, _fact: Fact, _programme: Programme, _wanted: Any) -> str:
    count = member.orders_counted
    return f"{count} order{'' if count == 1 else 's'} before"


def _spent(member: MemberView, fact: Fact, programme: Programme, wanted: Any) -> str:
    return _money(member.spent_since(fact.time_us - wanted.within.length_us), programme)


def _bought(member: MemberView, fact: Fact, _programme: Programme, wanted: Any) -> str:
    sku = fact.data.get("sku")
    if sku is None:
        return "no product"
    found = member.bought_since(sku, fact.time_us - wanted.within.length_us)
    return f"{sku} {'was' if found else 'was not'} bought"


def _segment(member: MemberView, _fact: Fact, _programme: Programme, wanted: Any) -> str:
    found = [segment for segment in wanted if member.in_segment(segment)]
    return f"in {', '.join(found)}" if found else "in none of them"


def _tier(member: MemberView, _fact: Fact, _programme: Programme, _wanted: Any) -> str:
    return member.tier or "no tier yet"


def _days_since(fact: Fact, programme: Programme, since_us: int | None) -> str:
    if since_us is None:
        return "never"
    zone = programme.time_zone
    days = local_day(fact.time_us, zone) - local_day(min(since_us, fact.time_us), zone)
    return f"{days} day{'' if days == 1 else 's'}"


def _nth(member: MemberView, fact: Fact, _programme: Programme, wanted: Any) -> str:
    counter = nth_counter(wanted)
    if lines_counted(counter, fact) is None:
        return "an order that does not count for it"
    return f"order number {member.counted(f'purchase {counter.name}')[0] + 1}"


def _attributes(_member: MemberView, fact: Fact, _programme: Programme, wanted: Mapping[str, Any]) -> str:
    given = fact.data["attributes"]
    return ", ".join(f"{name} {_shown(given.get(name))}" for name in wanted)


def _private(member: MemberView, _fact: Fact, _programme: Programme, _wanted: Any) -> str:
    return "no profile" if member.profile is None else "a profile, which is not shown"


_LOOKS: dict[str, Look] = {
    "amount": _total,
    "quantity": _of_lines("quantity"),
    "category": _of_lines("category"),
    "channel": _field("channel"),
    "store": _field("store"),
    "place": _field("place"),
    "rating": _field("rating"),
    "verified": _field("verified"),
    "name": _field("name"),
    "via": _field("via"),
    "sku": lambda member, fact, programme, wanted: (_of_lines("sku") if "lines" in fact.data else _field("sku"))(
        member, fact, programme, wanted
    ),
    "weekday": _weekday,
    "between": _clock,
    "from_": _clock,
    "until": _clock,
    "first_purchase": _orders,
    "every_nth": _nth,
    "spent": _spent,
    "bought_sku": _bought,
    "tier": _tier,
    "segment": _segment,
    "days_since_joined": lambda member, fact, programme, _wanted: _days_since(
        fact, programme, fact.time_us if member.joined_us is None else member.joined_us
    ),
    "days_since_last_purchase": lambda member, fact, programme, _wanted: _days_since(
        fact, programme, member.last_purchase_us
    ),
    "attributes": _attributes,
    "profile": _private,
    "consent": _private,
}
