"""What changed between two versions of a programme, in words, and whom it touches.

Rules, levels and rewards are matched by their ids. What these words do not know is told by its path in the file, so that no
change stays unsaid.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from rules.book import Programme
from rules.checks import GIVEN
from rules.language import EarnRule, Level, ProgrammeFile
from rules.lot_words import point_words
from rules.moment_words import given_words, moment_words
from rules.money_words import goal_words, margin_words
from rules.play_words import challenge_words, raffle_words
from rules.values import shown
from rules.words import condition_words, effect_words, refer_words, tier_words

# What tells versions apart, not programmes.
_NAMES = ("version", "language")
# Lists whose items have ids, by their path.
_BY_ID = {
    ("earn",): "rule",
    ("tiers", "levels"): "level",
    ("rewards",): "reward",
    ("challenges",): "challenge",
    ("badges",): "badge",
    ("raffles",): "raffle",
    ("moments",): "moment",
    ("goals",): "goal",
}
_EVERYBODY = "everybody"
_HOUSE = "nobody's points: what the tables tell of return and progress"
#: Longer lists are told by their numbers.
_LONG = 20


@dataclass(slots=True)
class Change:
    """One thing that changed.

    Attributes:
        what: its name, such as ``rule happy-hour``.
        how: added, removed or changed.
        lines: what it was and what it is, in words.
        touches: whom it concerns.
    """

    what: str
    how: str
    lines: list[str] = field(default_factory=list)
    touches: str = _EVERYBODY


def differences(old: Programme, new: Programme) -> list[Change]:
    """Return what changed from ``old`` to ``new``: the whole first, then rules, levels and rewards, the rest by path."""
    before, after = json.loads(old.canonical_json()), json.loads(new.canonical_json())
    for name in _NAMES:
        before.pop(name, None), after.pop(name, None)
    changes = [_in_words(change, old.document, new.document) for change in _whole(before, after)]
    rules_before = {rule.id: rule for rule in old.document.earn}
    rules_after = {rule.id: rule for rule in new.document.earn}
    for name, raw_old, raw_new in _items(before, after, ("earn",)):
        changes.append(_rule(name, rules_before.get(name), rules_after.get(name), raw_old, raw_new))
    changes += _levels(old.document, new.document, before, after)
    for name, raw_old, raw_new in _items(before, after, ("rewards",)):
        change = _plainly(f"reward {name}", raw_old, raw_new)
        change.touches = "members who want it"
        changes.append(change)
    changes += _moments(old.document, new.document, before, after)
    return changes + list(_played(old.document, new.document, before, after))


def _played(old: ProgrammeFile, new: ProgrammeFile, before: Any, after: Any) -> Iterator[Change]:
    """Yield what changed of challenges, badges, raffles and goals: in the words of `rules show`, then by path."""
    challenges = [{one.id: challenge_words(one) for one in document.challenges or ()} for document in (old, new)]
    raffles = [{one.id: raffle_words(one) for one in document.raffles or ()} for document in (old, new)]
    for name, raw_old, raw_new in _items(before, after, ("challenges",)):
        on = (raw_new or raw_old)["on"]
        yield _said_anew(f"challenge {name}", challenges, name, raw_old, raw_new, f"members who play it, by every {on}")
    for name, raw_old, raw_new in _items(before, after, ("badges",)):
        yield _plainly(f"badge {name}", raw_old, raw_new, "members who have it or will")
    for name, raw_old, raw_new in _items(before, after, ("raffles",)):
        change = _said_anew(f"raffle {name}", raffles, name, raw_old, raw_new, "members with tickets of it")
        if raw_old and raw_new and raw_old.get("commitment") not in (None, raw_new.get("commitment")):
            change.lines.append("its commitment was published: a draw with another one is worth nothing")
        yield change
    goals = [{one.id: goal_words(one) for one in document.goals or ()} for document in (old, new)]
    for name, raw_old, raw_new in _items(before, after, ("goals",)):
        yield _said_anew(f"goal {name}", goals, name, raw_old, raw_new, _HOUSE)


def _said_anew(what: str, said: list[dict[str, str]], name: str, raw_old: Any, raw_new: Any, touches: str) -> Change:
    old, new = said[0].get(name), said[1].get(name)
    change = Change(what, _how(old, new), touches=touches)
    if old is None or new is None:
        change.lines = [old or new or ""]
        return change
    words = [_changed("is", old, new)] if old != new else []
    change.lines = [*words, *_paths(raw_old, raw_new)]
    return change


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _items(before: Any, after: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any, Any]]:
    """Yield id, old and new of the items of a list that differ: in the old order, then what is new."""
    old = {item["id"]: item for item in _at(before, path) or ()}
    new = {item["id"]: item for item in _at(after, path) or ()}
    for name in [*old, *(name for name in new if name not in old)]:
        if old.get(name) != new.get(name):
            yield name, old.get(name), new.get(name)


def _how(old: Any, new: Any) -> str:
    return "added" if old is None else "removed" if new is None else "changed"


def _changed(name: str, old: str, new: str) -> str:
    return f"{name}: {old} -> {new}"


# ---- a rule ----


def _rule(name: str, old: EarnRule | None, new: EarnRule | None, raw_old: Any, raw_new: Any) -> Change:
    change = Change(f"rule {name}", _how(old, new), touches=_touched(old, new))
    if old is None or new is None:
        there = [rule for rule in (old, new) if rule is not None]
        change.lines = [line for rule in there for line in (_on_words(rule), f"when: {condition_words(rule)}")]
        return change
    told = set()
    for title, words, keys in (
        ("gives", effect_words, ("award", "bonus", "multiply", "limit", *GIVEN, "cap", "expire", "pending")),
        ("when", condition_words, ("when", "unless", "from", "until", "exclusive", "stop", "hold_out")),
    ):
        before, after = words(old), words(new)
        if before != after:
            change.lines.append(_changed(title, before, after))
            told |= set(keys)
    rest = [{key: value for key, value in raw.items() if key not in told} for raw in (raw_old, raw_new)]
    change.lines += _paths(rest[0], rest[1])
    return change


def _on_words(rule: EarnRule) -> str:
    return f"on {rule.on}: {effect_words(rule)}"


def _touched(old: EarnRule | None, new: EarnRule | None) -> str:
    """Say whom a rule is about: the facts it answers, where it did and where it does."""
    said = []
    for rule in (old, new):
        if rule is not None:
            when = condition_words(rule)
            one = f"an {rule.on}" if rule.on[0] in "aeiou" else f"a {rule.on}"
            who = f"every {rule.on}" if when == "always" else f"{one}, {when}"
            said += [who] if who not in said else []
    return " or ".join(said)


# ---- levels ----


def _levels(old: ProgrammeFile, new: ProgrammeFile, before: Any, after: Any) -> Iterator[Change]:
    levels_old = {} if old.tiers is None else {level.id: level for level in old.tiers.levels}
    levels_new = {} if new.tiers is None else {level.id: level for level in new.tiers.levels}
    for name, raw_old, raw_new in _items(before, after, ("tiers", "levels")):
        change = _plainly(f"level {name}", raw_old, raw_new)
        change.touches = _reached(levels_old.get(name), levels_new.get(name), raw_old, raw_new, name)
        yield change


def _reached(old: Level | None, new: Level | None, raw_old: Any, raw_new: Any, name: str) -> str:
    if old is None or new is None:
        begin = next((level.from_ for level in (old, new) if level is not None), 0)
        return f"members from {begin} on" if begin else _EVERYBODY
    parts = []
    if old.from_ != new.from_:
        low, high = sorted((raw_old["from"], raw_new["from"]), key=_amount)
        verb = "no longer reach it" if _amount(raw_new["from"]) > _amount(raw_old["from"]) else "reach it now"
        parts.append(f"members from {low} to below {high}: they {verb}")
    if any(raw_old.get(key) != raw_new.get(key) for key in {*raw_old, *raw_new} - {"from"}):
        parts.append(f"members of {name}")
    return "; ".join(parts)


def _amount(value: Any) -> Decimal:
    return Decimal(str(value).split(" ", maxsplit=1)[0])


# ---- moments ----


def _moments(old: ProgrammeFile, new: ProgrammeFile, before: Any, after: Any) -> Iterator[Change]:
    rules_old, rules_new = ({rule.id: rule for rule in one.moments or ()} for one in (old, new))
    for name, raw_old, raw_new in _items(before, after, ("moments",)):
        there = [rule for rule in (rules_old.get(name), rules_new.get(name)) if rule is not None]
        change = _plainly(f"moment {name}", raw_old, raw_new, " or ".join(dict.fromkeys(map(moment_words, there))))
        if len(there) == 1:
            change.lines = [f"gives: {given_words(there[0])}", f"when: {moment_words(there[0])}"]
        yield change


# ---- everything else, by its path ----


def _whole(before: Any, after: Any) -> Iterator[Change]:
    without = [_without_items(tree) for tree in (before, after)]
    for key in dict.fromkeys([*without[0], *without[1]]):
        old, new = without[0].get(key), without[1].get(key)
        if old != new:
            yield _plainly(_TITLES.get(key, key.replace("_", " ")), old, new, _WHOM.get(key, _EVERYBODY))


def _in_words(change: Change, old: ProgrammeFile, new: ProgrammeFile) -> Change:
    """Say a change the way `rules show` says the thing, where it has words that differ; its paths follow."""
    words = _SAID.get(change.what)
    before, after = (words(old), words(new)) if words is not None else ("", "")
    if before != after:
        change.lines = [f"{before} -> {after}" if before and after else before or after, *change.lines]
    return change


def _tiers_said(document: ProgrammeFile) -> str:
    return "" if document.tiers is None else tier_words(document.tiers)[0]


def _points_said(document: ProgrammeFile) -> str:
    return "; ".join(point_words(document.points))


_SAID: Mapping[str, Callable[[ProgrammeFile], str]] = {
    "referrals": refer_words,
    "tiers": _tiers_said,
    "what points are": _points_said,
    "margin": margin_words,
}
_TITLES = {"valid": "when it is in force", "refer": "referrals", "points": "what points are"}
_WHOM = {
    "valid": "facts of the time between",
    "refer": "members who bring members, and those they bring",
    "quiet": "members who are written to",
    "margin": _HOUSE,
    "visit_gap": "visits",
    "accept_late": "facts that come late",
    "refund_waits": "refunds that come before their purchase",
    "refund_by_receipt": "refunds that name no member",
}


def _without_items(tree: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in tree.items() if (key,) not in _BY_ID}
    if isinstance(found.get("tiers"), dict):
        found["tiers"] = {key: value for key, value in found["tiers"].items() if key != "levels"}
    return found


def _plainly(what: str, old: Any, new: Any, touches: str = _EVERYBODY) -> Change:
    lines = _paths(old, new) if old is not None and new is not None else list(_said(new if old is None else old))
    return Change(what, _how(old, new), lines, touches)


def _said(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key != "id":
                yield from _said(item, f"{path}.{key}" if path else key)
    else:
        yield f"{path}: {_value(value)}" if path else _value(value)


def _paths(old: Any, new: Any, path: str = "") -> list[str]:
    """Return what differs, each by its path; nothing is left out."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
        return [line for key in keys for line in _paths(old.get(key), new.get(key), f"{path}.{key}" if path else key)]
    if old == new:
        return []
    if isinstance(old, list) and isinstance(new, list) and max(len(old), len(new)) > _LONG:
        added, gone = (len([item for item in one if item not in other]) for one, other in ((new, old), (old, new)))
        return [f"{path}: {len(new)} values, {added} of them new, {gone} gone"]
    before, after = ("not said" if value is None else _value(value) for value in (old, new))
    return [_changed(path, before, after) if path else f"{before} -> {after}"]


def _value(value: Any) -> str:
    if isinstance(value, list) and all(not isinstance(item, dict | list) for item in value):
        return ", ".join(map(shown, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else shown(value)
