"""A programme in plain words, the way one would read it to the person who owns the shop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rules.compiling import cap_text
from rules.errors import either
from rules.language import (
    EarnRule,
    EveryPurchase,
    FirstPurchase,
    Level,
    Lowered,
    ProgrammeFile,
    Rolling,
    Tiers,
    Welcome,
)
from rules.lot_words import lot_words
from rules.parts import Award, BoughtSku, Condition, EveryNth, Multiply, NumberRange, Range, Spent, Streak
from rules.play import Tickets
from rules.values import Duration, LocalMoment, Money, factor_text, plain, share_text, shown


def effect_words(rule: EarnRule) -> str:
    """Return what a rule gives: ``1 point per 1.00 EUR after discounts, rounded down``."""
    if rule.award is not None:
        said = _award_words(rule.award)
        said = f"{said}, on top (bonus)" if rule.bonus else said
    elif rule.multiply is not None:
        said = _multiply_words(rule.multiply)
    elif rule.limit is not None:
        of = f" from {_and(rule.limit.only)}" if rule.limit.only else ""
        said = f"{cap_text(rule.limit)}{of}"
    elif rule.reward is not None:
        said = f"{rule.reward}, free of cost"
    elif rule.badge is not None:
        said = f"badge {rule.badge}"
    elif rule.raffle is not None:
        said = ticket_words(rule.raffle)
    elif rule.challenge is not None:
        said = f"offers challenge {rule.challenge}"
    else:
        said = "nothing"
    said = f"{said}; {cap_text(rule.cap)}" if rule.cap is not None else said
    return "; ".join([said, *lot_words(rule.expire, rule.pending)])


def ticket_words(tickets: Tickets) -> str:
    """Return tickets that are given: ``2 tickets of summer``."""
    return f"{tickets.tickets} ticket{'' if tickets.tickets == 1 else 's'} of {tickets.name}"


_ROUNDED = {
    "floor": "rounded down",
    "ceil": "rounded up",
    "half_up": "rounded half up",
    "half_even": "rounded half even",
}


_OVER = {"calendar_year": "a calendar year", "quarter": "a quarter", "month": "a month", "lifetime": "all time"}


def _bracket_words(award: Award) -> str:
    parts = []
    for bracket in award.brackets or ():
        end = f" up to {bracket.to}" if bracket.to is not None else ""
        parts.append(f"{bracket.points} point{'' if bracket.points == 1 else 's'} per {bracket.per}{end}")
    goods = "before discounts" if award.of == "gross_before_discounts" else "after discounts"
    said = f"{', then '.join(parts)}, of what is spent in {_OVER[award.over or 'calendar_year']} {goods}"
    said += f", {_ROUNDED[award.round]}"
    return f"{said}, rounded before multipliers" if award.rounding == "before_multipliers" else said


def _award_words(award: Award) -> str:
    if award.brackets is not None:
        return _bracket_words(award)
    said = f"{award.points} point{'' if award.points == 1 else 's'}"
    if award.per is not None:
        goods = "before discounts" if award.of == "gross_before_discounts" else "after discounts"
        said += f" per {award.per} {goods}, {_ROUNDED[award.round]}"
    said += " for each line" if award.each == "line" else ""
    return f"{said}, rounded before multipliers" if award.rounding == "before_multipliers" else said


def _multiply_words(multiply: Multiply) -> str:
    on = _and(multiply.only) if multiply.only else "all base awards"
    return f"times {factor_text(multiply.by)} on {on}"


def _and(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def condition_words(rule: EarnRule) -> str:
    """Return when a rule applies, ``always`` if nothing limits it."""
    parts = []
    if rule.when is not None:
        parts.append(_condition(rule.when))
    if rule.unless is not None:
        parts.append(f"unless {_condition(rule.unless)}")
    parts += _dates(rule.from_, rule.until)
    if rule.hold_out is not None:
        parts.append(f"not for {share_text(rule.hold_out)} of the members, who are held out")
    if rule.exclusive is not None:
        parts.append(f"only the best of group {rule.exclusive}")
    if rule.stop:
        parts.append("later rules then stop")
    return "; ".join(parts) or "always"


def part_words(condition: Condition) -> str:
    """Return one condition in words, without saying to which rule it belongs."""
    return _condition(condition)


def _condition(condition: Condition) -> str:
    parts = [
        words(value) for name, words in _WORDS.items() if (value := getattr(condition, name)) is not None
    ] + _dates(condition.from_, condition.until)
    if condition.all is not None:
        parts += [_condition(part) for part in condition.all]
    if condition.any is not None:
        parts.append("either " + ", or ".join(_condition(part) for part in condition.any))
    if condition.not_ is not None:
        parts.append(f"not ({_condition(condition.not_)})")
    return ", ".join(parts)


def _dates(begin: LocalMoment | None, end: LocalMoment | None) -> list[str]:
    return [f"from {begin}"] * (begin is not None) + [f"until {end}"] * (end is not None)


def range_words(wanted: Range) -> str:
    """Return a range: ``at least 3 and below 5``."""
    bounds = [("at least", getattr(wanted, "at_least", None)), ("below", getattr(wanted, "below", None))]
    return " and ".join(f"{name} {_value(value)}" for name, value in bounds if value is not None)


def _value(value: Any) -> str:
    return str(value) if isinstance(value, Money | int | Duration) else plain(value)


def _named(name: str) -> Callable[[tuple[str, ...]], str]:
    return lambda words: f"{name} {either(words)}"


def _ranged(name: str) -> Callable[[Range], str]:
    return lambda wanted: f"{name} {range_words(wanted)}"


def _bought(wanted: BoughtSku) -> str:
    return f"bought within {wanted.within} before"


def _every_nth(wanted: EveryNth) -> str:
    of = f" with category {either(wanted.category)}" if wanted.category else ""
    of = f" with SKU {either(wanted.sku)}" if wanted.sku else of
    return f"order number {wanted.n}, {2 * wanted.n}, {3 * wanted.n} ...{of}"


def _streak(wanted: Streak) -> str:
    named = f" named {either(wanted.name)}" if wanted.name else ""
    return f"the first{named} that makes {wanted.n} {wanted.every}s in a row"


def _spent(wanted: Spent) -> str:
    return f"spent {wanted.at_least} or more within {wanted.within} before"


def _attributes(wanted: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {range_words(value) if isinstance(value, NumberRange) else either([shown(item) for item in value])}"
        for name, value in wanted.items()
    )


_WORDS: dict[str, Callable[[Any], str]] = {
    "amount": _ranged("order total"),
    "quantity": _ranged("quantity"),
    "sku": _named("SKU"),
    "category": _named("category"),
    "channel": _named("channel"),
    "store": _named("store"),
    "place": _named("place"),
    "weekday": _named("on"),
    "between": lambda hours: f"between {hours[0]} and {hours[1]}",
    "first_purchase": lambda wanted: "first purchase" if wanted else "not the first purchase",
    "every_nth": _every_nth,
    "streak": _streak,
    "bought_sku": _bought,
    "spent": _spent,
    "tier": _named("tier"),
    "segment": _named("in segment"),
    "profile": lambda wanted: f"profile {_attributes(wanted)}",
    "consent": _named("consent to"),
    "days_since_joined": _ranged("days since joined"),
    "days_since_last_purchase": _ranged("days since last purchase"),
    "rating": _ranged("rating"),
    "verified": lambda wanted: "verified" if wanted else "not verified",
    "name": _named("named"),
    "attributes": _attributes,
    "via": _named("via"),
}


def tier_words(tiers: Tiers) -> list[str]:
    """Return how tiers are reached and kept, and one line per level."""
    over = tiers.qualify.over
    window = f"the last {over.rolling}" if isinstance(over, Rolling) else over.replace("_", " ")
    return [
        f"by {tiers.qualify.by} over {window}; {_lowered_words(tiers.downgrade)}",
        *(_level_words(level) for level in tiers.levels),
    ]


def _lowered_words(downgrade: str | Lowered) -> str:
    if isinstance(downgrade, str):
        return "never lost by time"
    when = f"{downgrade.grace} after" if downgrade.grace is not None else "at"
    to = "down to the level that was earned" if downgrade.to == "earned_level" else "one level down"
    return f"{when} the end of a period {to}"


def _level_words(level: Level) -> str:
    label = f" ({level.label})" if level.label and level.label != level.id else ""
    begin = f"from {level.from_}" if level.from_ else "everybody"
    factor = f", base awards times {factor_text(level.multiply)}" if level.multiply else ""
    kept = ", kept for ever" if level.keep else ""
    lots = "".join(f", points {said}" for said in lot_words(level.expire, level.pending))
    benefits = f", with {_and(level.benefits)}" if level.benefits else ""
    return f"{level.id}{label}: {begin}{factor}{kept}{lots}{_welcome_words(level.welcome)}{benefits}"


def _welcome_words(welcome: int | Welcome | None) -> str:
    if welcome is None:
        return ""
    points, again = (welcome.points, welcome.again) if isinstance(welcome, Welcome) else (welcome, False)
    return f", welcomed with {points} point{'' if points == 1 else 's'}{' each time' if again else ''}"


def refer_words(document: ProgrammeFile) -> str:
    """Return what a referral is worth, empty where there is nothing."""
    refer = document.refer
    if refer is None:
        return ""
    sides = [
        f"{name} {side.points} {document.points.name}" + (f" ({cap_text(side.cap)})" if side.cap else "")
        for name, side in (("referrer", refer.referrer), ("referred", refer.referred))
        if side is not None
    ]
    return f"{', '.join(sides)}; {_moment_words(refer.moment)}"


def _moment_words(moment: str | FirstPurchase | EveryPurchase) -> str:
    if isinstance(moment, str):
        return "at the referral" if moment == "referral" else "when the new member has joined"
    if isinstance(moment, EveryPurchase):
        of = f" of {moment.at_least} or more" if moment.at_least else ""
        return f"at every purchase{of} for {moment.for_}"
    said = "at the first purchase"
    said += f" of {moment.at_least} or more" if moment.at_least else ""
    return said + (f" within {moment.within}" if moment.within else "")


def who_words(document: ProgrammeFile) -> list[str]:
    """Return who collects points and how accounts begin, one line each; empty where nothing is said."""
    said = ["nothing is earned before a member has joined"] if document.join == "explicit" else []
    if document.claim is not None:
        said.append(f"an anonymous sale can be claimed within {document.claim.within}, the first claim has it")
    if document.refund_by_receipt:
        said.append("goods that come back with the receipt alone take their points from whoever bought them")
    if document.transfer is not None:
        most = "" if document.transfer.at_most is None else f", at most {document.transfer.at_most} at once"
        said.append(f"members may give each other {document.transfer.at_least} {document.points.name} or more{most}")
    return said
