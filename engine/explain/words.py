"""An explanation in words, for people, and as plain data, for scripts. Both say the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from engine.explain.examining import Part, RuleAsked
from engine.explain.noticing import moment_words, notice_words
from engine.explain.play import counted, play_data, play_lines, state_words, window_words
from engine.explain.saw import local_text
from engine.explain.telling import Life, Lot, Told
from engine.ledger.member import GIVEN
from engine.ledger.outlook import Outlook
from rules.book import Programme
from rules.local_time import day_date, local_day
from rules.values import Money
from schemas.decisions import Entry, StateChange, TierChange
from schemas.facts import short_name
from schemas.times import to_text, to_us

REASONS = {
    "already_over": "the last day of it lies behind the member's newest fact",
    "no_tiers": "the programme has no tiers",
    "unknown_tier": "the programme has no such tier",
    "already_joined": "the account had begun before; joining counts once",
    "already_referred": "somebody else brought this member before; one referrer counts",
    "no_programme": "no version of the programme was in force then",
    "not_a_new_member": "who has bought already cannot be brought any more",
    "order_already_counted": "this order was counted before; an order earns once, whoever sends it again",
    "other_currency": "it is not in the programme's currency; it is counted and earns nothing",
    "referral_loop": "this member brought the referrer before",
    "same_visit": "it continues a visit that was counted",
    "self_referral": "nobody brings himself",
    "unknown_order": "no such order is known here; nothing moves",
    "id_reused": "this source used this id for another event before",
    "too_late": "it lies further behind the member's newest fact than the programme accepts",
    "too_late_to_deduplicate": "it lies so far behind the member's newest fact that nobody can tell a second delivery",
    "no_transfers": "the programme does not let members give each other points",
    "own_account": "both keys are the same member's",
    "too_few_points": "the programme has a least number of points for one transfer",
    "too_many_points": "the programme has a greatest number of points for one transfer",
    "unknown_member": "nobody has this key: the points are given back",
    "unknown_transfer": "nothing is reserved for such a transfer here",
    "alias_loop": "that key is this one's own alias already",
    "already_alias": "this key is an alias already",
    "already_cancelled": "it was cancelled before",
    "already_fulfilled": "it was collected before",
    "already_lapsed": "nobody collected it in time, and its points stay spent",
    "already_left": "the member had left before",
    "has_left": "the member had left; the order is counted and earns nothing",
    "joined_again": "the member comes back; there is no second welcome",
    "already_refused": "it was refused: its points were given back then",
    "already_returned": "its piece was returned before",
    "not_granted_yet": "the stock of the reward has not answered yet",
    "not_held": "the stock holds no such piece, or it was returned before",
    "out_of_stock": "the last piece went to somebody else; the points are given back",
    "no_store": "the reward is in the stock of stores, and the redemption names none",
    "not_enough_points": "it costs more than the points that can be spent now",
    "not_joined": "the programme says join: explicit, and the member had not joined by then",
    "not_offered_now": "this reward is not offered at that time",
    "nothing_to_reinstate": "there is no such entry of expired points, or it was given back before",
    "own_alias": "a key cannot become its own alias",
    "tier_too_low": "this reward is for another tier",
    "unknown_redemption": "no such redemption was granted here",
    "unknown_reward": "the programme has no such reward",
    "quarantined": "it could not be decided; the record is in rejects",
    "already_claimed": "this member has it already",
    "claimed_by_another": "somebody else claimed this sale first",
    "too_late_to_claim": "the time in which it could be claimed is over",
    "no_claims": "the programme says nothing of claims",
    "older_than_known": "something newer is known already",
    "duplicate": "the same event was delivered before; it moves nothing again",
    "forwarded": "this key is an alias; the member's own answer follows",
}


def sentence_of(reason: str | None) -> str:
    """Return a reason read aloud; empty where there is none, its own name where no words are known."""
    return "" if reason is None else REASONS.get(reason, reason.replace("_", " "))


# ---- as plain data ----


def life_data(life: Life, last: int) -> dict[str, Any]:
    """Return a member's standing and the newest of his facts."""
    standing = life.member.standing
    return {
        "member": life.key,
        "alias_of": life.member.alias_of,
        "balance": life.member.balance,
        "tier": None if standing is None else standing.tier,
        "outlook": _outlook_data(life.outlook),
        "lots": [_lot_data(lot) for lot in life.lots.values() if lot.left],
        **play_data(life.member, life.programme),
        "facts": [_brief(told) for told in life.told[-last:]],
        "facts_in_all": len(life.told),
    }


