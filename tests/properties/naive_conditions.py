"""Whether a rule speaks of a fact: conditions as a file says them, read anew for every line of every fact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tests.properties.naive_counters import is_moment
from tests.properties.plans import DAY, Earn, Plan, Said, midnight

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LENGTHS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}


@dataclass
class Before:
    """What conditions and caps ask about the member before the fact."""

    key: str
    tier: str | None
    joined: datetime | None
    bought: list[datetime]
    spent_since: Callable[[datetime], int]
    bought_since: Callable[[str, datetime], bool]
    used: Callable[[str], tuple[int, int]]
    counted: Callable[[str], tuple[int, int]]
    segments: frozenset[str]


def as_list(value: Any) -> list[Any]:
    """One value or several."""
    return value if isinstance(value, list) else [value]


def length(text: str) -> timedelta:
    """Read ``90 days``."""
    number, unit = text.split()
    return int(number) * timedelta(seconds=LENGTHS[unit.removesuffix("s")])


def moment(text: str, plan: Plan) -> datetime:
    """Read ``2026-03-01`` or ``2026-03-01 06:00`` as the moment at which it begins."""
    return datetime.fromisoformat(text).replace(tzinfo=plan.zone).astimezone(UTC)


def end_of(text: str, plan: Plan) -> datetime:
    """Read the same as the moment at which it ends: a day ends with its last moment."""
    if len(text) > 10:
        return moment(text, plan)
    return midnight(date.fromisoformat(text) + DAY, plan.zone)


class Asked:
    """One fact and one member, asked by conditions."""

    def __init__(self, plan: Plan, kind: str, data: dict[str, Any], at: datetime, before: Before) -> None:
        """Hold what conditions ask."""
        self.plan, self.kind, self.data, self.at, self.before = plan, kind, data, at, before
        self.local = plan.local(at)

    def applies(self, rule: Earn, line: dict[str, Any] | None) -> bool:
        """Tell whether a rule speaks of this line, or of a fact without lines."""
        dates = {key: value for key, value in (("from", rule.starts), ("until", rule.until)) if value}
        if not self.holds(dates, line) or (rule.when is not None and not self.holds(rule.when, line)):
            return False
        return rule.unless is None or not self.holds(rule.unless, line)

    def holds(self, said: Said, line: dict[str, Any] | None) -> bool:
        """Tell whether everything that is said holds."""
        return all(self.part(key, value, line) for key, value in said.items())

    def part(self, key: str, value: Any, line: dict[str, Any] | None) -> bool:
        """Tell whether one part of a condition holds."""
        if key == "all":
            return all(self.holds(said, line) for said in value)
        if key == "any":
            return any(self.holds(said, line) for said in value)
        if key == "not":
            return not self.holds(value, line)
        if key in ("sku", "category", "quantity"):
            thing = line if line is not None else self.data
            return self.in_range(Fraction(thing[key]), value) if key == "quantity" else thing[key] in as_list(value)
        if key in ("channel", "store", "place", "name", "via"):
            return self.data[key] in as_list(value)
        answer: bool = getattr(self, f"asks_{key}")(value)
        return answer

    @staticmethod
    def in_range(number: Fraction | int, said: Said) -> bool:
        """Tell whether a number lies within what is said."""
        low, high = said.get("at_least"), said.get("below")
        return (low is None or number >= Fraction(low)) and (high is None or number < Fraction(high))

    def minor(self, text: str) -> int:
        """Read ``10.00 EUR``."""
        return int(Decimal(text.split(maxsplit=1)[0]).scaleb(self.plan.digits))

    def asks_amount(self, said: Said) -> bool:
        """Total of the order."""
        return self.in_range(self.data["total_minor"], {key: self.minor(value) for key, value in said.items()})

    def asks_weekday(self, said: Any) -> bool:
        """Day of the week."""
        return WEEKDAYS[self.local.weekday()] in as_list(said)

    def asks_between(self, said: list[str]) -> bool:
        """Time of day, the end not included; over midnight if turned round."""
        now = self.local.time()
        first, last = (time.max if text == "24:00" else time.fromisoformat(text) for text in said)
        return first <= now < last if first < last else now >= first or now < last

    def asks_from(self, said: str) -> bool:
        """From a day or moment on."""
        return self.at >= moment(said, self.plan)

    def asks_until(self, said: str) -> bool:
        """Until the end of a day, or before a moment."""
        return self.at < end_of(said, self.plan)

    def asks_first_purchase(self, said: bool) -> bool:
        """No order was counted before."""
        return (not self.before.bought) == said

    def asks_segment(self, said: Any) -> bool:
        """In one of these segments."""
        return bool(self.before.segments & set(as_list(said)))

    def asks_every_nth(self, said: Said) -> bool:
        """It is the nth order that counts, and its award is not given yet."""
        return is_moment(self, "every_nth", said)

    def asks_streak(self, said: Said) -> bool:
        """It completes periods in a row."""
        return is_moment(self, "streak", said)

    def asks_bought_sku(self, said: Said) -> bool:
        """The reviewed product was bought before."""
        sku = self.data["sku"]
        return sku is not None and self.before.bought_since(sku, self.at - length(said["within"]))

    def asks_spent(self, said: Said) -> bool:
        """Money spent before."""
        return self.before.spent_since(self.at - length(said["within"])) >= self.minor(said["at_least"])

    def asks_tier(self, said: Any) -> bool:
        """Tier before the fact."""
        return self.before.tier in as_list(said)

    def asks_days_since_joined(self, said: Said) -> bool:
        """Calendar days since the account began; 0 for the fact that begins it."""
        return self.in_range(self.days_since(self.before.joined or self.at), said)

    def asks_days_since_last_purchase(self, said: Said) -> bool:
        """Calendar days since the newest counted purchase."""
        return bool(self.before.bought) and self.in_range(self.days_since(max(self.before.bought)), said)

    def days_since(self, then: datetime) -> int:
        """Calendar days from then to the fact; none for a late fact that lies before."""
        return max(0, (self.local.date() - self.plan.local(then).date()).days)

    def asks_rating(self, said: Said) -> bool:
        """The rating."""
        return self.in_range(self.data["rating"], said)

    def asks_verified(self, said: bool) -> bool:
        """Whether the review is verified; one that does not say is not."""
        return bool(self.data["verified"]) == said

    def asks_attributes(self, said: dict[str, Any]) -> bool:
        """Attributes of an activity."""
        return all(self.attribute(self.data["attributes"].get(name), value) for name, value in said.items())

    def attribute(self, found: Any, said: Any) -> bool:
        """Compare one attribute; true is not 1."""
        if not isinstance(said, dict):
            return any(found == value and isinstance(found, bool) == isinstance(value, bool) for value in as_list(said))
        if isinstance(found, bool) or found is None:
            return False
        try:
            return self.in_range(Fraction(found), said)
        except ValueError:
            return False
