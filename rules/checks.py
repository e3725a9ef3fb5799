"""Every mistake of one programme file at once: what the models find, and what only the whole file can tell.

The checks here walk the file as it was written, not the models: a file with one wrong amount still hears about its
unknown rule ids in the same breath.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from rules.draft import Draft, Path
from rules.errors import did_you_mean, either
from rules.language import EarnRule, Level, ProgrammeFile
from rules.moment_checks import ALL as MOMENTS
from rules.moment_checks import MAPPINGS, NO_FACT, check_moments
from rules.money_checks import check_goals
from rules.values import parse_fixed, parse_moment, parse_number, shown
from schemas.money import CURRENCY_DIGITS, minor_digits, to_minor
from schemas.times import DAY_US

# Keys that the language will have one day. They are refused by name, so that nobody takes silence for consent.
LATER_KEYS = frozenset({"nth_purchase", "incentive", "paid_with_points", "override"})
LATER_VALUES = {"on": {"left", "profile", "segment", "claim", "redemption", "transfer"}}
#: What belongs to a rule of moments, where somebody wrote it into one of earning.
MOMENT_KEYS = frozenset({"notice", "tier"})

EVERY_FACT = (
    "weekday", "between", "from", "until", "spent", "tier", "segment", "profile", "consent", "days_since_joined",
    "days_since_last_purchase", "all", "any", "not",
)  # fmt: skip
CONDITIONS_ON: dict[str, tuple[str, ...]] = {
    "purchase": ("amount", "quantity", "sku", "category", "channel", "store", "first_purchase", "every_nth", "streak"),
    "visit": ("store", "streak"),
    "review": ("sku", "place", "rating", "verified", "bought_sku"),
    "activity": ("name", "attributes", "streak"),
    "joined": ("via",),
    "referral": (),
}
WITH_PLACE = ("purchase", "visit", "review")
EFFECTS = ("award", "multiply", "limit", "reward", "badge", "raffle", "challenge")
#: Effects that give something else than points.
GIVEN = ("reward", "badge", "raffle", "challenge")
_UTC = ZoneInfo("UTC")
LINE_CONDITIONS = {"sku", "category", "quantity"}


def validate(draft: Draft) -> ProgrammeFile | None:
    """Return the programme file of ``draft``; None if it has mistakes, which are then in ``draft.problems``."""
    if draft.tree is None:
        return None
    if not isinstance(draft.tree, dict):
        draft.report((), "a programme is a mapping of keys to values", "begin with programme: and a name")
        return None
    _check_said(draft, draft.tree, ())
    document: ProgrammeFile | None = None
    try:
        document = ProgrammeFile.model_validate(draft.tree, context={"currency": _currency(draft)})
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _translate(draft, detail)
    _check_rules(draft)
    _check_tiers(draft)
    _check_refer(draft)
    _check_lots(draft)
    _check_rewards(draft)
    _check_play(draft)
    check_moments(draft, _check_condition, _check_tier)
    _ids(draft, "goals", what="goals")
    check_goals(draft)
    return None if draft.problems else document


def _currency(draft: Draft) -> str | None:
    currency = draft.at("currency")
    return currency if isinstance(currency, str) and currency in CURRENCY_DIGITS else None


def _check_said(draft: Draft, value: Any, path: Path) -> None:
    """Report keys without a value: they read like a decision and are none."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_said(draft, item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_said(draft, item, (*path, index))
    elif value is None and not _reported(draft, path):
        key = path[-1]
        if key in LATER_KEYS:
            return
        draft.report(path, f"nothing stands behind {key}", "write a value, or take the key out")


def _reported(draft: Draft, path: Path) -> bool:
    from_yaml = draft.line(path)
    return any(problem.line == from_yaml and problem.line > 0 for problem in draft.problems)


# ---- what the models found, in words ----


def _translate(draft: Draft, detail: ErrorDetails) -> None:
    path: Path = tuple(part for part in detail["loc"] if not (isinstance(part, str) and part.startswith("<")))
    kind, context = detail["type"], detail.get("ctx") or {}
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    if kind == "extra_forbidden":
        _unknown_key(draft, path)
    elif kind == "missing":
        _missing(draft, path, key)
    elif draft.at(*path) is None and path in draft.lines:
        return  # a key without a value has been reported as that
    elif kind == "too_short" and draft.at(*path):
        return  # its items have mistakes of their own
    elif kind == "mistake":
        draft.report(path, context["message"], context["proposal"])
    elif kind in {"literal_error", "enum"}:
        _wrong_choice(draft, path, key, detail["input"], re.findall(r"'([^']*)'", context["expected"]))
    else:
        draft.report(path, *_wrong_shape(kind, detail, path))


