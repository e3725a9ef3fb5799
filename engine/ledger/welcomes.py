"""A level reached is welcomed with points, once per member and level; a refund that undoes the reaching takes them back.

A fact that raises the level by what it adds to the progress welcomes on every level on the way, so it makes no difference
whether a member climbs in one purchase or in three. What staff gives, and what a new version's thresholds give, is no reaching.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.ledger.caps import Share
from engine.ledger.debt import Burns, Purse
from engine.ledger.earning import entry_ids, make_entry
from engine.ledger.fold import take_in
from engine.ledger.levels import Window, best_ever, held_on
from engine.ledger.member import WELCOME, Member, Welcomed
from engine.ledger.moved import Moved
from engine.ledger.returns import note
from engine.ledger.tiers import joined_after, progress_cancelled, windows_at
from rules.book import Book, Programme, TierPlan
from rules.local_time import local_day
from schemas.decisions import Decision, Entry
from schemas.envelope import TIMER_SOURCE, Fact
from schemas.ids import hash_id


def welcome(member: Member, fact: Fact, programme: Programme, plan: TierPlan, now_us: int, decision: Decision) -> None:
    """Add to ``decision`` what its progress is welcomed with, or what the welcome that it undoes gives back.

    Args:
        member: as he stood before the fact; not changed.
        fact: the one that is being decided.
        programme, plan: the version in force at ``now_us``, and its tiers.
        now_us: where the member's timeline stands.
        decision: on the fact, complete but for this.
    """
    zone, joined_us = programme.time_zone, joined_after(member, fact)
    today = local_day(now_us, zone)
    before = windows_at(plan, member, (), joined_us, zone)
    after = windows_at(plan, member, decision.progress, joined_us, zone)
    low, high = (held_on(plan, found, first_day, today).height for found, first_day in (before, after))
    entries = [_award(member, fact, programme, plan, height) for height in range(low + 1, high + 1)]
    made = [entry for entry in entries if entry is not None]
    cause = _Cause(fact.source, fact.id, fact.time, member.now_us(fact.time_us))
    taken, short = _take_back(member, programme, plan, before[0], after[0], decision.entries, cause)
    if short:
        note(decision, "not_taken", f"{short} points of a welcome were spent already: they are not taken back")
    if made or taken:
        decision.entries = [*decision.entries, *made, *taken]


def after_cancelling(member: Member, book: Book, entries: Sequence[Entry], due: int) -> Moved:
    """Return what points that were cancelled move besides: progress towards tiers, the tier, and the welcomes that this undoes.

    Args:
        member: as he stood before ``entries``; not changed.
        book: the versions.
        entries: of kind ``cancel``, all of one timer.
        due: when it fires.
    """
    now_us = member.now_us(due)
    moved, programme = progress_cancelled(member, book, entries, due), book.at(now_us)
    plan = None if programme is None else programme.tiers
    if programme is None or plan is None or not moved.states or not member.welcomed:
        return moved
    joined_us = now_us if member.joined_us is None else member.joined_us
    progress = [(change.id, int(change.state)) for change in moved.states]
    before = windows_at(plan, member, (), joined_us, programme.time_zone)[0]
    after = windows_at(plan, member, progress, joined_us, programme.time_zone)[0]
    cause = _Cause(TIMER_SOURCE, entries[0].fact_id, entries[0].occurred_at, now_us)
    moved.entries += _take_back(member, programme, plan, before, after, entries, cause)[0]
    return moved


class _Cause(NamedTuple):
    """What takes a welcome back: a fact or a timer, its time, and where the member's timeline stands then."""

    source: str
    fact_id: str
    time: str
    now_us: int


def _award(member: Member, fact: Fact, programme: Programme, plan: TierPlan, height: int) -> Entry | None:
    level = plan.levels[height]
    if not level.welcome or (level.id in member.welcomed and not level.welcome_again):
        return None
    share = Share(WELCOME + level.id, None, level.welcome)
    return make_entry(member, fact, programme, share, None, entry_ids(member, fact))


def _take_back(
    member: Member,
    programme: Programme,
    plan: TierPlan,
    before: Sequence[Window],
    after: Sequence[Window],
    entries: Sequence[Entry],
    cause: _Cause,
) -> tuple[list[Entry], int]:
    """Take back what the reaching of levels gave last, where no window ever reached them any more.

    Returns:
        The entries, and how many points are not taken.
    """
    claims = []
    for height in range(best_ever(plan, after) + 1, best_ever(plan, before) + 1):
        rule_id = WELCOME + plan.levels[height].id
        given = member.welcomed.get(plan.levels[height].id)
        lot = None if given is None else member.lots_apart.get(given.entry_id)
        if given is not None and lot is not None and given.points > lot.gone:
            claims.append((rule_id, given, lot, given.points - lot.gone))
    if not claims:
        return [], 0
    # What these entries take already cannot be taken a second time.
    now = member.fork()
    take_in(now, Moved(entries=list(entries)))
    own = [now.lots_apart[lot.id] for _, _, lot, _ in claims]
    taken = Purse(now, own, programme, cause.now_us).take([(lot.id, most) for _, _, lot, most in claims])
    made, short = [], 0
    for (rule_id, given, _, most), (burns, owed) in zip(claims, taken, strict=True):
        points = owed + sum([part for _, part in burns])
        short += most - points
        if points:
            made.append(_clawback(member, cause, rule_id, given, points, burns))
    return made, short


def _clawback(member: Member, cause: _Cause, rule_id: str, given: Welcomed, points: int, burns: Burns) -> Entry:
    return Entry(
        entry_id=hash_id(
            cause.source, cause.fact_id, member.key, "clawback", rule_id, str(given.version), given.entry_id
        ),
        member_id=member.key,
        kind="clawback",
        points=-points,
        rule_id=rule_id,
        rule_version=given.version,
        source=cause.source,
        fact_id=cause.fact_id,
        occurred_at=cause.time,
        caused_by=given.entry_id,
        burns=burns,
    )