def _outlook_data(seen: Outlook | None) -> dict[str, Any] | None:
    if seen is None:
        return None
    until = None if seen.until_us is None else to_text(seen.until_us)
    moments = {"since": to_text(seen.since_us), "until": until}
    rest = {name: value for name, value in seen._asdict().items() if name not in ("tier", "since_us", "until_us")}
    return {"tier": seen.tier, **moments, **rest}


def fact_data(life: Life, told: Told, entry_id: str | None = None) -> dict[str, Any]:
    """Return everything about one fact, or about one entry of it."""
    found = _brief(told) | {
        "position": {"partition": told.partition, "offset": told.offset},
        "data": told.fact.data,
        "programme": None if told.version is None else _version(told.version),
        "before": {"balance": told.before[0], "tier": told.before[1]},
        "rules": [asdict(rule) for rule in told.rules],
        "entries": [asdict(entry) | _left(life, entry) for entry in told.decision.entries],
        "tiers": [asdict(change) for change in told.decision.tiers],
        "states": [asdict(change) for change in told.decision.states],
        "counted": [{"challenge": name, "by": by} for name, by in counted(told.decision)],
        "notes": [asdict(note) for note in told.decision.notes],
        "notices": [asdict(notice) for notice in told.decision.notices],
        "sent": [asdict(derived) for derived in told.decision.derived],
        "followed": [asdict(entry) for entry in life.followed(told)],
    }
    return found if entry_id is None else {"entry_id": entry_id} | found


def _brief(told: Told) -> dict[str, Any]:
    decision = told.decision
    return {
        "source": told.fact.source,
        "fact_id": told.fact.id,
        "type": short_name(told.fact.type),
        "occurred_at": told.fact.time,
        "outcome": decision.outcome,
        "reason": decision.reason,
        "why": sentence_of(decision.reason or (decision.outcome if decision.outcome != "decided" else None)),
        "points": sum(entry.points for entry in decision.entries),
    }


def _version(version: Programme) -> dict[str, Any]:
    return {"programme": version.name, "version": version.version, "hash": version.hash}


def _lot_data(lot: Lot) -> dict[str, Any]:
    entry = lot.entry
    return {
        "lot_id": entry.entry_id,
        "rule_id": entry.rule_id,
        "points": entry.points,
        "left": lot.left,
        "active_from": entry.active_from,
        "expires_at": entry.expires_at,
    }


def _left(life: Life, entry: Entry) -> dict[str, Any]:
    lot = life.lots.get(entry.entry_id)
    return {} if lot is None else {"left_of_lot": lot.left}


# ---- in words ----


def _outlook_words(seen: Outlook, programme: Programme) -> str:
    """``gold since 2026-03-01, until 2028-01-01, then silver: 60.00 EUR to stay longer; 120.00 EUR to platinum``."""
    said = f"{seen.tier} since {_day(seen.since_us, programme)}"
    if seen.until_us is not None:
        said += f", until {_day(seen.until_us, programme)}, then {seen.projected}"
    ways = []
    if seen.to_stay is not None:
        ways.append(f"{_amount(seen.to_stay, programme)} to stay longer")
    if seen.to_next is not None:
        ways.append(f"{_amount(seen.to_next, programme)} to {seen.next_tier}")
    return f"{said}: {'; '.join(ways)}" if ways else said


def _day(time_us: int, programme: Programme) -> str:
    return day_date(local_day(time_us, programme.time_zone)).isoformat()


def _amount(amount: int, programme: Programme) -> str:
    if programme.tiers is None or programme.tiers.by == "spend":
        return str(Money(amount, programme.currency))
    return f"{amount} {programme.tiers.by}"