def _unknown_key(draft: Draft, path: Path) -> None:
    key = str(path[-1])
    if key in LATER_KEYS:
        draft.report(path, f"not yet supported: {key}", "take it out; a later release brings it")
        return
    if key in MOMENT_KEYS and path[0] == "earn" and len(path) == 3:
        draft.report(path, f"a rule of earning has no {key}", "write it as a rule of moments:")
        return
    known = keys_at(path[:-1])
    proposal = did_you_mean(key, known, few=0)
    owners = [place for place, model in _places().items() if key in _aliases(model)]
    if not proposal and owners:
        proposal = f"{key} belongs to {either(owners[:3])}"
    draft.report(path, f"unknown key {key}", proposal or f"known here: {', '.join(known)}")


def _missing(draft: Draft, path: Path, key: str) -> None:
    if path and isinstance(path[-1], int):  # one end of a pair
        draft.report(path[:-1], f"{key} needs two values", 'write it like ["14:00", "17:00"]')
        return
    day = key == "by" and path[:1] == ("goals",)
    draft.report(path, f"{key} is missing", "add by: 2030-12-31" if day else _example(key))


def _example(key: str) -> str:
    examples = {
        "programme": "add programme: my-shop",
        "version": "add version: 1",
        "valid": "add valid: {from: 2026-01-01}",
        "from": "add from: 2026-01-01",
        "time_zone": "add time_zone: Europe/Berlin",
        "currency": "add currency: EUR",
        "on": "add on: purchase, or another fact",
        "within": "add within: 90 days",
        "points": "add points: 1",
        "by": "add by: 2",
        "first": "add first: purchase",
        "id": "add id: a-name-of-its-own",
        "levels": "add levels, from the base upwards",
    }
    return examples.get(key, f"add {key}")


# Where a word or a mapping may stand, a wrong word is answered with both.
_MAPPINGS = {
    "moment": ("{first: purchase, at_least: 10.00 EUR}", "{every: purchase, for: 90 days}"),
    "over": ("{rolling: 12 months}",),
    "expire": ("{after: 12 months}",),
    "pending": ("{for: 14 days}",),
    "downgrade": ("{to: earned_level, after: period_end}",),
}


def _wrong_choice(draft: Draft, path: Path, key: str, given: Any, known: list[str]) -> None:
    text = shown(given)
    moment = path[:1] == ("moments",)
    known = [*known, *(MAPPINGS if moment and key == "on" else _MAPPINGS.get(key, ()))]
    if key == "on" and not moment and text in MOMENTS:
        draft.report(path, f"{text} is a moment, not a fact", "write the rule under moments:")
        return
    if moment and (full := [one for one in MAPPINGS if one.startswith(f"{{{text}:")]):
        draft.report(path, f"{text} needs to say more", f"write {full[0]}")
        return
    if text in LATER_VALUES.get(key, ()):
        draft.report(path, f"not yet supported: {key} {text}", f"for now use {either(known)}")
    elif key == "on" and text == "refund":
        draft.report(path, "a refund earns nothing: it takes back what its order earned", f"use {either(known)}")
    else:
        draft.report(path, f"{key} cannot be {text}", did_you_mean(text, known))


def _wrong_shape(kind: str, detail: ErrorDetails, path: Path) -> tuple[str, str]:
    given, context = shown(detail["input"]), detail.get("ctx") or {}
    if kind in {"model_type", "model_attributes_type", "dict_type", "mapping_type"}:
        known = keys_at(path)
        return f"{given} stands where a mapping belongs", f"write {{{known[0]}: ...}}" if known else ""
    if kind in {"tuple_type", "list_type"}:
        return f"{given} stands where a list belongs", "begin each item with a hyphen"
    if kind.startswith("int_"):
        return f"{given} is no whole number", "write it like 20"
    if kind.startswith("bool_"):
        return f"{given} is neither true nor false", "write true or false"
    if kind == "greater_than_equal":
        return f"{given} is too small", f"at least {context['ge']}"
    if kind == "less_than_equal":
        return f"{given} is too large", f"at most {context['le']}"
    if kind == "too_short":
        return "an empty list says nothing", "write at least one value, or take the key out"
    if kind == "too_long":
        return f"more than {context['max_length']} values", ""
    return str(detail["msg"]), ""


