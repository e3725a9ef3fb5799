"""What a story expects of a fact: each key of `then` is read into a wish, which is held against what happened."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from pydantic_core import PydanticCustomError

from rules.values import parse_moment
from schemas.decisions import Entry
from schemas.notices import Notice
from schemas.times import to_text
from tests.stories.playing import Happened, Lot

_ENTRY = re.compile(r"(?:(?P<kind>[a-z]+) )?(?P<rule>\S+) (?P<points>[+-]?\d+)(?: for (?P<member>\S+))?")
_TIER = re.compile(
    r"(?P<tier>\S+)(?: since (?P<since>[\d-]+(?: [\d:]+)?))?(?: until (?P<until>[\d-]+(?: [\d:]+)?|for ever))?"
)
_LOT = re.compile(
    r"(?P<rule>\S+) (?P<left>\d+) of (?P<points>\d+)(?: from (?P<from>[\d-]+(?: [\d:]+)?))?"
    r"(?: until (?P<until>[\d-]+(?: [\d:]+)?|for ever))?"
)
_NOTE = re.compile(r"(?P<code>\w+)(?: (?P<rule>[^\s:]\S*?))?(?:: (?P<text>.+))?")
_DAY = re.compile(r"(?P<day>\d{4}-\d\d-\d\d) (?P<amount>[+-]?\d+)")


class WishError(ValueError):
    """An expectation that cannot be read."""


@dataclass(frozen=True, slots=True)
class Wish:
    """An expectation: its key, and the function that says what is otherwise (empty: nothing)."""

    key: str
    unmet: Callable[[Happened], str]


def read_wish(key: str, value: Any) -> Wish:
    """Read one expectation.

    Raises:
        WishError: with what is wrong.
    """
    return Wish(key, WISHES[key](value))


def _differ(wanted: Any, found: Any) -> str:
    return "" if wanted == found else f"expected {wanted}, found {found}"


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise WishError("here stands a list, [] for nothing")
    return [str(item) for item in value]


def _match(pattern: re.Pattern[str], text: str, example: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise WishError(f"{text} is not understood: write it like {example}")
    return match


def begins(text: str, zone: ZoneInfo) -> str:
    """Return the moment that a local time of a story is, a day at its beginning."""
    return to_text(parse_moment(text).begins_us(zone))


def ends(text: str | None, zone: ZoneInfo) -> str | None:
    """Return the end of a local day, or a moment; None for `for ever`."""
    return None if text in (None, "for ever") else to_text(parse_moment(text).ends_us(zone))


def _check_moments(*texts: str | None) -> None:
    for text in texts:
        if text not in (None, "for ever"):
            try:
                parse_moment(text)
            except PydanticCustomError as error:
                raise WishError(error.message()) from error


# ---- the answer ----


def _outcome(value: Any) -> Callable[[Happened], str]:
    return lambda happened: _differ(value, happened.decision.outcome if happened.decision else "refused at the door")


def _reason(value: Any) -> Callable[[Happened], str]:
    return lambda happened: _differ(value, happened.decision and happened.decision.reason)


def _rejected(value: Any) -> Callable[[Happened], str]:
    return lambda happened: _differ(value, happened.reject)


def _version(value: Any) -> Callable[[Happened], str]:
    return lambda happened: _differ(value, happened.version)


def _entries(value: Any) -> Callable[[Happened], str]:
    wanted = [
        _match(_ENTRY, text, "spend +11, clawback spend -7 or refer:referrer +100 for ben") for text in _texts(value)
    ]

    def unmet(happened: Happened) -> str:
        found = happened.entries
        same = len(wanted) == len(found) and all(
            match["rule"] == entry.rule_id
            and int(match["points"]) == entry.points
            and (match["kind"] or entry.kind) == entry.kind
            and (match["member"] or happened.who) == entry.member_id
            for match, entry in zip(wanted, found, strict=True)
        )
        told = [entry_text(entry, happened.who) for entry in found]
        return "" if same else f"expected {[match[0] for match in wanted]}, found {told}"

    return unmet


def entry_text(entry: Entry, who: str | None) -> str:
    """Return an entry as a story writes it."""
    whose = "" if entry.member_id == who else f" for {entry.member_id}"
    return f"{entry.kind} {entry.rule_id} {entry.points:+d}{whose}"


def _lines(value: Any) -> Callable[[Happened], str]:
    if not isinstance(value, dict) or not all(isinstance(item, dict) for item in value.values()):
        raise WishError("write it like {spend: {1: 6, 2: 5}}: the rule, then points by order line")
    wanted = {rule: {int(line): points for line, points in of_lines.items()} for rule, of_lines in value.items()}
    return lambda happened: _differ(wanted, {e.rule_id: dict(e.lines) for e in happened.entries if e.lines})


def _dated(value: Any) -> Callable[[Happened], str]:
    if not isinstance(value, dict):
        raise WishError("write it like {tier:gold: 2026-12-31}: the rule, then the local time of its entry")
    _check_moments(*map(str, value.values()))

    def unmet(happened: Happened) -> str:
        wanted = {rule: begins(str(text), happened.zone) for rule, text in value.items()}
        return _differ(wanted, {entry.rule_id: entry.occurred_at for entry in happened.entries})

    return unmet


def _notes(value: Any) -> Callable[[Happened], str]:
    wanted = [_match(_NOTE, text, "capped happy-hour: 10 due, 5 granted") for text in _texts(value)]

    def unmet(happened: Happened) -> str:
        found = happened.notes
        same = len(wanted) == len(found) and all(
            match["code"] == note.code
            and (match["rule"] is None or match["rule"] == note.rule_id)
            and (match["text"] is None or match["text"] in note.text)
            for match, note in zip(wanted, found, strict=True)
        )
        told = [f"{note.code} {note.rule_id or '-'}: {note.text}" for note in found]
        return "" if same else f"expected {[match[0] for match in wanted]}, found {told}"

    return unmet


def _progress(value: Any) -> Callable[[Happened], str]:
    matches = [_match(_DAY, text, "2026-03-02 -100") for text in _texts(value)]
    wanted = [(match["day"], int(match["amount"])) for match in matches]
    return lambda happened: _differ(wanted, [tuple(pair) for d in happened.decisions for pair in d.progress])


def _follows(value: Any) -> Callable[[Happened], str]:
    wanted = _texts(value)

    def unmet(happened: Happened) -> str:
        found = [(fact.type.split(".")[1], fact.key, decision) for fact, decision in happened.followed]
        told = [f"{name} for {who}: {d.reason or d.outcome}" for name, who, d in found]
        return _differ([text if ": " in text else f"{text}: decided" for text in wanted], told)

    return unmet


def _states(value: Any) -> Callable[[Happened], str]:
    wanted = _texts(value)

    def unmet(happened: Happened) -> str:
        found = [
            f"{change.what} {happened.gifts.get(change.id, change.id)} {happened.gifts.get(change.state, change.state)}"
            + ("" if change.member_id == happened.who else f" for {change.member_id}")
            for decision in happened.decisions
            for change in decision.states
        ]
        return _differ(wanted, found)

    return unmet


def _moves(value: Any) -> Callable[[Happened], str]:
    wanted = _texts(value)

    def unmet(happened: Happened) -> str:
        found = [
            f"{change.previous or 'none'} -> {change.tier}"
            + ("" if happened.who in (None, change.member_id) else f" for {change.member_id}")
            for decision in happened.decisions
            for change in decision.tiers
            if change.tier != change.previous
        ]
        return _differ(wanted, found)

    return unmet


# ---- what is said to whom ----


def _notices(value: Any) -> Callable[[Happened], str]:
    wanted = _texts(value)

    def unmet(happened: Happened) -> str:
        return _differ(wanted, [notice_text(notice, happened.who) for notice in happened.notices])

    return unmet


def notice_text(notice: Notice, who: str | None) -> str:
    """Return a notice as a story writes it; after a tick, for whom."""
    whose = "" if notice.member_id == who else f" for {notice.member_id}"
    return f"{notice.rule_id} {f'by {notice.channel}' if notice.state == 'made' else f'not {notice.reason}'}{whose}"


def _says(value: Any) -> Callable[[Happened], str]:
    if not isinstance(value, dict):
        raise WishError("write it like {gone-quiet: no purchase for 34 days}: the rule, then its reason in words")
    wanted = {rule: str(text) for rule, text in value.items()}
    return lambda happened: _differ(wanted, {n.rule_id: n.because["text"] for n in happened.notices if n.because})


def _values(value: Any) -> Callable[[Happened], str]:
    if not isinstance(value, dict) or not all(isinstance(item, dict) for item in value.values()):
        raise WishError("write it like {gone-quiet: {days: 34}}: the rule, then some of its values")

    def unmet(happened: Happened) -> str:
        found = {notice.rule_id: notice.values for notice in happened.notices}
        told = {rule: {name: found.get(rule, {}).get(name) for name in names} for rule, names in value.items()}
        return _differ(value, told)

    return unmet


def _spoken(name: str) -> Callable[[Any], Callable[[Happened], str]]:
    def reader(value: Any) -> Callable[[Happened], str]:
        if not isinstance(value, dict):
            raise WishError("write it like {birthday: 2026-03-05 09:00}: the rule, then a local time")
        _check_moments(*map(str, value.values()))

        def unmet(happened: Happened) -> str:
            wanted = {rule: begins(str(text), happened.zone) for rule, text in value.items()}
            return _differ(wanted, {notice.rule_id: getattr(notice, name) for notice in happened.notices})

        return unmet

    return reader


# ---- where the members stand afterwards ----


def _per_member(value: Any, read: Callable[[Any], Callable[[Happened, str], str]]) -> Callable[[Happened], str]:
    """One value is about the member of the step (anna for a tick); a mapping names members."""
    if not isinstance(value, dict):
        mine = read(value)
        return lambda happened: mine(happened, happened.who or "anna")
    of_members = {str(member): read(item) for member, item in value.items()}

    def unmet(happened: Happened) -> str:
        found = {member: check(happened, member) for member, check in of_members.items()}
        return "; ".join(f"{member}: {text}" for member, text in found.items() if text)

    return unmet


def _sum(name: str) -> Callable[[Any], Callable[[Happened], str]]:
    def reader(value: Any) -> Callable[[Happened, str], str]:
        if not isinstance(value, int) or isinstance(value, bool):
            raise WishError(f"{value} is no number of points")
        return lambda happened, member: _differ(value, happened.sums(member)[name])

    return lambda value: _per_member(value, reader)


def _tier(value: Any) -> Callable[[Happened], str]:
    def reader(value: Any) -> Callable[[Happened, str], str]:
        match = _match(_TIER, str(value), "regular since 2026-03-02 until 2027-12-31")
        _check_moments(match["since"], match["until"])

        def unmet(happened: Happened, member: str) -> str:
            found = happened.tiers.get(member)
            if found is None:
                return _differ(match["tier"], "none")
            if match["tier"] != found.tier:
                return _differ(match["tier"], found.tier)
            if match["since"] is not None and begins(match["since"], happened.zone) != found.since:
                return f"since: {_differ(begins(match['since'], happened.zone), found.since)}"
            return (
                f"until: {text}" if match["until"] and (text := _until(match["until"], found.until, happened)) else ""
            )

        return unmet

    return _per_member(value, reader)


def _until(wanted: str, found: str | None, happened: Happened) -> str:
    return _differ(ends(wanted, happened.zone), found)


def _lots(value: Any) -> Callable[[Happened], str]:
    def reader(value: Any) -> Callable[[Happened, str], str]:
        wanted = [_match(_LOT, text, "spend 4 of 11 from 2026-03-02 until 2026-12-31") for text in _texts(value)]
        for match in wanted:
            _check_moments(match["from"], match["until"])

        def unmet(happened: Happened, member: str) -> str:
            found = [lot for lot in happened.lots.get(member, {}).values() if lot.left]
            same = len(wanted) == len(found) and all(
                _is_lot(match, lot, happened.zone) for match, lot in zip(wanted, found, strict=True)
            )
            told = [
                f"{lot.rule} {lot.left} of {lot.points} from {lot.active_from} until {lot.expires_at}" for lot in found
            ]
            return "" if same else f"expected {[match[0] for match in wanted]}, found {told}"

        return unmet

    return _per_member(value, reader)


def _is_lot(match: re.Match[str], lot: Lot, zone: ZoneInfo) -> bool:
    return (
        (match["rule"], int(match["left"]), int(match["points"])) == (lot.rule, lot.left, lot.points)
        and (match["from"] is None or begins(match["from"], zone) == lot.active_from)
        and (match["until"] is None or ends(match["until"], zone) == lot.expires_at)
    )


def _play(value: Any) -> Callable[[Happened], str]:
    def reader(value: Any) -> Callable[[Happened, str], str]:
        wanted = sorted(_texts(value))

        def unmet(happened: Happened, member: str) -> str:
            found = happened.play.get(member, {}).items()
            told = [
                f"{name} {said}" if type(said) is int else said if isinstance(said, str) else name
                for name, said in found
                if said
            ]
            return _differ(wanted, sorted(told))

        return unmet

    return _per_member(value, reader)


#: What `then` may say, and how it is read.
WISHES: Mapping[str, Callable[[Any], Callable[[Happened], str]]] = {
    "outcome": _outcome,
    "reason": _reason,
    "rejected": _rejected,
    "version": _version,
    "entries": _entries,
    "lines": _lines,
    "entries_at": _dated,
    "notes": _notes,
    "progress": _progress,
    "follows": _follows,
    "states": _states,
    "tier_moves": _moves,
    "notices": _notices,
    "says": _says,
    "values": _values,
    "comes_at": _spoken("occurred_at"),
    "not_before": _spoken("not_before"),
    "expires_at": _spoken("expires_at"),
    "tier": _tier,
    "balance": _sum("balance"),
    "available": _sum("available"),
    "pending": _sum("pending"),
    "debt": _sum("debt"),
    "lots": _lots,
    "play": _play,
}