def life_words(life: Life, last: int, most_lots: int | None) -> Iterator[str]:
    """Yield a member's standing, the lots that go first (all of them for None), and the newest of his facts, a line each."""
    standing = life.member.standing
    tier = "" if standing is None else f", tier {standing.tier}"
    if life.member.alias_of is not None:
        yield f"{life.key} is an alias of {life.member.alias_of}: ask for that"
    yield f"{life.key} has {life.member.balance} points{tier}, after {_count(len(life.told), 'fact')}"
    if life.outlook is not None and life.programme is not None:
        yield f"  {_outlook_words(life.outlook, life.programme)}"
    yield from _lot_words(life, most_lots)
    yield from (f"  {line}" for line in play_lines(life.member, life.programme))
    if len(life.told) > last:
        yield f"the newest {last} facts:"
    for told in life.told[-last:]:
        yield f"  {told.fact.time[:19]}Z {_headline(told)}"


def _lot_words(life: Life, most: int | None) -> Iterator[str]:
    """Yield what is left of each lot, in the order in which they are spent: soonest end, then oldest, never-ending last."""
    lots = sorted(
        (lot for lot in life.lots.values() if lot.left),
        key=lambda lot: (lot.entry.expires_at is None, lot.entry.expires_at or "", _earned(lot.entry)),
    )
    for lot in lots[:most]:
        yield f"  {lot.left} of {lot.entry.points} left of {lot.entry.rule_id}{_dates(lot.entry)}, lot {lot.entry.entry_id}"
    more = [] if most is None else lots[most:]
    if more:
        points = _count(sum(lot.left for lot in more), "point")
        yield f"  and {_count(len(more), 'lot')} more with {points}, which are spent after these: --lots all lists them"


def _earned(entry: Entry) -> str:
    return entry.earned_at or entry.occurred_at


def _headline(told: Told) -> str:
    decision = told.decision
    moved = ", ".join(f"{entry.rule_id} {entry.points:+d}" for entry in decision.entries)
    why = sentence_of(decision.reason or (decision.outcome if decision.outcome != "decided" else None))
    told_of = [
        f"notice {one.rule_id}" if one.state == "made" else f"no notice {one.rule_id} ({one.reason})"
        for one in decision.notices
    ]
    notes = "; ".join([*(note.text for note in decision.notes if note.code != decision.reason), *told_of])
    rest = ": ".join(part for part in (moved or "nothing moves", why, notes) if part)
    return f"{short_name(told.fact.type)} {told.fact.id}: {rest}"


def fact_words(life: Life, told: Told, entry_id: str | None = None) -> Iterator[str]:
    """Yield everything about one fact, a line each; what belongs to the entry that was asked about is marked."""
    fact, decision, version = told.fact, told.decision, told.version
    when = fact.time if version is None else f"{local_text(fact.time_us, version)} ({version.time_zone.key})"
    whose = "" if fact.key is None else f" of {fact.key}"
    yield f"{short_name(fact.type)} {fact.id} from {fact.source}{whose}, {when}"
    yield f"in the log: partition {told.partition}, offset {told.offset}, recorded at {fact.recorded_at}"
    why = sentence_of(decision.reason or (decision.outcome if decision.outcome != "decided" else None))
    yield f"{decision.outcome}{f': {why}' if why else ''}"
    if version is not None:
        yield f"judged by {version.name} version {version.version} ({version.hash})"
    if fact.key is not None:
        yield f"{fact.key} had {told.before[0]} points, {told.before[1] or 'no tier yet'}"
    if told.rules:
        yield f"rules on {short_name(fact.type)}, in the order in which they are asked:"
        for rule in told.rules:
            yield from _rule_words(rule)
    yield from _moved_words(life, told, entry_id)
    for note in decision.notes:
        if note.code != decision.reason:
            yield f"{note.code}{f' {note.rule_id}' if note.rule_id else ''}: {note.text}"
    for name, by in counted(decision):
        yield f"counts {by:+d} for challenge {window_words(name)}"
    changes: list[TierChange | StateChange] = [*decision.tiers, *decision.states]
    yield from map(_change_words, changes)
    yield from map(notice_words, decision.notices)
    for derived in decision.derived:
        yield f"sent: {short_name(derived.type)} {derived.id} to {derived.subject}"
    followed = life.followed(told)
    if followed:
        yield "what followed:"
        yield from (f"  {_entry_words(entry)}, by {entry.fact_id} at {entry.occurred_at}" for entry in followed)