def _aliases(model: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


@cache
def _fields(model: type[BaseModel]) -> dict[str, type[BaseModel] | None]:
    return {info.alias or name: _model_in(info.annotation) for name, info in model.model_fields.items()}


def keys_at(path: Path) -> list[str]:
    """Return the keys that may stand in the mapping at ``path``; empty where no mapping belongs."""
    model: type[BaseModel] | None = ProgrammeFile
    for part in path:
        if isinstance(part, str) and model is not None:
            model = _fields(model).get(part, model)
    return _aliases(model) if model is not None else []


def _places() -> dict[str, type[BaseModel]]:
    """Return where keys may stand, by the name of the place, as proposals call it."""
    top = {name: model for name, model in _fields(ProgrammeFile).items() if model is not None and name != "earn"}
    inner = {f"a rule's {name}": model for name, model in _fields(EarnRule).items() if model is not None}
    return {"the programme": ProgrammeFile, **top, "a level": Level, "a rule": EarnRule, **inner}


# ---- what only the whole file can tell ----


# Where the things stand that effects name, and how one is added.
_LISTS = {
    "reward": ("rewards", "{{id: {name}, cost: 100}}"),
    "badge": ("badges", "{{id: {name}}}"),
    "raffle": ("raffles", "{{id: {name}, from: 2026-12-01, until: 2026-12-24, commitment: ...}}"),
    "challenge": ("challenges", "{{id: {name}, ...}}"),
}


def _refuse_unknown(draft: Draft, path: Path, value: Any) -> None:
    """Report an effect that names something which is not in the programme's list of such things."""
    effect = str(path[-1])
    where, example = _LISTS[effect]
    if isinstance(value, dict):
        path, value = (*path, "name"), value.get("name")
    known = [item["id"] for _, item in _mappings(draft, where) if isinstance(item.get("id"), str)]
    if isinstance(value, str) and value not in known:
        proposal = did_you_mean(value, known) if known else f"add {where}: [{example.format(name=value)}]"
        draft.report(path, f"there is no {effect} {value}", proposal)


def _mappings(draft: Draft, *path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    items = draft.at(*path)
    for index, item in enumerate(items if isinstance(items, list) else []):
        if isinstance(item, dict):
            yield index, item


def _ids(draft: Draft, *path: str, what: str) -> dict[str, int]:
    """Return the position of every id in a list, and report those that stand twice."""
    found: dict[str, int] = {}
    for index, item in _mappings(draft, *path):
        name = item.get("id")
        if not isinstance(name, str):
            continue
        if name in found:
            first = draft.line((*path, found[name], "id"))
            where = f", first in line {first}" if first else ""
            draft.report((*path, index, "id"), f"two {what} have the id {name}{where}", "give each its own id")
        else:
            found[name] = index
    return found


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _on(rule: dict[str, Any]) -> str | None:
    """Return the fact a rule is on, None where that is not a known one."""
    on = rule.get("on")
    return on if isinstance(on, str) and on in CONDITIONS_ON else None


def _check_rules(draft: Draft) -> None:
    ids = _ids(draft, "earn", what="rules")
    for index, rule in _mappings(draft, "earn"):
        path: Path = ("earn", index)
        _check_effect(draft, path, rule)
        _check_award(draft, path, rule)
        _check_place(draft, path, rule)
        for effect in ("multiply", "limit"):
            _check_only(draft, (*path, effect), rule, ids)
        for key in ("when", "unless"):
            if key in rule:
                _check_condition(draft, (*path, key), rule[key], _on(rule))
                if _on(rule) == "purchase" and "award" not in rule and ("multiply" in rule or "limit" in rule):
                    _check_whole_order(draft, (*path, key), rule[key])


def _check_whole_order(draft: Draft, path: Path, condition: Any) -> None:
    """A multiplier or limit with a condition on lines would touch the other lines of the order too: nobody expects that."""
    if isinstance(condition, list):
        for index, part in enumerate(condition):
            _check_whole_order(draft, (*path, index), part)
    elif isinstance(condition, dict):
        for key in LINE_CONDITIONS & set(condition):
            what = "a multiplier or limit is about the whole order, not about some of its lines"
            draft.report((*path, key), what, "give those lines an award of their own with bonus: true")
        for key in ("all", "any", "not"):
            if key in condition:
                _check_whole_order(draft, (*path, key), condition[key])


def _check_effect(draft: Draft, path: Path, rule: dict[str, Any]) -> None:
    effects = [effect for effect in EFFECTS if effect in rule]
    if len(effects) > 1:
        draft.report((*path, effects[1]), f"one rule has both {effects[0]} and {effects[1]}", "make two rules of it")
    if not effects and not MOMENT_KEYS & set(rule):
        misspelt = any(did_you_mean(key, EFFECTS, few=0) for key in rule if key not in keys_at(("earn", 0)))
        if not misspelt:
            draft.report(path, "the rule does nothing", f"add {either(EFFECTS)}")
    if rule.get("bonus") is True and "award" not in rule and effects:
        draft.report((*path, "bonus"), f"only an award can be a bonus, not {effects[0]}", "take bonus out")
    for effect in GIVEN:
        if effect in rule:
            _check_given(draft, path, rule, effect)
    if "limit" in rule:
        for key in ("cap", "exclusive", "stop", "hold_out", "expire", "pending"):
            if rule.get(key, False) is not False:  # canonical JSON says every default
                draft.report((*path, key), f"a limit has no {key}", f"take {key} out")
        if isinstance(rule["limit"], dict) and "times" in rule["limit"]:
            draft.report((*path, "limit", "times"), "a limit is over points", "write points, or put a cap on the rule")


def _check_given(draft: Draft, path: Path, rule: dict[str, Any], effect: str) -> None:
    """What a rule gives beside points is counted in times, and no points come with it."""
    for key in ("exclusive", "expire", "pending"):
        if key in rule:
            draft.report((*path, key), f"a {effect} has no {key}", f"take {key} out")
    cap = rule.get("cap")
    if isinstance(cap, dict) and "points" in cap:
        draft.report((*path, "cap", "points"), f"a {effect} is counted in times", "write times: 1")
    _refuse_unknown(draft, (*path, effect), rule[effect])


def _check_award(draft: Draft, path: Path, rule: dict[str, Any]) -> None:
    award, on = rule.get("award"), _on(rule)
    if not isinstance(award, dict):
        return
    if "points" not in award and "brackets" not in award:
        draft.report((*path, "award", "points"), "points is missing", "add points: 1")
    if on is None:
        return
    for key, default in (("per", None), ("of", "net_after_discounts"), ("each", "order")):
        if award.get(key, default) != default and on != "purchase":
            draft.report((*path, "award", key), f"{_a(on)} has no lines with money", f"take {key} out")
    if award.get("of") == "gross_before_discounts" and not {"per", "brackets"} & set(award) and on == "purchase":
        draft.report((*path, "award", "of"), "of says which money counts, but no money is named", "add per: 1.00 EUR")
    if "brackets" in award:
        _check_brackets(draft, (*path, "award"), award, on)
    elif "over" in award:
        draft.report((*path, "award", "over"), "over goes with brackets", "take over out")
    if _minor(draft, award.get("per")) == 0:
        draft.report((*path, "award", "per"), "points per nothing", "name an amount above zero")


def _check_brackets(draft: Draft, path: Path, award: dict[str, Any], on: str) -> None:
    if on != "purchase":
        draft.report((*path, "brackets"), f"{_a(on)} has no lines with money", "take brackets out")
    for key, wanted in (("points", "give each bracket its points"), ("per", "give each bracket its per")):
        if key in award:
            draft.report((*path, key), f"an award with brackets has no {key} of its own", wanted)
    if award.get("each") == "line":
        draft.report((*path, "each"), "brackets count whole orders", "take each out")
    brackets = award["brackets"] if isinstance(award["brackets"], list) else []
    last = 0
    for index, bracket in enumerate(brackets):
        if not isinstance(bracket, dict):
            continue
        here: Path = (*path, "brackets", index)
        if _minor(draft, bracket.get("per")) == 0:
            draft.report((*here, "per"), "points per nothing", "name an amount above zero")
        end = _minor(draft, bracket.get("to"))
        if "to" not in bracket and index + 1 < len(brackets):
            draft.report(here, "only the last bracket may go on without an end", "say where it ends: to")
        elif end is not None and end <= last:
            draft.report((*here, "to"), "it ends where the bracket before it does, or sooner", "let brackets ascend")
        last = end or last


def _minor(draft: Draft, value: Any) -> int | None:
    """Return the minor units of an amount written in the programme's currency, None if it is anything else."""
    currency = _currency(draft)
    if currency is None or not isinstance(value, str) or not value.endswith(f" {currency}"):
        return None
    try:
        return to_minor(parse_number(value.removesuffix(f" {currency}")), minor_digits(currency))
    except (PydanticCustomError, ValueError):
        return None


def _check_place(draft: Draft, path: Path, rule: dict[str, Any]) -> None:
    on = _on(rule)
    for key in ("cap", "limit"):
        cap = rule.get(key)
        per_place = isinstance(cap, dict) and "place" in _as_list(cap.get("per"))
        if per_place and on in CONDITIONS_ON and on not in WITH_PLACE:
            draft.report((*path, key, "per"), f"{_a(on)} has no place", "write per: member")


def _a(word: str) -> str:
    if word == NO_FACT:
        return "a moment"
    return f"an {word} fact" if word[0] in "aeiou" else f"a {word} fact"


def _check_only(draft: Draft, path: Path, rule: dict[str, Any], ids: dict[str, int]) -> None:
    effect, on = rule.get(str(path[-1])), _on(rule)
    if not isinstance(effect, dict):
        return
    wanted = ("award",) if path[-1] == "multiply" else ("award", "multiply")
    others = {name: draft.at("earn", index) for name, index in ids.items()}
    fitting = [name for name, other in others.items() if _on(other) == on and any(effect in other for effect in wanted)]
    if "only" not in effect:
        if path[-1] == "multiply" and on in CONDITIONS_ON and not _has_base(draft, on):
            draft.report(path, f"there is no base award on {on} to multiply", "add one, or name a rule in only")
        return
    for name in _as_list(effect["only"]):
        if not isinstance(name, str):
            continue
        if name not in others:
            draft.report((*path, "only"), f"there is no rule {name}", did_you_mean(name, fitting))
        elif name not in fitting:
            other = others[name]
            reason = f"is on {other.get('on')}" if _on(other) != on else f"has no {either(wanted)}"
            draft.report((*path, "only"), f"the rule {name} {reason}", did_you_mean(name, fitting))


def _has_base(draft: Draft, on: Any) -> bool:
    return any(
        _on(rule) == on and "award" in rule and rule.get("bonus") is not True for _, rule in _mappings(draft, "earn")
    )


def _check_condition(draft: Draft, path: Path, condition: Any, on: Any) -> None:
    if not isinstance(condition, dict):
        return
    for key, value in condition.items():
        here = (*path, key)
        if key in {"all", "any"}:
            for index, item in enumerate(value if isinstance(value, list) else []):
                _check_condition(draft, (*here, index), item, on)
        elif key == "not":
            _check_condition(draft, here, value, on)
        elif key == "tier":
            _check_tier(draft, here, value)
        elif key == "streak" and isinstance(value, dict) and "name" in value and on in {"purchase", "visit"}:
            draft.report((*here, "name"), f"name says nothing about {_a(on)}", "name goes with on: activity")
        fitting = () if on == NO_FACT else CONDITIONS_ON.get(on) if isinstance(on, str) else None
        known = key in keys_at(("earn", 0, "when"))
        if known and fitting is not None and key not in fitting and key not in EVERY_FACT:
            whose = [name for name, keys in CONDITIONS_ON.items() if key in keys]
            draft.report(here, f"{key} says nothing about {_a(on)}", f"{key} goes with on: {either(whose)}")


def _check_tier(draft: Draft, path: Path, value: Any) -> None:
    levels = [item["id"] for _, item in _mappings(draft, "tiers", "levels") if isinstance(item.get("id"), str)]
    levels = list(dict.fromkeys(levels))
    for name in _as_list(value):
        if isinstance(name, str) and name not in levels:
            proposal = did_you_mean(name, levels) if levels else "this programme has no tiers"
            draft.report(path, f"there is no tier {name}", proposal)


def _check_tiers(draft: Draft) -> None:
    _ids(draft, "tiers", "levels", what="levels")
    said = draft.at("tiers", "qualify", "by")
    by = said if isinstance(said, str) else "spend"
    last = -1
    for index, level in _mappings(draft, "tiers", "levels"):
        path: Path = ("tiers", "levels", index, "from")
        begin = level.get("from", 0)
        amount = _threshold(draft, path, begin, by)
        if amount is None:
            continue
        if index == 0 and amount != 0:
            draft.report(path, "the first level is the base: everybody begins there", "take from out, or add a level")
        elif index > 0 and "from" not in level:
            draft.report(path[:-1], "from is missing: only the base level has none", _threshold_example(draft, by))
        elif amount <= last:
            draft.report(path, f"{begin} is not above the level before", "order levels from the base upwards")
        last = max(last, amount)
    _check_lasting(draft)


def _check_lasting(draft: Draft) -> None:
    """Refuse what is said about time where time takes nothing: it reads like a promise and changes nothing."""
    lowered = draft.at("tiers", "downgrade")
    never = draft.at("tiers", "qualify", "over") == "lifetime"
    if isinstance(lowered, dict) and never:
        draft.report(("tiers", "downgrade"), "levels over lifetime are not lost by time", "write downgrade: none")
    for index, level in _mappings(draft, "tiers", "levels"):
        if "keep" in level and (index == 0 or not isinstance(lowered, dict) or never):
            why = "everybody has the base level" if index == 0 else "time takes no level here"
            draft.report(("tiers", "levels", index, "keep"), f"keep changes nothing: {why}", "take keep out")
        if "welcome" in level and index == 0:
            what = "nobody reaches the base level: everybody begins there"
            draft.report(("tiers", "levels", index, "welcome"), what, "award points by a rule on: joined")


def _threshold(draft: Draft, path: Path, begin: Any, by: Any) -> int | None:
    """Return a level's threshold, None (and a problem, where the models find none) if it is of the wrong kind."""
    if begin == 0 and not isinstance(begin, bool):
        return 0
    if isinstance(begin, int) and not isinstance(begin, bool):
        if by == "spend" and begin > 0:
            currency = _currency(draft) or "EUR"
            draft.report(path, f"{begin} of what? Levels are reached by spend", f"write {begin}.00 {currency}")
            return None
        return begin if begin > 0 else None
    minor = _minor(draft, begin)
    if minor is not None and by in {"points", "visits", "orders"}:
        draft.report(path, f"{begin} is money, but levels are reached by {by}", "write a whole number")
        return None
    return minor


def _threshold_example(draft: Draft, by: Any) -> str:
    return f"add from: 300.00 {_currency(draft) or 'EUR'}" if by == "spend" else "add from: 10"


def _check_refer(draft: Draft) -> None:
    refer = draft.at("refer")
    if isinstance(refer, dict) and "referrer" not in refer and "referred" not in refer:
        draft.report(("refer",), "nobody gets anything", "add referrer: {points: 100}, referred: {points: 50}, or both")
    for side in ("referrer", "referred"):
        per = draft.at("refer", side, "cap", "per")
        if "place" in _as_list(per):
            draft.report(("refer", side, "cap", "per"), "a referral has no place", "write per: member")


def _check_lots(draft: Draft) -> None:
    """What a rule says about its points must fit its fact, and the way in which the programme lets points expire."""
    slides = isinstance(draft.at("points", "expire"), dict) and "inactivity" in draft.at("points", "expire")
    places: list[tuple[Path, dict[str, Any]]] = [(("earn", index), rule) for index, rule in _mappings(draft, "earn")]
    for path, rule in places:
        pending, on = rule.get("pending"), _on(rule)
        for key in ("until", "channels"):
            if isinstance(pending, dict) and key in pending and on is not None and on != "purchase":
                draft.report((*path, "pending", key), f"{_a(on)} is no order that could wait", "write {for: 14 days}")
    places += [(("tiers", "levels", index), level) for index, level in _mappings(draft, "tiers", "levels")]
    for path, owner in places:
        if slides and owner.get("expire") == "none":
            what = "points without a date of their own go by inactivity in this programme"
            draft.report((*path, "expire"), what, "take expire out, or say {after: 100 years}")


def _check_rewards(draft: Draft) -> None:
    _ids(draft, "rewards", what="rewards")
    for index, reward in _mappings(draft, "rewards"):
        if "tiers" in reward:
            _check_tier(draft, ("rewards", index, "tiers"), reward["tiers"])


# ---- challenges, badges, raffles ----


def _check_play(draft: Draft) -> None:
    for name in ("challenges", "badges", "raffles"):
        _ids(draft, name, what=name)
    for index, challenge in _mappings(draft, "challenges"):
        path: Path = ("challenges", index)
        _check_challenge(draft, path, challenge)
        said = challenge.get("then")
        then: dict[str, Any] = said if isinstance(said, dict) else {}
        for effect in GIVEN:
            if effect in then and effect != "challenge":
                _refuse_unknown(draft, (*path, "then", effect), then[effect])
        tier = then.get("tier")
        if isinstance(tier, dict) and "level" in tier:
            _check_tier(draft, (*path, "then", "tier", "level"), tier["level"])
    named = [(one["id"], _begins(one)) for _, one in _mappings(draft, "challenges") if isinstance(one.get("id"), str)]
    never_offered = {name for name, _ in named} - {name for name, begins in named if begins == "offered"}
    for where in ("earn", "moments"):
        for index, rule in _mappings(draft, where):
            wanted = rule.get("challenge")
            if isinstance(wanted, str) and wanted in never_offered:
                what = f"{wanted} does not begin by being offered"
                mend = "write window: {within: 14 days, begins: offered} there"
                draft.report((where, index, "challenge"), what, mend)
            elif where == "moments" and isinstance(wanted, str):
                _refuse_unknown(draft, (where, index, "challenge"), wanted)


def _begins(challenge: dict[str, Any]) -> Any:
    window = challenge.get("window")
    return window.get("begins") if isinstance(window, dict) else None


#: Longer windows would be forgotten before they end (`engine.ledger.pruning`).
_LONGEST_DAYS = 366


def _check_challenge(draft: Draft, path: Path, challenge: dict[str, Any]) -> None:
    on, need = _on(challenge), challenge.get("need")
    for key in ("when", "unless"):
        if key in challenge:
            _check_condition(draft, (*path, key), challenge[key], on)
            _refuse_counting(draft, (*path, key), challenge[key])
    if need == 0 and not isinstance(need, bool):
        draft.report((*path, "need"), "it is met before it begins", "write need: 1 or more")
    elif isinstance(need, str) and on is not None and on != "purchase":
        draft.report((*path, "need"), f"{_a(on)} has no money", "write a whole number")
    elif _minor(draft, need) == 0:
        draft.report((*path, "need"), "it is met before it begins", "name an amount above zero")
    window = challenge.get("window")
    if not isinstance(window, dict):
        return
    if "within" in window and challenge.get("opt_in") is True:
        what = "a window of its own beginning needs no opt_in: begins: accepted says it"
        draft.report((*path, "opt_in"), what, "take opt_in out, and write begins: accepted")
    days = _days_of(window)
    if days is not None and days > _LONGEST_DAYS:
        key = "within" if "within" in window else "until"
        draft.report((*path, "window", key), f"a window of {days} days", f"at most {_LONGEST_DAYS} days")


def _days_of(window: dict[str, Any]) -> int | None:
    """Return how many days a window has at most, None where it is not said, or wrong."""
    try:
        if "within" in window:
            return parse_fixed(window["within"]).length_us // DAY_US
        begin, end = (parse_moment(window[key]) for key in ("from", "until"))
    except (PydanticCustomError, ValueError, KeyError):
        return None
    return (end.ends_us(_UTC) - begin.begins_us(_UTC)) // DAY_US


def _refuse_counting(draft: Draft, path: Path, condition: Any) -> None:
    """A challenge counts itself: what else counts would be moved by facts that the challenge does not see."""
    if isinstance(condition, list):
        for index, part in enumerate(condition):
            _refuse_counting(draft, (*path, index), part)
    elif isinstance(condition, dict):
        for key, value in condition.items():
            if key in {"every_nth", "streak"}:
                draft.report((*path, key), f"a challenge counts itself: {key} says nothing in it", "say it with need")
            elif key in {"all", "any", "not"}:
                _refuse_counting(draft, (*path, key), value)
