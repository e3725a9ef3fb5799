"""Mistakes in `moments:` and `quiet:` that only the whole file can tell; see `rules.checks`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rules.draft import Draft, Path
from rules.errors import did_you_mean, either

#: Moments that are written alone, and those that say more.
WORDS = ("birthday", "anniversary", "tier_changed")
MAPPINGS = (
    "{silence: {times_usual_gap: 3, at_least: 21 days}}",
    "{points_expiring: {days_before: 14}}",
    "{not_followed_by: {after: cart_abandoned, by: purchase, within: 24 hours}}",
    "{spent: {at_least: 100.00 EUR, within: 30 days}}",
    "{segment_entered: {segment: champions}}",
)
#: Every word that a rule of moments may say behind `on` beside the facts.
ALL = (*WORDS, "silence", "not_followed_by", "points_expiring", "segment_entered", "spent")
EFFECTS = ("award", "reward", "tier", "challenge", "notice")
#: For conditions of a moment without a fact: none that asks about one fits.
NO_FACT = "moment"
_FACTS = ("purchase", "visit", "review", "activity", "joined", "referral")
_SAME_OF_PURCHASE = ("sku", "category", "order_id")

#: Checks a condition at a path against a fact: `rules.checks` has it.
ChecksCondition = Callable[[Draft, Path, Any, Any], None]
ChecksTier = Callable[[Draft, Path, Any], None]


def check_moments(draft: Draft, check_condition: ChecksCondition, check_tier: ChecksTier) -> None:
    """Report what is wrong with moments and quiet limits."""
    earning = {name for _, rule in _mappings(draft, "earn") if isinstance(name := rule.get("id"), str)}
    seen: set[str] = set()
    for index, rule in _mappings(draft, "moments"):
        path: Path = ("moments", index)
        name = rule.get("id")
        if isinstance(name, str):
            if name in seen or name in earning:
                draft.report((*path, "id"), f"two rules have the id {name}", "give each its own id")
            seen.add(name)
        if not any(effect in rule for effect in EFFECTS):
            draft.report(path, "the moment does nothing", f"add {either(EFFECTS)}")
        fact = _fact(rule)
        for key in ("when", "unless"):
            if key in rule:
                check_condition(draft, (*path, key), rule[key], fact)
        _check_on(draft, path, rule, check_condition, check_tier)
        _check_effects(draft, path, rule, check_tier)
        _check_cap(draft, path, rule, fact)
    _check_quiet(draft)


def _mappings(draft: Draft, *path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    items = draft.at(*path)
    for index, item in enumerate(items if isinstance(items, list) else []):
        if isinstance(item, dict):
            yield index, item


def _fact(rule: dict[str, Any]) -> str | None:
    """Return the fact that conditions may ask; None where the moment is not a known one."""
    on = rule.get("on")
    if isinstance(on, str):
        return on if on in _FACTS else NO_FACT if on in WORDS else None
    if isinstance(on, dict) and len(on) == 1:
        return "purchase" if "spent" in on else NO_FACT
    return None


def _check_on(
    draft: Draft, path: Path, rule: dict[str, Any], check_condition: ChecksCondition, check_tier: ChecksTier
) -> None:
    on = rule.get("on")
    changed = on == "tier_changed" or (isinstance(on, dict) and "tier_changed" in on)
    if changed and draft.at("tiers") is None:
        draft.report((*path, "on"), "this programme has no tiers", "add tiers, or take the rule out")
    if changed and "tier" in rule:
        draft.report((*path, "tier"), "a tier that changes would change the tier", "give it at another moment")
    if not isinstance(on, dict):
        return
    if isinstance(to := draft.at(*path, "on", "tier_changed", "to"), str | list):
        check_tier(draft, (*path, "on", "tier_changed", "to"), to)
    follow = on.get("not_followed_by")
    if isinstance(follow, dict):
        _check_follow(draft, (*path, "on", "not_followed_by"), follow, check_condition)


def _check_follow(draft: Draft, path: Path, follow: dict[str, Any], check_condition: ChecksCondition) -> None:
    for key in ("after", "by"):
        said = follow.get(key)
        on = said.get("on") if isinstance(said, dict) else said
        on = on if isinstance(on, str) else None
        if isinstance(said, dict) and "when" in said:
            check_condition(draft, (*path, key, "when"), said["when"], on)
            for counted in ("every_nth", "streak"):
                if isinstance(said["when"], dict) and counted in said["when"]:
                    draft.report((*path, key, "when", counted), f"{counted} counts for rules alone", "take it out")
        same = follow.get("same")
        if on == "purchase" and isinstance(same, str) and same not in _SAME_OF_PURCHASE:
            draft.report((*path, "same"), f"a purchase has no {same}", f"use {either(_SAME_OF_PURCHASE)}")


def _check_effects(draft: Draft, path: Path, rule: dict[str, Any], check_tier: ChecksTier) -> None:
    rewards = [reward["id"] for _, reward in _mappings(draft, "rewards") if isinstance(reward.get("id"), str)]
    name = rule.get("reward")
    if isinstance(name, str) and name not in rewards:
        proposal = did_you_mean(name, rewards) if rewards else f"add rewards: [{{id: {name}, cost: 100}}]"
        draft.report((*path, "reward"), f"there is no reward {name}", proposal)
    level = draft.at(*path, "tier", "level")
    if isinstance(level, str):
        check_tier(draft, (*path, "tier", "level"), level)
        if level == draft.at("tiers", "levels", 0, "id"):
            draft.report((*path, "tier", "level"), "everybody has the base level", "name a higher one")


def _check_cap(draft: Draft, path: Path, rule: dict[str, Any], fact: str | None) -> None:
    cap = rule.get("cap")
    if not isinstance(cap, dict):
        return
    if "points" in cap and "award" not in rule:
        draft.report((*path, "cap", "points"), "no points are given here", "write times: 1")
    per = cap.get("per")
    if "place" in (per if isinstance(per, list) else [per]) and fact in (NO_FACT, "activity", "joined", "referral"):
        draft.report((*path, "cap", "per"), "this moment has no place", "write per: member")


def _check_quiet(draft: Draft) -> None:
    if draft.at("quiet") is not None and not any("notice" in rule for _, rule in _mappings(draft, "moments")):
        draft.report(("quiet",), "there is no notice to be quiet about", "add a rule with a notice, or take it out")