def _moved_words(life: Life, told: Told, entry_id: str | None) -> Iterator[str]:
    for title, entries in (("time moved before it:", told.by_time), ("it moved:", told.entries)):
        if entries:
            yield title
        for entry in entries:
            mark = ">" if entry.entry_id == entry_id else " "
            yield f"{mark} {_entry_words(entry)}, entry {entry.entry_id}"
            if entry.lines:
                yield f"      on lines {', '.join(f'{line}: {points}' for line, points in entry.lines)}"
            for lot_id, points in entry.burns:
                yield f"      {_burn_words(points)} lot {lot_id}{_lot_name(life, lot_id)}"
            if (lot := life.lots.get(entry.entry_id)) is not None:
                yield f"      its lot has {lot.left} of {entry.points} left{_dates(entry)}"
    if not told.decision.entries:
        yield "no points moved"


def _burn_words(points: int) -> str:
    if points == 0:
        return "makes spendable"
    return f"takes {points} from" if points > 0 else f"gives {-points} back to"


def _lot_name(life: Life, lot_id: str) -> str:
    lot = life.lots.get(lot_id)
    return "" if lot is None else f" ({lot.entry.rule_id} of {lot.entry.occurred_at[:10]})"


def _entry_words(entry: Entry) -> str:
    cause = f" because of {entry.caused_by}" if entry.caused_by else ""
    order = f", order {entry.order}" if entry.order else ""
    return f"{entry.kind} {entry.points:+d} by {entry.rule_id} (version {entry.rule_version}){order}{cause}"


_STATE_WORDS = {
    "redemption_until": "can be collected until",
    "redemption_store": "is in the stock of",
    "redemption_order": "paid a part of order",
    "redemption_from": "came with order and lines",
    "redemption_counted": "counts against the cap",
    "redemption_code": "has the code",
    "redemption_worth": "is worth",
    "redemption_at_least": "is for orders of at least",
    "stock_code": "is the code",
}


def _change_words(change: TierChange | StateChange) -> str:
    if isinstance(change, StateChange):
        if change.what == GIVEN:
            reward, rule, version = change.state.split("|")
            return f"reward {reward} is given by {rule} (version {version}), redemption {change.id}"
        if (said := moment_words(change) or state_words(change)) is not None:
            return said
        return f"{change.what.partition('_')[0]} {change.id} {_STATE_WORDS.get(change.what, 'is now')} {change.state}"
    moved = f"{change.previous} -> {change.tier}" if change.previous not in (None, change.tier) else change.tier
    return f"tier: {moved}, since {change.since}{_until(change)}"


def _until(change: TierChange) -> str:
    if change.until is None:
        return ""
    return f", until {change.until}" if change.projected is None else f", until {change.until}, then {change.projected}"


def _rule_words(rule: RuleAsked) -> Iterator[str]:
    lines = f" on lines {_list(rule.lines)}" if rule.lines else ""
    said = "applies" + lines if rule.applies else "does not apply"
    points = f"{rule.points:+d}" if rule.points else "nothing"
    yield f"  {rule.rule} ({rule.phase}): {points}; {said}; {rule.gives}"
    for part in rule.conditions:
        yield from _part_words(part, "      ")
    if rule.why and (rule.applies or all(part.holds for part in rule.conditions)):
        yield f"      why {'not' if not rule.points else 'not more'}: {rule.why}"


def _part_words(part: Part, indent: str) -> Iterator[str]:
    seen = f"; it saw {part.saw}" if part.saw else ""
    lines = f" (lines {_list(part.lines)})" if part.lines else ""
    yield f"{indent}{'yes' if part.holds else 'no '} {part.says}{seen}{lines}"
    for inner in part.parts:
        yield from _part_words(inner, indent + "    ")


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _dates(entry: Entry) -> str:
    begins = entry.active_from
    late = begins is not None and to_us(begins) > to_us(entry.occurred_at)
    ends = f", until {entry.expires_at}" if entry.expires_at else ""
    return (f", to be spent from {begins}" if late else "") + ends


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
